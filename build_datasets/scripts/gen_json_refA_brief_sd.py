"""Short questions and answers: what is wrong with a picture, against its reference (one distortion).

PYTHONPATH=./ python scripts/gen_json_refA_brief_sd.py --help
"""

from build_datasets.dq495k.brief import command

if __name__ == "__main__":
    command(has_reference=True, kind="sd")
