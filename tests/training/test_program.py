"""train.py on a tiny model: what it writes, batches and processes that do not matter, kills, mistakes."""

import hashlib
import json
import os
import signal

import pytest
import torch
import yaml

from conftest import ARTIFACTS, DELTAS, golden
from depictqa.errors import InputError
from processes import GIVE_UP_SECONDS, free_port
from training.runs import interrupt, launch, make_items, make_run, metrics_of, output_of, start, torchrun, train

pytestmark = pytest.mark.slow


def weights(path) -> dict:
    return torch.load(path, weights_only=True)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def without_dropout(config):
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    written["model"]["lora"] = {"lora_dropout": 0.0}
    config.write_text(yaml.safe_dump(written), encoding="utf-8")


@pytest.mark.parametrize("model", DELTAS)
def test_a_run_writes_deltas_curves_and_its_config(tmp_path, model):
    config = make_run(tmp_path, model=model, train={"epochs": 2, "save_freq_step": 5})
    output = train(config, "deepspeed.gradient_accumulation_steps=1")
    ckpt, log = tmp_path / "ckpt", tmp_path / "log"
    names = {"ckpt.pt", "ckpt_epoch1.pt", "ckpt_epoch2.pt", "ckpt_epoch1_step5.pt", "ckpt_epoch2_step5.pt"}
    assert {path.name for path in ckpt.glob("*.pt")} == names
    assert f"training STARTS FROM the delta {ARTIFACTS / DELTAS[model] / 'ckpt.pt'}" in output
    before, after = weights(ARTIFACTS / DELTAS[model] / "ckpt.pt"), weights(ckpt / "ckpt.pt")
    assert before.keys() == after.keys()
    assert all(after[key].shape == before[key].shape and not torch.equal(after[key], before[key]) for key in after)
    rows = [json.loads(line) for line in (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 19))
    assert [row["epoch"] for row in rows] == [1] * 9 + [2] * 9
    assert all(row.keys() >= {"loss", "acc", "lr", "grad_norm", "samples_per_s"} for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    lr = next(case for case in golden("training/warmup_decay_lr.json")["cases"] if case["warmup_num_steps"] == 10)["lr"]
    assert [row["lr"] for row in rows[:10]] == pytest.approx(lr[:10])
    saved = yaml.safe_load((log / "training_args.yaml").read_text(encoding="utf-8"))
    assert saved["train"]["epochs"] == 2 and saved["seed"] == 131
    assert list(log.glob("events.out.tfevents.*"))


def test_training_starts_from_scratch_without_a_delta(tmp_path):
    config = make_run(tmp_path, model="base")
    output = launch(config, "--set", "model.delta_path=./ckpt/ckpt.pt", "--local_rank=0")
    assert "STARTS FROM" not in output
    assert weights(tmp_path / "ckpt" / "ckpt.pt").keys() == weights(ARTIFACTS / "delta" / "ckpt.pt").keys()


def test_how_a_batch_is_cut_does_not_matter(tmp_path):
    """One update by plain gradient descent: the change of the weights is the gradient."""
    runs = []
    for micro, steps, processes in ((1, 8, 0), (4, 2, 0), (8, 1, 0), (2, 2, 2)):
        deepspeed = {
            "train_micro_batch_size_per_gpu": micro,
            "gradient_accumulation_steps": steps,
            "gradient_clipping": 0.0,
            "optimizer": {"type": "SGD", "params": {"lr": 1.0}},
            "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 1.0, "warmup_max_lr": 1.0}},
        }
        config = make_run(tmp_path / f"{micro}x{steps}x{processes}", make_items(8), deepspeed=deepspeed)
        without_dropout(config)
        launch(config, launcher=torchrun(processes)) if processes else train(config)
        runs.append((metrics_of(config)[0], weights(config.parent / "ckpt" / "ckpt.pt"), 1e-5 if processes else 1e-6))
    (metrics, expected, _), *others = runs
    start_from = weights(ARTIFACTS / "delta" / "ckpt.pt")
    for other_metrics, other, tolerance in others:
        assert other_metrics["loss"] == pytest.approx(metrics["loss"], rel=tolerance)
        assert other_metrics["acc"] == metrics["acc"]
        assert other_metrics["grad_norm"] == pytest.approx(metrics["grad_norm"], rel=tolerance)
        for key in expected:
            gradient, other_gradient = expected[key] - start_from[key], other[key] - start_from[key]
            assert (gradient - other_gradient).norm() <= tolerance * gradient.norm() + 1e-7 * expected[key].norm(), key


def kill_after(config, step: int) -> None:
    """Run train.py until a kill -9 in the middle of the gradient accumulation that follows update `step`."""
    code = interrupt(config, "SIGKILL", 2 * step + 2)  # the second of the two passes of that update
    assert code == -signal.SIGKILL and len(metrics_of(config)) == step, output_of(config)


@pytest.mark.parametrize("stage", [0, 1])
def test_40_steps_and_20_steps_a_kill_and_the_rest_are_equal_bit_for_bit(tmp_path, stage):
    sections = {
        "train": {"epochs": 10, "save_freq_step": 6},  # with dropout and random crops
        "deepspeed": {"zero_optimization": {"stage": stage}},
    }
    straight = make_run(tmp_path / "straight", make_items(16), data={"num_workers": 2}, **sections)  # loads otherwise
    killed = make_run(tmp_path / "killed", make_items(16), data={"num_workers": 0}, **sections)
    train(straight)
    assert len(metrics_of(straight)) == 40
    kill_after(killed, 20)
    output = train(killed, resume="auto")
    assert "continues after step" in output
    assert metrics_of(killed) == metrics_of(straight)
    assert_equal(weights(straight.parent / "ckpt" / "ckpt.pt"), weights(killed.parent / "ckpt" / "ckpt.pt"))


@pytest.mark.parametrize("processes", [0, 2])
def test_sigterm_saves_the_state_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, processes):
    sections = {"train": {"epochs": 10, "save_freq_step": None, "save_freq_epoch": None}, "data": {"num_workers": 1}}
    launcher = torchrun(processes) if processes else ()
    stopped, straight = (make_run(tmp_path / name, make_items(16), **sections) for name in ("stopped", "straight"))
    code = interrupt(stopped, "SIGTERM", 8, launcher)
    assert code == 143 if not processes else code != 0
    steps = len(metrics_of(stopped))
    assert f"stopped by SIGTERM after step {steps} of" in output_of(stopped)
    assert [path.name for path in (stopped.parent / "ckpt" / "state").iterdir()] == [f"step{steps:08d}"]
    if processes:  # resuming is the same with any number of them
        return
    train(stopped, resume="auto")
    train(straight)
    assert metrics_of(stopped) == metrics_of(straight) and len(metrics_of(straight)) > steps
    assert_equal(weights(straight.parent / "ckpt" / "ckpt.pt"), weights(stopped.parent / "ckpt" / "ckpt.pt"))


def test_an_unfinished_run_is_neither_overwritten_nor_continued_under_other_settings(tmp_path):
    config = make_run(tmp_path, make_items(16), train={"epochs": 10, "save_freq_step": 2, "keep_last": 3})
    kill_after(config, 8)
    states = sorted((tmp_path / "ckpt" / "state").glob("step*"))
    assert len(states) == 3
    with pytest.raises(InputError, match="of an unfinished run; continue it with --resume auto"):
        train(config)
    with pytest.raises(InputError, match="this run was started with other settings: seed was '131', is '7'"):
        train(config, "seed=7", resume="auto")
    with pytest.raises(InputError, match="no training state; expected a folder like"):
        train(config, resume=str(tmp_path))
    newest = states[-1] / "optimizer.rank0.pt"
    newest.write_bytes(newest.read_bytes()[:-100])  # cut short: the one before it is taken
    output = train(config, resume="auto")
    assert "has changed since it was written" in output and f"from {states[-2]}" in output
    assert "this run is finished; nothing to do" in train(config, resume="auto")


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_no_file_of_a_strangers_state_runs_code(tmp_path, monkeypatch):
    """Each file in turn is one that would make a folder, and the manifest vouches for it."""
    monkeypatch.chdir(tmp_path)
    config = make_run(
        tmp_path, make_items(16), deepspeed={"zero_optimization": {"stage": 1}}, train={"save_freq_step": 4}
    )
    train(config)
    state = tmp_path / "ckpt" / "state" / "step00000002"
    manifest = json.loads((state / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["files"]) == ["delta.pt", "optimizer.rank0.pt"]
    for name in manifest["files"]:
        content = (state / name).read_bytes()
        torch.save({"module": RunsCode()}, state / name)
        digest = hashlib.sha256((state / name).read_bytes()).hexdigest()
        forged = manifest | {"files": manifest["files"] | {name: digest}}
        (state / "manifest.json").write_text(json.dumps(forged), encoding="utf-8")
        with pytest.raises(InputError, match=os.path.basename(name)):
            train(config, resume=str(state))
        (state / name).write_bytes(content)
    assert not (tmp_path / "ran").exists()


def test_a_loss_that_is_not_a_number_stops_before_the_update(tmp_path):
    delta = weights(ARTIFACTS / "delta" / "ckpt.pt")
    delta["vision_proj.bias"][0] = float("nan")
    torch.save(delta, tmp_path / "nan.pt")
    config = make_run(tmp_path, make_items(4))
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "ckpt.pt").write_bytes(b"earlier")
    with pytest.raises(InputError, match="the loss is not finite for the samples") as error:
        train(config, f"model.delta_path={tmp_path / 'nan.pt'}")
    assert all(f"meta.json#{number}" in str(error.value) for number in range(4))
    assert (tmp_path / "ckpt" / "ckpt.pt").read_bytes() == b"earlier"
    assert metrics_of(config) == []


def test_mistakes_are_named_before_the_model_loads(tmp_path):
    config = make_run(tmp_path, [make_items(1)[0] | {"task_type": "x"}])
    output = launch(config, code=2)
    assert output.startswith("error: ") and "unknown task 'x'" in output and output.count("\n") == 1
    with pytest.raises(InputError, match="deepspeed.fp16.enabled: fp16 trains on a GPU only"):
        train(config, "deepspeed.fp16.enabled=true")
    with pytest.raises(InputError, match="model.llm_path: /nowhere does not exist"):
        train(config, "model.llm_path=/nowhere")


def test_two_processes_that_share_optimizer_gradients_or_weights_train_as_one(tmp_path):
    """Losses of eight updates by Adam, dropout off: the ranks draw their own."""
    runs = []
    for stage, processes, steps in ((0, 0, 2), (1, 2, 1), (2, 2, 1), (3, 2, 1)):
        deepspeed = {"zero_optimization": {"stage": stage}, "gradient_accumulation_steps": steps}
        config = make_run(tmp_path / str(stage), make_items(16), train={"epochs": 2}, deepspeed=deepspeed)
        without_dropout(config)
        launch(config, launcher=torchrun(processes)) if processes else train(config)
        runs.append(([row["loss"] for row in metrics_of(config)], weights(config.parent / "ckpt" / "ckpt.pt")))
    (losses, alone), *others = runs
    for shared_losses, shared in others:
        assert shared_losses == pytest.approx(losses, rel=1e-5)
        for key in alone:
            torch.testing.assert_close(shared[key], alone[key], atol=1e-5, rtol=1e-3)


def test_every_launcher_trains_alike(tmp_path):
    """Two torchruns of one process each, as on two machines, and deepspeed's own launcher of two."""
    port = free_port()
    nodes = [torchrun(1, "--nnodes=2", f"--node_rank={rank}", f"--master_port={port}") for rank in range(2)]
    deepspeed = ["-m", "deepspeed.launcher.runner", "--num_gpus=2", f"--master_port={free_port()}"]
    curves = []
    for name, launchers in {"nodes": nodes, "deepspeed": [deepspeed]}.items():
        config = make_run(tmp_path / name, make_items(8))
        started = [start(config, launcher=launcher, output=f"output{rank}") for rank, launcher in enumerate(launchers)]
        codes = [process.wait(GIVE_UP_SECONDS) for process in started]
        assert not any(codes), "".join(path.read_text(encoding="utf-8") for path in config.parent.glob("output*"))
        curves.append(metrics_of(config))
    assert len(curves[0]) == 1 and curves[0] == curves[1]


def test_a_mistake_on_any_rank_is_one_line_and_ends_all(tmp_path):
    items = [item | {"task_type": "x"} for item in make_items(4)]
    process = start(make_run(tmp_path, items), launcher=torchrun(2))
    assert process.wait(GIVE_UP_SECONDS) != 0
    assert output_of(tmp_path / "config.yaml").count("error: ") == 1


def test_bf16_with_split_optimizer_state_trains_on_the_cpu(tmp_path):
    config = make_run(tmp_path, train={"epochs": 4}, deepspeed={"bf16": {"enabled": True}})
    train(config)
    rows = metrics_of(config)
    assert rows[-1]["loss"] < rows[0]["loss"] and all(row["grad_norm"] > 0 for row in rows)
