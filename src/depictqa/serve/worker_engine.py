"""One thread that answers questions with a model, all in one batch; each streams its own answer.

A waiting question joins the batch as soon as a slot is free, at the next token, and leaves it with its own last token or
with its client. A question that is asked only for a confidence takes the place of the one it belongs to, at the next
token; what both begin with is not read again. The slots in use are the jobs in work, so that none can leak.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.generation import Answer, Decoder, Ends, Sampling
from depictqa.serve.protocol import Chunk, Problem, Refused, Usage

log = logging.getLogger("depictqa.worker")


@dataclass(eq=False)
class Job:
    """A question in work. `emit` gets every chunk of its answer, on the engine's thread."""

    question: Question
    sampling: Sampling
    wants_confidence: bool
    emit: Callable[[Chunk], None]
    embeds: list[torch.Tensor] = field(default_factory=list)  # of its pictures
    answer: Answer = field(default_factory=Answer)
    prompt_tokens: int = 0
    follow_up: Question | None = None  # asked after the answer, for its confidence
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
        self._running: set[Job] = set()
        self._to_follow_up: list[Job] = []  # running ones, whose follow-up is next
        self._decoder = Decoder(assessor.model, read=assessor.read)  # its rows are the other running jobs
        self._changed = threading.Condition()
        self._closed = False
        self.answered = self.generated = self.largest_batch = 0  # jobs, tokens, jobs at a time
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check_room(self, coming: int = 0) -> None:
        """Raises Refused (429) when too many wait, or will with so many more, who are on their way here."""
        if max(self.waiting, self.running + self.waiting + coming - self.slots) >= self.max_waiting:
            raise Refused(429, "busy", f"{self.max_waiting} questions are waiting already; try again in a moment")

    def submit(self, job: Job) -> None:
        """Take a job on. Raises Refused (429) when too many wait."""
        with self._changed:
            if self._closed:
                raise Refused(503, "stopping", "this worker is stopping")
            self.check_room()
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
                self._running.update(new)
            followed, self._to_follow_up = [job for job in self._to_follow_up if job in self._running], []
            if new or followed:
                self._start(new, followed)
            self._advance()
        self._fail([*self._waiting, *self._running], Problem(code="stopping", message="this worker was stopped"))

    def _start(self, new: list[Job], followed: list[Job]) -> None:
        """Read the prompts of new jobs and of follow-ups; if that fails, the others in work go on."""
        jobs = new + followed
        try:
            for job, embeds in zip(new, self.assessor.embed([job.question for job in new]), strict=True):
                job.embeds = embeds
            questions = [job.follow_up or job.question for job in jobs]
            prompts = self.assessor.fuse(questions, [job.embeds for job in jobs])
            samplings = [job.sampling.of_follow_up if job.follow_up else job.sampling for job in jobs]
            rows = self._decoder.prefill(dict(zip(jobs, zip(prompts, samplings, strict=True), strict=True)))
            for job, prompt in zip(new, prompts, strict=False):  # new ones come first
                job.prompt_tokens = len(prompt)
        except Exception as error:  # whatever it is, the worker goes on with the next question
            return self._broken(jobs, error)
        self.largest_batch = max(self.largest_batch, self.running)
        try:
            self._decoder.join(rows)
        except Exception as error:
            self._break_all(error)

    def _advance(self) -> None:
        """One token for every job."""
        left = {job for job in self._running if job.left}
        self._running -= left
        try:
            self._decoder.drop(left)
            step = self._decoder.step()
        except Exception as error:
            return self._break_all(error)
        self.generated += len(step)
        for token in step:
            job = token.row
            answer = job.answer.second or job.answer
            answer.output_id.append(token.id)
            answer.prob.append(token.prob)
            if answer is job.answer and not token.is_last and len(answer.output_id) % self.interval == 0:
                job.emit(Chunk(text=self._text(job, is_whole=False)))
            answer.finish_reason = token.finish_reason
        ended = [token.row for token in step if token.is_last]
        for job in ended:
            try:
                self._finish(job)
            except Exception as error:
                self._broken([job], error)
        try:
            self._decoder.drop([job for job in ended if job not in self._to_follow_up])  # room for what is read next
        except Exception as error:
            self._break_all(error)

    def _finish(self, job: Job) -> None:
        """A job's answer is whole, or its follow-up's."""
        if job.left:
            self._running.discard(job)
            return
        if job.follow_up is None:
            job.answer.text = self._text(job)
            job.emit(Chunk(text=job.answer.text))  # the answer is there before its confidence, which may take a moment
            if job.wants_confidence:
                job.follow_up = self.assessor.follow_up(job.question, job.answer)
            if job.follow_up is not None:
                job.answer.second = Answer()
                self._to_follow_up.append(job)
                return
        confidence = self.assessor.confidence(job.question, job.answer) if job.wants_confidence else None
        texts = self.assessor.model.tokenizer.token_texts(job.answer.output_id)
        last = Chunk(
            text=job.answer.text,
            done=True,
            confidence=confidence,
            tokens=list(zip(texts, job.answer.prob, strict=True)),
            finish_reason=job.answer.finish_reason,
            usage=Usage(prompt_tokens=job.prompt_tokens, completion_tokens=len(job.answer.output_id)),
        )
        self._running.discard(job)
        job.emit(last)
        self.answered += 1

    def _text(self, job: Job, is_whole: bool = True) -> str:
        return self._ends.text_of(job.answer.output_id, job.sampling.stop, is_whole)

    def _break_all(self, error: Exception) -> None:
        """The batch is lost: start with an empty one."""
        self._decoder = Decoder(self.assessor.model, read=self.assessor.read)
        self._broken(list(self._running), error)

    def _broken(self, jobs: Sequence[Job], error: Exception) -> None:
        log.error("generation failed", exc_info=error)
        for job in jobs:
            self._running.discard(job)
        reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "an error inside the model"
        self._fail(jobs, Problem(code="generation_failed", message=f"the answer could not be generated ({reason})"))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, jobs: Sequence[Job], problem: Problem) -> None:
        for job in jobs:
            job.emit(Chunk(error=problem))
