"""Long answers judged for agreement with the truth: `... --pred_path P.json --gt_path G.json --save_path S.json`."""

from depictqa.evaluation.commands import judge_command

if __name__ == "__main__":
    judge_command("v2")
