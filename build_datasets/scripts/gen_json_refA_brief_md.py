"""Short questions and answers: what is wrong with a picture, against its reference (two distortions).

PYTHONPATH=./ python scripts/gen_json_refA_brief_md.py --help
"""

from build_datasets.dq495k.brief import command

if __name__ == "__main__":
    command(has_reference=True, kind="md")
