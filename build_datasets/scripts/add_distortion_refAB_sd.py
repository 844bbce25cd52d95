"""Distort photos: two pictures of each photo of a split, with one distortion each.

PYTHONPATH=./ python scripts/add_distortion_refAB_sd.py --help
"""

from build_datasets.dq495k.distort import command

if __name__ == "__main__":
    command("refAB_sd")
