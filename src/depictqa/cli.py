"""The command `depictqa`: ask about images from a shell, and start every program of the package.

    depictqa describe photo.jpg
    depictqa compare a.jpg b.jpg --reference original.png --json
    depictqa doctor

Programs with command lines of their own (`PROGRAMS`) get their arguments unchanged: `depictqa infer --help`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from depictqa import api
from depictqa.config import parse_overrides
from depictqa.errors import exit_cleanly

PROGRAMS = {  # command -> module, function, its arguments, what it does
    "infer": ("depictqa.commands", "infer_command", (), "Answer the questions of meta files."),
    "train": ("depictqa.commands", "train_command", (), "Train on the mixture of a config."),
    "export": ("depictqa.export", "main", (), "Merge a trained LoRA into its language model."),
    "config": ("depictqa.config.__main__", "main", (), "Show a config with its base and the defaults filled in."),
    "calibrate": ("depictqa.evaluation.reliability_commands", "calibrate_command", (), "Fit temperatures to answers whose truth is known."),
    "eval": {
        "single-distortion": ("depictqa.evaluation.commands", "accuracy_command", ("single_distortion",), "Accuracy of naming one distortion."),
        "multi-distortion": ("depictqa.evaluation.commands", "accuracy_command", ("multi_distortion",), "Accuracy of naming several distortions."),
        "rating": ("depictqa.evaluation.commands", "accuracy_command", ("rating",), "Accuracy of naming the better image."),
        "choice": ("depictqa.evaluation.commands", "accuracy_command", ("choice",), "Accuracy of multiple choice."),
        "voting": ("depictqa.evaluation.commands", "voting_command", (), "SRCC and PLCC of scores voted by comparisons."),
        "score": ("depictqa.evaluation.reliability_commands", "score_command", (), "Scores against opinion scores."),
        "order-bias": ("depictqa.evaluation.reliability_commands", "order_command", (), "Does the answer depend on which image comes first?"),
        "judge": ("depictqa.evaluation.commands", "judge_command", ("v1",), "Score long answers by a language model."),
        "report": ("depictqa.evaluation.commands", "report_command", (), "One page over a folder of answers."),
    },
    "serve": {
        "controller": ("depictqa.serve.controller", "main", (), "Hand questions to workers; the HTTP API."),
        "worker": ("depictqa.serve.worker", "main", (), "Answer questions with a model."),
        "web": ("depictqa.serve.web", "main", (), "The web page."),
    },
    "data": {
        "distort": ("build_datasets.dq495k.distort", "command", ("refA_sd",), "Distort images, one distortion each."),
        "distort-pairs": ("build_datasets.dq495k.distort", "command", ("refAB_sd",), "Distort images twice, to compare."),
        "rating-pairs": ("build_datasets.dq495k.rating", "pairs_command", (), "Comparisons from a table of opinion scores."),
        "split": ("build_datasets.dq495k.splits", "command", (), "Split a folder of images into train and test."),
    },
}  # fmt: skip
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Image quality assessment in words.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Image = Annotated[Path, typer.Argument(help="an image file")]
Reference = Annotated[Path | None, typer.Option(help="what the image should look like")]
ModelName = Annotated[str, typer.Option(help='"nano", an experiment\'s folder, or a config.yaml')]
Device = Annotated[str, typer.Option(help="cuda, mps or cpu")]
Dtype = Annotated[str, typer.Option(help="fp32, bf16 or fp16")]
Set = Annotated[list[str] | None, typer.Option(help="override a key of the config: KEY=VALUE")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, one object a line")]


def _add_about_images(name: str, meaning: str) -> None:
    """A command that asks the same about each of several images, by the method of that name."""

    @app.command(name, help=meaning)
    def run(
        images: Annotated[list[Path], typer.Argument(help="image files")],
        reference: Reference = None,
        model: ModelName = "nano",
        device: Device = "auto",
        dtype: Dtype = "auto",
        set: Set = None,
        as_json: Json = False,
    ) -> None:
        dq = _load(model, device, dtype, set)
        for image in images:
            _print(getattr(dq, name)(image, reference), as_json, image=str(image))


_add_about_images("describe", "Describe the quality of images.")
_add_about_images("distortions", "Name the distortions of images.")
_add_about_images("score", "Score images from 1 (bad) to 5 (excellent), with an error bar.")


@app.command()
def compare(
    a: Image,
    b: Image,
    reference: Reference = None,
    model: ModelName = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    set: Set = None,
    as_json: Json = False,
) -> None:
    """Say which of two images is better, and why; the verdict is asked for in both orders."""
    answer = _load(model, device, dtype, set).compare(a, b, reference)
    if not as_json:
        print(f"better: {answer.better or 'undecided'}")
    _print(answer, as_json, a=str(a), b=str(b))


@app.command()
def rank(
    images: Annotated[list[Path], typer.Argument(help="image files, two or more")],
    reference: Reference = None,
    schedule: Annotated[str, typer.Option(help="which pairs are compared: all, swiss or active")] = "swiss",
    budget: Annotated[int | None, typer.Option(help="comparisons at most")] = None,
    model: ModelName = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    set: Set = None,
    as_json: Json = False,
) -> None:
    """Rank images from best to worst by comparing pairs of them."""
    ranking = _load(model, device, dtype, set).rank(images, reference, schedule, budget)
    for place in ranking.order:
        row = {"image": str(images[place]), "score": ranking.scores[place], "std": ranking.stds[place]}
        print(json.dumps(row) if as_json else f"{row['score']:+.2f} ± {row['std']:.2f}  {row['image']}")


@app.command()
def ask(
    question: str,
    a: Annotated[Path | None, typer.Option(help="the image, or Image A")] = None,
    b: Annotated[Path | None, typer.Option(help="Image B")] = None,
    reference: Reference = None,
    model: ModelName = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    set: Set = None,
    as_json: Json = False,
) -> None:
    """Ask a question of your own about one image or two."""
    _print(_load(model, device, dtype, set).ask(question, a=a, b=b, reference=reference), as_json)


@app.command()
def doctor(model: ModelName = "nano") -> None:
    """Check this machine, the installed packages and a model's weight files, and say what to do."""
    from depictqa.doctor import report

    print(report(api.find_config(model)))


def _load(model: str, device: str, dtype: str, assignments: list[str] | None) -> api.Model:
    return api.load(model, device=device, dtype=dtype, **parse_overrides(assignments or []))


def _print(answer: api.Answer | api.Score, as_json: bool, **about: Any) -> None:
    if as_json:
        print(json.dumps(about | answer.to_dict(), ensure_ascii=False))
    else:
        print(f"{about['image']}: {answer.line}" if "image" in about else answer.line)


def _add_programs(to: typer.Typer, programs: dict, path: tuple[str, ...] = ()) -> None:
    for name, program in programs.items():
        if isinstance(program, dict):
            group = typer.Typer(no_args_is_help=True)
            _add_programs(group, program, (*path, name))
            to.add_typer(group, name=name, help=f"{name.capitalize()}: {', '.join(program)}.")
        else:
            _add_program(to, " ".join(("depictqa", *path, name)), name, *program)


def _add_program(
    to: typer.Typer, title: str, name: str, module: str, function: str, fixed: tuple, meaning: str
) -> None:
    @to.command(name, help=meaning, context_settings=PASSED_ON, add_help_option=False)
    def run(context: typer.Context) -> None:
        sys.argv = [title, *context.args]  # each program reads its own command line
        getattr(importlib.import_module(module), function)(*fixed)


_add_programs(app, PROGRAMS)


@exit_cleanly
def main() -> None:
    app()


if __name__ == "__main__":
    main()
