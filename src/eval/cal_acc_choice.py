"""Accuracy of multiple-choice answers: `python cal_acc_choice.py --pred_path answers.json --gt_path benchmark.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import accuracy_command

if __name__ == "__main__":
    accuracy_command("choice")
