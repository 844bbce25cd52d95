"""The processes that answer a job together: a single one, or those that `torchrun` started, on one machine or several.

They speak through the launcher's key-value store alone: what is to be done is found out by the first process, and told
to the others; each works on its share and counts what it has done. Knows nothing of models and answers.
"""

import base64
import os
import pickle
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from depictqa.errors import EXIT_CODE, InputError

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # a dead process is its launcher's business, which ends the others
POLL_SECONDS = 0.2


class Group:
    """The processes of a run, by the environment that `torchrun` gives each of them."""

    def __init__(self):
        self.rank, self.local_rank = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self._store = _meet(self.rank, self.size) if self.size > 1 else None
        self._counts: Counter[str] = Counter()  # of a process that is alone

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def use(self, device: torch.device) -> None:
        """Make `cuda` mean this process's own GPU.

        Raises:
            InputError: this machine has more processes than GPUs.
        """
        if device.type != "cuda" or self.size == 1:
            return
        if self.local_rank >= (count := torch.cuda.device_count()):
            raise InputError(
                f"process {self.local_rank} of this machine has no GPU, PyTorch sees {count}; start one process a GPU "
                "(torchrun --nproc_per_node)"
            )
        torch.cuda.set_device(self.local_rank)

    def share(self, work: Callable[[], T]) -> T:
        """Run `work` in the first process, and hand its result to every process.

        Raises:
            InputError: in the first process, if `work` raised it; the others exit without a word.
        """
        if self._store is None:
            return work()
        self._counts["shared"] += 1
        key = f"shared {self._counts['shared']}"
        if self.is_first:
            told = ""
            try:
                result = work()
                told = base64.b64encode(pickle.dumps(result)).decode()
                return result
            finally:
                self._store.set(key, told)
                if not told:
                    self.leave()
        if not (told := self._store.get(key)):
            self.leave()
            sys.exit(EXIT_CODE)
        return pickle.loads(base64.b64decode(told))

    def count(self, name: str, more: int = 0) -> int:
        """Add to a number that all processes share; its value."""
        if self._store is not None:
            return self._store.add(name, more)
        self._counts[name] += more
        return self._counts[name]

    def leave(self) -> None:
        """Wait until every process has got here: the first may hold the store that the others speak through."""
        self.count("left", 1)
        while self.is_first and self.count("left") < self.size:
            time.sleep(POLL_SECONDS)

    def part(self, values: Sequence[T], weights: Sequence[float]) -> list[T]:
        """This process's share: a run of neighbours, so that what they have in common is computed by one process.

        Args:
            weights: work of each value; the shares have about the same sum.
        """
        total, before, mine = sum(weights), 0.0, []
        for value, weight in zip(values, weights, strict=True):
            middle = before + weight / 2
            mine += [value] if int(middle * self.size / total) == self.rank else []
            before += weight
        return mine


def _meet(rank: int, size: int) -> Store:
    """A store of the processes that are here now: an elastic launcher keeps its own when it starts them anew.

    Each greets the first by a name that it makes up, is told the name of this meeting, and confirms that.
    """
    store, *_ = next(rendezvous("env://", timeout=PATIENCE))
    own = secrets.token_hex(8)
    if rank:
        store.set(f"greeting {rank}", own)
        meeting = store.get(f"meeting for {own}").decode()
        store.set(f"{own} is at {meeting}", "")
        return PrefixStore(meeting, store)
    for other in range(1, size):
        while not store.check([f"{(name := store.get(f'greeting {other}').decode())} is at {own}"]):
            store.set(f"meeting for {name}", own)
            time.sleep(POLL_SECONDS)
    return PrefixStore(own, store)
