"""Questions about pictures in, assessments out: text, tokens, probabilities, confidence.

Works on batches of any mix of tasks, picture sizes and question lengths. Knows nothing of files.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from depictqa.inference.calibration import Calibration
from depictqa.inference.confidence import SentenceModel, asks_for_a_word, brief_confidence, detail_confidence, is_brief
from depictqa.inference.generation import generate
from depictqa.inference.sampling import Completion, Sampling
from depictqa.inference.score import Score, score_of
from depictqa.inference.session import PrefixCache
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import Fused
from depictqa.prompts import SINGLE_WORD_REQUEST, Task


@dataclass(frozen=True)
class Question:
    """One question; `images` are uint8 [3, H, W] in the order of the task's slots, as the preprocessor makes them."""

    task: Task
    images: tuple[torch.Tensor, ...]
    query: str


@dataclass
class Assessment:
    """An answer and how sure it is: calibrated, where the delta has a calibration, and as the original computes it."""

    answer: Completion
    confidence: float | None = None
    confidence_raw: float | None = None


class FeatureCache:
    """Image embeddings by content, the least recently used leave first.

    Args:
        max_tokens: image tokens kept, over all images.
    """

    def __init__(self, max_tokens: int = 200_000):
        self.max_tokens = max_tokens
        self._tokens = 0
        self._embeds: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    @staticmethod
    def key(image: torch.Tensor) -> bytes:
        """Bytes and shape: equal bytes of another shape are another picture."""
        return hashlib.sha256(repr(tuple(image.shape)).encode() + image.numpy().tobytes()).digest()

    def get(self, key: bytes) -> torch.Tensor | None:
        if key in self._embeds:
            self._embeds.move_to_end(key)
        return self._embeds.get(key)

    def put(self, key: bytes, embeds: torch.Tensor) -> None:
        if key not in self._embeds:
            self._tokens += len(embeds)
        self._embeds[key] = embeds
        while self._tokens > self.max_tokens:
            _, oldest = self._embeds.popitem(last=False)
            self._tokens -= len(oldest)


class Assessor:
    """Asks a model.

    Args:
        sentence_model: weighs the tokens of long answers; None: their confidence is None.
        calibration: the delta's; None, or without fits: numbers are the original's.
    """

    def __init__(
        self,
        model: DepictQA,
        sentence_model: SentenceModel | None = None,
        calibration: Calibration | None = None,
    ):
        self.model = model.eval()
        self.sentence_model = sentence_model
        self.calibration = calibration or Calibration()
        self.cache = FeatureCache()
        self.prefix_cache: PrefixCache = {}

    @torch.inference_mode()
    def encode(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Image embeddings [N_i, D] of pictures, each of which can be let go of by itself."""
        return [embeds.clone() for embeds in self.model.embed_images(images)]

    @torch.inference_mode()
    def embed(self, questions: Sequence[Question]) -> list[list[torch.Tensor]]:
        """Image embeddings of each question; every distinct picture goes through the encoder once."""
        keys = [[self.cache.key(image) for image in question.images] for question in questions]
        wanted = {
            key: image
            for question, row in zip(questions, keys, strict=True)
            for key, image in zip(row, question.images, strict=True)
        }
        found = {key: embeds for key in wanted if (embeds := self.cache.get(key)) is not None}
        new = [key for key in wanted if key not in found]
        for key, embeds in zip(new, self.encode([wanted[key] for key in new]), strict=True):
            found[key] = embeds
            self.cache.put(key, embeds)
        return [[found[key] for key in row] for row in keys]

    def fuse(self, questions: Sequence[Question], embeds: Sequence[Sequence[torch.Tensor]]) -> list[Fused]:
        return [
            self.model.fuse_question(question.task, row, question.query)
            for question, row in zip(questions, embeds, strict=True)
        ]

    def assess(
        self,
        questions: Sequence[Question],
        sampling: Sampling | Sequence[Sampling],
        confidence: bool = False,
        embeds: Sequence[Sequence[torch.Tensor]] | None = None,
    ) -> list[Assessment]:
        """Answer a batch of questions.

        Args:
            sampling: one for all questions, or one each.
            confidence: compute confidences; brief answers to questions that did not ask for a word are asked again.
            embeds: what `encode` made of each question's images, which are then not looked at.
        """
        embeds = self.embed(questions) if embeds is None else embeds

        def follow_up(index: int, answer: Completion) -> Fused | None:
            question = self.follow_up(questions[index], answer)
            return None if question is None else self.fuse([question], [embeds[index]])[0]

        answers = generate(
            self.model,
            self.fuse(questions, embeds),
            sampling,
            prefix_cache=self.prefix_cache,
            follow_up=follow_up if confidence else None,
        )
        assessments = []
        for question, answer in zip(questions, answers, strict=True):
            raw = self.raw_confidence(question, answer) if confidence else None
            assessments.append(Assessment(answer, self.calibrate(question, answer, raw), raw))
        return assessments

    @property
    def of_levels(self) -> Sampling:
        """What is read off a question that asks for a level: the levels' probabilities at the first token.

        Raises:
            InputError: the language model's tokenizer begins two levels with the same token.
        """
        return Sampling(max_new_tokens=1, watched=tuple(self.model.level_ids))

    def score(
        self, questions: Sequence[Question], embeds: Sequence[Sequence[torch.Tensor]] | None = None
    ) -> list[Score]:
        """Scores by the levels that one prefill of each question gives; nothing is decoded.

        Args:
            questions: about one image each, such as `prompts.QUESTIONS["score"]`.
            embeds: as of `assess`.

        Raises:
            InputError: as of `of_levels`.
        """
        prompts = self.fuse(questions, self.embed(questions) if embeds is None else embeds)
        answers = generate(self.model, prompts, self.of_levels, prefix_cache=self.prefix_cache)
        return [score_of(answer.watched, self.calibration) for answer in answers]

    def follow_up(self, question: Question, answer: Completion) -> Question | None:
        """What is to be asked, too, to know how sure an answer is: a brief one to a question that did not request a
        single word is as sure as the answer to the one that does."""
        if not self._is_brief(answer) or asks_for_a_word(question.query):
            return None
        return replace(question, query=question.query + SINGLE_WORD_REQUEST)

    def confidence(self, question: Question, answer: Completion) -> float | None:
        """How sure an answer is, calibrated; None where there is nothing to read it off."""
        return self.calibrate(question, answer, self.raw_confidence(question, answer))

    def calibrate(self, question: Question, answer: Completion, raw: float | None) -> float | None:
        """A brief answer's confidence with the temperature of its kind; others stay as they are."""
        if raw is None or not self._is_brief(answer.second or answer):
            return raw
        return self.calibration.confidence("compare" if question.task.compares else "single", raw)

    def raw_confidence(self, question: Question, answer: Completion) -> float | None:
        """As the original computes it, by the follow-up's answer where there is one."""
        answer = answer.second or answer
        if self._is_brief(answer):
            tokens = self.model.tokenizer.token_texts(answer.output_id)
            return brief_confidence(question.task, tokens, answer.prob, self.model.format.sep2)
        if self.sentence_model is None:
            return None
        return detail_confidence(answer, self.model.tokenizer, self.sentence_model)

    def _is_brief(self, answer: Completion) -> bool:
        return is_brief(self.model.tokenizer.decode(answer.output_id))
