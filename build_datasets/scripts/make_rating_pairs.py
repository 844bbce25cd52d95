"""A table of opinion scores -> comparisons of two pictures.

    PYTHONPATH=./ python scripts/make_rating_pairs.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.rating import pairs_command

if __name__ == "__main__":
    pairs_command()
