"""One thread that answers questions with a model, all in one batch; each streams its own answer.

A waiting question joins the batch as soon as a slot is free, at the next token, and leaves it with its own last token or
with its client. The slots in use are the jobs in the batch, so that none can leak.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from depictqa.inference.assessor import Assessor, Question
from depictqa.model.generation import Answer, Decoder, Ends, Sampling
from depictqa.serve.protocol import Chunk, Problem, Refused

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
        self._running: dict[Job, list[torch.Tensor]] = {}  # job -> embeddings of its pictures
        self._decoder = Decoder(assessor.model)  # its rows are the running jobs
        self._changed = threading.Condition()
        self._closed = False
        self.answered = self.largest_batch = 0
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self._running)

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
                self._changed.wait_for(lambda: self._waiting or self._running or self._closed)
                if self._closed:
                    break
                free = self.slots - self.running
                new = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
                self._running |= {job: [] for job in new}
            if new:
                self._start(new)
            self._advance()
        self._fail([*self._waiting, *self._running], Problem(code="stopping", message="this worker was stopped"))

    def _start(self, jobs: list[Job]) -> None:
        """Read the prompts of new jobs; if that fails, those in work go on."""
        try:
            questions = [job.question for job in jobs]
            embeds = self.assessor.embed(questions)
            prompts = zip(self.assessor.fuse(questions, embeds), [job.sampling for job in jobs], strict=True)
            new = self._decoder.prefill(dict(zip(jobs, prompts, strict=True)))
        except Exception as error:  # whatever it is, the worker goes on with the next question
            return self._broken(jobs, error)
        self._running |= zip(jobs, embeds, strict=True)
        self.largest_batch = max(self.largest_batch, self.running)
        try:
            self._decoder.join(new)
        except Exception as error:
            self._break_all(error)

    def _advance(self) -> None:
        """One token for every job."""
        left = [job for job in self._running if job.left]
        for job in left:
            del self._running[job]
        try:
            self._decoder.drop(left)
            step = self._decoder.step()
        except Exception as error:
            return self._break_all(error)
        for token in step:
            job = token.row
            job.answer.output_id.append(token.id)
            job.answer.prob.append(token.prob)
            if not token.is_last and len(job.answer.output_id) % self.interval == 0:
                job.emit(Chunk(text=self._text(job)))
        for job in [token.row for token in step if token.is_last]:
            try:
                self._finish(job, self._running[job])
            except Exception as error:
                self._broken([job], error)
            self._running.pop(job, None)

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

    def _break_all(self, error: Exception) -> None:
        """The batch is lost: start with an empty one."""
        self._decoder = Decoder(self.assessor.model)
        self._broken(list(self._running), error)

    def _broken(self, jobs: Sequence[Job], error: Exception) -> None:
        log.error("generation failed", exc_info=error)
        for job in jobs:
            self._running.pop(job, None)
        reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "an error inside the model"
        self._fail(jobs, Problem(code="generation_failed", message=f"the answer could not be generated ({reason})"))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, jobs: Sequence[Job], problem: Problem) -> None:
        for job in jobs:
            job.emit(Chunk(error=problem))
