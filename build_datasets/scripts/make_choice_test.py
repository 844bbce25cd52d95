"""Labelled pictures -> a four-choice test over the distortion classes.

PYTHONPATH=./ python scripts/make_choice_test.py --help
"""

from build_datasets.dq495k.choice import command

if __name__ == "__main__":
    command()
