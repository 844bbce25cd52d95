"""One thread that answers questions with a model, all in one batch; each streams its own answer.

A waiting question joins the batch as soon as a slot is free, at the next token, and leaves it with its own last token or
with its client. A follow-up, which is asked only for a confidence, keeps the slot of the question it belongs to. The
slots in use are the requests in work, so that none can leak.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.sampling import Completion, Sampling
from depictqa.inference.score import score_of
from depictqa.inference.session import Row, Session
from depictqa.serve.protocol import Chunk, Problem, Refused, Scored, Usage

log = logging.getLogger("depictqa.worker")


@dataclass(eq=False)
class EngineRequest:
    """A question in work. `emit` gets every chunk of its answer, on the engine's thread."""

    question: Question
    sampling: Sampling
    wants_confidence: bool
    emit: Callable[[Chunk], object]
    embeds: list[torch.Tensor] = field(default_factory=list)  # of its images, each [N, D]
    prompt_tokens: int = 0
    left: bool = False  # its client is gone


class Engine:
    """Answers requests.

    Args:
        slots: questions in work at a time.
        max_waiting: questions that may wait for a slot.
        interval: tokens between two chunks of an answer.
    """

    def __init__(self, assessor: Assessor, slots: int, max_waiting: int, interval: int):
        self.assessor, self.slots, self.max_waiting, self.interval = assessor, slots, max_waiting, interval
        self._waiting: deque[EngineRequest] = deque()
        self._running: set[EngineRequest] = set()
        self._session = Session(assessor.model, assessor.prefix_cache)  # its keys are the running requests
        self._changed = threading.Condition()
        self._closed = False
        self.answered = self.generated = self.largest_batch = 0  # requests, tokens, requests at a time
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

    def submit(self, request: EngineRequest) -> None:
        """Take a request on. Raises Refused (429) when too many wait."""
        with self._changed:
            if self._closed:
                raise Refused(503, "stopping", "this worker is stopping")
            self.check_room()
            self._waiting.append(request)
            self._changed.notify()

    def leave(self, request: EngineRequest) -> None:
        """Nobody reads this request's answer any more. Harmless when it is over."""
        with self._changed:
            request.left = True
            if request in self._waiting:
                self._waiting.remove(request)

    def close(self) -> None:
        """Stop; requests in work are told so."""
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
            try:
                self._start(new)
                self._advance()
            except Exception as error:  # whatever it is, the worker goes on with the others
                lost = [request for request in self._running if request not in self._session]
                self._break(lost or list(self._running), error)  # those that the error hit, or nobody knows whom it hit
        self._fail([*self._waiting, *self._running], Problem(code="stopping", message="this worker was stopped"))

    def _start(self, new: Sequence[EngineRequest]) -> None:
        """Read the prompts of new requests."""
        if not new:
            return
        for request, embeds in zip(new, self.assessor.embed([request.question for request in new]), strict=True):
            request.embeds = embeds
        prompts = self.assessor.fuse([request.question for request in new], [request.embeds for request in new])
        for request, prompt in zip(new, prompts, strict=True):
            request.prompt_tokens = len(prompt)
        self._session.join({r: (prompt, r.sampling) for r, prompt in zip(new, prompts, strict=True)})
        self.largest_batch = max(self.largest_batch, self.running)

    def _advance(self) -> None:
        """One token for every request."""
        self._end([request for request in self._running if request.left])
        rows = self._session.step()
        self.generated += len(rows)
        for row in rows:
            request: EngineRequest = row.key
            if request.left:
                continue
            try:
                if row.has_ended:
                    self._finish(request, row)
                elif row.answer.second is None and len(row.answer.output_id) % self.interval == 0:
                    ids, stop = row.answer.output_id, request.sampling.stop
                    request.emit(Chunk(text=self._session.stop_criteria.text_of(ids, stop, is_whole=False)))
            except Exception as error:
                self._break([request], error)

    def _finish(self, request: EngineRequest, row: Row) -> None:
        """A request's answer is whole, or its follow-up's."""
        answer = row.answer
        if answer.second is None:
            request.emit(Chunk(text=answer.text))  # the answer is there before its confidence, which may take a moment
            follow_up = self.assessor.follow_up(request.question, answer) if request.wants_confidence else None
            if follow_up is not None:
                (prompt,) = self.assessor.fuse([follow_up], [request.embeds])
                self._session.follow_up(request, prompt)
                return
        confidence = self.assessor.confidence(request.question, answer) if request.wants_confidence else None
        self._end([request])
        request.emit(self._last_chunk(request, answer, confidence))
        self.answered += 1

    def _last_chunk(self, request: EngineRequest, answer: Completion, confidence: float | None) -> Chunk:
        texts = self.assessor.model.tokenizer.token_texts(answer.output_id)
        return Chunk(
            text=answer.text,
            done=True,
            confidence=confidence,
            tokens=list(zip(texts, answer.prob, strict=True)),
            finish_reason=answer.finish_reason,
            scored=self._scored(answer),
            usage=Usage(prompt_tokens=request.prompt_tokens, completion_tokens=len(answer.output_id)),
        )

    def _scored(self, answer: Completion) -> Scored | None:
        if not answer.watched:
            return None
        return Scored(**score_of(answer.watched, self.assessor.calibration).fields)

    def _end(self, requests: Sequence[EngineRequest]) -> None:
        self._session.leave(requests)
        self._running.difference_update(requests)

    def _break(self, requests: Sequence[EngineRequest], error: Exception) -> None:
        log.error("generation failed", exc_info=error)
        self._end(requests)
        reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "an error inside the model"
        self._fail(requests, Problem(code="generation_failed", message=f"the answer could not be generated ({reason})"))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, requests: Sequence[EngineRequest], problem: Problem) -> None:
        for request in requests:
            request.emit(Chunk(error=problem))
