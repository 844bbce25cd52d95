"""SIGTERM, as a scheduler sends it: the run finishes its update, saves its state and ends with code 143."""

import signal
import sys
import threading

import torch
from torch import distributed

EXIT_CODE = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended


class StopSignal:
    """Notes SIGTERM while it is entered; a second one ends the process at once."""

    def __init__(self, device: torch.device):
        self._asked = torch.zeros(1, device=device)
        self._noted = False
        self._before = None

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # the only one that may
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_) -> None:
        if self._noted:
            sys.exit(EXIT_CODE)
        self._noted = True

    def anywhere(self) -> bool:
        """Whether any rank was told to stop. Every rank calls this, and all get the same answer."""
        self._asked.fill_(float(self._noted))
        distributed.all_reduce(self._asked, op=distributed.ReduceOp.MAX)
        return bool(self._asked.item())
