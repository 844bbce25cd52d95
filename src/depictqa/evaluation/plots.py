"""Pictures of results, drawn without a display and without matplotlib's global state.

Each panel is a function of an Axes; a figure is the panels that the data allow.
"""

import io
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from depictqa.errors import InputError
from depictqa.evaluation.accuracy import TASKS, Accuracy
from depictqa.evaluation.correlation import Correlation, fit_logistic4
from depictqa.evaluation.score import Scored
from depictqa.evaluation.statistics import (
    OTHER,
    bootstrap_interval,
    calibration,
    class_labels,
    confident,
    confusion_matrix,
    per_class,
    rejection_curve,
)
from depictqa.evaluation.summary import MAX_CLASSES
from depictqa.files import replacing

PANEL = 4.4  # inches
BLUE, GREY = "#2f6f9f", "#9a9a9a"


def accuracy_figure(result: Accuracy, by: str = "severity", title: str = "") -> Figure:
    """Confusion (or recall by class, where an answer names several), accuracy by a field, calibration, rejection."""
    panels: list[Callable[[Axes], None]] = []
    if len(class_labels(result)) <= MAX_CLASSES:
        names_one = all(len(TASKS[result.task].labels(sample.answer)) == 1 for sample in result.samples)
        panels.append(partial(_confusion if names_one else _recall, result=result))
    if groups := result.by(by):
        panels.append(partial(_by_group, groups=groups, field=by))
    if confidences := confident(result):
        panels.append(partial(_reliability, confidences=confidences))
        panels.append(partial(_rejection, confidences=confidences))
    return _figure(panels, title or f"{result.task}: accuracy {result.accuracy:.4f}, {len(result.samples)} answers")


def correlation_figure(result: Correlation, title: str = "") -> Figure:
    """Scores against opinions with the fitted logistic, and the spread of SRCC over the references."""
    panels = [partial(_scatter, result=result), partial(_spread, result=result)]
    return _figure(panels, title or f"SRCC and PLCC over {len(result.references)} references")


def score_figure(result: Scored, title: str = "") -> Figure:
    """Scores against opinions, both with their error bars, and the fitted logistic; errors against error bars."""
    panels = [partial(_scores, result=result)]
    if result.error_bars is not None:
        panels.append(partial(_errors, result=result))
    return _figure(panels, title or f"Scores and opinions of {len(result.ids)} images")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a picture (.png, .svg or .pdf): whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:], dpi=120)


def png_bytes(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _figure(panels: list[Callable[[Axes], None]], title: str) -> Figure:
    if not panels:
        raise InputError("nothing to draw: no confidences, no groups, and too many different answers for classes")
    columns = min(2, len(panels))
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(1.25 * PANEL * columns, PANEL * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, draw in zip(grid, panels):
        draw(axes)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _confusion(axes: Axes, result: Accuracy) -> None:
    labels, counts = confusion_matrix(result)
    columns = [*labels, OTHER] if counts[:, -1].any() else labels
    shares = counts[:, : len(columns)] / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # of the true class
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            axes.text(
                *(column, row, f"{100 * share:.0f}"),
                **{"ha": "center", "va": "center", "fontsize": 6, "color": "white" if share > 0.6 else "black"},
            )
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion, % of the true class")


def _recall(axes: Axes, result: Accuracy) -> None:
    figures = [one for one in per_class(result) if one.support]
    places = np.arange(len(figures))
    axes.barh(places - 0.2, [one.recall or 0 for one in figures], 0.4, color=BLUE, label="recall")
    axes.barh(places + 0.2, [one.precision or 0 for one in figures], 0.4, color=GREY, label="precision")
    axes.set_yticks(places, [f"{one.label} ({one.support})" for one in figures], fontsize=7)
    axes.invert_yaxis()
    axes.legend(fontsize=7)
    axes.set(xlim=(0, 1), title="Precision and recall by class")


def _by_group(axes: Axes, groups: dict[object, Accuracy], field: str) -> None:
    heights = np.array([group.accuracy for group in groups.values()])
    borders = np.array([bootstrap_interval(group.scores) for group in groups.values()])  # [groups, 2]
    errors = np.abs(borders.T - heights)
    labels = [f"{value}\n({len(group.samples)})" for value, group in groups.items()]
    axes.bar(range(len(groups)), heights, yerr=errors, color=BLUE, capsize=3)
    axes.set_xticks(range(len(groups)), labels, fontsize=7)
    axes.set(ylim=(0, 1), ylabel="accuracy", title=f"Accuracy by {field} (95% intervals)")


def _reliability(axes: Axes, confidences: tuple[np.ndarray, np.ndarray]) -> None:
    result = calibration(*confidences)
    filled = [(one, one.confidence or 0, one.accuracy or 0) for one in result.bins if one.count]
    most = max(one.count for one, *_ in filled)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    lows, means, heights = zip(*((one.low, mean, accuracy) for one, mean, accuracy in filled))
    axes.bar(lows, heights, 0.1, align="edge", color=BLUE, alpha=0.35)
    axes.scatter(means, heights, [10 + 60 * one.count / most for one, *_ in filled], color=BLUE)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.set_title(f"Reliability (ECE {result.ece:.3f})")


def _rejection(axes: Axes, confidences: tuple[np.ndarray, np.ndarray]) -> None:
    kept, accuracy = rejection_curve(*confidences)
    axes.plot(1 - kept, accuracy, color=BLUE)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of answers rejected, least confident first", ylabel="accuracy")
    axes.set_title("Accuracy of the answers kept")


def _scatter(axes: Axes, result: Correlation) -> None:
    scores = np.concatenate([one.scores for one in result.references])
    opinions = np.concatenate([one.opinions for one in result.references])
    axes.scatter(scores, opinions, s=6, color=BLUE, alpha=0.5, linewidths=0)
    mapped = fit_logistic4(scores, opinions)
    if mapped is not None:
        order = np.argsort(scores)
        axes.plot(scores[order], mapped[order], color="black", linewidth=1)
    axes.set(xlabel="share of votes won", ylabel="mean opinion score")
    axes.set_title(f"All images (pooled SRCC {result.pooled.srcc:.3f})")


def _spread(axes: Axes, result: Correlation) -> None:
    axes.hist([one.srcc for one in result.per_reference], bins=20, color=BLUE)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axvline(result.srcc, color="black", linewidth=1)
    axes.set(xlabel="SRCC of a reference", ylabel="references", title=f"Mean SRCC {result.srcc:.3f}")


def _scores(axes: Axes, result: Scored) -> None:
    bars = np.nan_to_num(result.opinion_stds), np.nan_to_num(result.stds)  # of opinions, of scores
    style = {"fmt": "o", "markersize": 3, "color": BLUE, "ecolor": GREY, "elinewidth": 0.4}
    axes.errorbar(result.scores, result.opinions, *bars, **style)
    order = np.argsort(result.scores)
    axes.plot(result.scores[order], result.mapped[order], color="black", linewidth=1, zorder=3)
    axes.set(xlabel="score, with its error bar", ylabel="mean opinion score")
    axes.set_title(f"SRCC {result.figures['srcc']:.3f}, PLCC {result.figures['plcc']:.3f}")


def _errors(axes: Axes, result: Scored) -> None:
    axes.scatter(result.stds, np.abs(result.mapped - result.opinions), s=6, color=BLUE, alpha=0.5, linewidths=0)
    axes.set(xlabel="error bar of the score", ylabel="distance to the opinion, in its unit")
    axes.set_title(f"Errors and error bars (SRCC {result.error_bars:.3f})")
