"""Items about one picture: take the reference away (one distortion).

PYTHONPATH=./ python scripts/refA2A_sd.py --help
"""

from build_datasets.dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=True)
