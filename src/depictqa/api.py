"""DepictQA from Python.

    import depictqa

    dq = depictqa.load("nano")  # or an experiment's folder, or a config.yaml
    print(dq.describe("photo.jpg"))
    print(dq.compare("a.jpg", "b.jpg").better)

An image is a path, the bytes of a file, a PIL image, a numpy array [H, W, 3] of uint8, or a torch tensor [3, H, W] with
values in [0, 1]. Torch and the config's
types are imported by `load`, not by `import depictqa`.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depictqa.errors import InputError
from depictqa.prompts import LABELS, NO_DISTORTION, QUESTIONS, task_of

if TYPE_CHECKING:
    from PIL import Image

    from depictqa.config import Config
    from depictqa.data.images import Source
    from depictqa.data.preprocess import ImagePreprocessor
    from depictqa.inference.assessor import Assessment, Assessor

FIELDS = {"reference": "image_ref", "a": "image_A", "b": "image_B"}  # argument -> field of a meta file
THUMBNAIL = 240  # longest side of an image in a notebook, pixels
PACKAGE = Path(__file__).parent
EXPERIMENTS = (PACKAGE / "experiments", PACKAGE.parents[1] / "experiments")  # in a wheel, in a clone


@dataclass(frozen=True)
class Question:
    """A question about one image or two, each with or without a reference."""

    question: str
    a: Source | None = None
    b: Source | None = None
    reference: Source | None = None


@dataclass(frozen=True)
class Token:
    """A generated token: what it adds to the text, and its probability."""

    text: str
    prob: float


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Attributes:
        text: the answer.
        confidence: in [0, 1]; None where there is nothing to read it off.
        finish_reason: "stop", or "length" where the answer was cut at `infer.max_new_tokens`.
        task: name of the task that follows from the images.
        question: what was asked.
        tokens: all generated tokens, end token included.
        images: "reference", "a", "b" -> the image as it was understood: upright 8-bit sRGB.
    """

    text: str
    confidence: float | None
    finish_reason: str
    task: str
    question: str
    tokens: tuple[Token, ...] = field(repr=False)
    images: Mapping[str, Image.Image] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the images."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "images"}
        return plain | {"tokens": [[token.text, token.prob] for token in self.tokens]}

    def _repr_html_(self) -> str:
        """The images, the answer and its confidence, as a notebook shows them."""
        figures = "".join(
            f'<figure style="display:inline-block;margin:0 1em 0 0">{_thumbnail(image)}'
            f"<figcaption>{LABELS[FIELDS[name]]}</figcaption></figure>"
            for name, image in self.images.items()
        )
        confidence = "" if self.confidence is None else f" <i>(confidence {self.confidence:.2f})</i>"
        cut = " […]" if self.finish_reason == "length" else ""
        return f"<div>{figures}<p>{html.escape(self.text)}{cut}{confidence}</p></div>"


@dataclass(frozen=True)
class Distortions(Answer):
    """An answer that names distortions. `names` is empty where the model sees none."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Comparison(Answer):
    """A comparison in words, and a verdict by a question of its own.

    `better` is "a" or "b", or None where the verdict names neither; `confidence` is the verdict's.
    """

    better: str | None


class Model:
    """A loaded DepictQA; `depictqa.load` makes one.

    Every method raises InputError for an image that cannot be read and for images that no task takes.
    """

    def __init__(self, config: Config, assessor: Assessor, preprocess: ImagePreprocessor):
        self.config, self.assessor, self.preprocess = config, assessor, preprocess

    def __repr__(self) -> str:
        return f"<DepictQA of {self.config.config_path} on {self.assessor.model.device}>"

    def describe(self, image: Source, reference: Source | None = None) -> Answer:
        """Describe the quality of an image in a few sentences."""
        return self.ask(QUESTIONS["describe"], a=image, reference=reference)

    def distortions(self, image: Source, reference: Source | None = None) -> Distortions:
        """Name the distortions of an image."""
        answer = self.ask(QUESTIONS["distortions"], a=image, reference=reference)
        names = answer.text.lower().rstrip(".").split(" and ")
        return Distortions(**vars(answer), names=tuple(name for name in names if name not in ("", NO_DISTORTION)))

    def compare(self, a: Source, b: Source, reference: Source | None = None) -> Comparison:
        """Say which of two images is better, and why."""
        told, verdict = self.ask_many([Question(QUESTIONS[name], a, b, reference) for name in ("compare", "better")])
        named = re.fullmatch(r"Image ([AB])\.?", verdict.text)
        better = named[1].lower() if named else None
        return Comparison(**vars(told) | {"confidence": verdict.confidence}, better=better)

    def ask(
        self, question: str, *, a: Source | None = None, b: Source | None = None, reference: Source | None = None
    ) -> Answer:
        """Ask anything about one image or two; the task follows from which images are given."""
        (answer,) = self.ask_many([Question(question, a, b, reference)])
        return answer

    def ask_many(
        self, questions: Iterable[Question | Mapping], batch_size: int = 8, progress: bool = False
    ) -> list[Answer]:
        """Ask many questions, of any mix of tasks and image sizes.

        Args:
            questions: `Question`s, or mappings with the same names.
            batch_size: questions in work at a time.
            progress: show a progress bar.
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
        from depictqa.data.images import open_image
        from depictqa.inference import assessor
        from depictqa.inference.program import build_sampling

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
        found = self.assessor.assess(prepared, build_sampling(self.config), self.config.infer.output_confidence)
        return [self._present(*row) for row in zip(prepared, opened, found, strict=True)]

    def _present(self, question, images: dict[str, Image.Image], assessment: Assessment) -> Answer:
        answer = assessment.answer
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
        overrides: keys of the config as nested mappings: `infer={"temperature": 0.7}`.

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


def _thumbnail(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
