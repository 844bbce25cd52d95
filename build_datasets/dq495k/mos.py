"""Tables of opinion scores as their data sets publish them: one row of `LAYOUTS` per data set.

A table is a text file, a folder of them (PIPAL) or MATLAB's `.mat` files (LIVE in the Wild).
"""

import csv
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from build_datasets.dq495k.files import SHOWN
from depictqa.errors import InputError

Row = dict[str | int, str]  # by the column's name, or by its place where the file has no header


@dataclass(frozen=True)
class Layout:
    """How a data set's table of opinion scores is written.

    Attributes:
        image, mos: columns: names, or places where the file has no header.
        reference: a column, or a function of the image's name; None where there are no references.
        file: the table's published name, looked for where a folder is given.
        scale: lowest and highest possible score; None: unbounded.
        separator: between two columns; None is white space.
        higher_is_better: false for differences (DMOS) that grow with the damage.
        name: the picture's path from a row, where it is not the column `image`.
        std, variance: the column of the standard deviation of single votes, or of its square, if there is one.
        votes: the column of all single votes, separated by white space, if there is one; `mos` is then not needed.
        rows: reads a file into rows, with what to call each in a message; None: a text table.
    """

    image: str | int
    mos: str | int
    reference: str | int | Callable[[str], str] | None = None
    file: str | None = None
    scale: tuple[float, float] | None = None
    separator: str | None = ","
    higher_is_better: bool = True
    name: Callable[[Row], str] | None = None
    std: str | int | None = None
    variance: str | int | None = None
    votes: str | int | None = None
    rows: Callable[[Path], Iterator[tuple[str, Row]]] | None = None


def _csiq_name(row: Row) -> str:
    """`image` 1600 with `dst_type` jpeg and `dst_lev` 3 is jpeg/1600.JPEG.3.png."""
    spelled = {"noise": "AWGN", "awgn": "AWGN", "jpeg": "JPEG", "jpeg 2000": "jpeg2000", "jpeg2000": "jpeg2000",
               "fnoise": "fnoise", "blur": "BLUR", "contrast": "contrast"}  # fmt: skip
    kind = row["dst_type"].strip()
    folder = {"noise": "awgn", "jpeg 2000": "jpeg2000"}.get(kind.lower(), kind.lower())
    return f"{folder}/{row['image'].strip()}.{spelled.get(kind.lower(), kind)}.{row['dst_lev'].strip()}.png"


def _live_wild_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Three MATLAB files side by side: the images' names, their scores and the deviations of the votes.

    The first seven trained the raters; as in the published experiments, they are left out.
    """
    from scipy.io import loadmat

    try:
        names, scores, deviations = (
            loadmat(path.with_name(f"All{what}_release.mat"))[f"All{what}_release"].ravel()
            for what in ("Images", "MOS", "StdDev")
        )
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"{path}: expected AllImages_release.mat, AllMOS_release.mat and AllStdDev_release.mat side by side ({error})"
        ) from None
    for number, (name, score, deviation) in enumerate(zip(names, scores, deviations, strict=True), 1):
        if number > 7:
            yield f"{path}: row {number}", {"image": str(name[0]), "mos": str(score), "std": str(deviation)}


LAYOUTS = {
    "csv": Layout("image", "mos", "reference", std="std", votes="votes"),
    "kadid10k": Layout(  # in spite of the column's name, higher is better
        "dist_img", "dmos", "ref_img", file="dmos.csv", scale=(1, 5), variance="var"
    ),
    "tid2013": Layout(
        1, 0, lambda name: f"{name[:3].upper()}.BMP", file="mos_with_names.txt", scale=(0, 9), separator=None
    ),
    "csiq": Layout(  # the sheet all_by_image of csiq.DMOS.xlsx, as csv
        "image",
        "dmos",
        lambda name: f"{Path(name).name.split('.')[0]}.png",
        scale=(0, 1),
        higher_is_better=False,
        name=_csiq_name,
        std="dmos_std",
    ),
    "pipal": Layout(0, 1, lambda name: f"{name.split('_')[0]}.bmp", file="Train_Label"),  # A0001.txt, ...; Elo scores
    "koniq": Layout("image_name", "MOS", file="koniq10k_scores_and_distributions.csv", scale=(0, 100), std="SD"),
    "spaq": Layout("Image name", "MOS", scale=(0, 100)),  # MOS and Image attribute scores.xlsx, as csv
    "live_wild": Layout("image", "mos", file="AllMOS_release.mat", scale=(0, 100), std="std", rows=_live_wild_rows),
    "agiqa3k": Layout("name", "mos_quality", file="data.csv", scale=(0, 5), std="std_quality"),
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
    """The rows of a table, of the published table in a folder, or of all .txt and .csv tables of a folder.

    Raises:
        InputError: a row is wrong (with its file, row and column), or a picture is listed more than once.
    """
    if layout.file and (path / layout.file).exists():
        path = path / layout.file
    tables = sorted(one for one in path.iterdir() if one.suffix in (".txt", ".csv")) if path.is_dir() else [path]
    scores = [
        _read_row(row, layout, where) for table in tables for where, row in (layout.rows or _text_rows(layout))(table)
    ]
    counts = Counter((score.reference, score.image) for score in scores)
    if repeated := [image for (_, image), count in counts.items() if count > 1]:
        raise InputError(
            f"{path}: {len(repeated)} pictures are listed more than once: {', '.join(repeated[:SHOWN])}; "
            "keep one row of each (its mean opinion score)"
        )
    return scores


def _text_rows(layout: Layout) -> Callable[[Path], Iterator[tuple[str, Row]]]:
    """A reader of text tables, by name where columns are named, else by place."""

    def read(path: Path) -> Iterator[tuple[str, Row]]:
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
        for number, cells in enumerate(split, 2 if header else 1):
            yield f"{path}: row {number}", dict(zip(header, cells)) if header else dict(enumerate(cells))

    return read


def _read_row(row: Row, layout: Layout, where: str) -> Score:
    image = (layout.name(row) if layout.name else _cell(row, layout.image, where)) if layout.image in row else ""
    if not image:
        raise InputError(f"{where}: no column {layout.image!r}; found {', '.join(map(str, row))}")
    mos, std = _mean_and_deviation(row, layout, where)
    low, high = layout.scale or (-math.inf, math.inf)
    if not low <= mos <= high:
        raise InputError(
            f"{where}: column {layout.mos!r}: expected {low} to {high}, found {mos:g}; is it another data set's table?"
        )
    if callable(layout.reference):
        reference = layout.reference(image)
    else:
        reference = None if layout.reference is None else _cell(row, layout.reference, where)
    return Score(image, reference, mos if layout.higher_is_better else -mos, std)


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


def _header(path: Path) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.readline()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
