"""Options of training: validation, a frozen LLM, gradient checkpointing, curves."""

import json

import pytest
import torch

from conftest import ARTIFACTS, DATA
from depictqa.config import load_config, parse_overrides
from depictqa.data.images import open_image
from depictqa.errors import InputError
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.sampling import Sampling
from depictqa.model.build import build_model, build_preprocessor
from depictqa.prompts import TASKS
from depictqa.training.curves import draw_curves
from training.runs import launch, make_items, make_run, metrics_of, torchrun, train

pytestmark = pytest.mark.slow


def weights(path) -> dict:
    return torch.load(path, weights_only=True)


def validation_of(config) -> list[dict]:
    return [json.loads(line) for line in (config.parent / "log" / "validation.jsonl").read_text().splitlines()]


def with_validation(folder, size: int, every: int, **sections):
    """A run of four updates that validates on seven other conversations."""
    config = make_run(folder, make_items(16), **sections)
    (folder / "val.json").write_text(json.dumps(make_items(25)[18:]), encoding="utf-8")
    options = [
        f"train.val_meta_paths=[{folder / 'val.json'}]",
        f"train.val_freq_step={every}",
        f"deepspeed.train_micro_batch_size_per_gpu={size}",
    ]
    return config, options


def test_validation_counts_every_sample_once_whatever_the_batches(tmp_path):
    rows = {}
    for name, size, processes in (("one", 4, 0), ("two", 2, 2)):
        config, options = with_validation(tmp_path / name, size, every=3)
        options.append("model.lora={lora_dropout: 0.0}")
        launch(config, "--set", *options, launcher=torchrun(processes)) if processes else train(config, *options)
        rows[name] = validation_of(config)
    assert [row["step"] for row in rows["one"]] == [2]
    assert rows["one"][0].keys() >= {"loss", "acc", "exact", "loss/quality_compare", "exact/description"}
    for row, other in zip(rows["one"], rows["two"], strict=True):
        assert row == pytest.approx(other, rel=1e-4)


def test_validation_scores_generated_answers_as_the_evaluation_does(tmp_path):
    """The truths are what the untrained model answers, but for one; a learning rate of nearly 0 leaves it so."""
    config, options = with_validation(tmp_path / "first", 2, every=2)
    options += ["infer.max_new_tokens=4", "train.val_metric=rating", "deepspeed.scheduler.params.warmup_max_lr=1e-8"]
    loaded = load_config(config, parse_overrides(options))
    model, preprocess = build_model(loaded, torch.device("cpu"), torch.float32), build_preprocessor(loaded)
    items = json.loads((tmp_path / "first" / "val.json").read_text(encoding="utf-8"))
    for item in items:
        task = TASKS[item["task_type"]]
        images = [preprocess(open_image(DATA / "images" / item[field])) for field in task.fields]
        question = Question(task, images, item["conversations"][0]["value"])
        (assessment,) = Assessor(model).assess([question], Sampling(max_new_tokens=4))
        item["conversations"][1]["value"] = assessment.answer.text
    items[0]["conversations"][1]["value"] = "another"
    (tmp_path / "first" / "val.json").write_text(json.dumps(items), encoding="utf-8")
    train(config, *options)
    for row in validation_of(config):
        assert row["generated"] == pytest.approx(6 / 7)
        assert row[f"generated/{items[0]['task_type']}"] == pytest.approx(2 / 3)
        assert row[f"generated/{items[1]['task_type']}"] == 1
    with pytest.raises(InputError, match="train.val_metric: .* expected null with deepspeed.zero_optimization.stage 3"):
        train(config, *options, "deepspeed.zero_optimization.stage=3")


def test_validation_changes_no_update(tmp_path):
    config, options = with_validation(tmp_path / "validated", 2, every=2)
    train(config, *options)
    plain = make_run(tmp_path / "plain", make_items(16))
    train(plain)
    assert len(validation_of(config)) == 4
    assert metrics_of(config) == metrics_of(plain)


def test_mistakes_in_validation_metas_are_named(tmp_path):
    config, options = with_validation(tmp_path, 2, every=2)
    with pytest.raises(InputError, match="train.val_meta_paths: 1 meta files do not exist: .*none.json"):
        train(config, "train.val_meta_paths=[none.json]")
    with pytest.raises(InputError, match="train.val_freq_step: expected a whole number >= 1"):
        train(config, *options, "train.val_freq_step=0")


@pytest.mark.parametrize("stage", [0, 1])
def test_a_frozen_llm_stays_and_is_in_every_delta_also_after_a_resume(tmp_path, stage):
    config = make_run(tmp_path, make_items(16), train={"epochs": 2, "save_freq_step": 4})
    options = ["train.tune_llm=false", f"deepspeed.zero_optimization.stage={stage}"]
    train(config, *options)
    whole = metrics_of(config), weights(tmp_path / "ckpt" / "ckpt.pt")
    before = weights(ARTIFACTS / "delta" / "ckpt.pt")
    assert whole[1].keys() == before.keys()
    for key, tensor in whole[1].items():
        assert torch.equal(tensor, before[key]) == key.startswith("llm."), key
    (first, _) = sorted((tmp_path / "ckpt" / "state").iterdir())
    train(config, *options, resume=str(first))
    assert metrics_of(config) == whole[0]
    assert all(torch.equal(tensor, whole[1][key]) for key, tensor in weights(tmp_path / "ckpt" / "ckpt.pt").items())


def test_gradient_checkpointing_changes_no_number(tmp_path):
    curves = []
    for name, on in (("stored", "false"), ("twice", "true")):
        config = make_run(tmp_path / name)
        train(config, f"train.gradient_checkpointing={on}")
        curves.append(metrics_of(config))
    assert curves[0] == curves[1]


def test_curves_are_drawn(tmp_path):
    config = make_run(tmp_path)
    train(config)
    picture = tmp_path / "log" / "curves.png"
    picture.unlink()
    assert draw_curves(tmp_path / "log") == picture and picture.stat().st_size > 10_000
    with pytest.raises(InputError, match="metrics.jsonl: no such file"):
        draw_curves(tmp_path)
