"""Long answers about one picture and its reference from labels and measurements (two distortions).

    PYTHONPATH=./ python scripts/gen_resp_template_refA_md.py --help
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from dq495k.responses import template_command

if __name__ == "__main__":
    template_command("refA")
