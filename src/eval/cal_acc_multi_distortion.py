"""Accuracy of multi-distortion answers: `python cal_acc_multi_distortion.py --pred_path P.json --gt_path G.json`."""

from depictqa.evaluation.commands import accuracy_command

if __name__ == "__main__":
    accuracy_command("multi_distortion")
