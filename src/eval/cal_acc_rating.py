"""Accuracy of rating answers: `python cal_acc_rating.py --pred_path answers.json --gt_path meta.json`."""

from depictqa.evaluation.commands import accuracy_command

if __name__ == "__main__":
    accuracy_command("rating")
