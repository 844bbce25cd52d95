"""Every recipe of CONTRIBUTING.md, followed on a copy of the repository: it changes as many files as it says, and works."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from conftest import ARTIFACTS, DATA, image_path, tiny_config
from processes import GIVE_UP_SECONDS
from training.runs import DEEPSPEED, make_items

ROOT = Path(__file__).parents[1]
COUNTS = {"One file changes": 1, "Two files change": 2, "Three files change": 3}
STEP = re.compile(
    r"^(New file|Import in|Row of `(\w+)` in) `([^`]+)`:\n\n```python\n(.*?)```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Step:
    kind: str
    table: str
    path: str
    code: str


def read_recipes() -> dict[str, str]:
    _, *sections = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n### ")
    return dict(section.split("\n", 1) for section in sections)


RECIPES = read_recipes()


def steps_of(title: str) -> list[Step]:
    return [Step(*found) for found in STEP.findall(RECIPES[title])]


def end_of_table(tree: ast.Module, name: str) -> int:
    """The line of a module in which the last row of a table ends."""
    for node in tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name) and target.id == name:
            table = next(part for part in ast.walk(node.value) if isinstance(part, ast.Dict | ast.Tuple))
            return (table.values if isinstance(table, ast.Dict) else table.elts)[-1].end_lineno
    raise AssertionError(f"no table {name}")


def follow(title: str, copy: Path) -> None:
    for step in steps_of(title):
        path = copy / step.path
        if step.kind == "New file":
            assert not path.exists()
            path.write_text(step.code, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        tree, lines = ast.parse(text), text.splitlines()
        imports = [node.end_lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        place = end_of_table(tree, step.table) if step.table else imports[-1]
        path.write_text("\n".join([*lines[:place], step.code.rstrip("\n"), *lines[place:]]) + "\n", encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """What the recipes change, with the programs that use it."""
    for part in ("src", "build_datasets", "experiments/_base_"):
        shutil.copytree(ROOT / part, tmp_path / "copy" / part)
    return tmp_path / "copy"


def run(copy: Path, *arguments, status: int = 0) -> str:
    """Run Python on the copy, not on what is installed; what it prints."""
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
    )
    assert process.returncode == status, process.stderr
    return process.stdout + process.stderr


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_says_how_many_files_change(title):
    said = [count for words, count in COUNTS.items() if RECIPES[title].lstrip().startswith(words)]
    assert said == [len({step.path for step in steps_of(title)})]
    assert len(steps_of(title)) == RECIPES[title].count("```python")


@pytest.mark.slow
def test_a_new_distortion_is_drawn_asked_about_and_evaluated(copy, tmp_path):
    follow("Add a distortion class", copy)
    photos, metas, items, split = (tmp_path / name for name in ("photos", "metas", "items.json", "split.json"))
    photos.mkdir()
    shutil.copy(image_path("s16_dist_128x96.png"), photos / "one.png")
    split.write_text('{"train": [], "test": ["one.png"]}')
    folders = ("--reference_dir", photos, "--distortion_dir", tmp_path / "pictures", "--meta_dir", metas)
    run(copy, "-m", "depictqa.cli", "data", "distort", *folders, "-d", "haze", "-p", "1", "--workers", "1")
    brief = copy / "build_datasets/scripts/gen_json_A_brief_sd.py"
    run(copy, brief, "--split_json", split, "--meta_dir", metas, "--save_path", items)
    (item,) = json.loads(items.read_text())
    assert (item["distortion_class"], item["distortion_name"], item["answer"]) == ("haze", "haze_uniform", "Haze")
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{"id": item["id"], "text": "Haze", "confidence": 0.5}]))
    printed = run(copy, "-m", "depictqa.cli", "eval", "single-distortion", "--pred_path", answers, "--gt_path", items)
    assert "1 Samples, Accuracy: 1.0" in printed


@pytest.mark.slow
def test_a_new_task_is_asked_by_its_name_and_takes_no_other_ones_place(copy, tmp_path):
    follow("Add a task", copy)
    config = tiny_config(
        tmp_path, data={"num_workers": 0, "root_dir": str(DATA / "images")}, infer={"max_new_tokens": 3}
    )
    (tmp_path / "meta.json").write_text(json.dumps([{"id": 1, "image_A": "s10_84x84.png", "query": "How is it?"}]))
    asked = ("--meta_path", tmp_path / "meta.json", "--dataset_name", "photos", "--task_name", "aesthetics_A")
    run(copy, "src/infer.py", "--cfg", config, *asked, "--batch_size", "1")
    (row,) = json.loads((tmp_path / "answers" / "aesthetics_A_photos.json").read_text())
    assert row["id"] == 1 and row["output_id"] is None
    followed = "from depictqa.prompts import task_of; print(task_of(['image_A']).name)"
    assert run(copy, "-c", followed) == "quality_single_A_noref\n"
    prompts = copy / "src/depictqa/prompts.py"
    prompts.write_text(prompts.read_text(encoding="utf-8").replace(", by_name=True),", "),"), encoding="utf-8")
    message = "tasks quality_single_A_noref and aesthetics_A take the same images: one needs by_name=True"
    assert message in run(copy, "-c", followed, status=1)


@pytest.fixture
def dinov2(tmp_path):
    """A Hugging Face folder of a DINOv2 with random weights, patches of 14."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path / "dinov2")
    return tmp_path / "dinov2"


@pytest.fixture
def qwen3(tmp_path):
    """A Hugging Face folder of a Qwen3 with random weights and the tokenizer of the tests' tiny Llama."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = shutil.copytree(
        ARTIFACTS / "llm_tiny", tmp_path / "qwen3", ignore=shutil.ignore_patterns("*.safetensors", "*.bin*")
    )
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    Qwen3ForCausalLM(Qwen3Config(**sizes, num_key_value_heads=2, vocab_size=vocab_size)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_new_encoder_and_a_new_llm_family_learn_and_answer_by_config_alone(copy, tmp_path, dinov2, qwen3):
    items = make_items(4)
    (tmp_path / "train.json").write_text(json.dumps(items))
    (tmp_path / "meta.json").write_text(
        json.dumps([items[1] | {"query": "How is it?", "image_ref": None, "image_B": None}])
    )
    config = tiny_config(
        tmp_path,
        model={"vision_encoder_path": str(dinov2), "llm_path": str(qwen3), "delta_path": None},
        data={
            "num_workers": 0,
            "root_dir": str(DATA / "images"),
            "train": {"meta_paths_weights": [[str(tmp_path / "train.json"), 1]]},
        },
        infer={"max_new_tokens": 3},
        train={"save_dir": str(tmp_path / "ckpt")},
        deepspeed=DEEPSPEED,
    )
    train = ("src/train.py", "--cfg", config)
    assert "expected a vision encoder of type clip" in run(copy, *train, status=2)
    follow("Add a vision encoder", copy)
    assert "expected a model of type llama" in run(copy, *train, status=2)
    follow("Add an LLM family", copy)
    run(copy, *train)
    asked = ("--meta_path", tmp_path / "meta.json", "--dataset_name", "photos", "--task_name", "quality_single_A_noref")
    set_delta = ("--set", f"model.delta_path={tmp_path / 'ckpt' / 'ckpt.pt'}")
    run(copy, "src/infer.py", "--cfg", config, *asked, "--batch_size", "1", *set_delta)
    (row,) = json.loads((tmp_path / "answers" / "quality_single_A_noref_photos.json").read_text())
    assert row["id"] == items[1]["id"] and row["finish_reason"] in ("stop", "length")
