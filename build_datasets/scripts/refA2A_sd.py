"""Items about one picture: take the reference away (one distortion).

    PYTHONPATH=./ python scripts/refA2A_sd.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=True)
