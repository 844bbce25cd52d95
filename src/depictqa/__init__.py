"""DepictQA: describe, compare and rate the quality of images in words. `depictqa.api` is what a user imports."""

from depictqa.api import Answer, Comparison, Distortions, Model, Question, Token, load
from depictqa.errors import InputError

__version__ = "0.2.0"
__all__ = ["Answer", "Comparison", "Distortions", "InputError", "Model", "Question", "Token", "load"]
