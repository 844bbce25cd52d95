"""A table of opinion scores -> items that a score is trained on, and items that test it.

PYTHONPATH=./ python scripts/make_score_labels.py --help
"""

from build_datasets.dq495k.score import command

if __name__ == "__main__":
    command()
