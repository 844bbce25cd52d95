"""Imports point one way, so that every part can be read, tested and replaced without those above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = {
    "errors",
    "prompts",
    "config",
    "answers",
    "chat_api",
    "environment",
    "files",
    "ledger",
    "inference.calibration",
}
LIGHT = {"evaluation", "serve"}  # run where no torch is installed; serve.worker, the one that holds a model, does not
MAY_IMPORT = {  # besides leaves
    **{leaf: set() for leaf in LEAVES},
    "data": {"data"},
    "model": {"data", "model"},
    "evaluation": {"evaluation"},
    "training": {"data", "evaluation", "inference", "model", "training"},
    "inference": {"data", "model", "inference"},
    "api": {"data", "evaluation", "inference", "metrics", "model", "results"},
    "metrics": {"api", "data"},
    "doctor": set(),
    "results": set(),
    "commands": {"inference", "training"},
    "cli": {"api", "doctor"},
    "": {"api", "results"},
    "export": {"hf", "model"},
    "harnesses": {"api", "harnesses"},
    "hf": {"data", "hf", "inference", "model"},
    "serve": {"serve"},
    "serve.worker": {"data", "model", "inference", "serve", "serve.worker"},
}
WITHIN = ("serve.worker", "inference.calibration")  # modules with a row of their own
SOURCES = sorted((ROOT / "src" / "depictqa").rglob("*.py"))
BUILDERS = sorted((ROOT / "build_datasets").rglob("*.py"))


def module_of(path: Path) -> str:
    """`src/depictqa/model/clip.py` -> `model.clip`."""
    return (
        ".".join(path.relative_to(ROOT / "src" / "depictqa").with_suffix("").parts).removesuffix("__init__").strip(".")
    )


def part_of(module: str) -> str:
    """The row of the table that a module of depictqa belongs to."""
    return next((part for part in WITHIN if module.startswith(part)), module.split(".")[0])


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by its full name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def of_depictqa(names: set[str]) -> set[str]:
    return {part_of(name.removeprefix("depictqa.")) for name in names if name.startswith("depictqa.")}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_direction(path):
    part = part_of(module_of(path))
    assert of_depictqa(imported(path)) <= LEAVES | MAY_IMPORT[part]


def test_depictqa_does_not_know_the_dataset_builders():
    for path in SOURCES:
        tops = {name.split(".")[0] for name in imported(path)}
        assert "build_datasets" not in tops, path


def test_dataset_builders_use_leaves_and_the_reading_of_pictures_and_opinions_only():
    """But for the programs that train and judge Nano, which need the whole model."""
    programs = ("scenes.py", "train_encoder.py", "train_delta.py", "evaluate.py")
    trainers = {ROOT / "build_datasets" / "nano" / name for name in programs}
    assert trainers <= set(BUILDERS)
    allowed = ("depictqa.data.images", "depictqa.data.opinions")
    found = {}
    for path in set(BUILDERS) - trainers:
        found[path] = of_depictqa({name for name in imported(path) if not name.startswith(allowed)})
    assert any(found.values())
    assert {path: parts for path, parts in found.items() if not parts <= LEAVES} == {}


@pytest.mark.slow
def test_light_parts_load_no_torch():
    modules = [module_of(path) for path in SOURCES]
    light = [name for name in modules if part_of(name) in LEAVES | LIGHT and not name.endswith("__main__")]
    assert "evaluation.accuracy" in light and "model.clip" not in light
    code = f"import sys, {', '.join(f'depictqa.{name}' for name in light)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)
