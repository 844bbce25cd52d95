"""Long answers about two pictures -> items to train on, or to ask.

    PYTHONPATH=./ python scripts/gen_json_refAB_detail.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.detail import command

if __name__ == "__main__":
    command("refAB")
