"""Distort photos: two pictures of each photo of a split, with one or two distortions each.

    PYTHONPATH=./ python scripts/add_distortion_refAB_md.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.distort import command

if __name__ == "__main__":
    command("refAB_md")
