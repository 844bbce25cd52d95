"""What a run tells: metrics.jsonl (a line per optimizer step), validation.jsonl, tensorboard events, a bar with the
time left."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from tqdm import tqdm


class RunLog:
    """The log of rank 0. Lines after `first_step`, of a run that was killed and now continues, are dropped.

    Args:
        folder: of metrics.jsonl, validation.jsonl and the events.
        first_step, total_steps: optimizer steps done, and in all.
        print_every: optimizer steps between two updates of the numbers beside the bar.
    """

    def __init__(self, folder: Path, first_step: int, total_steps: int, print_every: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = _open_lines(folder / "metrics.jsonl", first_step)
        self._validation = _open_lines(folder / "validation.jsonl", first_step)
        self._events = _open_events(folder, first_step)
        every = 0.5 if sys.stderr.isatty() else 30.0  # seconds; a log file need not see every step
        self._bar = tqdm(total=total_steps, initial=first_step, desc="training", unit="step", mininterval=every)
        self._print_every = print_every
        self._time = time.perf_counter()

    def write(self, metrics: dict, samples: int) -> None:
        """One optimizer step: `metrics` with at least `step`; `samples` gives samples_per_s."""
        now = time.perf_counter()
        metrics["samples_per_s"] = round(samples / (now - self._time), 3)
        self._time = now
        self._write("train", self._metrics, metrics)
        self._bar.update()
        if metrics["step"] % self._print_every == 0:
            shown = {key: f"{metrics[key]:.4g}" for key in ("loss", "acc", "lr")}
            self._bar.set_postfix(shown, refresh=False)

    def write_validation(self, metrics: dict) -> None:
        """One validation: `metrics` with at least `step`, `loss`, `acc`, `exact`."""
        self._write("val", self._validation, metrics)
        shown = ", ".join(f"{key} {metrics[key]:.4g}" for key in ("loss", "acc", "exact"))
        self._bar.write(f"validation after step {metrics['step']}: {shown}")
        self._time = time.perf_counter()  # or the next step would seem slow

    def _write(self, group: str, file: TextIO, metrics: dict) -> None:
        file.write(json.dumps(metrics) + "\n")
        file.flush()
        if self._events is not None:
            for key, value in metrics.items():
                if value is not None:
                    self._events.add_scalar(f"{group}/{key}", value, metrics["step"])

    def close(self) -> None:
        self._bar.close()
        self._metrics.close()
        self._validation.close()
        if self._events is not None:
            self._events.close()


def _open_lines(path: Path, first_step: int) -> TextIO:
    """Open for appending what the steps up to `first_step` wrote; later and torn lines are dropped."""
    kept = _lines_until(path, first_step) if first_step else []
    temporary = path.with_suffix(".jsonl.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)
    return open(path, "a", encoding="utf-8")


def _open_events(folder: Path, first_step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("tensorboard is not installed: no event files are written")
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)


def _lines_until(path: Path, step: int) -> list[str]:
    """The whole lines of the steps up to `step`."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    return kept
