"""Pictures that cannot be read: their samples are left out of the mean, counted alike on every rank, and the run goes on."""

import json
import shutil

import pytest
import torch

from conftest import ARTIFACTS, DATA
from depictqa.errors import InputError
from training.killed import kill_after
from training.runs import PICTURES, launch, make_items, make_run, metrics_of, torchrun, train

pytestmark = pytest.mark.slow


def make_broken(folder, count: int, *numbers: int, **sections):
    """A run on `count` conversations; those of these numbers are about a picture that is cut short."""
    folder.mkdir(parents=True)
    (folder / "cut.png").write_bytes(b"\x89PNG")
    items = make_items(count)
    for number in numbers:
        items[number]["image" if "image" in items[number] else "image_A"] = str(folder / "cut.png")
    return make_run(folder, items, **sections)


def lines_of(config) -> list[dict]:
    return [
        json.loads(line) for line in (config.parent / "log" / "broken.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def weights(config) -> dict:
    return torch.load(config.parent / "ckpt" / "ckpt.pt", weights_only=True)


def by_gradient_descent(micro: int, steps: int, **more) -> dict:
    """One update whose change of the weights is the gradient."""
    return {
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": steps,
        "gradient_clipping": 0.0,
        "optimizer": {"type": "SGD", "params": {"lr": 1.0}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 1.0, "warmup_max_lr": 1.0}},
        **more,
    }


WITHOUT_DROPOUT = "model.lora={lora_dropout: 0.0}"


@pytest.mark.parametrize(
    "micro, steps, processes, stage",
    [(4, 2, 0, 0), (1, 8, 0, 0), (2, 2, 2, 0), pytest.param(1, 4, 2, 3, id="ZeRO 3")],
)
def test_an_update_is_the_mean_over_the_samples_that_are_left(tmp_path, micro, steps, processes, stage):
    """Eight samples, the last three broken, against one batch of the first five. Cut into single samples, whole passes have
    none; with two processes, one has more than the other."""
    five = make_run(tmp_path / "five", make_items(5), deepspeed=by_gradient_descent(5, 1))
    train(five, WITHOUT_DROPOUT)
    zero = {"zero_optimization": {"stage": stage}, "zero_allow_untested_optimizer": True}
    eight = make_broken(tmp_path / "eight", 8, 5, 6, 7, deepspeed=by_gradient_descent(micro, steps, **zero))
    options = [WITHOUT_DROPOUT, "train.max_broken=0.375"]
    launch(eight, "--set", *options, launcher=torchrun(processes)) if processes else train(eight, *options)
    (expected,), (metrics,) = metrics_of(five), metrics_of(eight)
    assert (expected["broken"], metrics["broken"]) == (0, 3)
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-5) and metrics["acc"] == expected["acc"]
    before, expected, found = (
        torch.load(ARTIFACTS / "delta" / "ckpt.pt", weights_only=True),
        weights(five),
        weights(eight),
    )
    for key, start in before.items():
        gradient = expected[key] - start
        assert (found[key] - expected[key]).norm() <= 1e-5 * gradient.norm() + 1e-7 * start.norm(), key


def test_each_is_named_in_a_line_and_in_a_file(tmp_path):
    config = make_broken(tmp_path / "run", 16, 3, data={"num_workers": 2})
    output = launch(config, "--set", "train.epochs=2", "train.max_broken=0.0625")
    cut = str(config.parent / "cut.png")
    assert output.count(f"sample meta.json#3 is left out: {cut}: not a readable image") == 2
    rows = lines_of(config)
    assert [(row["id"], row["file"], row["epoch"], row["set"]) for row in rows] == [
        ("meta.json#3", cut, epoch, "training") for epoch in (1, 2)
    ]
    first = rows[0]["step"]
    assert [row["broken"] for row in metrics_of(config)] == [int(row["step"] >= first) for row in metrics_of(config)]


def test_an_update_without_any_sample_has_no_loss_and_the_run_goes_on(tmp_path):
    deepspeed = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    config = make_broken(tmp_path / "run", 4, 2, deepspeed=deepspeed)
    train(config, "train.max_broken=0.25")
    losses = {row["step"]: row["loss"] for row in metrics_of(config)}
    (line,) = lines_of(config)
    assert [step for step, loss in losses.items() if loss is None] == [line["step"]]
    assert all(tensor.isfinite().all() for tensor in weights(config).values())


@pytest.mark.parametrize("stage", [0, 1])
def test_a_run_that_is_killed_and_continued_is_the_straight_one(tmp_path, stage):
    """Two are broken; one or both of them are known when the run is killed."""
    sections = {"train": {"epochs": 3, "save_freq_step": 4, "max_broken": 0.125}}
    sections["deepspeed"] = {"zero_optimization": {"stage": stage}}
    straight, killed = (make_broken(tmp_path / name, 16, 3, 10, **sections) for name in ("straight", "killed"))
    train(straight)
    assert metrics_of(straight)[-1]["broken"] == 2
    kill_after(killed, step=7)
    assert "continues after step 6 of 12" in train(killed, resume="auto")
    assert metrics_of(killed) == metrics_of(straight)
    expected, found = weights(straight), weights(killed)
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    known = [{key: row[key] for key in ("step", "set", "index", "epoch", "id")} for row in lines_of(straight)]
    assert [{key: row[key] for key in known[0]} for row in lines_of(killed)] == known and len(known) == 6


def stopped(folder, *overrides: str, epochs: int = 3):
    """A run whose second broken sample is one too many, stopped after its first states."""
    config = make_broken(folder, 16, 3, 10, train={"epochs": epochs, "save_freq_step": 2, "max_broken": 0.0625})
    output = launch(config, code=2)
    return config, output


def test_beyond_the_limit_it_stops_and_the_advice_works(tmp_path):
    config, output = stopped(tmp_path / "run")
    line = output.splitlines()[-1]
    listed = config.parent / "log" / "broken.jsonl"
    assert line.startswith(
        "error: 2 of 16 training samples have a picture that cannot be read, more than train.max_broken=0.0625"
    )
    assert f"Replace the files listed in {listed}, or raise train.max_broken, then continue with --resume auto" in line
    assert "Traceback" not in output and {row["id"] for row in lines_of(config)} == {"meta.json#3", "meta.json#10"}
    before = len(metrics_of(config))
    assert before < 4, "the first epoch"
    for file in {row["file"] for row in lines_of(config)}:
        shutil.copy(DATA / "images" / PICTURES[0], file)
    output = train(config, resume="auto")
    assert f"continues after step {before} of 12" in output or not before
    assert [row["step"] for row in metrics_of(config)] == list(range(1, 13))
    assert metrics_of(config)[-1]["broken"] == 0


def test_the_other_advice_works_too(tmp_path):
    config, _ = stopped(tmp_path / "run")
    train(config, "train.max_broken=0.125", resume="auto")
    assert [row["broken"] for row in metrics_of(config)][-1] == 2


def test_a_picture_that_was_removed_is_one_more_that_cannot_be_read(tmp_path):
    config = make_broken(tmp_path / "run", 16, 3, train={"epochs": 3, "save_freq_step": 4, "max_broken": 0.0625})
    kill_after(config, step=7)
    (config.parent / "cut.png").unlink()
    with pytest.raises(InputError, match="1 images do not exist: .*cut.png"):
        train(config, "train.max_broken=0", resume="auto")
    assert "1 of 16 samples are left out, 1 images do not exist" in train(config, resume="auto")
    assert metrics_of(config)[-1]["broken"] == 1


def test_zero_stops_at_the_first_and_nonsense_is_refused(tmp_path):
    config = make_broken(tmp_path / "run", 8, 3)
    with pytest.raises(
        InputError, match="1 of 8 training samples have a picture that cannot be read, .*meta.json#3 .*cut.png"
    ):
        train(config, "train.max_broken=0")
    output = launch(config, "--set", "train.max_broken=0", launcher=torchrun(2), code=1)
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "1 of 8 training samples have a picture that cannot be read" in line
    for value in ("1.5", "-0.1", ".nan"):
        with pytest.raises(InputError, match="config.yaml: .*train.max_broken"):
            train(config, f"train.max_broken={value}")


@pytest.mark.parametrize("processes", [0, 2])
def test_validation_leaves_them_out_too(tmp_path, processes):
    """Of seven conversations one is broken: the means, and the share of right answers, are those of the other six."""
    options = ["train.val_freq_step=1", "train.val_metric=rating", "infer.max_new_tokens=2", WITHOUT_DROPOUT]
    options += ["train.max_broken=0.15", f"deepspeed.gradient_accumulation_steps={1 if processes else 2}"]
    six, seven = (make_broken(tmp_path / name, 8) for name in ("six", "seven"))
    items = make_items(15)[8:]
    six.with_name("val.json").write_text(json.dumps(items[:2] + items[3:]), encoding="utf-8")
    items[2]["image_A"] = str(seven.with_name("cut.png"))
    seven.with_name("val.json").write_text(json.dumps(items), encoding="utf-8")
    six_options, seven_options = (
        [*options, f"train.val_meta_paths=[{config.with_name('val.json')}]"] for config in (six, seven)
    )
    train(six, *six_options, "deepspeed.gradient_accumulation_steps=2")
    launch(seven, "--set", *seven_options, launcher=torchrun(processes)) if processes else train(seven, *seven_options)
    expected, found = (
        [json.loads(line) for line in (config.parent / "log" / "validation.jsonl").read_text().splitlines()]
        for config in (six, seven)
    )
    assert [row["step"] for row in found] == [1, 2]
    for row, other in zip(found, expected, strict=True):
        assert (row.pop("broken"), other.pop("broken")) == (1, 0)
        assert row == pytest.approx(other, rel=1e-4)
    assert [(row["id"], row["set"]) for row in lines_of(seven)] == [("val.json#10", "validation")] * 2
    if not processes:
        with pytest.raises(InputError, match="1 of 7 validation samples have a picture that cannot be read"):
            train(seven, *seven_options, "train.max_broken=0.1")
