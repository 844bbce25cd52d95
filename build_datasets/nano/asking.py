"""Questions about scenes and their answers: what Nano's delta is trained on.

A kind of question is a row of KINDS. What is a matter of opinion (a severity, a score, a distortion that hardly shows) is
drawn from the opinions each time it is asked, so that the model learns their shares.
"""

from dataclasses import dataclass

import numpy as np

from build_datasets.dq495k import questions
from build_datasets.dq495k.describe import describe_one, describe_two, harm
from build_datasets.dq495k.labels import Distortion, State
from build_datasets.dq495k.measure import Measures
from build_datasets.nano import wording
from build_datasets.nano.views import Truth, order
from build_datasets.x_distortion import SEVERITY_NAMES
from depictqa.prompts import LEVELS, NO_DISTORTION, QUESTIONS, SINGLE_WORD_REQUEST, TASKS, Task, task_of

SEVERITY_WORDS = (NO_DISTORTION, *SEVERITY_NAMES)  # answer to wording.SEVERITY_QUESTION, by level 0..5
OPINION = 0.6  # deviation of scores, levels
SHARE_USUAL = 0.5  # of questions that are in the words of `prompts.QUESTIONS`


@dataclass(frozen=True)
class Asked:
    """A question about some pictures of a scene (0: reference, 1 and 2), in the order of the task's slots."""

    task: Task
    pictures: tuple[int, ...]
    question: str
    answer: str


@dataclass(frozen=True)
class Kind:
    """`about`: a key of SINGLES or PAIRS; `share`: of all questions."""

    about: str
    has_reference: bool
    share: float

    @property
    def is_pair(self) -> bool:
        return self.about in PAIRS

    @property
    def is_long(self) -> bool:
        return self.about in LONG

    @property
    def task(self) -> Task:
        fields = ["image_ref"] * self.has_reference + ["image_A"] + ["image_B"] * self.is_pair
        return task_of(fields)


def state_of(truth: Truth) -> State:
    """As dq495k has it."""
    return tuple(Distortion(*one) for one in truth.distortions)


def level_opinion(severity: float) -> np.ndarray:
    """Probabilities of LEVELS, in their order: a normal opinion around 5 (no distortion) .. 1 (severity 5)."""
    weights = np.array(list(LEVELS.values()))
    density = np.exp(-0.5 * ((weights - (5 - 0.8 * severity)) / OPINION) ** 2)
    return density / density.sum()


def _name(truth: Truth, measured: list[Measures], has_reference: bool, rng: np.random.Generator) -> tuple[str, str]:
    question = QUESTIONS["distortions"]
    if rng.random() > SHARE_USUAL:
        question = questions.pick(wording.BRIEF_QUESTIONS, rng) + SINGLE_WORD_REQUEST
    return question, questions.word_answer(state_of(truth))


def _severity(truth: Truth, measured: list[Measures], has_reference: bool, rng: np.random.Generator) -> tuple[str, str]:
    return wording.SEVERITY_QUESTION, str(rng.choice(SEVERITY_WORDS, p=truth.severity_target()))


def _score(truth: Truth, measured: list[Measures], has_reference: bool, rng: np.random.Generator) -> tuple[str, str]:
    return QUESTIONS["score"], str(rng.choice(list(LEVELS), p=level_opinion(harm(state_of(truth)))))


def _describe(truth: Truth, measured: list[Measures], has_reference: bool, rng: np.random.Generator) -> tuple[str, str]:
    question = QUESTIONS["describe"]
    if rng.random() > SHARE_USUAL:
        question = questions.render(questions.pick(questions.DETAIL_ONE, rng).question, questions.ANY, has_reference)
    reference, picture = measured
    return question, describe_one(state_of(truth), picture, reference, rng)


def _better(truths: list[Truth], measured: list[Measures], has_reference: bool, rng) -> tuple[str, str]:
    question = QUESTIONS["better"]
    if rng.random() > SHARE_USUAL:
        question = questions.pick(wording.RATING_QUESTIONS, rng) + SINGLE_WORD_REQUEST
    return question, "Image A" if order(*truths) > 0 else "Image B"


def _compare(truths: list[Truth], measured: list[Measures], has_reference: bool, rng) -> tuple[str, str]:
    question = QUESTIONS["compare"]
    if rng.random() > SHARE_USUAL:
        question = questions.render(questions.pick(questions.DETAIL_TWO, rng).question, questions.ANY, has_reference)
    reference, *pictures = measured
    states = tuple(state_of(truth) for truth in truths)
    return question, describe_two(states, tuple(pictures), reference, order(*truths) > 0, rng)


SINGLES = {"name": _name, "severity": _severity, "score": _score, "describe": _describe}
PAIRS = {"better": _better, "compare": _compare}
LONG = {"describe", "compare"}
KINDS = (
    Kind("name", False, 0.24),
    Kind("name", True, 0.20),
    Kind("better", False, 0.13),
    Kind("better", True, 0.12),
    Kind("score", False, 0.08),
    Kind("score", True, 0.04),
    Kind("severity", False, 0.05),
    Kind("severity", True, 0.03),
    Kind("describe", False, 0.05),
    Kind("describe", True, 0.03),
    Kind("compare", False, 0.015),
    Kind("compare", True, 0.015),
)
assert {kind.task.name for kind in KINDS} <= set(TASKS)


def ask(kind: Kind, truths: tuple[Truth, Truth], measured: list[Measures], rng: np.random.Generator) -> Asked | None:
    """A question of this kind; None where the scene has no answer to it.

    Args:
        truths: of the first and the second picture.
        measured: of reference, first and second.
    """
    of_all = (Truth(), *truths)
    reference = (0,) * kind.has_reference
    if kind.is_pair:
        pairs = [(1, 2)] if order(*truths) else [pair for pair in ((0, 1), (0, 2)) if order(*(of_all[i] for i in pair))]
        if not pairs:
            return None
        pair = rng.permutation(pairs[rng.integers(len(pairs))]).tolist()
        question, answer = PAIRS[kind.about](
            [of_all[i] for i in pair], [measured[i] for i in (0, *pair)], kind.has_reference, rng
        )
        return Asked(kind.task, (*reference, *pair), question, answer)
    picture = int(rng.integers(1, 3))
    truth = of_all[picture]
    if not kind.has_reference and rng.random() < truth.class_target()[0]:
        truth = Truth()
    question, answer = SINGLES[kind.about](truth, [measured[0], measured[picture]], kind.has_reference, rng)
    return Asked(kind.task, (*reference, picture), question, answer)
