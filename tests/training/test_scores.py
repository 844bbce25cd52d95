"""A run on opinion scores: the model learns their distributions, mixed with other tasks, and goes on where it was killed."""

import pytest
import torch

from conftest import DATA, tiny_config
from depictqa.config import load_config
from depictqa.data.training import TrainingSet, read_mixture
from depictqa.model.build import build_model, build_preprocessor
from depictqa.prompts import LEVELS, QUESTIONS
from training.killed import kill_after
from training.runs import PICTURES, make_items, make_run, metrics_of, train

pytestmark = pytest.mark.slow
MEANS = (1.6, 2.5, 3.5, 4.6)


def scored_items() -> list[dict]:
    turns = [{"from": "human", "value": QUESTIONS["score"]}, {"from": "gpt", "value": "fair"}]
    return [
        {"task_type": "quality_score_A_noref", "image_A": picture, "conversations": turns, "dataset": "toy"}
        | {"score": {"mean": mean, "std": 0.6, "min": 1, "max": 5}}
        for picture, mean in zip(PICTURES, MEANS, strict=True)
    ]


def test_a_model_that_is_trained_on_soft_labels_answers_with_them(tmp_path):
    config = make_run(tmp_path, scored_items(), train={"epochs": 60}, deepspeed={"gradient_accumulation_steps": 1})
    rate = "deepspeed.scheduler.params.warmup_max_lr=1e-2"
    train(config, rate, "deepspeed.train_micro_batch_size_per_gpu=4", "vision_preprocess.crop_ratio=[1.0, 1.0]")
    rows = metrics_of(config)
    assert rows[-1]["loss/quality_score_A_noref"] < 0.3 < 2 < rows[0]["loss/quality_score_A_noref"]
    trained = load_config(tiny_config(tmp_path), {"model.delta_path": str(tmp_path / "ckpt" / "ckpt.pt")})
    model = build_model(trained, torch.device("cpu"), torch.float32, delta=True).eval()
    items = read_mixture([[str(tmp_path / "meta.json"), 1]], DATA / "images", "metas")
    data = TrainingSet(items, build_preprocessor(trained), seed=None)
    with torch.no_grad():
        logits = model([data[0, index].conversation for index in range(4)]).logits
    first = torch.arange(4) * (len(logits) // 4)  # all answers are equally long
    p = logits[first][:, model.level_ids].softmax(-1)  # [4, 5]
    torch.testing.assert_close(p, torch.tensor([item.opinion.label for item in items]), atol=0.1, rtol=0)
    assert (p @ torch.tensor(list(LEVELS.values()), dtype=p.dtype)).tolist() == pytest.approx(MEANS, abs=0.2)


def test_scores_and_answers_are_learned_side_by_side_and_a_killed_run_goes_on(tmp_path):
    sections = {"train": {"epochs": 2, "save_freq_step": 4, "length_window": 2}}
    straight, killed = (make_run(tmp_path / name, scored_items() + make_items(12), **sections) for name in ("a", "b"))
    train(straight)
    kill_after(killed, 5)
    assert "continues after step 4 of 8" in train(killed, resume="auto")
    assert metrics_of(killed) == metrics_of(straight)
    tasks = {key for row in metrics_of(straight) for key in row if key.startswith("loss/")}
    assert tasks == {
        f"loss/{task}" for task in ("quality_score_A_noref", "quality_compare", "quality_single_A_noref", "description")
    }
