"""Long answers judged relative to the true ones: `... --pred_path P.json --gt_path G.json --save_path S.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import judge_command

if __name__ == "__main__":
    judge_command("v1")
