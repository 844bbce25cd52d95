"""Long answers about one picture -> items to train on, or to ask.

PYTHONPATH=./ python scripts/gen_json_refA_detail.py --help
"""

from build_datasets.dq495k.detail import command

if __name__ == "__main__":
    command("refA")
