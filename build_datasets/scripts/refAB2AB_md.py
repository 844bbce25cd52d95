"""Items about two pictures: take the reference away (two distortions).

    PYTHONPATH=./ python scripts/refAB2AB_md.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=False)
