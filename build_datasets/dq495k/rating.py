"""Which of two pictures is better: from opinion scores to comparisons, from comparisons to questions.

A comparison is {id, image_ref, image_A, image_B, A_better_B}; A_better_B is true or false, or the share of people who
prefer A. Voting wants all comparisons within a reference, and the scores beside them (`cal_srcc_plcc_voting.py`).
"""

import argparse
import csv
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from build_datasets.dq495k import questions
from build_datasets.dq495k.brief import spoken
from build_datasets.dq495k.files import SHOWN, read_split
from build_datasets.dq495k.labels import generator
from depictqa.answers import read_items, write_json
from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import SINGLE_WORD_REQUEST

LISTED = 2000  # pictures whose pairs are listed before drawing
VOTING_QUERY = "Which image has the better quality, Image A or Image B?" + SINGLE_WORD_REQUEST

Row = dict[str | int, str]  # by the column's name, or by its place where the file has no header


@dataclass(frozen=True)
class Layout:
    """How a data set's table of opinion scores is written.

    Attributes:
        image, mos: columns: names, or places where the file has no header.
        reference: a column, or a function of the image's name; None where there are no references.
        separator: between two columns; None is white space.
        higher_is_better: false for differences (DMOS) that grow with the damage.
        name: the picture's path from a row, where it is not the column `image`.
        std, variance: the column of the standard deviation of single votes, or of its square, if there is one.
        votes: the column of all single votes, separated by white space, if there is one; `mos` is then not needed.
    """

    image: str | int
    mos: str | int
    reference: str | int | Callable[[str], str] | None = None
    separator: str | None = ","
    higher_is_better: bool = True
    name: Callable[[Row], str] | None = None
    std: str | int | None = None
    variance: str | int | None = None
    votes: str | int | None = None


def _csiq_name(row: Row) -> str:
    """`image` 1600 with `dst_type` jpeg and `dst_lev` 3 is jpeg/1600.JPEG.3.png."""
    spelled = {"noise": "AWGN", "awgn": "AWGN", "jpeg": "JPEG", "jpeg 2000": "jpeg2000", "jpeg2000": "jpeg2000",
               "fnoise": "fnoise", "blur": "BLUR", "contrast": "contrast"}  # fmt: skip
    kind = row["dst_type"].strip()
    folder = {"noise": "awgn", "jpeg 2000": "jpeg2000"}.get(kind.lower(), kind.lower())
    return f"{folder}/{row['image'].strip()}.{spelled.get(kind.lower(), kind)}.{row['dst_lev'].strip()}.png"


LAYOUTS = {
    "csv": Layout("image", "mos", "reference", std="std", votes="votes"),
    "kadid10k": Layout(
        "dist_img", "dmos", "ref_img", variance="var"
    ),  # dmos.csv; in spite of its name, higher is better
    "tid2013": Layout(1, 0, lambda name: f"{name[:3].upper()}.BMP", separator=None),  # mos_with_names.txt
    "csiq": Layout(
        "image",
        "dmos",
        lambda name: f"{Path(name).name.split('.')[0]}.png",
        higher_is_better=False,
        name=_csiq_name,
        std="dmos_std",
    ),
    "pipal": Layout(0, 1, lambda name: f"{name.split('_')[0]}.bmp"),  # a folder of A0001.txt ...
    "koniq": Layout("image_name", "MOS", std="SD"),  # koniq10k_scores_and_distributions.csv
    "spaq": Layout("Image name", "MOS"),  # the first sheet of MOS and Image attribute scores.xlsx, as csv
}


@dataclass(frozen=True)
class Score:
    image: str
    reference: str | None
    mos: float  # higher is better
    std: float | None = None  # of single votes, where the table says it


def layout_of(name: str, path: Path) -> Layout:
    """The layout of that name; of `csv`, what this file has no column for is left out."""
    layout = LAYOUTS[name]
    return replace(layout, reference=None) if name == "csv" and "reference" not in _header(path) else layout


def read_scores(path: Path, layout: Layout) -> list[Score]:
    """The rows of a table, or of all .txt and .csv tables of a folder.

    Raises:
        InputError: a row is wrong (with its file, row and column), or a picture is listed more than once.
    """
    tables = sorted(one for one in path.iterdir() if one.suffix in (".txt", ".csv")) if path.is_dir() else [path]
    scores = [score for table in tables for score in _read_table(table, layout)]
    counts = Counter((score.reference, score.image) for score in scores)
    if repeated := [image for (_, image), count in counts.items() if count > 1]:
        raise InputError(
            f"{path}: {len(repeated)} pictures are listed more than once: {', '.join(repeated[:SHOWN])}; "
            "keep one row of each (its mean opinion score)"
        )
    return scores


def _read_table(path: Path, layout: Layout) -> list[Score]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    split = (
        [line.split() for line in lines]
        if layout.separator is None
        else list(csv.reader(lines, delimiter=layout.separator))
    )
    header = [name.strip() for name in split.pop(0)] if isinstance(layout.mos, str) and split else []
    scores = []
    for number, cells in enumerate(split, 2 if header else 1):
        row: Row = dict(zip(header, cells)) if header else dict(enumerate(cells))
        where = f"{path}: row {number}"
        image = (layout.name(row) if layout.name else _cell(row, layout.image, where)) if layout.image in row else ""
        if not image:
            raise InputError(f"{where}: no column {layout.image!r}; found {', '.join(map(str, row))}")
        mos, std = _mean_and_deviation(row, layout, where)
        if callable(layout.reference):
            reference = layout.reference(image)
        else:
            reference = None if layout.reference is None else _cell(row, layout.reference, where)
        scores.append(Score(image, reference, mos if layout.higher_is_better else -mos, std))
    return scores


def _mean_and_deviation(row: Row, layout: Layout, where: str) -> tuple[float, float | None]:
    if layout.votes in row:
        votes = [_number(vote, layout.votes, where) for vote in _cell(row, layout.votes, where).split() or [""]]
        return statistics.fmean(votes), statistics.stdev(votes) if len(votes) > 1 else None
    mos = _number(_cell(row, layout.mos, where), layout.mos, where)
    for column, power in ((layout.std, 1.0), (layout.variance, 0.5)):
        if column in row:
            value = _number(_cell(row, column, where), column, where)
            if value < 0:
                raise InputError(f"{where}: column {column!r}: expected a number >= 0, found {value:g}")
            return mos, value**power
    return mos, None


def _number(text: str, column: str | int | None, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: column {column!r}: expected a number, found {text!r}")
    return number


def _cell(row: Row, column: str | int | None, where: str) -> str:
    if column not in row:
        raise InputError(f"{where}: no column {column!r}; found {', '.join(map(str, row))}")
    return row[column].strip()


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
    parser.add_argument("--mos_path", type=Path, required=True, help="the table, or a folder of tables")
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


def _header(path: Path) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.readline()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
