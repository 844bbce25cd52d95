"""A folder of photos -> a split json.

    PYTHONPATH=./ python scripts/make_split.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.splits import command

if __name__ == "__main__":
    command()
