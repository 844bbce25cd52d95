"""Questions for infer.py: `python choice_questions.py --gt_path benchmark.json --save_path meta.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import choice_questions_command

if __name__ == "__main__":
    choice_questions_command()
