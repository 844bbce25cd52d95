"""The evaluation runs where no torch is installed, and accuracy starts without scipy and matplotlib."""

import subprocess
import sys

import pytest

from tests.evaluation.goldens import ROOT

MODULES = sorted(path.stem for path in (ROOT / "src" / "depictqa" / "evaluation").glob("[a-z]*.py"))


def loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_the_evaluation_loads_neither_torch_nor_the_model():
    names = loaded("import depictqa.chat_api, " + ", ".join(f"depictqa.evaluation.{module}" for module in MODULES))
    assert {"torch", "transformers"}.isdisjoint(names) and "matplotlib" in names


def test_accuracy_starts_light():
    assert {"torch", "scipy", "matplotlib", "openai"}.isdisjoint(loaded("import depictqa.evaluation.commands"))


def test_correlation_loads_scipy_only_for_the_figures_that_need_it():
    modules = "import depictqa.evaluation.correlation, depictqa.evaluation.ranking, depictqa.evaluation.statistics"
    assert {"torch", "scipy", "matplotlib"}.isdisjoint(loaded(modules))
