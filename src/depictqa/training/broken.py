"""Samples that are left out because a picture cannot be read: counted alike on every rank, within `train.max_broken`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import distributed

from depictqa.data.training import Broken
from depictqa.training.distributed import fail_together


class BrokenSamples:
    """The distinct samples of one mixture that were left out so far.

    The share is one of all samples of the mixture, not of those seen so far: otherwise a broken first sample would be
    100% of them, and the step at which a run stops would depend on the order.

    Args:
        name: of the mixture, in lines and messages: "training" or "validation".
        total: samples of the mixture.
        max_share: `train.max_broken`.
        file: where all of them are listed, for messages.
        write: takes a row for each sample that one step left out; None on all ranks but the first.
        known: indices of samples that an earlier part of this run left out.
    """

    def __init__(
        self,
        name: str,
        total: int,
        max_share: float,
        file: Path,
        write: Callable[[list[dict]], None] | None,
        known: Iterable[int] = (),
    ):
        self.name, self.total, self.max_share, self.file = name, total, max_share, file
        self.indices = set(known)
        self._write = write

    def note(self, step: int, mine: Sequence[Broken]) -> None:
        """Count the samples that the ranks left out in `step`. Every rank calls this.

        Raises:
            InputError: more than the allowed share of the samples is broken.
        """
        everyones: list[Sequence[Broken]] = [()] * distributed.get_world_size()
        distributed.all_gather_object(everyones, mine)
        found = [broken for ranks in everyones for broken in ranks]
        self.indices |= {broken.index for broken in found}
        if self._write is not None:
            self._write([{"step": step, "set": self.name} | asdict(broken) for broken in found])
        if len(self.indices) > self.max_share * self.total:
            last = found[-1]
            fail_together(
                f"{len(self.indices)} of {self.total} {self.name} samples have a picture that cannot be read, more than "
                f"train.max_broken={self.max_share:g} allows; the last is {last.id} ({last.file}: {last.reason}). Stopped in "
                f"step {step}, checkpoints are as they were. Replace the files listed in {self.file}, or raise "
                "train.max_broken, then continue with --resume auto"
            )
