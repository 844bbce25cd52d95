"""DepictQA from Python (a guide: docs/python.md).

    import depictqa

    dq = depictqa.load("nano")  # or an experiment's folder, or a config.yaml
    print(dq.describe("photo.jpg"))
    print(dq.distortions("photo.jpg", reference="original.png").names)
    print(dq.compare("a.jpg", "b.jpg").better)
    print(dq.score("photo.jpg").score)

An image is a path, the bytes of a file, a PIL image, a numpy array [H, W, 3] of uint8, or a torch tensor [3, H, W] with
values in [0, 1]. Torch and the config's types are imported by `load`, not by `import depictqa`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from depictqa.errors import InputError
from depictqa.prompts import LABELS, NO_DISTORTION, QUESTIONS, task_of
from depictqa.results import FIELDS, Answer, Comparison, Distortions, Ranking, Score, Token

if TYPE_CHECKING:
    from PIL import Image

    from depictqa.config import Config
    from depictqa.data.images import Source
    from depictqa.data.preprocess import ImagePreprocessor
    from depictqa.inference import assessor
    from depictqa.inference.assessor import Assessment, Assessor
    from depictqa.metrics import Metric

BATCH_SIZE = 8  # questions in work at a time
EXPERIMENTS = tuple(Path(__file__).parents[level] / "experiments" for level in (0, 2))  # in a wheel, in a clone


@dataclass(frozen=True)
class Question:
    """A question for `Model.ask_many`: about one image (`a`) or two, with or without the reference they should look like."""

    question: str
    a: Source | None = None
    b: Source | None = None
    reference: Source | None = None


class Model:
    """A loaded DepictQA; `depictqa.load` makes one.

    `reference` is what an image should look like: the undistorted original. Every method raises InputError, one line that
    names the image or the argument, for an image that cannot be read and for images that no task takes.
    """

    def __init__(self, config: Config, assessor: Assessor, preprocess: ImagePreprocessor):
        self.config, self.assessor, self.preprocess = config, assessor, preprocess

    def __repr__(self) -> str:
        return f"<DepictQA of {self.config.config_path} on {self.assessor.model.device}>"

    def describe(self, image: Source, reference: Source | None = None) -> Answer:
        """Describe the quality of an image in a few sentences, and why it is so."""
        return self.ask(QUESTIONS["describe"], a=image, reference=reference)

    def distortions(self, image: Source, reference: Source | None = None) -> Distortions:
        """Name the main distortion of an image, or both where there are two; `names` of the answer lists them."""
        answer = self.ask(QUESTIONS["distortions"], a=image, reference=reference)
        names = answer.text.lower().rstrip(".").split(" and ")
        return Distortions(**vars(answer), names=tuple(name for name in names if name not in ("", NO_DISTORTION)))

    def compare(self, a: Source, b: Source, reference: Source | None = None, both_orders: bool = True) -> Comparison:
        """Say which of two images is better, and why: `better` and `text` of the answer.

        Args:
            both_orders: ask for the verdict in both orders and average, since a model may favour the first image.
        """
        told, *verdicts = self.ask_many(
            [Question(QUESTIONS["compare"], a, b, reference), Question(QUESTIONS["better"], a, b, reference)]
            + [Question(QUESTIONS["better"], b, a, reference)] * both_orders
        )
        shares = [share for share in map(_share_of_a, verdicts) if share is not None]
        if len(shares) < len(verdicts):  # a verdict in other words, or without a confidence
            better = _named(verdicts[0])
            return Comparison(**dict(vars(told), confidence=verdicts[0].confidence), better=better)
        share = (shares[0] + 1 - shares[1]) / 2 if both_orders else shares[0]  # of A being the better one
        return Comparison(**dict(vars(told), confidence=max(share, 1 - share)), better="a" if share >= 0.5 else "b")

    @overload
    def score(self, images: Source, reference: Source | None = None) -> Score: ...
    @overload
    def score(self, images: Sequence[Source], reference: Source | None = None) -> list[Score]: ...
    def score(self, images, reference=None):
        """Score an image, or each image of a list, from 1 to 5. One pass through the model an image; nothing is decoded.

        Args:
            images: an image, or a list or tuple of images.
            reference: what all of them should look like.
        """
        several = images if isinstance(images, list | tuple) else [images]
        scores: list[Score] = []
        for start in range(0, len(several), BATCH_SIZE):
            batch = several[start : start + BATCH_SIZE]
            prepared, opened = self._prepare([Question(QUESTIONS["score"], one, None, reference) for one in batch])
            for question, shown, one in zip(prepared, opened, self.assessor.score(prepared), strict=True):
                scores.append(Score(**one.fields, task=question.task.name, mass=one.mass, images=shown))
        return scores if several is images else scores[0]

    def rank(
        self,
        images: Sequence[Source],
        reference: Source | None = None,
        schedule: str = "swiss",
        budget: int | None = None,
    ) -> Ranking:
        """Rank images by comparing pairs: Bradley-Terry scores from the verdicts' probabilities, in both orders.

        Args:
            reference: what all of them should look like.
            schedule: which pairs are compared: "all", "swiss" or "active" (`depictqa.evaluation.ranking`).
            budget: comparisons at most; None: about n log2 n, or all pairs.
        """
        import numpy as np

        from depictqa.evaluation import ranking

        def judge(pairs: np.ndarray) -> np.ndarray:  # [P, 2] -> [P]
            asked = [(images[i], images[j]) for i, j in pairs] + [(images[j], images[i]) for i, j in pairs]
            verdicts = self.ask_many([Question(QUESTIONS["better"], a, b, reference) for a, b in asked])
            shares = [_share_of_a(verdict) for verdict in verdicts]
            shares = np.array([0.5 if share is None else share for share in shares])
            return (shares[: len(pairs)] + 1 - shares[len(pairs) :]) / 2

        found = ranking.rank(len(images), judge, schedule, budget)
        return Ranking(
            order=tuple(found.order.tolist()),
            scores=tuple(found.scores.tolist()),
            stds=tuple(found.std.tolist()),
            comparisons=found.comparisons,
        )

    def ask(
        self, question: str, *, a: Source | None = None, b: Source | None = None, reference: Source | None = None
    ) -> Answer:
        """Ask a question of your own about one image or two; the task follows from which images are given.

        Args:
            question: in English, as the model was trained. One that ends in `depictqa.prompts.SINGLE_WORD_REQUEST` is
                answered in a word.
            a, b: the image, or Images A and B.
        """
        (answer,) = self.ask_many([Question(question, a, b, reference)])
        return answer

    def ask_many(
        self, questions: Iterable[Question | Mapping], batch_size: int = BATCH_SIZE, progress: bool = False
    ) -> list[Answer]:
        """Ask many questions, of any mix of tasks and image sizes. An answer does not depend on its batch.

        Args:
            questions: `Question`s, or mappings with the same names.
            batch_size: questions in work at a time; more are faster and take more memory.
            progress: show a progress bar.

        Returns:
            An answer for each question, in their order.
        """
        from tqdm import tqdm

        asked = [one if isinstance(one, Question) else Question(**one) for one in questions]
        answers: list[Answer] = []
        with tqdm(total=len(asked), unit="question", disable=not progress) as bar:
            for start in range(0, len(asked), batch_size):
                answers += self._answer(asked[start : start + batch_size])
                bar.update(len(answers) - bar.n)
        return answers

    def _answer(self, batch: Sequence[Question]) -> list[Answer]:
        from depictqa.inference.program import build_sampling

        prepared, opened = self._prepare(batch)
        found = self.assessor.assess(prepared, build_sampling(self.config), self.config.infer.output_confidence)
        return [self._present(*row) for row in zip(prepared, opened, found, strict=True)]

    def _prepare(self, batch: Sequence[Question]) -> tuple[list[assessor.Question], list[dict[str, Image.Image]]]:
        """Questions as the model takes them, and their images as they were opened."""
        from depictqa.data.images import open_image
        from depictqa.inference import assessor

        prepared, opened = [], []
        for one in batch:
            if not one.question.strip():
                raise InputError("question: expected text, found none")
            given = {name: getattr(one, name) for name in FIELDS if getattr(one, name) is not None}
            task = task_of([FIELDS[name] for name in given])
            images = {FIELDS[name]: open_image(source, _name(name, source)) for name, source in given.items()}
            opened.append({name: images[FIELDS[name]] for name in given})
            prepared.append(
                assessor.Question(task, tuple(self.preprocess(images[field]) for field in task.fields), one.question)
            )
        return prepared, opened

    def _present(self, question, images: dict[str, Image.Image], assessment: Assessment) -> Answer:
        answer = assessment.answer
        assert answer.finish_reason is not None, "an answer that is still being written"
        texts = self.assessor.model.tokenizer.token_texts(answer.output_id)
        return Answer(
            text=answer.text,
            confidence=assessment.confidence,
            finish_reason=answer.finish_reason,
            task=question.task.name,
            question=question.query,
            tokens=tuple(map(Token, texts, answer.prob)),
            images=images,
        )


def load(name_or_path: str | Path = "nano", *, device: str = "auto", dtype: str = "auto", **overrides: Any) -> Model:
    """Load a model.

    Args:
        name_or_path: a shipped experiment ("nano"), an experiment's folder, or a config.yaml.
        device: "cuda", "mps" or "cpu"; "auto" takes the first that is available.
        dtype: "fp32", "bf16" or "fp16"; "auto": on a GPU fp16 weights stay fp16 and others become bf16; fp32 elsewhere.
        overrides: keys of the config (docs/config.md) as nested mappings: `infer={"max_new_tokens": 100}`.

    Raises:
        InputError: no such experiment, a mistake in the config, or a weight file that is missing or broken.
    """
    from depictqa.config import load_config
    from depictqa.environment import importing_torch

    config = load_config(find_config(name_or_path), {"device": device, "dtype": dtype, **_dotted(overrides)})

    with importing_torch():
        from depictqa.inference.program import lazy_assessor
        from depictqa.model.build import build_preprocessor

    return Model(config, lazy_assessor(config)(), build_preprocessor(config))


def metric(name_or_path: str | Path = "nano", reference: bool = False, **options: Any) -> Metric:
    """A `torch.nn.Module` that scores batches of images, as the metrics of pyiqa do: `metric(img, ref=None)` -> [N].

    Args:
        reference: whether every call gives references.
        options: of `load`.
    """
    model = load(name_or_path, **options)
    from depictqa.metrics import Metric

    return Metric(model, reference)


def find_config(name_or_path: str | Path) -> Path:
    """The config.yaml of a shipped experiment's name, of a folder, or itself. Raises InputError."""
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        path = path / "config.yaml"
    if path.is_file():
        return path
    shipped = {
        one.parent.name.lower(): one for folder in EXPERIMENTS for one in sorted(folder.glob("[!_]*/config.yaml"))
    }
    if str(name_or_path).lower() in shipped:
        return shipped[str(name_or_path).lower()]
    raise InputError(
        f"{name_or_path}: no such model; expected a folder with a config.yaml, or one of {', '.join(shipped)}"
    )


def _dotted(nested: Mapping, prefix: str = "") -> dict[str, Any]:
    """{"infer": {"top_p": 0.5}} -> {"infer.top_p": 0.5}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _name(name: str, source: Source) -> str | None:
    """What errors call an image: a path by itself, anything else by its role."""
    return None if isinstance(source, str | Path) else LABELS[FIELDS[name]]


def _named(verdict: Answer) -> str | None:
    """The image that a verdict names as the better one: "a", "b" or None."""
    named = re.fullmatch(r"Image ([AB])\.?", verdict.text)
    return named[1].lower() if named else None


def _share_of_a(verdict: Answer) -> float | None:
    """The probability that Image A is the better one; None where the verdict does not tell."""
    named = _named(verdict)
    if named is None or verdict.confidence is None:
        return None
    return verdict.confidence if named == "a" else 1 - verdict.confidence
