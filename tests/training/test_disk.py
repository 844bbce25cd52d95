"""A full disk ends a run by one line that names the file; what is on the disk is whole, and the run can go on."""

import contextlib
import resource

import pytest

from depictqa.errors import InputError
from depictqa.training.checkpoint import find_state
from depictqa.training.metrics import RunLog
from training.killed import kill_after
from training.runs import make_items, make_run, metrics_of, train


@contextlib.contextmanager
def files_of_at_most(size: int):
    """Writing more bytes to a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_leaves_the_last_one_and_the_run_goes_on(tmp_path):
    """The delta has 0.1 MB, the optimizer's state 0.3 MB."""
    config = make_run(tmp_path, make_items(16), train={"epochs": 2, "save_freq_step": 4})
    kill_after(config, step=3)
    for size, name in ((20_000, "ckpt_epoch1.pt"), (200_000, "optimizer.rank0.pt")):
        with files_of_at_most(size), pytest.raises(InputError, match=f"/{name}: cannot be written") as error:
            train(config, resume="auto")
        assert "Make room there, then continue with --resume auto" in str(error.value) and "\n" not in str(error.value)
        assert find_state(tmp_path / "ckpt" / "state").step == 2
        assert not list((tmp_path / "ckpt").glob(".*.tmp"))
    train(config, resume="auto")
    assert [row["step"] for row in metrics_of(config)] == list(range(1, 9))


def test_a_log_that_finds_no_room_is_named(tmp_path):
    log = RunLog(tmp_path, first_step=0, total_steps=2, print_every=1)
    log._metrics.close()
    log._metrics = open("/dev/full", "w", encoding="utf-8")
    with pytest.raises(InputError) as error:
        log.write({"step": 1, "loss": 1.0, "acc": 0.5, "lr": 1e-4}, samples=4)
    assert str(error.value) == "/dev/full: cannot be written (No space left on device)"
    with pytest.raises(
        InputError, match=f"{tmp_path}: cannot be written"
    ):  # what it could not write, it tries once more
        log.close()


def test_bytes_that_a_lost_power_supply_left_in_a_log_are_dropped(tmp_path):
    lines = [b'{"step": 1, "loss": 1.0}\n', b"\xff\x00\x00\n", b'{"step": 2, "loss": 0.5}\n', b'{"step": 3, "lo']
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines))
    RunLog(tmp_path, first_step=2, total_steps=4, print_every=1).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines[0] + lines[2]
