"""States on disk are whole or not there, whenever the process that writes them is killed."""

import itertools
import os
import random
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from depictqa.errors import InputError
from depictqa.training import checkpoint

ALONE = SimpleNamespace(get_rank=lambda: 0, barrier=lambda: None)
KILLS = 200


class Engine:
    """Writes what DeepSpeed would: files of some size, here all the byte `step`."""

    def __init__(self):
        self.step = 0

    def save_checkpoint(self, folder, tag, **_):
        path = os.path.join(folder, tag)
        os.makedirs(path)
        for name in ("model.pt", "optimizer.pt"):
            with open(os.path.join(path, name), "wb") as file:
                for _ in range(20):
                    file.write(bytes([self.step % 256]) * 5000)
                    file.flush()


def write_delta(engine, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"delta")


def save(engine, folder, step, keep_last=2):
    engine.step = step
    checkpoint.save_state(engine, folder, step, total_steps=10**6, settings={"seed": "1"}, keep_last=keep_last)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(checkpoint, "distributed", ALONE)
    monkeypatch.setattr(checkpoint, "save_trained", write_delta)


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 100):
        save(Engine(), tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step00000010", "step00000100"]
    state = checkpoint.find_state(tmp_path)
    assert (state.step, state.total_steps, state.settings, state.finished) == (100, 10**6, {"seed": "1"}, False)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink()])
def test_a_broken_state_is_passed_over_with_a_line(tmp_path, harm, capsys):
    for step in (5, 10):
        save(Engine(), tmp_path, step)
    harm(tmp_path / "step00000010" / checkpoint.TAG / "model.pt")
    assert checkpoint.find_state(tmp_path).step == 5
    assert "model.pt has changed since it was written" in capsys.readouterr().out
    with pytest.raises(InputError, match="this training state is broken"):
        checkpoint.read_state(tmp_path / "step00000010")


def test_there_may_be_none(tmp_path):
    assert checkpoint.find_state(tmp_path / "absent") is None


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("content", [{"module": RunsCode()}, RunsCode(), {"a": [torch.zeros(2), (1, RunsCode())]}])
def test_a_strangers_state_runs_no_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "model.pt")
    with pytest.raises(InputError, match="model.pt: this state holds more than tensors and is not loaded .*mkdir"):
        checkpoint._load_without_code("model.pt")
    assert not os.path.exists("ran")


def test_a_loss_scale_is_part_of_a_state(tmp_path):
    """As fp16 on a GPU has it; the other classes of a state are met where a run continues."""
    from deepspeed.runtime.fp16.loss_scaler import CreateLossScaler

    dynamic = {
        "init_scale": 256,
        "scale_window": 7,
        "min_scale": 1,
        "delayed_shift": 2,
        "consecutive_hysteresis": False,
    }
    scaler = CreateLossScaler(torch.float16, 0.0, True, dynamic)
    scaler.cur_scale = 128
    torch.save({"loss_scaler": scaler, "dtype": torch.float16}, tmp_path / "model.pt")
    loaded = checkpoint._load_without_code(tmp_path / "model.pt")["loss_scaler"]
    assert type(loaded) is type(scaler) and vars(loaded) == vars(scaler)


def kill_before_call(number: int) -> None:
    """From now on, kill -9 this process before the `number`-th call of any function, of Python or of C."""
    calls = itertools.count(1)

    def profile(frame, event, argument):
        if event in ("call", "c_call") and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)


def calls_of(function) -> int:
    """How many functions `function()` calls."""
    calls = itertools.count()
    sys.setprofile(lambda frame, event, argument: event in ("call", "c_call") and next(calls))
    function()
    sys.setprofile(None)
    return next(calls)


@pytest.mark.slow
def test_a_save_can_be_killed_at_any_moment(tmp_path):
    """200 processes save step after step until a kill -9 before one of the calls of functions that a save makes: to
    write, to flush, to rename ... Each goes on from what the last one left."""
    newest, done, rng = 3, tmp_path / "done", random.Random(0)
    for step in range(1, newest + 1):
        calls = calls_of(lambda step=step: save(Engine(), tmp_path, step))
    done.write_text(str(newest))
    for _ in range(KILLS):
        number = rng.randint(1, 2 * calls)  # within two saves: the first is over what the last kill left
        child = os.fork()
        if child == 0:
            kill_before_call(number)
            for step in itertools.count(newest + 1):
                save(Engine(), tmp_path, step)
                done.write_text(str(step))
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        state = checkpoint.find_state(tmp_path)
        last_done = int(done.read_text() or 0) if done.exists() else 0  # the file may be cut: then it says less
        if last_done:
            assert state is not None and state.step >= last_done
        if state is not None:
            assert state.step >= newest
            content = (state.path / checkpoint.TAG / "model.pt").read_bytes()
            assert content == bytes([state.step % 256]) * 100_000
            newest = state.step
    assert newest > KILLS / 2, "too few saves for the kills to tell anything"
