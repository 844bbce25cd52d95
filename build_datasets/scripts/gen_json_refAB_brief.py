"""Comparisons -> questions which of two pictures is better.

    PYTHONPATH=./ python scripts/gen_json_refAB_brief.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.rating import questions_command

if __name__ == "__main__":
    questions_command()
