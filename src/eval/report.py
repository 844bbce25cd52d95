"""One page over a folder of answers: `python report.py --answers A --gt_paths G... --save_path report.html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import report_command

if __name__ == "__main__":
    report_command()
