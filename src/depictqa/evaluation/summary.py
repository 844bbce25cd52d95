"""Every figure of a result as plain numbers, ready for json and for the report's tables."""

from dataclasses import asdict

import numpy as np

from depictqa.evaluation.accuracy import Accuracy
from depictqa.evaluation.correlation import Agreement, Correlation
from depictqa.evaluation.statistics import bootstrap_interval, calibration, confident, per_class

MAX_CLASSES = 40  # with more different answers than this, a table of classes says nothing


def accuracy_summary(result: Accuracy, by: str = "severity") -> dict:
    """The figures of an answers file; null where the data do not give them. `by` is a field of the true answers."""
    confidences = confident(result)
    classes = per_class(result)
    return {
        "task": result.task,
        "samples": len(result.samples),
        "accuracy": result.accuracy,
        "interval95": bootstrap_interval(result.scores),
        "missing": len(result.problems.missing),
        "by": {"field": by, "groups": [_group(value, group) for value, group in result.by(by).items()]},
        "classes": [asdict(one) for one in classes] if len(classes) <= MAX_CLASSES else None,
        "calibration": asdict(calibration(*confidences)) if confidences else None,
    }


def _group(value, group: Accuracy) -> dict:
    return {
        "value": value,
        "samples": len(group.samples),
        "accuracy": group.accuracy,
        "interval95": bootstrap_interval(group.scores),
    }


def correlation_summary(result: Correlation) -> dict:
    """The figures of a voting data set. The intervals are over references: as if others had been drawn."""
    each = [one.figures() for one in result.per_reference]
    columns = {name: [figures[name] for figures in each] for name in Agreement.FIGURES}
    images = len(result.pooled.scores)
    return {
        "references": len(result.references),
        "images": images,
        "mean": {name: _mean(values) for name, values in columns.items()},
        "interval95": {name: _interval(values) for name, values in columns.items()},
        "pooled": {"images": images, **result.pooled.figures()},
        "per_reference": [
            {"name": one.name, "images": len(one.scores), **figures} for one, figures in zip(result.references, each)
        ],
    }


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _interval(values: list[float | None]) -> tuple[float, float] | None:
    return None if None in values else bootstrap_interval(np.array(values))
