"""Scores against opinion scores: `python cal_score.py --pred_path scores.json... --gt_path opinions.json...`."""

from depictqa.evaluation.reliability_commands import score_command

if __name__ == "__main__":
    score_command()
