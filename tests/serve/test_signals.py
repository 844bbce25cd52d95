"""Signals that arrive while another is handled: no handler takes a lock, so none can wait for itself."""

import ast
import os
import signal
from pathlib import Path

import pytest

from depictqa.serve.server import StopSignals

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))


@pytest.fixture
def handlers_restored():
    before = {number: signal.getsignal(number) for number in StopSignals.NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("second", StopSignals.NUMBERS)
def test_a_second_signal_inside_the_handler_of_the_first(second, handlers_restored, monkeypatch):
    stop, write, raised = StopSignals(), os.write, []

    def interrupted(descriptor: int, data: bytes) -> int:
        if not raised:
            raised.append(second)
            signal.raise_signal(second)  # its handler runs here, within the first one's
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", interrupted)
    signal.raise_signal(signal.SIGTERM)
    stop.wait()
    assert raised == [second]


def test_more_signals_than_the_pipe_holds(handlers_restored):
    stop = StopSignals()
    for _ in range(70_000):
        stop._note()
    stop.wait()


def test_every_handler_of_the_package_is_one_that_was_checked():
    places = {
        f"{path.parent.name}/{path.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("signal.signal", "signal.sigaction")
    }
    assert places == {
        "serve/server.py",
        "training/stop.py",
        "data/training.py",
    }  # a byte to a pipe; an attribute; ignored
