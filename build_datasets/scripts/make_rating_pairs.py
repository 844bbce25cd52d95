"""A table of opinion scores -> comparisons of two pictures.

PYTHONPATH=./ python scripts/make_rating_pairs.py --help
"""

from build_datasets.dq495k.rating import pairs_command

if __name__ == "__main__":
    pairs_command()
