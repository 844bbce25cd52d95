"""Items about two pictures: take the reference away (one distortion).

PYTHONPATH=./ python scripts/refAB2AB_sd.py --help
"""

from build_datasets.dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=True)
