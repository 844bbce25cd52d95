"""A four-choice test: which of four distortions is in the picture? From labelled items to a benchmark.

Items are those of `gen_json_A_brief_sd.py` or `gen_json_refA_brief_sd.py` (image_A, distortion_class, severity). The
benchmark is what `choice_questions.py` asks and `cal_acc_choice.py` scores. On a test of this kind (27 distortions,
DistortBench: Goyal et al., 2026, arXiv 2604.19966) people are right in 60 to 66% of the questions; chance is 25%.
"""

import argparse
from pathlib import Path

from build_datasets.dq495k.labels import from_fields, generator
from build_datasets.x_distortion import ANSWERS
from depictqa.answers import read_items, write_json
from depictqa.errors import exit_cleanly

QUESTION = "Which distortion is in this image?"
CHOICES = 4


def make_item(item: dict, seed: int) -> dict | None:
    """The question about one picture; None unless exactly one distortion is in it.

    Three other classes are drawn evenly, and the four stand in random order; both follow from the seed and the id.

    Raises:
        InputError: the item does not say what is wrong with its picture.
    """
    state = from_fields(item, f"item {item.get('id')}")
    if len(state) != 1:
        return None
    (distortion,) = state
    rng = generator(seed, "choice", item["id"])
    others = rng.choice([label for label in ANSWERS if label != distortion.label], CHOICES - 1, replace=False)
    options = [ANSWERS[label].capitalize() for label in rng.permutation([distortion.label, *others])]
    return {
        "id": item["id"],
        "image": item["image_A"],
        "question": QUESTION,
        "options": options,
        "answer": ANSWERS[distortion.label].capitalize(),
        "category": distortion.label,
        "severity": distortion.severity,
    }


@exit_cleanly
def command() -> None:
    """The program make_choice_test.py."""
    parser = argparse.ArgumentParser(description="Labelled pictures -> a four-choice test (docs/datasets.md).")
    parser.add_argument(
        "--read_path", type=Path, required=True, help="items with image_A, distortion_class and severity"
    )
    parser.add_argument("--save_path", type=Path, required=True, help="where the benchmark goes (.json)")
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    items = read_items(args.read_path)
    made = [make_item(item, args.seed) for item in items]
    asked = [item for item in made if item]
    write_json(args.save_path, asked)
    print(
        f"{len(asked)} questions ({len(items) - len(asked)} without exactly one distortion left out): {args.save_path}"
    )
