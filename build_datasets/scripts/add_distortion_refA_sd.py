"""Distort photos: one picture of each photo, with one distortion.

PYTHONPATH=./ python scripts/add_distortion_refA_sd.py --help
"""

from build_datasets.dq495k.distort import command

if __name__ == "__main__":
    command("refA_sd")
