"""Short questions and answers: what is wrong with a picture, without a reference (two distortions).

PYTHONPATH=./ python scripts/gen_json_A_brief_md.py --help
"""

from build_datasets.dq495k.brief import command

if __name__ == "__main__":
    command(has_reference=False, kind="md")
