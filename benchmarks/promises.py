"""What the server promises, measured beside its bound: `python benchmarks/promises.py` (ten minutes on two cores).

The scenarios are tests of tests/serve: real controllers and workers, with a tiny model. There they assert what is right
on any machine; here they run one after another, longer, and their figures count. The exit status is 1 when a promise is
not kept or a scenario fails. The machine should do nothing else meanwhile.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pytest

from tests.serve import promises

FILES = [f"tests/serve/test_{name}.py" for name in ("reliability", "bad_input", "controllers")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-k", default="", metavar="NAME", help="only scenarios whose name has this")
    args = parser.parse_args()
    promises.measuring = True
    os.chdir(ROOT)
    failed = pytest.main([*FILES, "-q", "-k", args.k, "-p", "no:cacheprovider"])
    load, _, _ = os.getloadavg()
    print(
        f"\n{os.cpu_count()} cores, load {load:.1f} at the end\n\n| promise | at most | measured | |\n|---|---|---|---|"
    )
    print("\n".join(figure.line for figure in promises.figures.values()))
    return int(failed != 0 or not all(figure.kept for figure in promises.figures.values()))


if __name__ == "__main__":
    sys.exit(main())
