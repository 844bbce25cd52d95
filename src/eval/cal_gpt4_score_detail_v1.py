"""Long answers judged relative to the true ones: `... --pred_path P.json --gt_path G.json --save_path S.json`."""

from depictqa.evaluation.commands import judge_command

if __name__ == "__main__":
    judge_command("v1")
