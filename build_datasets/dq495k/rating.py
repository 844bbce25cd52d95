"""Which of two pictures is better: from opinion scores to comparisons, from comparisons to questions.

A comparison is {id, image_ref, image_A, image_B, A_better_B}; A_better_B is true or false, or the share of people who
prefer A. Voting wants all comparisons within a reference, and the scores beside them (`cal_srcc_plcc_voting.py`).
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from build_datasets.dq495k import questions
from build_datasets.dq495k.brief import spoken
from build_datasets.dq495k.files import SHOWN, read_split
from build_datasets.dq495k.labels import generator
from build_datasets.dq495k.mos import LAYOUTS, Score, layout_of, read_scores
from depictqa.answers import read_items, write_json
from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import SINGLE_WORD_REQUEST

LISTED = 2000  # pictures whose pairs are listed before drawing
VOTING_QUERY = "Which image has the better quality, Image A or Image B?" + SINGLE_WORD_REQUEST


def compare(scores: list[Score], pairs: int, least: float, seed: int) -> list[tuple[Score, Score]]:
    """At most so many pairs of each reference (or of all pictures, without references), each in random order.

    Arguments:
        least: smallest difference of the scores; at 0 equal scores are still no pair.
    """
    drawn = []
    for reference, group in by_reference(scores).items():
        rng = generator(seed, "pairs", reference or "")
        draw = _draw if len(group) <= LISTED else _draw_from_many
        drawn += [pair if rng.random() < 0.5 else pair[::-1] for pair in draw(group, pairs, max(least, 1e-9), rng)]
    return drawn


def by_reference(scores: list[Score]) -> dict[str | None, list[Score]]:
    groups: dict[str | None, list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.reference].append(score)
    return groups


def _draw(group: list[Score], most: int, least: float, rng) -> list[tuple[Score, Score]]:
    possible = [pair for pair in itertools.combinations(group, 2) if abs(pair[0].mos - pair[1].mos) >= least]
    return (
        possible
        if len(possible) <= most
        else [possible[i] for i in sorted(rng.choice(len(possible), most, replace=False))]
    )


def _draw_from_many(group: list[Score], most: int, least: float, rng) -> list[tuple[Score, Score]]:
    """As `_draw`, where there are too many pairs to list: drawn until there are enough, none twice."""
    found: dict[tuple[int, int], None] = {}
    for _ in range(20 * most):
        if len(found) == most:
            break
        first, second = sorted(map(int, rng.integers(len(group), size=2)))
        if abs(group[first].mos - group[second].mos) >= least:
            found[first, second] = None
    return [(group[first], group[second]) for first, second in found]


def make_item(comparison: dict, where: str, seed: int, training: bool) -> dict | None:
    """A question which of two pictures is better; None for a tie. Raises InputError: a field is missing or wrong."""
    missing = [key for key in ("image_A", "image_B", "A_better_B") if comparison.get(key) is None]
    if missing:
        raise InputError(f"{where}: the field '{missing[0]}' is missing")
    share = comparison["A_better_B"]
    if not isinstance(share, bool | int | float) or not 0 <= share <= 1:
        raise InputError(f"{where}: the field 'A_better_B': expected true, false or a share of 0 to 1, found {share!r}")
    if share == 0.5:
        return None
    rng = generator(seed, comparison["id"])
    template = questions.pick(questions.RATING, rng)
    in_a_word = bool(rng.random() < 0.5) if training else True
    has_reference = comparison.get("image_ref") is not None
    query, answer = questions.rating(template, share > 0.5, in_a_word, has_reference)
    item = {key: comparison.get(key) for key in ("id", "image_ref", "image_A", "image_B")}
    item["task_type"] = "quality_compare" if has_reference else "quality_compare_noref"
    return item | spoken(query, answer, training)


@exit_cleanly
def questions_command() -> None:
    """The program gen_json_refAB_brief.py."""
    parser = argparse.ArgumentParser(
        description="Comparisons -> questions which of two pictures is better (docs/datasets.md)."
    )
    parser.add_argument("--json_original", type=Path, required=True, help="id, image_ref, image_A, image_B, A_better_B")
    parser.add_argument("--save_path", type=Path, required=True, help="where the items go (.json)")
    parser.add_argument(
        "--training", action="store_true", help="conversations; else questions for a word, with answers"
    )
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    comparisons = read_items(args.json_original)
    numbered = [{"id": number} | one for number, one in enumerate(comparisons)]
    items = [make_item(one, f"{args.json_original}: item {one['id']}", args.seed, args.training) for one in numbered]
    write_json(args.save_path, [item for item in items if item])
    print(f"{len(items) - items.count(None)} items ({items.count(None)} ties left out): {args.save_path}")


def add_table(parser: argparse.ArgumentParser) -> None:
    """The options that say where a table of opinion scores is, and where its pictures."""
    parser.add_argument("--mos_path", type=Path, required=True, help="the table, or the folder that holds it")
    parser.add_argument("--layout", choices=LAYOUTS, default="csv", help="csv: columns image, reference (if any), mos")
    parser.add_argument("--image_prefix", default="", help="put before the pictures' names, such as KADID10K/images/")
    parser.add_argument("--reference_prefix", help="the same for references; --image_prefix unless given")


@exit_cleanly
def pairs_command() -> None:
    """The program make_rating_pairs.py."""
    parser = argparse.ArgumentParser(description="A table of opinion scores -> comparisons (docs/datasets.md).")
    add_table(parser)
    parser.add_argument("--save_path", type=Path, required=True, help="where the comparisons go (.json)")
    parser.add_argument(
        "--scores_path", type=Path, help="form voting: where reference -> dist_paths, mos_list go (.json)"
    )
    parser.add_argument(
        "--form", choices=("single", "voting"), default="single", help="some pairs, or all of a reference"
    )
    parser.add_argument("--split_json", type=Path, help="take the references of one part of a split only")
    parser.add_argument("--training", action="store_true", help="its train part, not test")
    parser.add_argument(
        "--pairs", type=int, default=200, help="form single: at most so many per reference (without references: in all)"
    )
    parser.add_argument(
        "--min_difference", type=float, default=0.0, help="form single: smallest difference of the scores"
    )
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    if (args.form == "voting") != (args.scores_path is not None):
        raise InputError("--scores_path: expected with --form voting, and only there")
    scores = read_scores(args.mos_path, layout_of(args.layout, args.mos_path))
    if args.split_json:
        wanted = set(read_split(args.split_json, args.training))
        scores = [score for score in scores if score.reference in wanted]
    if args.form == "voting" and any(score.reference is None for score in scores):
        raise InputError(f"{args.mos_path}: voting compares the pictures of a reference; this table has none")
    if args.form == "single":
        pairs = compare(scores, args.pairs, args.min_difference, args.seed)
    else:
        pairs = [pair for group in by_reference(scores).values() for pair in itertools.combinations(group, 2)]
    if not pairs:
        raise InputError(f"{args.mos_path}: no two pictures to compare ({len(scores)} scores)")
    place = places(args)
    items = []
    for number, (a, b) in enumerate(pairs):
        item = {"id": number, "image_ref": place(a)[0], "image_A": place(a)[1], "image_B": place(b)[1]}
        items.append(item | ({"A_better_B": a.mos > b.mos} if args.form == "single" else {"query": VOTING_QUERY}))
    write_json(args.save_path, items)
    if args.form == "voting":
        table = {
            place(group[0])[0]: {"dist_paths": [place(one)[1] for one in group], "mos_list": [one.mos for one in group]}
            for group in by_reference(scores).values()
        }
        write_json(args.scores_path, table)
    shown = ", ".join(sorted({str(score.reference) for score in scores})[:SHOWN])
    print(f"{len(items)} comparisons of {len(scores)} pictures: {args.save_path} (references: {shown})")


def places(args: argparse.Namespace) -> Callable[[Score], tuple[str | None, str]]:
    """What gives the paths of a score's reference and picture, prefixes before them."""
    before = args.image_prefix if args.reference_prefix is None else args.reference_prefix
    return lambda score: (score.reference and before + score.reference, args.image_prefix + score.image)
