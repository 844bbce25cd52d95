"""Questions which of two pictures is better: take the reference away.

PYTHONPATH=./ python scripts/refAB2AB_brief.py --help
"""

from build_datasets.dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=False, states_training=False)
