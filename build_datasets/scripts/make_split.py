"""A folder of photos -> a split json.

PYTHONPATH=./ python scripts/make_split.py --help
"""

from build_datasets.dq495k.splits import command

if __name__ == "__main__":
    command()
