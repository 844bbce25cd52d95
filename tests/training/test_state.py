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
OPTIMIZER = "optimizer.rank0.pt"


class Engine:
    """DeepSpeed's engine below ZeRO 1, as far as a state is concerned: a trained matrix and its Adam.

    Weights and moments hold the number of the last step, at every place.
    """

    global_samples = skipped_steps = 0

    def __init__(self):
        self.module = torch.nn.ModuleDict({"vision_proj": torch.nn.Linear(100, 100, bias=False)})
        self.optimizer = torch.optim.Adam(self.module.parameters())
        self.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(self.optimizer)
        self.global_steps = 0

    def step(self, number: int):
        weight, self.global_steps = self.module["vision_proj"].weight, number
        weight.data.fill_(number)
        moments = {name: torch.full_like(weight.data, number) for name in ("exp_avg", "exp_avg_sq")}
        self.optimizer.state[weight] = {"step": torch.tensor(float(number))} | moments
        self.lr_scheduler.last_epoch = number

    def zero_optimization_stage(self) -> int:
        return 0

    def fp16_enabled(self) -> bool:
        return False


def save(engine, folder, step, keep_last=2):
    engine.step(step)
    checkpoint.save_state(engine, folder, step, total_steps=10**6, settings={"seed": "1"}, keep_last=keep_last)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(checkpoint, "distributed", ALONE)


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
    harm(tmp_path / "step00000010" / OPTIMIZER)
    assert checkpoint.find_state(tmp_path).step == 5
    assert f"{OPTIMIZER} has changed since it was written" in capsys.readouterr().out
    with pytest.raises(InputError, match="this training state is broken"):
        checkpoint.read_state(tmp_path / "step00000010")


def test_there_may_be_none(tmp_path):
    assert checkpoint.find_state(tmp_path / "absent") is None


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("content", [{"weights": RunsCode()}, RunsCode(), {"a": [torch.zeros(2), (1, RunsCode())]}])
def test_a_strangers_state_runs_no_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    save(Engine(), tmp_path, 1)
    torch.save(content, tmp_path / "step00000001" / OPTIMIZER)
    state = checkpoint.State(tmp_path / "step00000001", 1, 2, {}, [])  # its owner wrote the manifest anew
    with pytest.raises(InputError, match=f"{OPTIMIZER}: this state holds more than tensors and is not loaded .*mkdir"):
        checkpoint.load_state(Engine(), state)
    assert not os.path.exists("ran")


def test_a_state_holds_weights_moments_schedule_and_counters(tmp_path):
    saved, loaded = Engine(), Engine()
    save(saved, tmp_path, 7)
    checkpoint.load_state(loaded, checkpoint.read_state(tmp_path / "step00000007"))
    assert (loaded.global_steps, loaded.lr_scheduler.last_epoch) == (7, 7)
    (state,) = loaded.optimizer.state.values()
    assert state["step"] == 7
    for tensor in (loaded.module["vision_proj"].weight, state["exp_avg"], state["exp_avg_sq"]):
        assert (tensor == 7).all()


def test_a_loss_scale_is_part_of_a_state(tmp_path):
    """As fp16 on a GPU has it."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    def engine_with_scale() -> Engine:
        engine = Engine()
        engine.fp16_enabled = lambda: True
        engine.optimizer.loss_scaler = DynamicLossScaler(256, 7, 1, 2, False)
        return engine

    saved, loaded = engine_with_scale(), engine_with_scale()
    changed = {"cur_scale": 128.0, "cur_iter": 5, "last_overflow_iter": 2, "cur_hysteresis": 1}
    vars(saved.optimizer.loss_scaler).update(changed)
    save(saved, tmp_path, 1)
    checkpoint.load_state(loaded, checkpoint.read_state(tmp_path / "step00000001"))
    assert vars(loaded.optimizer.loss_scaler) == vars(saved.optimizer.loss_scaler)


def test_a_state_of_an_earlier_release_is_not_continued(tmp_path):
    """Its optimizer was in files of DeepSpeed's."""
    save(Engine(), tmp_path, 1)
    state = checkpoint.read_state(tmp_path / "step00000001")
    (state.path / OPTIMIZER).unlink()
    with pytest.raises(
        InputError, match=f"an earlier release wrote it; start anew, with model.delta_path={state.path}/"
    ):
        checkpoint.load_state(Engine(), state)


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
            engine = Engine()
            checkpoint.load_state(engine, state)
            assert engine.global_steps == state.step and (engine.module["vision_proj"].weight == state.step).all()
            newest = state.step
    assert newest > KILLS / 2, "too few saves for the kills to tell anything"
