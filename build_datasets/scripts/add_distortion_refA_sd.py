"""Distort photos: one picture of each photo, with one distortion.

    PYTHONPATH=./ python scripts/add_distortion_refA_sd.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.distort import command

if __name__ == "__main__":
    command("refA_sd")
