"""Long answers judged relative to the true ones: `python cal_gpt4_score_detail_v1.py --pred_path P --gt_path G --save_path S.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone that is not installed

from depictqa.evaluation.commands import judge_command

if __name__ == "__main__":
    judge_command("v1")
