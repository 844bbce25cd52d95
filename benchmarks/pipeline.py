"""Speed of everything in inference but the model: `python benchmarks/pipeline.py` (half a minute on two cores).

Beside other programs the last column counts: pairs for a second of one core, decoding included.

A job of TID2013's shape: references of 512 x 384 pixels, distorted pictures of each, and a question with reference about
every pair of these. `infer.py`'s own loop reads the meta file, decodes the pictures, forms the questions and writes the
answers; a model that answers at once takes the place of the real one. `--distorted 120 --references 25` is TID2013 whole:
178,500 pairs.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa.data.meta import read_questions
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.inference.assessor import Assessment
from depictqa.inference.runner import Job, Options, run
from depictqa.inference.sampling import Completion, Sampling
from depictqa.prompts import TASKS

TASK = TASKS["quality_compare"]
SIZE = (512, 384)  # pixels, width x height
QUESTION = "Compared with the reference, which image has the better quality, Image A or Image B?"


class Instant:
    """A model that takes no time: one token a picture, the same answer to every question."""

    def encode(self, images):
        return [image[:, 0, 0] for image in images]

    def assess(self, questions, sampling, confidence=False, embeds=None):
        return [Assessment(Completion("Image A", [306, 29909, 2], [0.9, 0.8, 1.0], "stop"), 0.8) for _ in questions]


def make_job(folder: Path, references: int, distorted: int) -> Path:
    """Write the pictures and the meta file of all pairs; the meta's path. Noise compresses badly: a PNG of 0.5 MB."""
    rng, entries = np.random.default_rng(0), []
    for reference in range(references):
        names = [f"{reference}.png", *(f"{reference}_{number}.png" for number in range(distorted))]
        for name in names:
            pixels = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC).save(folder / name, compress_level=1)
        for a, b in itertools.combinations(names[1:], 2):
            entry = {"image_ref": names[0], "image_A": a, "image_B": b, "query": QUESTION}
            entries.append({"id": f"{a} {b}", **entry})
    (folder / "meta.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder / "meta.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--distorted", type=int, default=120, help="pictures of each reference")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_workers", type=int, default=2, help="processes that decode")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meta = make_job(folder, args.references, args.distorted)
        preprocess = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1))
        options = Options(
            answer_dir=folder / "answers",
            batch_size=args.batch_size,
            sampling=Sampling(),
            output_prob_id=True,
            output_confidence=True,
            max_broken=0.0,
            num_workers=args.num_workers,
            tokens=lambda width, height: width * height // 14**2,
        )
        start, used = time.perf_counter(), os.times()
        items = read_questions(meta, TASK, folder)
        read = time.perf_counter()
        run([Job(TASK, "pairs", items, "")], Instant, preprocess, options)
        end = time.perf_counter()
        # the loading processes have been waited for, so their share is counted
        spent = sum(now - before for now, before in zip(os.times()[:4], used[:4], strict=True))
    print(
        "| pairs | images | meta read, s | in all, s | pairs/s | CPU, s | pairs / CPU s |\n|---|---|---|---|---|---|---|"
    )
    images = args.references * (1 + args.distorted)
    seconds = end - start
    print(
        f"| {len(items):,} | {images:,} | {read - start:.1f} | {seconds:.1f} | {len(items) / seconds:,.0f} "
        f"| {spent:.1f} | {len(items) / spent:,.0f} |"
    )


if __name__ == "__main__":
    main()
