"""Comparisons -> questions which of two pictures is better.

PYTHONPATH=./ python scripts/gen_json_refAB_brief.py --help
"""

from build_datasets.dq495k.rating import questions_command

if __name__ == "__main__":
    questions_command()
