"""Items about one picture: take the reference away (two distortions).

PYTHONPATH=./ python scripts/refA2A_md.py --help
"""

from build_datasets.dq495k.noref import command

if __name__ == "__main__":
    command(may_exclude=True, states_training=False)
