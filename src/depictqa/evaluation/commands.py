"""The command lines of the evaluation: read files, call a metric, print its lines in the original's form.

Where ids do not pair up, the figure over those that do is printed as the original printed it, then one line on
stderr says what is wrong and the exit code is 2; `--strict_original` makes that line a note.
"""

import argparse
import sys
from pathlib import Path

from depictqa.answers import read_items, read_json, write_json
from depictqa.errors import InputError, exit_cleanly
from depictqa.evaluation import accuracy
from depictqa.evaluation.joining import Problems, some


@exit_cleanly
def accuracy_command(task: str) -> None:
    """Accuracy of one answers file, over all or by confidence."""
    parser = argparse.ArgumentParser(description=f"Accuracy of {task.replace('_', '-')} answers.")
    parser.add_argument("--pred_path", required=True, help="answers of infer.py (.json or .jsonl)")
    parser.add_argument("--gt_path", required=True, help="items with id and answer (.json)")
    parser.add_argument("--confidence", action="store_true", help="one line for each interval of confidence")
    parser.add_argument("--intervals", nargs="+", type=float, default=accuracy.BORDERS, help="borders; (low, high] each")
    _add_common(parser)
    args = parser.parse_args()

    if args.strict_original and f"{task}_strict" in accuracy.TASKS:
        task = f"{task}_strict"
    predictions, answers = read_items(args.pred_path), read_items(args.gt_path)
    without = [item.get("id") for item in predictions if "confidence" not in item]
    if without:
        raise InputError(
            f"{args.pred_path}: {len(without)} predictions lack the field 'confidence' (a number or null): {some(without)}"
        )
    try:
        result = accuracy.evaluate(task, predictions, answers, allow_missing=args.allow_missing)
        shown = result.intervals(args.intervals) if args.confidence else [_whole(result)]
    except InputError as error:
        raise InputError(f"{args.pred_path}, {args.gt_path}: {error}") from None
    for interval in shown:
        print(_line(interval))
    print(f"Average Accuracy: {round(result.accuracy, 4)}")
    _refuse(_faults(result.problems, args, args.pred_path))
    if args.json:
        write_json(args.json, {"task": task, "accuracy": result.accuracy, "intervals": [vars(one) for one in shown]})


@exit_cleanly
def voting_command() -> None:
    """SRCC and PLCC of scores voted by pairwise answers, for each of several data sets."""
    from depictqa.evaluation import correlation  # scipy: a second of start-up that accuracy does without

    parser = argparse.ArgumentParser(description="SRCC and PLCC of scores voted by pairwise answers.")
    parser.add_argument("--test_paths", nargs="+", required=True, help="metas of the comparisons")
    parser.add_argument("--pred_paths", nargs="+", required=True, help="answers of infer.py to them")
    parser.add_argument("--gt_paths", nargs="+", required=True, help="opinion scores: reference -> dist_paths, mos_list")
    parser.add_argument("--confidence", action="store_true", help="weigh each vote by its confidence")
    _add_common(parser)
    args = parser.parse_args()

    if not len(args.test_paths) == len(args.pred_paths) == len(args.gt_paths):
        raise InputError("--test_paths, --pred_paths and --gt_paths: expected the same number of files")
    results, faults = [], []
    for test_path, pred_path, gt_path in zip(args.test_paths, args.pred_paths, args.gt_paths):
        try:
            result = correlation.srcc_plcc(
                read_items(pred_path), read_items(test_path), read_json(gt_path), confidence=args.confidence
            )
        except InputError as error:
            raise InputError(f"{pred_path}: {error}") from None
        results.append(result)
        print("=" * 100)
        print("Pred: ", pred_path)
        print("SRCC: ", result.srcc)
        print("PLCC: ", result.plcc)
        faults += _faults(result.problems, args, pred_path)
    _refuse(faults)
    if args.json:
        write_json(args.json, [{"pred": p, "srcc": r.srcc, "plcc": r.plcc} for p, r in zip(args.pred_paths, results)])


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow_missing", action="store_true", help="count an answer without prediction as wrong")
    parser.add_argument("--strict_original", action="store_true", help="the original's figure, its faults included")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")


def _whole(result: accuracy.Accuracy) -> accuracy.Interval:
    return accuracy.Interval(0, 1, len(result.samples), result.accuracy)


def _line(interval: accuracy.Interval) -> str:
    line = f"Confidence Interval [{interval.low},{interval.high}], {interval.count} Samples"
    return line if interval.accuracy is None else f"{line}, Accuracy: {round(interval.accuracy, 4)}"


def _faults(problems: Problems, args: argparse.Namespace, path: str) -> list[str]:
    """Print what is worth a note; return what is a fault, a phrase each."""
    faults = problems.faults(args.allow_missing)
    notes = problems.notes() + (faults if args.strict_original else [])
    for note in notes:
        print(f"note: {path}: {note}", file=sys.stderr)
    return [] if args.strict_original else [f"{path}: {fault}" for fault in faults]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise InputError("; ".join(faults))
