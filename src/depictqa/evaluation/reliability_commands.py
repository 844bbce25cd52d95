"""The command lines that say how far answers can be relied on: scores and their error bars, order bias, calibration.

As in `commands`: figures first; where ids do not pair up, one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from depictqa.answers import read_items, write_json
from depictqa.errors import InputError, exit_cleanly
from depictqa.evaluation.commands import add_common, faults_of, json_path, refuse

if TYPE_CHECKING:
    from depictqa.evaluation.calibration import Evidence


@exit_cleanly
def score_command() -> None:
    """Correlations and errors of scores against opinion scores, for each of several sets and over all."""
    parser = argparse.ArgumentParser(description="SRCC, PLCC, KRCC and RMSE of scores against opinion scores.")
    parser.add_argument("--pred_path", nargs="+", required=True, help="answers of infer.py with scores, a file per set")
    parser.add_argument("--gt_path", nargs="+", required=True, help="items with id and score {mean, std} or mos, std")
    parser.add_argument("--intervals", nargs="+", type=float, help="borders of score_std, (low, high]: RMSE in each")
    parser.add_argument("--compare_pred", help="the same model's comparisons of the images: how often the order agrees")
    parser.add_argument("--compare_test", help="the questions of these comparisons (id, image_A, image_B)")
    add_common(parser, "leave out images without a score")
    args = parser.parse_args()
    _check_lengths(args, "pred_path", "gt_path")
    if (args.plot or args.compare_pred) and len(args.pred_path) > 1:
        raise InputError("--plot and --compare_pred: expected one set of scores")
    if (args.compare_pred is None) != (args.compare_test is None):
        raise InputError("--compare_pred and --compare_test: expected both or neither")

    from depictqa.evaluation.score import evaluate_scores, order_agreement, weighted

    results, faults, summaries = [], [], []
    for pred_path, gt_path in zip(args.pred_path, args.gt_path):
        predictions, opinions = read_items(pred_path), read_items(gt_path)
        try:
            result = evaluate_scores(predictions, opinions)
            summary = {"pred": pred_path, "images": len(result.ids), "figures": result.figures}
            summary |= {"interval95": result.intervals95(), "error_bars": result.error_bars}
            if args.intervals:
                columns = ("low", "high", "images", "rmse")
                summary["by_std"] = [dict(zip(columns, row)) for row in result.by_std(args.intervals)]
            if args.compare_pred:
                compared = read_items(args.compare_pred), read_items(args.compare_test)
                summary["order"] = asdict(order_agreement(predictions, opinions, *compared))
        except InputError as error:
            raise InputError(f"{pred_path}, {gt_path}: {error}") from None
        print("\n".join(["=" * 100, *_score_lines(summary)]))
        results.append(result)
        summaries.append(summary)
        faults += faults_of(result.problems, pred_path, args.allow_missing)
    averages = weighted(results)
    if len(results) > 1:
        print(
            "\n".join(
                ["=" * 100, "Weighted by images:", *(f"{_NAMES[name]} {averages[name]:.4f}" for name in averages)]
            )
        )
    refuse(faults)

    if args.json:
        write_json(args.json, {"sets": summaries, "weighted": averages})
    if args.plot:
        from depictqa.evaluation.plots import save_figure, score_figure

        save_figure(score_figure(results[0]), args.plot)


@exit_cleanly
def order_command() -> None:
    """First picks, and how often both orders of a pair prefer the same image."""
    parser = argparse.ArgumentParser(description="Order bias of comparisons that were asked in both orders.")
    parser.add_argument("--pred_path", nargs="+", required=True, help="answers of infer.py, in one file or several")
    parser.add_argument(
        "--gt_path", nargs="+", required=True, help="their questions (id, image_A, image_B), a file each"
    )
    parser.add_argument("--allow_missing", action="store_true", help="leave out questions without an answer")
    parser.add_argument("--json", type=json_path, help="write all figures to this file, too")
    args = parser.parse_args()
    _check_lengths(args, "pred_path", "gt_path")

    from depictqa.evaluation.order import order_bias, read_choices

    choices, faults = [], []
    for pred_path, gt_path in zip(args.pred_path, args.gt_path):
        try:
            some, problems = read_choices(read_items(pred_path), read_items(gt_path))
        except InputError as error:
            raise InputError(f"{pred_path}, {gt_path}: {error}") from None
        choices += some
        faults += faults_of(problems, pred_path, args.allow_missing)
    try:
        result = order_bias(choices)
    except InputError as error:
        raise InputError(f"{', '.join(args.pred_path)}: {error}") from None
    kappa = "not defined" if result.kappa is None else f"{result.kappa:.4f}"
    print(f"First image preferred:  {result.first_share:.4f} of {result.answers} answers")
    print(f"Both orders agree:  {result.consistent_share:.4f} of {result.pairs} pairs, Cohen's kappa {kappa}")
    print(f"Mean difference of the two probabilities:  {result.mean_gap:.4f}")
    if result.accuracy_both is not None:
        print(f"Accuracy by one order:  {result.accuracy_one:.4f}, by the mean of both {result.accuracy_both:.4f}")
    refuse(faults)
    if args.json:
        write_json(args.json, asdict(result))


@exit_cleanly
def calibrate_command() -> None:
    """Fit temperatures to answers whose truth is known, and write the calibration file."""
    parser = argparse.ArgumentParser(
        description="Fit a temperature for each kind of answer (brief about one image or two, levels of a score) and "
        "write them for inference. Prints ECE, Brier and accuracies on answers that were not fitted.",
    )
    parser.add_argument(
        "--pred_path", nargs="+", required=True, help="held-out answers of infer.py, a file per --gt_path"
    )
    parser.add_argument("--gt_path", nargs="+", required=True, help="their true answers, or opinions for levels")
    parser.add_argument("--test_pred_path", nargs="+", default=[], help="other answers, to print the figures for")
    parser.add_argument("--test_gt_path", nargs="+", default=[], help="their true answers")
    parser.add_argument("--out", type=json_path, required=True, help="calibration.json; kinds not fitted now are kept")
    parser.add_argument("--delta", help="the delta that answered; another one will then refuse the file")
    parser.add_argument("--allow_missing", action="store_true", help="leave out true answers without a prediction")
    parser.add_argument("--json", type=json_path, help="write all figures to this file, too")
    args = parser.parse_args()

    from depictqa.evaluation.calibration import before_and_after, fit_temperature
    from depictqa.inference.calibration import Calibration, read_calibration, sha256, write_calibration

    fitted = _evidence("pred_path", "gt_path", args)
    tests = _evidence("test_pred_path", "test_gt_path", args)
    kept = read_calibration(args.out, args.delta)
    fits, figures = {}, {}
    for kind, evidence in fitted.items():
        fits[kind] = fit_temperature(evidence)
        before, after = before_and_after(evidence, tests.get(kind))
        judged = f"{before.n} other answers" if kind in tests else "each fifth by the temperature of the rest"
        print(f"{kind}:  temperature {fits[kind].temperature:.4f} from {fits[kind].n} answers")
        print(f"    {judged}:  before -> after")
        for name, value in asdict(before).items():
            if name != "n":
                print(f"    {name:<14} {value:.4f} -> {getattr(after, name):.4f}")
        figures[kind] = {"fit": asdict(fits[kind]), "before": asdict(before), "after": asdict(after)}
    digest = sha256(args.delta) if args.delta else kept.delta_sha256
    write_calibration(args.out, Calibration({**kept.fits, **fits}, digest))
    print(f"calibration: {args.out}")
    if args.json:
        write_json(args.json, figures)


def _evidence(preds: str, truths: str, args: argparse.Namespace) -> dict[str, Evidence]:
    """Kind -> the answers in the files of two flags."""
    from depictqa.evaluation.calibration import join_evidence, read_evidence

    _check_lengths(args, preds, truths)
    parts, faults = [], []
    for pred_path, gt_path in zip(getattr(args, preds), getattr(args, truths)):
        try:
            parts.append(read_evidence(read_items(pred_path), read_items(gt_path)))
        except InputError as error:
            raise InputError(f"{pred_path}, {gt_path}: {error}") from None
        faults += faults_of(parts[-1].problems, pred_path, args.allow_missing)
    refuse(faults)
    return join_evidence(parts)


def _check_lengths(args: argparse.Namespace, preds: str, truths: str) -> None:
    if len(getattr(args, preds)) != len(getattr(args, truths)):
        raise InputError(f"--{preds} and --{truths}: expected the same number of files")


_NAMES = {"srcc": "SRCC: ", "krcc": "KRCC: ", "plcc": "PLCC: ", "plcc_linear": "PLCC without curve: ", "rmse": "RMSE: "}


def _score_lines(summary: dict) -> list[str]:
    lines = [f"Pred:  {summary['pred']}, {summary['images']} images"]
    for name, value in summary["figures"].items():
        low, high = summary["interval95"][name]
        lines.append(f"{_NAMES[name]} {value:.4f} (95% interval {low:.4f} to {high:.4f})")
    if summary["error_bars"] is not None:
        lines.append(f"SRCC of error bar and error:  {summary['error_bars']:.4f}")
    for row in summary.get("by_std", []):
        error = "" if row["rmse"] is None else f", RMSE: {row['rmse']:.4f}"
        lines.append(f"Score Std Interval [{row['low']},{row['high']}], {row['images']} Images{error}")
    if order := summary.get("order"):
        clear = "" if order["clear_share"] is None else f"; beyond the error bars {order['clear_share']:.4f}"
        lines.append(
            f"Order of scores agrees with {order['pairs']} comparisons:  {order['share']:.4f}{clear}"
            + (f" of {order['clear_pairs']}" if clear else "")
        )
    return lines
