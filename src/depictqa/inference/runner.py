"""Meta files in, answer files out: the loop of `infer.py`, which survives being killed.

`{task}_{dataset}.jsonl` grows by whole batches, pairs with the same reference and Image A together; the `.json` list, in
the order of the meta file, is written when all is answered. A killed run is continued where its last whole batch ended,
so the files are the same bytes as those of one clean run. A finished one is not asked again, unless settings, weights,
questions or pictures changed, or its `.jsonl` was deleted.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from depictqa.answers import read_items, write_json, write_text
from depictqa.data.loading import loaders_that_live
from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.files import append
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.sampling import Sampling
from depictqa.prompts import Task

FIELDS = (
    "text",
    "output_id",
    "prob",
    "confidence",
    "finish_reason",
)  # of a row, beside its `id`; null where there is none


@dataclass(frozen=True)
class Job:
    """One meta file to answer. `fingerprint` changes with whatever could change the answers, but for the items."""

    task: Task
    dataset_name: str
    items: Sequence[Item]
    fingerprint: str


@dataclass(frozen=True)
class Options:
    """How a job is run; see the same names in `config.schema`. An item draws from `sampling.seed` and its id."""

    answer_dir: Path
    batch_size: int
    sampling: Sampling
    output_prob_id: bool
    output_confidence: bool
    max_broken: float
    num_workers: int


def fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def item_seed(seed: int | None, item_id) -> int | None:
    """The seed of one item's draws: the same in every batch, order and process, and after a resume."""
    return None if seed is None else int(fingerprint(str(seed), repr(item_id))[:16], 16)


class _ItemImages(Dataset):
    """The pictures of each item, prepared in loader workers; the error's text where one is broken."""

    def __init__(self, items: Sequence[Item], preprocess: ImagePreprocessor):
        self.items, self.preprocess = items, preprocess

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        try:
            return tuple(map(self.preprocess.load, self.items[index].image_paths))
        except InputError as error:
            return str(error)


class AnswerFile:
    """The two files of a job's answers.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, job_fingerprint: str):
        self.json_path, self.jsonl_path = folder / f"{name}.json", folder / f"{name}.jsonl"
        self._run_path = folder / f".{name}.run"
        self._fingerprint = job_fingerprint
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.jsonl_path.touch()
        except OSError as error:
            raise InputError(f"infer.answer_dir: {folder} cannot be written to ({error.strerror})") from None

    def resume(self, items: Sequence[Item], batch_size: int) -> list[dict]:
        """Keep the batches that an earlier run of the same job answered whole, up to the first item that changed."""
        asked = [_item_fingerprint(item) for item in items]
        before = self._run_path.read_text().split() if self._run_path.exists() else []
        done: list[dict] = []
        if before[:1] == [self._fingerprint]:
            rows = _whole_lines(self.jsonl_path)
            for row, item, now, then in zip(rows, items, asked, before[1:], strict=False):
                if row.get("id") != item.id or "error" in row or now != then:
                    break
                done.append(row)
        if len(done) < len(items):
            done = done[: len(done) // batch_size * batch_size]
        self.json_path.unlink(missing_ok=True)
        write_text(self.jsonl_path, "".join(map(_line, done)))
        write_text(self._run_path, "\n".join([self._fingerprint, *asked]))  # last: it vouches for the lines
        return done

    def append(self, rows: Sequence[dict]) -> None:
        append(self.jsonl_path, "".join(map(_line, rows)))

    def finish(self, order: Sequence[int]) -> list[dict]:
        """Write the list, and return it: line n of the `.jsonl` goes to place order[n]."""
        places = dict(zip(order, read_items(self.jsonl_path), strict=True))
        rows = [places[place] for place in range(len(order))]
        write_json(self.json_path, rows)
        return rows


def _item_fingerprint(item: Item) -> str:
    """Changes with the question and with the pictures, by size and time."""
    stats = [path.stat() if path.exists() else None for path in item.image_paths]
    pictures = [(str(path), s and (s.st_size, s.st_mtime_ns)) for path, s in zip(item.image_paths, stats, strict=True)]
    return fingerprint(repr(item.id), item.query, repr(pictures))[:16]


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _whole_lines(path: Path) -> list[dict]:
    """The rows of a jsonl file up to the first line that is torn."""
    rows = []
    *whole, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")  # answers may hold other separators
    for line in whole:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def run(job: Job, get_assessor: Callable[[], Assessor], preprocess: ImagePreprocessor, options: Options) -> Path:
    """Answer a job.

    Args:
        get_assessor: called when the first picture is asked about, so that a finished job loads no model.

    Returns:
        the path of the `.json` list.

    Raises:
        InputError: the answer folder cannot be written, or images are broken: at once where they are more than
            `max_broken` of all items, else at the end. Broken items have rows with an `error`; nothing is lost.
    """
    name = f"{job.task.name}_{job.dataset_name}"
    answers = AnswerFile(options.answer_dir, name, job.fingerprint)
    order = _grouped(job.items)
    items = [job.items[place] for place in order]
    done = answers.resume(items, options.batch_size)
    remaining = items[len(done) :]
    broken: list[str] = []
    progress = tqdm(total=len(items), initial=len(done), desc=name, unit="question")
    with progress, loaders_that_live("run the same command again to continue"):
        for batch, loaded in _batches(remaining, preprocess, options):
            rows = _answer_batch(batch, loaded, job.task, get_assessor, options)
            answers.append(rows)
            broken += [row["error"] for row in rows if "error" in row]
            if len(broken) > options.max_broken * len(items):
                what = f"stopped: infer.max_broken allows {options.max_broken:.0%}"
                raise InputError(_describe(broken, len(items), answers.jsonl_path, what))
            progress.update(len(rows))
    rows = answers.finish(order)
    if cut := sum(row["finish_reason"] == "length" for row in rows):
        limit = options.sampling.max_new_tokens
        print(f"{name}: {cut} of {len(rows)} answers were cut by infer.max_new_tokens ({limit})", file=sys.stderr)
    if broken:
        raise InputError(_describe(broken, len(items), answers.json_path, "finished, the rest is answered"))
    return answers.json_path


def _grouped(items: Sequence[Item]) -> list[int]:
    """Places of the items, those together whose first pictures are the same: a batch of them reads these once."""
    firsts: dict[tuple[Path, ...], int] = {}

    def key(place: int) -> list[int]:
        paths = items[place].image_paths
        return [firsts.setdefault(paths[:count], place) for count in range(1, len(paths))]

    return sorted(range(len(items)), key=key)  # groups in the order in which the meta file begins them


def _describe(broken: list[str], total: int, path: Path, what: str) -> str:
    return f"{len(broken)} of {total} items have broken images ({what}; see 'error' in {path}): {'; '.join(broken[:3])}"


def _batches(items, preprocess, options: Options) -> Iterator[tuple[Sequence[Item], list]]:
    workers = min(options.num_workers, max(0, len(items) // 16))  # starting processes costs more than a few pictures
    loader = DataLoader(
        _ItemImages(items, preprocess), batch_size=options.batch_size, num_workers=workers, collate_fn=list
    )
    start = 0
    for loaded in loader:
        yield items[start : start + len(loaded)], loaded
        start += len(loaded)


def _answer_batch(batch: Sequence[Item], loaded: list, task: Task, get_assessor, options: Options) -> list[dict]:
    readable = [(item, images) for item, images in zip(batch, loaded, strict=True) if isinstance(images, tuple)]
    questions = [Question(task, images, item.query) for item, images in readable]
    samplings = [replace(options.sampling, seed=item_seed(options.sampling.seed, item.id)) for item, _ in readable]
    assessments = iter(get_assessor().assess(questions, samplings, options.output_confidence) if questions else ())
    rows = []
    for item, images in zip(batch, loaded, strict=True):
        row = {"id": item.id, **dict.fromkeys(FIELDS)}
        if isinstance(images, str):
            row["error"] = images
        else:
            assessment = next(assessments)
            answer = assessment.answer
            row |= {"text": answer.text, "confidence": assessment.confidence, "finish_reason": answer.finish_reason}
            if options.output_prob_id:
                row |= {"output_id": answer.output_id, "prob": answer.prob}
        rows.append(row)
    return rows
