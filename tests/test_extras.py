"""Without an extra's packages everything else works, and what needs them names the extra in one line.

An environment that lacks them is simulated: a process cannot import a package unless `pip install depictqa[EXTRAS]` would
have brought it.
"""

import ast
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import image_path, tiny_config
from depictqa.errors import EXTRAS
from training.runs import make_run

ROOT = Path(__file__).parents[1]
TOPS = {  # module -> distributions that have it
    top: {canonicalize_name(name) for name in names} for top, names in metadata.packages_distributions().items()
}
LACKING = """
import sys
from importlib.machinery import PathFinder
from packaging.utils import canonicalize_name
class Lacking(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else super().find_spec(name, path, target)
    @classmethod
    def find_distributions(cls, *context):
        return (one for one in super().find_distributions(*context) if canonicalize_name(one.name) in BROUGHT)
sys.meta_path[:] = [Lacking if finder is PathFinder else finder for finder in sys.meta_path]
"""


def brought_by(*extras: str) -> set[str]:
    """Every distribution that `pip install depictqa[extras]` installs."""
    found: set[tuple[str, str]] = set()  # name, extra
    waiting = {("depictqa", extra) for extra in ("", *extras)}
    while waiting:
        name, extra = waiting.pop()
        found.add((name, extra))
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # another platform's
            continue
        for requirement in map(Requirement, texts):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                asked = {(canonicalize_name(requirement.name), one) for one in ("", *requirement.extras)}
                waiting |= asked - found
    return {name for name, _ in found}


def run(code: str, extras: tuple[str, ...]) -> subprocess.CompletedProcess:
    brought = brought_by(*extras)
    absent = {top for top, names in TOPS.items() if not names & brought}
    assert "pytest" in absent and "torch" not in absent
    code = f"ABSENT, BROUGHT = {absent!r}, {brought!r}\n{LACKING}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, cwd="/")


def depictqa(arguments: list[str], *extras: str) -> subprocess.CompletedProcess:
    """The command `depictqa`, where only these extras are installed."""
    code = f"sys.argv = {['depictqa', *arguments]!r}\nfrom depictqa.cli import main\nmain()"
    return run(code, extras)


def test_every_package_of_an_extra_that_is_imported_is_known():
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "build_datasets").rglob("*.py")]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {module.split(".")[0] for module in modules} & TOPS.keys()
    base = brought_by()
    of_extras = {top for top in imported if not TOPS[top] & base}
    assert of_extras - {"distributed"} == EXTRAS.keys()  # a Dask cluster is the user's own
    for module, extra in EXTRAS.items():
        assert TOPS[module] & brought_by(extra), f"{module} is not brought by {extra}"


@pytest.mark.slow
def test_without_extras_the_library_answers(tmp_path):
    config = str(tiny_config(tmp_path, infer={"max_new_tokens": 3}))
    process = depictqa(["describe", str(image_path("s10_84x84.png")), "--model", config, "--json"])
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["task"] == "quality_single_A_noref"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["--help", "describe --help", "doctor", "infer --help", "config --help", "eval rating --help"]
)
def test_without_extras_commands_work(command):
    process = depictqa(command.split())
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_doctor_says_which_extras_are_missing():
    shown = depictqa(["doctor"], "serve").stdout
    assert "package   torch" in shown and "pip install 'depictqa[train]'" in shown
    assert "depictqa[data]" in shown and "depictqa[serve]" not in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve controller --help", "serve"),
        ("serve worker --help", "serve"),
        ("serve web --help", "serve"),
        ("data distort --help", "data"),
        ("data rating-pairs --help", "data"),
    ],
)
def test_a_command_names_the_extra_that_it_needs_and_works_with_it_alone(command, extra):
    process = depictqa(command.split())
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith("error: the package ") and process.stderr.count("\n") == 1
    assert process.stderr.endswith(f" is not installed; pip install 'depictqa[{extra}]'\n")
    process = depictqa(command.split(), extra)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_training_names_its_extra(tmp_path):
    process = depictqa(["train", "--cfg", str(make_run(tmp_path))])
    assert process.stderr == "error: the package deepspeed is not installed; pip install 'depictqa[train]'\n"
    assert run("import depictqa.training.program", ("train",)).returncode == 0
