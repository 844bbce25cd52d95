"""`depictqa doctor`: what is here, what is not, and what to do about it, on one screen."""

import hashlib
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from depictqa.config import Config, load_config, value_at

WEIGHTS = ("model.vision_encoder_path", "model.llm_path", "model.delta_path", "infer.sentence_model")
SHA256 = {"ViT-L-14.pt": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"}  # where published
OK, MISSING, WRONG = "ok", "MISSING", "WRONG"


def report(config_path: Path) -> str:
    """Machine, packages and the weight files of a config, a line each."""
    config = load_config(config_path)
    lines = [*_machine(), "", *_packages(), "", f"weights of {config.config_path}", *_weights(config)]
    return "\n".join(lines)


def _machine() -> Iterator[str]:
    yield f"python    {platform.python_version()} at {sys.executable}"
    yield f"system    {platform.platform()}"
    try:
        import torch
    except ImportError:
        yield f"torch     {MISSING}: pip install torch"
        return
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    threads = torch.get_num_threads()
    yield f"torch     {torch.__version__}, {', '.join(devices) or 'no GPU'}, {threads} CPU threads"


def _packages() -> Iterator[str]:
    """Each required package against the installed one; those of an extra only where they are missing or too old."""
    absent: dict[str, list[str]] = {}
    for text in metadata.requires("depictqa") or []:
        requirement = Requirement(text)
        extra = next((name for name in ("train", "serve", "data", "dev") if _applies(requirement, name)), "")
        if extra and not _applies(requirement, extra):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            absent.setdefault(extra, []).append(requirement.name)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        if not extra or not fits:
            state = (
                OK if fits else f"{WRONG}: needs {requirement.specifier}: pip install '{text.split(';')[0].strip()}'"
            )
            yield f"package   {requirement.name} {version}  {state}"
    for extra, names in absent.items():
        what = f"for depictqa[{extra}]" if extra else ""
        command = f"pip install 'depictqa[{extra}]'" if extra else f"pip install {' '.join(names)}"
        yield f"package   {', '.join(names)}  {MISSING} {what}: {command}".replace("  :", ":")


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is an extra's alone."""
    if requirement.marker is None:
        return False
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _weights(config: Config) -> Iterator[str]:
    for key in WEIGHTS:
        value = value_at(config, key)
        if value is None:
            yield f"{key}  not set"
            continue
        path = Path(value)
        if not path.exists():
            yield f"{key}  {MISSING}: {path}; README.md, section 'Models', says where it is published"
            continue
        size = (
            sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if path.is_dir()
            else path.stat().st_size
        )
        yield f"{key}  {OK if size else WRONG}  {size / 1e6:,.1f} MB  {path}{_verdict(path)}"


def _verdict(path: Path) -> str:
    """Whether a file of a published name is the published one."""
    expected = SHA256.get(path.name)
    if expected is None or not path.is_file():
        return ""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return (
        "  sha256 as published" if found == expected else f"  {WRONG} sha256 {found[:12]}…, published {expected[:12]}…"
    )
