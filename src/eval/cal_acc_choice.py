"""Accuracy of multiple-choice answers: `python cal_acc_choice.py --pred_path answers.json --gt_path benchmark.json`."""

from depictqa.evaluation.commands import accuracy_command

if __name__ == "__main__":
    accuracy_command("choice")
