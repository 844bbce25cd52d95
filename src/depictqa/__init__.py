"""DepictQA: describe, compare and rate the quality of images in words. `depictqa.api` is what a user imports."""

from depictqa.api import Model, Question, load, metric
from depictqa.errors import InputError
from depictqa.results import Answer, Comparison, Distortions, Ranking, Score, Token

__version__ = "0.2.0"
__all__ = [
    "Answer",
    "Comparison",
    "Distortions",
    "InputError",
    "Model",
    "Question",
    "Ranking",
    "Score",
    "Token",
    "load",
    "metric",
]
