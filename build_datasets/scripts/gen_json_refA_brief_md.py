"""Short questions and answers: what is wrong with a picture, against its reference (two distortions).

    PYTHONPATH=./ python scripts/gen_json_refA_brief_md.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.brief import command

if __name__ == "__main__":
    command(has_reference=True, kind="md")
