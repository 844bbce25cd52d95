"""SIGTERM, as a scheduler sends it: the run finishes its update, saves its state and ends with code 143."""

import signal
import sys
import threading

EXIT_CODE = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended


class StopSignal:
    """Notes SIGTERM while it is entered (`noted`); a second one ends the process at once."""

    def __init__(self):
        self.noted = False
        self._before = None

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # the only one that may
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_) -> None:
        if self.noted:
            sys.exit(EXIT_CODE)
        self.noted = True
