"""Meta files in, answer files out: the loop of `infer.py`, which survives being killed.

Only what is missing, changed or was broken is asked, by one process or several; how rows are kept is in `answer_files`,
which pictures are there when in `pipeline`. A finished job is not asked again and loads no model.
"""

import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from depictqa.data.loading import loaders_that_live
from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.inference.answer_files import AnswerFiles
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.pipeline import Planner, load_ahead
from depictqa.inference.sampling import Sampling
from depictqa.inference.shards import POLL_SECONDS, Group
from depictqa.prompts import QUESTIONS, Task

# Of a row, beside its `id`; null where there is none.
FIELDS = ("text", "output_id", "prob", "confidence", "finish_reason")

SCORE_QUESTION = QUESTIONS["score"]  # an item that asks it is answered by its score; nothing is decoded


@dataclass(frozen=True)
class Job:
    """One meta file to answer. `fingerprint` changes with whatever could change the answers, but for the items."""

    task: Task
    dataset_name: str
    items: Sequence[Item]
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.task.name}_{self.dataset_name}"


@dataclass(frozen=True)
class Options:
    """How jobs are run; see the same names in `config.schema`. An item draws from `sampling.seed` and its id.

    Args:
        tokens: (W, H) of a prepared picture -> image tokens that the model makes of it.
    """

    answer_dir: Path
    batch_size: int
    sampling: Sampling
    output_prob_id: bool
    output_confidence: bool
    max_broken: float
    num_workers: int
    tokens: Callable[[int, int], int]
    output_score: bool = False


def fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def item_seed(seed: int | None, item_id) -> int | None:
    """The seed of one item's draws: the same in every batch, order and process, and after a resume."""
    return None if seed is None else int(fingerprint(str(seed), repr(item_id))[:16], 16)


def run(
    jobs: Sequence[Job],
    get_assessor: Callable[[], Assessor],
    preprocess: ImagePreprocessor,
    options: Options,
    group: Group | None = None,
) -> list[Path]:
    """Answer jobs, all of them, whatever pictures are broken.

    Args:
        get_assessor: called when the first picture is encoded, so that finished jobs load no model.
        group: the processes that share the work; None: this one is alone.

    Returns:
        the paths of the `.json` lists.

    Raises:
        InputError: another run writes the same files, or they cannot be written; or, when all is done, more than
            `max_broken` of a job's items have broken pictures. Their rows have an `error`, and are asked again next time.
    """
    group = group or Group()
    files = [AnswerFiles(options.answer_dir, job.name, group.rank) for job in jobs]
    failures = []
    with contextlib.ExitStack() as stack:
        for one in files:
            stack.callback(one.close)
        begun = group.share(
            lambda: [(one.lock(), one.begin(job.fingerprint, job.items)) for one, job in zip(files, jobs, strict=True)]
        )
        for one, job, (token, todo) in zip(files, jobs, begun, strict=True):
            if not group.is_first:
                one.join(token)
            work = _Work(job, one, get_assessor, preprocess, options, group)
            work.do(todo)
            if group.is_first:
                failures += work.report(one.finish(job.items))
        group.leave()
    if failures:
        raise InputError("; ".join(failures))
    return [one.json_path for one in files]


@dataclass
class _Work:
    """This process's share of a job."""

    job: Job
    files: AnswerFiles
    get_assessor: Callable[[], Assessor]
    preprocess: ImagePreprocessor
    options: Options
    group: Group

    def do(self, todo: Sequence[int]) -> None:
        """Ask this process's share of the items that are left; the first process then waits for the others."""
        job, options, group = self.job, self.options, self.group
        known = len(job.items) - len(todo)
        bar = tqdm(total=len(job.items), initial=known, desc=job.name, unit="question", disable=not group.is_first)

        def count(answered: int) -> int:
            """How many all processes have answered, which the bar of the first one shows."""
            total = group.count(job.name, answered)
            bar.update(known + total - bar.n)
            return total

        features: dict[Path, torch.Tensor | str] = {}
        with bar, loaders_that_live("run the same command again to continue"):
            if todo:
                planner = Planner(job.items, options.batch_size, self.preprocess, options.tokens)
                schedule = planner.schedule(todo, group.part)
                if group.is_first:
                    bar.write(f"{job.name}: {schedule}", file=sys.stderr)
                loaded = load_ahead(schedule, self.preprocess, options.num_workers)
                for step in schedule.steps:
                    for _ in step.load:
                        features |= self._encode(next(loaded))
                    self.files.append(self._ask(step.ask, features))
                    for path in step.drop:
                        del features[path]
                    count(len(step.ask))
            while group.is_first and count(0) < len(todo):
                time.sleep(POLL_SECONDS)

    def _encode(self, images: dict[Path, torch.Tensor | str]) -> dict[Path, torch.Tensor | str]:
        """Features of the pictures that can be read, in one pass; what is wrong with the others."""
        readable = {path: image for path, image in images.items() if isinstance(image, torch.Tensor)}
        if not readable:
            return images
        return images | dict(zip(readable, self.get_assessor().encode(list(readable.values())), strict=True))

    def _ask(self, places: Sequence[int], features: dict[Path, torch.Tensor | str]) -> list[dict]:
        """The rows of one batch of items."""
        options = self.options
        rows: list[dict] = []
        to_ask: list[tuple[Item, dict, list]] = []  # item, its row, features of its pictures
        for item in (self.job.items[place] for place in places):
            found = [features[path] for path in item.image_paths]
            row = {"id": item.id, **dict.fromkeys(FIELDS)}
            if errors := [one for one in found if isinstance(one, str)]:
                row["error"] = errors[0]
            else:
                to_ask.append((item, row, found))
            rows.append(row)
        if options.output_score and to_ask:
            self._score(to_ask)
            to_ask = [work for work in to_ask if work[0].query != SCORE_QUESTION]
        if not to_ask:
            return rows
        items, asked, embeds = zip(*to_ask, strict=True)
        questions = [Question(self.job.task, (), item.query) for item in items]
        samplings = [replace(options.sampling, seed=item_seed(options.sampling.seed, item.id)) for item in items]
        assessments = self.get_assessor().assess(questions, samplings, options.output_confidence, embeds)
        for row, assessment in zip(asked, assessments, strict=True):
            answer = assessment.answer
            row |= {"text": answer.text, "confidence": assessment.confidence, "finish_reason": answer.finish_reason}
            if options.output_prob_id:
                row |= {"output_id": answer.output_id, "prob": answer.prob}
            if assessment.confidence_raw != assessment.confidence:
                row["confidence_raw"] = assessment.confidence_raw
        return rows

    def _score(self, work: Sequence[tuple[Item, dict, list]]) -> None:
        """Add the score fields. `text` becomes the likeliest level, which an item that asks something else replaces."""
        _, rows, embeds = zip(*work, strict=True)
        questions = [Question(self.job.task, (), SCORE_QUESTION)] * len(rows)
        for row, score in zip(rows, self.get_assessor().score(questions, embeds), strict=True):
            row |= {"text": score.level, "finish_reason": "stop", **score.fields}
            if score.levels_raw != score.levels:
                row["levels_raw"] = score.levels_raw

    def report(self, rows: Sequence[dict]) -> list[str]:
        """Say what is worth knowing about the finished rows.

        Returns:
            why the job is a failure: nothing, or one line.
        """
        name, options = self.job.name, self.options
        if cut := sum(row["finish_reason"] == "length" for row in rows):
            limit = options.sampling.max_new_tokens
            print(f"{name}: {cut} of {len(rows)} answers were cut by infer.max_new_tokens ({limit})", file=sys.stderr)
        broken = [row["error"] for row in rows if "error" in row]
        if not broken:
            return []
        line = (
            f"{len(broken)} of {len(rows)} items have broken images (the others are answered; see 'error' in "
            f"{self.files.json_path}): {'; '.join(broken[:3])}"
        )
        if len(broken) > options.max_broken * len(rows):
            return [line]
        print(f"{name}: {line}", file=sys.stderr)
        return []
