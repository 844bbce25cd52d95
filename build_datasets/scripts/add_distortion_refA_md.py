"""Distort photos: one picture of each photo of a split, with two distortions.

PYTHONPATH=./ python scripts/add_distortion_refA_md.py --help
"""

from build_datasets.dq495k.distort import command

if __name__ == "__main__":
    command("refA_md")
