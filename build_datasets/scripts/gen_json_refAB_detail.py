"""Long answers about two pictures -> items to train on, or to ask.

PYTHONPATH=./ python scripts/gen_json_refAB_detail.py --help
"""

from build_datasets.dq495k.detail import command

if __name__ == "__main__":
    command("refAB")
