"""Opinion scores -> the question how good one picture is: items that a score is trained on, and items that test it.

Training learns the distribution of the opinions (`depictqa.data.opinions`); the answer, a word of `prompts.LEVELS`, is
the most probable level. A test item has `mos` and `std` on the scale of the score, 1 to 5.
"""

import argparse
from pathlib import Path

from build_datasets.dq495k.brief import spoken
from build_datasets.dq495k.files import read_split
from build_datasets.dq495k.labels import generator
from build_datasets.dq495k.rating import Score, add_table, layout_of, places, read_scores
from depictqa.answers import write_json
from depictqa.data.opinions import read_opinion
from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import LEVELS, QUESTIONS


def make_item(
    score: Score, scale: tuple[float, float], dataset: str, paths: tuple[str | None, str]
) -> tuple[dict, dict]:
    """The training item and the test item of a picture.

    Arguments:
        scale: the scores of the worst and of the best picture; higher is better.
        paths: of the reference (None: the question is asked without) and of the picture.
    """
    rated = {"mean": score.mos, "std": score.std, "min": scale[0], "max": scale[1]}
    opinion = read_opinion(rated, dataset)
    answer = max(zip(opinion.label, LEVELS, strict=True), key=lambda pair: pair[0])[1]
    reference, picture = paths
    item = {"id": picture, "image_ref": reference, "image_A": picture, "image_B": None, "dataset": dataset}
    task = "quality_score_A" if reference is not None else "quality_score_A_noref"
    trained = item | {"task_type": task, "score": rated} | spoken(QUESTIONS["score"], answer, training=True)
    std = None if score.std is None else opinion.std
    return trained, item | {"mos": opinion.mean, "std": std} | spoken(QUESTIONS["score"], answer, training=False)


def draw_test(scores: list[Score], share: float, seed: int) -> set[str]:
    """Names to test on: of references, so that no picture of theirs is trained on; without references, of pictures.

    Arguments:
        share: of all names; above 1 their number.
    """
    names = sorted({score.reference or score.image for score in scores})
    tested = round(share if share > 1 else share * len(names))
    if not 0 <= tested <= len(names):
        raise InputError(f"--test: expected a share or a number of 0 to {len(names)} names, found {share:g}")
    return {names[i] for i in generator(seed, "scores").choice(len(names), tested, replace=False)}


@exit_cleanly
def command() -> None:
    """The program make_score_labels.py."""
    parser = argparse.ArgumentParser(description="A table of opinion scores -> scored items (docs/datasets.md).")
    add_table(parser)
    parser.add_argument("--dataset", required=True, help="a name: scores are compared within a data set only")
    parser.add_argument("--scale", type=float, nargs=2, metavar=("WORST", "BEST"), help="ends of the table's scale; "
                        "unless given, its worst and its best score")  # fmt: skip
    parser.add_argument("--no_reference", action="store_true", help="ask without the reference")
    parser.add_argument("--save_path", type=Path, required=True, help="where the training items go (.json)")
    parser.add_argument("--test_path", type=Path, required=True, help="where the test items go (.json)")
    parser.add_argument("--split_json", type=Path, help="a split of the references, or of the pictures without them")
    parser.add_argument(
        "--test", type=float, default=0.1, help="without a split: share to test on; above 1 their number"
    )
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    layout = layout_of(args.layout, args.mos_path)
    scores = read_scores(args.mos_path, layout)
    sign = 1 if layout.higher_is_better else -1
    ends = [sign * end for end in args.scale] if args.scale else [score.mos for score in scores]
    if args.split_json:
        test, train = (set(read_split(args.split_json, training)) for training in (False, True))
    else:
        test, train = draw_test(scores, args.test, args.seed), None
    place, items = places(args), {"train": [], "test": []}
    for score in scores:
        name = score.reference or score.image
        reference, picture = place(score)
        paths = (None if args.no_reference else reference, picture)
        trained, tested = make_item(score, (min(ends), max(ends)), args.dataset, paths)
        if name in test:
            items["test"].append(tested)
        elif train is None or name in train:
            items["train"].append(trained)
    for part, path in (("train", args.save_path), ("test", args.test_path)):
        write_json(path, items[part])
        print(f"{len(items[part])} items: {path}")
