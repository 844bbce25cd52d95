"""One page over a folder of answers: every figure that applies, with tables and pictures.

Each answers file finds its true answers among the given files by its ids; what they hold says which figures
apply. Long answers appear with the verdicts of the judge where those lie in the folder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path

from depictqa.answers import read_items, read_json
from depictqa.errors import InputError
from depictqa.evaluation.accuracy import Accuracy, evaluate
from depictqa.evaluation.correlation import srcc_plcc
from depictqa.evaluation.joining import Problems
from depictqa.evaluation.judge import VERSIONS, Judgement, Verdict
from depictqa.evaluation.plots import accuracy_figure, correlation_figure, png_bytes
from depictqa.evaluation.statistics import kind_of, mcnemar
from depictqa.evaluation.summary import accuracy_summary, correlation_summary

NAMES = {"single_distortion": "one distortion", "multi_distortion": "several distortions", "rating": "better image",
         "choice": "multiple choice", "voting": "voting", "detail": "long answers", "verdicts": "judge"}  # fmt: skip
_VERDICT = set(Verdict.__dataclass_fields__)


@dataclass(frozen=True)
class Table:
    """Numbers are shown with four digits, None as a dash."""

    caption: str
    header: tuple[str, ...]
    rows: list[tuple]


@dataclass(frozen=True)
class Section:
    """What one answers file gives. `value` is its main figure, named by `measure`; None where none applies."""

    name: str
    kind: str
    truth: str = ""
    samples: int = 0
    measure: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    picture: bytes | None = None  # png


@dataclass(frozen=True)
class Truth:
    """A file that may hold the true answers: items by id, or opinion scores by reference."""

    path: Path
    items: list[dict]
    opinions: dict
    ids: frozenset


def read_truths(paths: Iterable[str | Path]) -> list[Truth]:
    """Read files, and the .json files below folders. Raises InputError where there are none."""
    files = [file for path in map(Path, paths) for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    truths = [_truth(file) for file in files]
    if not truths:
        raise InputError(f"{', '.join(map(str, paths))}: no .json file with true answers")
    return truths


def collect(
    folder: str | Path, truths: list[Truth], *, by: str = "severity", other: Path | None = None
) -> list[Section]:
    """A section for each answers file of a folder, in order of name; a bad file gives a section that says so.

    Arguments:
        by: field of the true answers to group by.
        other: a second folder; files of the same name are compared by McNemar's test.

    Raises:
        InputError: the folder has no answers.
    """
    folder = Path(folder)
    files = {path.stem: path for suffix in ("jsonl", "json") for path in sorted(folder.glob(f"*.{suffix}"))}
    files = {stem: path for stem, path in sorted(files.items()) if not stem.endswith(".ledger")}
    if not files:
        raise InputError(f"{folder}: expected a folder with answers (.json or .jsonl)")
    sections = []
    for path in files.values():
        rival = other / path.name if other and (other / path.name).exists() else None
        try:
            sections.append(_section(path, truths, by, rival))
        except InputError as error:
            sections.append(Section(path.name, "error", notes=[str(error)]))
    return sections


def _truth(path: Path) -> Truth:
    value = read_json(path)
    if isinstance(value, dict):
        return Truth(path, [], value, frozenset())
    items = read_items(path)
    return Truth(path, items, {}, frozenset(item["id"] for item in items if isinstance(item.get("id"), str | int)))


def _section(path: Path, truths: list[Truth], by: str, rival: Path | None) -> Section:
    predictions = read_items(path)
    if predictions and all(set(item) == _VERDICT for item in predictions):
        return _verdicts(path, predictions)
    ids = {item["id"] for item in predictions if isinstance(item.get("id"), str | int)}
    # of the files with the most of these ids the smallest (a subset of the questions has a file of its own), then
    # the one with the likest name (with and without reference, the same ids may occur)
    truth = min(truths, key=lambda one: (-len(ids & one.ids), len(one.ids), -_likeness(path, one.path)))
    if not ids & truth.ids:
        return Section(path.name, "error", notes=["none of the given files holds its ids: name the one that does"])
    kind = kind_of(truth.items)
    if kind == "detail":
        note = "Long answers: have them judged (cal_gpt4_score_detail_v2.py) and save the verdicts in this folder."
        return Section(path.name, kind, str(truth.path), len(ids & truth.ids), notes=[note])
    if kind == "voting":
        return _voting(path, predictions, truth, truths)
    return _accuracy(path, predictions, truth, kind, by, rival)


def _accuracy(path: Path, predictions: list[dict], truth: Truth, kind: str, by: str, rival: Path | None) -> Section:
    result = evaluate(kind, predictions, truth.items)
    figures = accuracy_summary(result, by)
    tables = []
    if groups := figures["by"]["groups"]:
        rows = [(group["value"], group["samples"], group["accuracy"], *group["interval95"]) for group in groups]
        tables.append(Table(f"By {by}", (by, "answers", "accuracy", "95% from", "to"), rows))
    if figures["classes"]:
        columns = ("label", "support", "precision", "recall", "f1")
        rows = [tuple(one[name] for name in columns) for one in figures["classes"] if one["support"]]
        tables.append(Table("By class", ("class", *columns[1:]), rows))
    if figures["calibration"]:
        columns = ("low", "high", "count", "confidence", "accuracy")
        rows = [tuple(one[name] for name in columns) for one in figures["calibration"]["bins"] if one["count"]]
        tables.append(Table(f"By confidence (ECE {figures['calibration']['ece']:.4f})", columns, rows))
    if rival:
        tables.append(_comparison(result, evaluate(kind, read_items(rival), truth.items), rival))
    return Section(
        name=path.name,
        kind=kind,
        truth=str(truth.path),
        samples=len(result.samples),
        measure="accuracy",
        value=result.accuracy,
        interval=figures["interval95"],
        notes=_notes(result.problems),
        tables=tables,
        picture=_drawn(accuracy_figure, result, by),
    )


def _comparison(result: Accuracy, other: Accuracy, rival: Path) -> Table:
    test = mcnemar(result, other)
    header = ("accuracy here", "accuracy there", "right here alone", "right there alone", "McNemar p")
    row = (result.accuracy, other.accuracy, test.only_first, test.only_second, test.p_value)
    return Table(f"Compared with {rival}", header, [row])


def _voting(path: Path, predictions: list[dict], truth: Truth, truths: list[Truth]) -> Section:
    names = {item.get("image_ref") for item in truth.items}
    opinions = next((one for one in truths if one.opinions and names <= set(one.opinions)), None)
    if not opinions:
        raise InputError(f"none of the given files holds the opinion scores of the references of {truth.path}")
    soft = all(item.get("confidence") is not None for item in predictions if item.get("text") is not None)
    result = srcc_plcc(predictions, truth.items, opinions.opinions, confidence=soft, skip_invalid=True)
    figures = correlation_summary(result)
    pooled, mean, interval = figures["pooled"], figures["mean"], figures["interval95"]
    rows = [(name, mean[name], *(interval[name] or (None, None)), pooled[name]) for name in mean]
    header = ("correlation", "mean over references", "95% from", "to", "all images pooled")
    return Section(
        name=path.name,
        kind="voting",
        truth=f"{truth.path}, {opinions.path}",
        samples=figures["images"],
        measure="srcc",
        value=result.srcc,
        interval=interval["srcc"],
        notes=_notes(result.problems),
        tables=[
            Table(
                f"{figures['references']} references, {'soft votes' if soft else 'votes without confidence'}",
                header,
                rows,
            )
        ],
        picture=_drawn(correlation_figure, result),
    )


def _verdicts(path: Path, items: list[dict]) -> Section:
    verdicts = tuple(replace(Verdict(**item), scores=item["scores"] and tuple(item["scores"])) for item in items)
    widths = {len(verdict.scores) for verdict in verdicts if verdict.scores}
    version = next((name for name, one in VERSIONS.items() if widths == {len(one.scores)}), None)
    if not version:
        raise InputError(f"{path}: expected verdicts with one or two scores each, found {sorted(widths)}")
    result = Judgement(version, verdicts, Problems(), 0.0)
    rows = [(status, count) for status, count in sorted(result.statuses.items())]
    table = Table("What became of the items", ("status", "items"), rows)
    return Section(
        name=path.name,
        kind="verdicts",
        samples=len(result.scores),
        measure=f"judge {version}",
        value=result.figure,
        interval=result.interval95,
        tables=[table],
    )


def _likeness(path: Path, other: Path) -> float:
    return SequenceMatcher(None, path.stem, other.stem).ratio()


def _drawn(draw: Callable, *arguments) -> bytes | None:
    try:
        return png_bytes(draw(*arguments))
    except InputError:  # nothing to draw
        return None


def _notes(problems: Problems) -> list[str]:
    return problems.faults(allow_missing=False) + problems.notes()
