"""Accuracy of multi-distortion answers: `python cal_acc_multi_distortion.py --pred_path P.json --gt_path G.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import accuracy_command

if __name__ == "__main__":
    accuracy_command("multi_distortion")
