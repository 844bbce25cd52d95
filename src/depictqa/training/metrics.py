"""What a run tells: metrics.jsonl (a line per optimizer step), validation.jsonl, broken.jsonl (a line per sample left out),
tensorboard events, a bar with the time left."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from depictqa.files import writing

BROKEN = "broken.jsonl"


class RunLog:
    """The log of rank 0. Lines after `first_step`, of a run that was killed and now continues, are dropped.

    Every method raises InputError where a file cannot be written, as on a full disk.

    Args:
        folder: of metrics.jsonl, validation.jsonl, broken.jsonl and the events.
        first_step, total_steps: optimizer steps done, and in all.
        print_every: optimizer steps between two updates of the numbers beside the bar.
    """

    def __init__(self, folder: Path, first_step: int, total_steps: int, print_every: int):
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._metrics = _open_lines(folder / "metrics.jsonl", first_step)
            self._validation = _open_lines(folder / "validation.jsonl", first_step)
            self._broken = _open_lines(folder / BROKEN, first_step)
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
            self._bar.set_postfix(_shown(metrics, ("loss", "acc", "lr")), refresh=False)

    def write_validation(self, metrics: dict) -> None:
        """One validation: `metrics` with at least `step`, `loss`, `acc`, `exact`."""
        self._write("val", self._validation, metrics)
        shown = ", ".join(f"{key} {value}" for key, value in _shown(metrics, ("loss", "acc", "exact")).items())
        self._bar.write(f"validation after step {metrics['step']}: {shown}")
        self._time = time.perf_counter()  # or the next step would seem slow

    def write_broken(self, rows: list[dict]) -> None:
        """Samples that one step left out: each with at least `step`, `id`, `file`, `reason`."""
        for row in rows:
            self._bar.write(f"sample {row['id']} is left out: {row['file']}: {row['reason']}")
            _append(self._broken, row)

    def _write(self, group: str, file: TextIO, metrics: dict) -> None:
        _append(file, metrics)
        if self._events is not None:
            with writing(self._folder):  # by a thread of its own, which tells of a full disk at a later call
                for key, value in metrics.items():
                    if value is not None:
                        self._events.add_scalar(f"{group}/{key}", value, metrics["step"])

    def close(self) -> None:
        self._bar.close()
        with writing(self._folder):
            for file in (self._metrics, self._validation, self._broken, self._events):
                if file is not None:
                    file.close()


def _append(file: TextIO, row: dict) -> None:
    with writing(Path(file.name)):
        file.write(json.dumps(row) + "\n")
        file.flush()


def _shown(metrics: dict, keys: tuple[str, ...]) -> dict[str, str]:
    return {key: "-" if metrics[key] is None else f"{metrics[key]:.4g}" for key in keys}


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
    text = (
        path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    )  # a lost power supply leaves any bytes
    for line in text.splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    return kept
