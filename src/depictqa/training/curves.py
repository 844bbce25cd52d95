"""The curves of a run as a picture, from its log: `python -m depictqa.training.curves LOG_DIR` draws `curves.png`."""

import sys
from collections.abc import Callable
from pathlib import Path

from depictqa.answers import read_items
from depictqa.errors import InputError, exit_cleanly

PANELS = ("loss", "acc", "lr", "grad_norm")  # a key of metrics.jsonl each; validation is drawn over it
SMOOTHING = 50  # the line drawn over the points is a mean over about this share of the run: 1 / SMOOTHING


def draw_curves(log_dir: Path) -> Path | None:
    """Draw loss (with each task's), accuracy, learning rate and gradient norm over the optimizer steps.

    Returns:
        the picture, or None where matplotlib is not installed.

    Raises:
        InputError: there is no metrics.jsonl, or it is empty.
    """
    rows = read_items(log_dir / "metrics.jsonl")
    if not rows:
        raise InputError(f"{log_dir / 'metrics.jsonl'}: no steps to draw")
    validation = read_items(log_dir / "validation.jsonl") if (log_dir / "validation.jsonl").exists() else []
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)  # files only: no display needed
    for axes, key in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        _draw(axes.plot, rows, key, key, smooth=key != "lr", color="black")
        for name in sorted({name for row in rows for name in row if name.startswith(f"{key}/")}):
            _draw(axes.plot, rows, name, name.split("/")[1], linewidth=0.8)
        _draw(axes.plot, validation, key, "validation", color="tab:red", marker="o", smooth=False)
        axes.set(title=key, xlabel="optimizer step")
        if len(axes.lines) > 1:
            axes.legend(fontsize="small")
    path = log_dir / "curves.png"
    figure.savefig(path, dpi=110)
    return path


def _draw(plot: Callable, rows: list[dict], key: str, label: str, smooth: bool = True, **style) -> None:
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        plot(steps, _smoothed(values) if smooth else values, label=label, **style)


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """A running mean that weighs recent values more; no value of its own at the start."""
    keep = 1 - 1 / max(1, len(values) // SMOOTHING)
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed.append(mean / weight)
    return smoothed


@exit_cleanly
def main() -> None:
    if len(sys.argv) != 2:
        raise InputError("expected one argument: the folder of metrics.jsonl (train.log_dir)")
    print(draw_curves(Path(sys.argv[1])) or "matplotlib is not installed: no picture drawn")


if __name__ == "__main__":
    main()
