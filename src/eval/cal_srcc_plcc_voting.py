"""SRCC and PLCC by voting: `python cal_srcc_plcc_voting.py --test_paths T... --pred_paths P... --gt_paths G...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import voting_command

if __name__ == "__main__":
    voting_command()
