"""The command lines of the evaluation: read files, call a metric, print its lines in the original's form.

Where ids do not pair up, the figure over those that do is printed as the original printed it, then one line on
stderr says what is wrong, the exit code is 2 and no file is written; `--strict_original` makes that line a note.
What only some calls need (scipy, matplotlib: over a second) is imported where it is used.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from depictqa.answers import index_by_id, read_items, read_json, write_json, write_text
from depictqa.environment import resting_collector
from depictqa.errors import InputError, exit_cleanly
from depictqa.evaluation import accuracy
from depictqa.evaluation.joining import Problems, some

PROGRESS_SECONDS = 5
PICTURES = (".png", ".svg", ".pdf")


@exit_cleanly
@resting_collector()  # looking for cycles would take longer than the figures
def accuracy_command(task: str) -> None:
    """Accuracy of one answers file, over all or by confidence."""
    parser = argparse.ArgumentParser(description=f"Accuracy of {task.replace('_', '-')} answers.")
    parser.add_argument("--pred_path", required=True, help="answers of infer.py (.json or .jsonl)")
    parser.add_argument("--gt_path", required=True, help="items with id and answer (.json)")
    parser.add_argument("--confidence", action="store_true", help="one line for each interval of confidence")
    parser.add_argument("--intervals", nargs="+", type=float, default=accuracy.BORDERS, help="borders, (low, high]")
    parser.add_argument("--by", default="severity", help="field of the true answers to group by in --json and --plot")
    parser.add_argument("--compare", help="answers of another model to the same questions: McNemar's test")
    add_common(parser, "count an answer without prediction as wrong")
    _add_strict(parser)
    args = parser.parse_args()

    result = _evaluate(task, args.pred_path, args)
    other = _evaluate(task, args.compare, args) if args.compare else None
    try:
        shown = result.intervals(args.intervals) if args.confidence else [_whole(result)]
    except InputError as error:
        raise InputError(f"{args.pred_path}: {error}") from None
    for interval in shown:
        print(_line(interval))
    print(f"Average Accuracy: {round(result.accuracy, 4)}")
    if near := result.near_misses:
        print(f"note: {args.pred_path}: {len(near)} answers differ from a class only by case, white space or a final dot; "
              f"accuracy is exact match: {some(near)}", file=sys.stderr)  # fmt: skip
    refuse(faults_of(result.problems, args.pred_path, args.allow_missing, args.strict_original))

    comparison = None
    if other:
        from depictqa.evaluation.statistics import mcnemar

        refuse(faults_of(other.problems, args.compare, args.allow_missing, args.strict_original))
        test = mcnemar(result, other)
        comparison = {"pred": args.compare, "accuracy": other.accuracy, **asdict(test)}
        print(f"Compared with {args.compare}: Accuracy {round(other.accuracy, 4)}, right alone {test.only_first} to "
              f"{test.only_second}, McNemar p = {test.p_value:.4g}")  # fmt: skip
    if args.json:
        from depictqa.evaluation.summary import accuracy_summary

        figures = accuracy_summary(result, args.by)
        intervals = [asdict(one) for one in shown]
        write_json(args.json, {"pred": args.pred_path, **figures, "intervals": intervals, "compared": comparison})
    if args.plot:
        from depictqa.evaluation.plots import accuracy_figure, save_figure

        save_figure(accuracy_figure(result, args.by), args.plot)


@exit_cleanly
@resting_collector()  # looking for cycles would take longer than the figures
def voting_command() -> None:
    """SRCC and PLCC of scores voted by pairwise answers, for each of several data sets."""
    parser = argparse.ArgumentParser(description="SRCC and PLCC of scores voted by pairwise answers.")
    parser.add_argument("--test_paths", nargs="+", required=True, help="metas of the comparisons")
    parser.add_argument("--pred_paths", nargs="+", required=True, help="answers of infer.py to them")
    parser.add_argument("--gt_paths", nargs="+", required=True, help="reference -> dist_paths, mos_list")
    parser.add_argument("--confidence", action="store_true", help="weigh each vote by its confidence")
    parser.add_argument(
        "--skip_invalid", action="store_true", help="leave out answers other than 'Image A' and 'Image B'"
    )
    parser.add_argument(
        "--scores",
        choices=("mean", "bradley-terry"),
        default="mean",
        help="of votes; bradley-terry: for part of the pairs",
    )
    add_common(parser, "let a comparison without prediction cast no vote")
    _add_strict(parser)
    args = parser.parse_args()
    if not len(args.test_paths) == len(args.pred_paths) == len(args.gt_paths):
        raise InputError("--test_paths, --pred_paths and --gt_paths: expected the same number of files")
    if args.plot and len(args.pred_paths) > 1:
        raise InputError("--plot: expected one data set, since a picture shows one")

    from depictqa.evaluation.correlation import srcc_plcc

    results, faults = [], []
    for test_path, pred_path, gt_path in zip(args.test_paths, args.pred_paths, args.gt_paths):
        predictions, comparisons, opinions = read_items(pred_path), read_items(test_path), read_json(gt_path)
        try:
            options = {"confidence": args.confidence, "skip_invalid": args.skip_invalid, "scores": args.scores}
            result = srcc_plcc(predictions, comparisons, opinions, **options)
            lines = ("=" * 100, f"Pred:  {pred_path}", f"SRCC:  {result.srcc}", f"PLCC:  {result.plcc}")
        except InputError as error:
            raise InputError(f"{pred_path}, {test_path}, {gt_path}: {error}") from None
        print("\n".join(lines))
        results.append(result)
        faults += faults_of(result.problems, pred_path, args.allow_missing, args.strict_original)
    refuse(faults)

    if args.json:
        from depictqa.evaluation.summary import correlation_summary

        figures = [{"pred": path, **correlation_summary(one)} for path, one in zip(args.pred_paths, results)]
        write_json(args.json, figures)
    if args.plot:
        from depictqa.evaluation.plots import correlation_figure, save_figure

        save_figure(correlation_figure(results[0]), args.plot)


@exit_cleanly
def judge_command(version: str) -> None:
    """Scores of long answers by a language model, each paid for once."""
    from depictqa.chat_api import FAILED, UNASKED, add_arguments, options_from
    from depictqa.evaluation.judge import judge, read_prompt

    parser = argparse.ArgumentParser(description=f"Scores of long answers by a language model ({version}).")
    parser.add_argument("--pred_path", required=True, help="answers of infer.py (.json or .jsonl)")
    parser.add_argument("--gt_path", required=True, help="items with id, answer and query")
    parser.add_argument("--save_path", type=json_path, required=True, help="the verdicts; run again to go on")
    parser.add_argument("--prompt_file", help="another prompt, with {question}, {reference} and {answer}")
    parser.add_argument("--allow_missing", action="store_true", help="judge what is there")
    parser.add_argument("--json", type=json_path, help="write the figures to this file, too")
    add_arguments(parser, max_tokens=512, temperature=0.0)
    args = parser.parse_args()

    options = options_from(args)
    prompt = read_prompt(args.prompt_file) if args.prompt_file else None
    predictions, answers = read_items(args.pred_path), read_items(args.gt_path)
    ledger = args.save_path.with_suffix(".ledger.jsonl")
    progress = _Progress(len(predictions))
    settings = {"prompt": prompt, "allow_missing": args.allow_missing, "on_verdict": progress}
    try:
        result = judge(version, predictions, answers, options, ledger, **settings)
    except InputError as error:
        raise InputError(f"{args.pred_path}, {args.gt_path}: {error}") from None
    write_json(args.save_path, [asdict(verdict) for verdict in result.verdicts])

    scored = len(result.scores)
    others = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()) if status != "ok")
    print(f"{scored} of {len(result.verdicts)} items scored" + (f" (not scored: {others})" if others else ""))
    unfinished = result.statuses[FAILED] + result.statuses[UNASKED]
    if unfinished:
        reason = next(verdict.reason for verdict in result.verdicts if verdict.status in (FAILED, UNASKED))
        raise InputError(f"{args.save_path}: {unfinished} items have no verdict ({reason}); run again to go on")
    low, high = result.interval95
    print(f"{version} score: {result.figure:.4f} (95% interval {low:.4f} to {high:.4f})")
    if args.json:
        figures = {
            "version": version,
            "model": args.model,
            "figure": result.figure,
            "interval95": [low, high],
            "means": result.scores.mean(axis=0).tolist(),
            "statuses": dict(result.statuses),
            "spent": result.spent,
        }
        write_json(args.json, figures)


class _Progress:
    """A line on stderr every few seconds."""

    def __init__(self, total: int):
        self.total, self.done, self.last = total, 0, monotonic()

    def __call__(self, _) -> None:
        self.done += 1
        if monotonic() - self.last > PROGRESS_SECONDS:
            self.last = monotonic()
            print(f"{self.done} of {self.total}", file=sys.stderr)


@exit_cleanly
def choice_questions_command() -> None:
    """Turn a benchmark's json into a meta file for infer.py."""
    from depictqa.evaluation.benchmarks import read_benchmark
    from depictqa.evaluation.choice import to_question

    parser = argparse.ArgumentParser(description="Multiple-choice benchmark -> questions for infer.py.")
    parser.add_argument("--gt_path", required=True, help="items of ours, or a published file (docs/evaluation.md)")
    parser.add_argument("--save_path", type=json_path, required=True, help="meta file to write (.json)")
    args = parser.parse_args()
    try:
        items = index_by_id(read_benchmark(read_items(args.gt_path)), args.gt_path)
        questions = [to_question(item) for item in items.values()]
    except InputError as error:
        raise InputError(f"{args.gt_path}: {error}") from None
    write_json(args.save_path, questions)
    print(f"{len(questions)} questions: {args.save_path}")


@exit_cleanly
def report_command() -> None:
    """Every figure that applies to a folder of answers, on one page."""
    parser = argparse.ArgumentParser(description="One html page over a folder of answers.")
    parser.add_argument("--answers", type=Path, required=True, help="folder of answers and of the judge's verdicts")
    parser.add_argument("--gt_paths", nargs="+", required=True, help="files, or folders of files, with true answers")
    parser.add_argument("--save_path", type=Path, required=True, help="page to write (.html)")
    parser.add_argument("--compare", type=Path, help="folder of another model's answers, same file names")
    parser.add_argument("--by", default="severity", help="field of the true answers to group by")
    parser.add_argument("--title", help="the page's heading; the answers' folder unless given")
    args = parser.parse_args()
    if args.save_path.suffix != ".html":
        raise InputError(f"--save_path: expected a name that ends in .html, found {args.save_path}")

    from depictqa.evaluation.page import render
    from depictqa.evaluation.report import collect, read_truths

    sections = collect(args.answers, read_truths(args.gt_paths), by=args.by, other=args.compare)
    write_text(args.save_path, render(args.title or f"Answers in {args.answers}", sections))
    for section in sections:
        figure = "no figure" if section.value is None else f"{section.measure} {section.value:.4f}"
        print(f"{section.name}: {figure}, {section.samples} answers")
        for note in section.notes:
            print(f"note: {section.name}: {note}", file=sys.stderr)
    print(f"page: {args.save_path}")


def add_common(parser: argparse.ArgumentParser, allow_missing: str) -> None:
    parser.add_argument("--allow_missing", action="store_true", help=allow_missing)
    parser.add_argument("--json", type=json_path, help="write all figures to this file, too")
    parser.add_argument("--plot", type=picture_path, help=f"draw the figures into this file ({', '.join(PICTURES)})")


def _add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict_original", action="store_true", help="the original's figure, its faults included")


def json_path(text: str) -> Path:
    if Path(text).suffix != ".json":
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in .json")
    return Path(text)


def picture_path(text: str) -> Path:
    if Path(text).suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in {' or '.join(PICTURES)}")
    return Path(text)


def _evaluate(task: str, pred_path: str, args: argparse.Namespace) -> accuracy.Accuracy:
    strict = f"{task}_strict"
    predictions, answers = read_items(pred_path), read_items(args.gt_path)
    without = [item.get("id") for item in predictions if "confidence" not in item]
    if without:
        raise InputError(
            f"{pred_path}: {len(without)} predictions lack the field 'confidence' (a number or null): {some(without)}"
        )
    try:
        if task == "choice":
            from depictqa.evaluation.benchmarks import read_benchmark

            answers = read_benchmark(answers)
        task = strict if args.strict_original and strict in accuracy.TASKS else task
        return accuracy.evaluate(task, predictions, answers, allow_missing=args.allow_missing)
    except InputError as error:
        raise InputError(f"{pred_path}, {args.gt_path}: {error}") from None


def _whole(result: accuracy.Accuracy) -> accuracy.Interval:
    return accuracy.Interval(0, 1, len(result.samples), result.accuracy)


def _line(interval: accuracy.Interval) -> str:
    line = f"Confidence Interval [{interval.low},{interval.high}], {interval.count} Samples"
    return line if interval.accuracy is None else f"{line}, Accuracy: {round(interval.accuracy, 4)}"


def faults_of(problems: Problems, path: str, allow_missing: bool, strict_original: bool = False) -> list[str]:
    """Print what is worth a note; return what is a fault, a phrase each."""
    faults = problems.faults(allow_missing)
    notes = problems.notes() + (faults if strict_original else [])
    for note in notes:
        print(f"note: {path}: {note}", file=sys.stderr)
    return [] if strict_original else [f"{path}: {fault}" for fault in faults]


def refuse(faults: list[str]) -> None:
    if faults:
        raise InputError("; ".join(faults))
