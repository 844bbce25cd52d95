"""Items about two pictures: take the reference away (two distortions).

PYTHONPATH=./ python scripts/refAB2AB_md.py --help
"""

from build_datasets.dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=False)
