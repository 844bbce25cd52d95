"""SRCC and PLCC by voting: `python cal_srcc_plcc_voting.py --test_paths T... --pred_paths P... --gt_paths G...`."""

from depictqa.evaluation.commands import voting_command

if __name__ == "__main__":
    voting_command()
