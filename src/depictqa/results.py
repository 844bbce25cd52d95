"""What `depictqa.Model` gives back: frozen values that print well, in a notebook with their images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from depictqa.prompts import LABELS

if TYPE_CHECKING:
    from PIL import Image

FIELDS = {"reference": "image_ref", "a": "image_A", "b": "image_B"}  # argument -> field of a meta file
THUMBNAIL = 240  # longest side of an image in a notebook, pixels


@dataclass(frozen=True)
class Token:
    """A generated token: what it adds to the text, and the probability in [0, 1] that the model gave it."""

    text: str
    prob: float


@dataclass(frozen=True)
class Answer:
    """What the model says. `str(answer)` is its text; a notebook shows the images, too.

    Attributes:
        text: the answer.
        confidence: how sure the model is, in [0, 1]. None where `infer.output_confidence` is off, and where it cannot be
            computed: a long answer without `infer.sentence_model`.
        finish_reason: "stop", or "length" where the answer was cut at `infer.max_new_tokens`.
        task: name of the task that follows from the images, a key of `depictqa.prompts.TASKS`.
        question: what was asked.
        tokens: all generated tokens, end token included.
        images: "reference", "a", "b" -> the image that was assessed: upright, 8-bit sRGB, in its full size.
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

    @property
    def line(self) -> str:
        """As the command line prints it."""
        confidence = "" if self.confidence is None else f"  [confidence {self.confidence:.2f}]"
        return f"{self.text}{' […]' if self.finish_reason == 'length' else ''}{confidence}"

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain values for JSON: everything but the images; each token as [text, prob]."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "images"}
        return plain | {"tokens": [[token.text, token.prob] for token in self.tokens]}

    def _repr_html_(self) -> str:
        """The images, the answer and its confidence, as a notebook shows them."""
        confidence = "" if self.confidence is None else f" <i>(confidence {self.confidence:.2f})</i>"
        cut = " […]" if self.finish_reason == "length" else ""
        return f"<div>{_figures(self.images)}<p>{html.escape(self.text)}{cut}{confidence}</p></div>"


@dataclass(frozen=True)
class Distortions(Answer):
    """An answer that names distortions.

    Attributes:
        names: in lower case and in the model's order, such as "blur" or "overly high contrast"; empty where it sees none.
            A trained model keeps to the words of `depictqa.prompts.DISTORTIONS`.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class Comparison(Answer):
    """A comparison in words, with the verdict of a second, short question.

    Attributes:
        better: "a" or "b"; None where the verdict names neither.
        confidence: the verdict's; everything else is the comparison's.
    """

    better: str | None


@dataclass(frozen=True)
class Score:
    """The quality of an image as a number.

    Attributes:
        score: from 1 (bad) to 5 (excellent), the mean of `levels`.
        score_std: standard deviation of `levels`: how much the model doubts, not how far it is from people's opinion.
        levels: "excellent", "good", "fair", "poor" and "bad" -> probability.
        task: name of the task that follows from the images.
        mass: what the model gave the five words together, in [0, 1]. A checkpoint that was never trained on levels may be
            about to say something else: far below 1, the score means little.
    """

    score: float
    score_std: float
    levels: Mapping[str, float]
    task: str
    mass: float
    images: Mapping[str, Image.Image] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.score:.2f} ± {self.score_std:.2f}"

    @property
    def line(self) -> str:
        """As the command line prints it."""
        return str(self)

    def __float__(self) -> float:
        return self.score

    def to_dict(self) -> dict[str, Any]:
        """The score as plain values for JSON: everything but the images."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "images"}

    def _repr_html_(self) -> str:
        """The images and the score, as a notebook shows them."""
        return f"<div>{_figures(self.images)}<p>{self}</p></div>"


@dataclass(frozen=True)
class Ranking:
    """Images from best to worst, by comparisons of pairs.

    Attributes:
        order: places of the images in what was given, best first.
        scores: of each image as given, in log-odds: the difference of two is that of one being better than the other.
        stds: standard deviation of each score.
        comparisons: how many pairs were compared.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    stds: tuple[float, ...]
    comparisons: int


def _figures(images: Mapping[str, Image.Image]) -> str:
    return "".join(
        f'<figure style="display:inline-block;margin:0 1em 0 0">{_thumbnail(image)}'
        f"<figcaption>{LABELS[FIELDS[name]]}</figcaption></figure>"
        for name, image in images.items()
    )


def _thumbnail(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
