"""One thread that answers questions with a model: waiting questions are batched, each streams its own answer.

Up to MAX_BATCHES batches take turns, token by token, so that a question does not wait for the longest answer in
work. The slots in use are counted off the batches themselves, so that none can leak.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from depictqa.inference.assessor import Assessor, Question
from depictqa.model.generation import Answer, Ends, Sampling, stream
from depictqa.serve.protocol import Chunk, Problem, Refused

MAX_BATCHES = 2
log = logging.getLogger("depictqa.worker")


@dataclass(eq=False)
class Job:
    """A question in work. `emit` gets every chunk of its answer, on the engine's thread."""

    question: Question
    sampling: Sampling
    wants_confidence: bool
    emit: Callable[[Chunk], None]
    answer: Answer = field(default_factory=Answer)
    left: bool = False  # its client is gone


class _Batch:
    """Jobs that are answered together. `rows` are those still in work: row of the model's batch -> job."""

    def __init__(self, assessor: Assessor, jobs: Sequence[Job]):
        questions = [job.question for job in jobs]
        self.embeds = assessor.embed(questions)
        self.rows = dict(enumerate(jobs))
        fused = assessor.fuse(questions, self.embeds)
        self._steps = stream(assessor.model, fused, [job.sampling for job in jobs])
        self._started = False

    def step(self) -> tuple[list[Job], dict[int, Job]]:
        """One token for every row: (jobs with a new token, rows that have ended)."""
        left = {row for row, job in self.rows.items() if job.left} if self._started else None
        self._started = True
        try:
            step = self._steps.send(left)
        except StopIteration:
            step = []
        jobs = []
        for row, token, prob in step:
            jobs.append(self.rows[row])
            jobs[-1].answer.output_id.append(token)
            jobs[-1].answer.prob.append(prob)
        ended = set(self.rows) - {row for row, _, _ in step}
        return jobs, {row: self.rows.pop(row) for row in sorted(ended)}

    def close(self) -> list[Job]:
        """End it; the jobs that were in work."""
        jobs, self.rows = list(self.rows.values()), {}
        self._steps.close()
        return jobs


class Engine:
    """Answers jobs.

    Args:
        slots: questions in work at a time.
        max_waiting: questions that may wait for a slot.
        interval: tokens between two chunks of an answer.
    """

    def __init__(self, assessor: Assessor, slots: int, max_waiting: int, interval: int):
        self.assessor, self.slots, self.max_waiting, self.interval = assessor, slots, max_waiting, interval
        self._ends = Ends(assessor.model.tokenizer, assessor.model.format.sep2)
        self._waiting: deque[Job] = deque()
        self._batches: list[_Batch] = []
        self._starting: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self.answered = self.largest_batch = 0
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self._starting) + sum(len(batch.rows) for batch in list(self._batches))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Take a job on. Raises Refused (429) when too many wait."""
        with self._changed:
            if self._closed:
                raise Refused(503, "stopping", "this worker is stopping")
            if len(self._waiting) >= self.max_waiting:
                raise Refused(429, "busy", f"{self.max_waiting} questions are waiting already; try again in a moment")
            self._waiting.append(job)
            self._changed.notify()

    def leave(self, job: Job) -> None:
        """Nobody reads this job's answer any more. Harmless when it is over."""
        with self._changed:
            job.left = True
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self) -> None:
        """Stop; jobs in work are told so."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._batches or self._closed)
                if self._closed:
                    break
                free = self.slots - self.running if len(self._batches) < MAX_BATCHES else 0
                self._starting = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            if self._starting:
                self._start(self._starting)
            for batch in list(self._batches):
                self._advance(batch)
        unanswered = [*self._waiting, *(job for batch in self._batches for job in batch.close())]
        self._fail(unanswered, Problem(code="stopping", message="this worker was stopped"))

    def _start(self, jobs: list[Job]) -> None:
        try:
            self._batches.append(_Batch(self.assessor, jobs))
            self.largest_batch = max(self.largest_batch, len(jobs))
        except Exception as error:  # whatever it is, the worker goes on with the next question
            self._broken(jobs, error)
        finally:
            self._starting = []

    def _advance(self, batch: _Batch) -> None:
        try:
            jobs, ended = batch.step()
        except Exception as error:
            self._broken(batch.close(), error)
            jobs, ended = [], {}
        for job in jobs:
            if len(job.answer.output_id) % self.interval == 0:
                job.emit(Chunk(text=self._text(job)))
        for row, job in ended.items():
            try:
                self._finish(job, batch.embeds[row])
            except Exception as error:
                self._broken([job], error)
        if not batch.rows:
            self._batches.remove(batch)

    def _finish(self, job: Job, embeds: list[torch.Tensor]) -> None:
        if job.left:
            return
        job.answer.text = self._text(job)
        job.emit(Chunk(text=job.answer.text))  # the answer is there before its confidence, which may take a moment
        confidence = None
        if job.wants_confidence:
            (confidence,) = self.assessor.confidences([job.question], [embeds], [job.answer], job.sampling)
        texts = self.assessor.model.tokenizer.token_texts(job.answer.output_id)
        tokens = list(zip(texts, job.answer.prob, strict=True))
        job.emit(Chunk(text=job.answer.text, done=True, confidence=confidence, tokens=tokens))
        self.answered += 1

    def _text(self, job: Job) -> str:
        return self._ends.strip(self.assessor.model.tokenizer.decode(job.answer.output_id))

    def _broken(self, jobs: Sequence[Job], error: Exception) -> None:
        log.error("generation failed", exc_info=error)
        reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "an error inside the model"
        self._fail(jobs, Problem(code="generation_failed", message=f"the answer could not be generated ({reason})"))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, jobs: Sequence[Job], problem: Problem) -> None:
        for job in jobs:
            job.emit(Chunk(error=problem))
