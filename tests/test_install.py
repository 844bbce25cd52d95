"""install.sh: what it runs, and that it runs nothing twice. A stand-in for .venv's Python writes down its arguments."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    "install.sh",
    "requirements.txt",
    "experiments/Nano/requirements.txt",
    "pyproject.toml",
    "tests/requirements.txt",
]
PIP = "-m pip install -qq --no-compile --disable-pip-version-check"


@pytest.fixture
def clone(tmp_path):
    """A copy of the files that install.sh reads, with an environment that only pretends."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$1" in -m) echo "$@" >> ran; exit "${FAIL:-0}" ;; esac\n')
    python.chmod(0o755)
    return tmp_path


def install(clone: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """The finished process, and what it asked of Python."""
    ran = clone / "ran"
    ran.write_text("")
    process = subprocess.run(
        ["sh", clone / "install.sh", *arguments], cwd="/", env=os.environ | environment, capture_output=True, text=True
    )
    return process, ran.read_text().splitlines()


def test_installs_once(clone):
    process, ran = install(clone)
    assert process.returncode == 0, process.stderr
    assert ran == [
        f"{PIP} -r requirements.txt",
        f"{PIP} --no-deps pillow==13.0.0",  # after gradio, which would not have it
        f"{PIP} --no-deps -r experiments/Nano/requirements.txt",
        f"{PIP} --no-deps --no-build-isolation -e .",
    ]
    process, ran = install(clone)
    assert (process.returncode, process.stdout, ran) == (0, "", [])


def test_installs_what_has_changed_or_is_new(clone):
    install(clone)
    with (clone / "requirements.txt").open("a") as file:
        file.write("six==1.17.0\n")
    process, ran = install(clone, "tests/requirements.txt")
    assert process.stdout == "installing requirements.txt into .venv\ninstalling tests/requirements.txt into .venv\n"
    assert ran == [
        f"{PIP} -r requirements.txt",
        f"{PIP} --no-deps pillow==13.0.0",
        f"{PIP} -r tests/requirements.txt",
    ]


def test_goes_on_after_a_failure(clone):
    process, ran = install(clone, FAIL="1")
    assert process.returncode == 1
    assert ran == [f"{PIP} -r requirements.txt"]
    process, ran = install(clone)
    assert process.returncode == 0
    assert len(ran) == 4


@pytest.mark.parametrize(
    ("arguments", "checks"), [((), ["ruff check .", "ruff format --check .", "pyright"]), (("-k", "clip"), [])]
)
def test_style_and_types_are_checked_first_and_count_as_tests_do(clone, arguments, checks):
    shutil.copy(ROOT / "run_tests.sh", clone)
    (clone / "tests/install_browser.sh").touch()
    install(clone, "tests/requirements.txt")
    for name, status in (("ruff", 0), ("pyright", 1)):
        program = clone / ".venv/bin" / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> ran; exit {status}\n')
        program.chmod(0o755)
    (clone / "ran").write_text("")
    process = subprocess.run(["bash", clone / "run_tests.sh", *arguments], capture_output=True, text=True)
    ran = [line.strip() for line in (clone / "ran").read_text().splitlines()]
    assert ran == [*checks, " ".join(("-m pytest -n auto --dist worksteal -m not gpu", *arguments))]
    assert process.returncode == (1 if checks else 0)


def test_python_that_is_too_old_is_refused(clone):
    shutil.rmtree(clone / ".venv")
    old = clone / "python3.9"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.9.2; fi\nexit 1\n')
    old.chmod(0o755)
    process, _ = install(clone, PYTHON=str(old))
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: Python 3.11 or newer is needed; {old} is Python 3.9.2. Name one that is:")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "script", ["install.sh", "quickstart.sh", "run_tests.sh", "tests/install_browser.sh", ".ci/run"]
)
def test_script_parses(script):
    shell = "bash" if (ROOT / script).read_text().startswith("#!/usr/bin/env bash") else "sh"
    subprocess.run([shell, "-n", ROOT / script], check=True)


@pytest.mark.parametrize(
    ("user", "has_browser", "apt_status", "asked", "words"),
    [
        (0, True, 0, 0, ""),
        (1000, False, 0, 0, ""),
        (0, False, 0, 2, ""),
        (0, False, 1, 1, "chromium could not be installed:\nno such package\n"),
    ],
)
def test_browser_is_installed_where_there_is_none(tmp_path, user, has_browser, apt_status, asked, words):
    def program(name: str, code: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)

    program("id", f"echo {user}")
    program("apt-get", f'echo "$@" >> "{tmp_path}/asked"; echo no such package; exit {apt_status}')
    if has_browser:
        program("chromium", "")
    for name in ("mktemp", "rm", "tail"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "asked").touch()
    command = [shutil.which("sh"), ROOT / "tests/install_browser.sh"]
    process = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, words)
    lines = (tmp_path / "asked").read_text().splitlines()
    assert len(lines) == asked and (asked < 2 or lines[1].endswith("chromium"))
