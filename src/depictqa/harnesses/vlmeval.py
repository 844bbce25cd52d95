"""DepictQA in VLMEvalKit, which has no plugins: this runs its `run.py` with one more model, named `depictqa`.

    python -m depictqa.harnesses.vlmeval MODEL run.py --data Q-Bench1_VAL --model depictqa

MODEL is what `depictqa.load` takes: "nano", an experiment's folder or a config.yaml.
"""
# pyright: reportMissingImports=false
# The harness is installed by those who use it.

import argparse
import functools
import runpy
import sys

from vlmeval.config import supported_VLM
from vlmeval.vlm.base import BaseModel

import depictqa
from depictqa.errors import exit_cleanly
from depictqa.harnesses import as_question


class DepictQA(BaseModel):
    """Answers a message of one to three images and texts.

    Args:
        name_or_path, overrides: as of `depictqa.load`.
    """

    INTERLEAVE = True  # several images in one message

    def __init__(self, name_or_path: str = "nano", **overrides):
        super().__init__()
        self.dq = depictqa.load(name_or_path, **overrides)

    def generate_inner(self, message: list[dict], dataset: str | None = None) -> str:
        images = [part["value"] for part in message if part["type"] == "image"]
        texts = [part["value"] for part in message if part["type"] == "text"]
        (answer,) = self.dq.ask_many([as_question(images, "\n".join(texts))])
        return answer.text


def register(name_or_path: str, name: str = "depictqa", **overrides) -> None:
    """Add a model to VLMEvalKit's table; it is loaded when it is asked first."""
    supported_VLM[name] = functools.partial(DepictQA, name_or_path, **overrides)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="VLMEvalKit with DepictQA as one more model.")
    parser.add_argument("model", help='"nano", an experiment\'s folder or a config.yaml')
    parser.add_argument("script", help="VLMEvalKit's run.py")
    args, sys.argv[1:] = parser.parse_known_args()
    register(args.model)
    sys.argv[0] = args.script
    runpy.run_path(args.script, run_name="__main__")


if __name__ == "__main__":
    main()
