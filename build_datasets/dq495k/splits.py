"""A folder of photos -> a split: which photos are trained on, which are tested on."""

import argparse
import random
from pathlib import Path

from build_datasets.dq495k.files import list_photos
from depictqa.answers import write_json
from depictqa.errors import InputError, exit_cleanly


@exit_cleanly
def command() -> None:
    """The program make_split.py."""
    parser = argparse.ArgumentParser(description="A folder of photos -> a split json (docs/datasets.md).")
    parser.add_argument("--reference_dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--save_path", type=Path, required=True, help="where the split goes (.json)")
    parser.add_argument("--test", type=float, default=0.1, help="share of the photos to test on; above 1 their number")
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    names = list_photos(args.reference_dir)
    tested = round(args.test if args.test > 1 else args.test * len(names))
    if not 0 <= tested <= len(names):
        raise InputError(f"--test: expected a share or a number of 0 to {len(names)} photos, found {args.test:g}")
    test = set(random.Random(args.seed).sample(names, tested))
    split = {"train": [name for name in names if name not in test], "test": sorted(test)}
    write_json(args.save_path, split)
    print(f"{len(split['train'])} photos to train on, {tested} to test on: {args.save_path}")
