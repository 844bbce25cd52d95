"""What every test shares: the golden data, models on its tiny artefacts, no network, one thread a process."""

import functools
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # here and in every process a test starts: tests run side by side
os.environ.setdefault("DS_ACCELERATOR", "cuda" if Path("/dev/nvidia0").exists() else "cpu")

import numpy as np
import pytest
import yaml

from namespaces import joined

DATA = Path(__file__).parent / "data"
DELTAS = {"base": "delta", "abs": "delta_abstractor", "glob": "delta_global"}
ARTIFACTS = DATA / "artifacts"


def pytest_xdist_auto_num_workers(config) -> int:
    """What `-n auto` means: a process per core, up to four; on a GPU, one. Each may take 2 GB of memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if config.option.markexpr == "gpu" else min(cores, 4)


def golden(name: str):
    """A json file of the golden data."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def turned(pixels: np.ndarray) -> dict[int, np.ndarray]:
    """EXIF orientation -> what is shown of pixels [H, W, 3] that are stored so."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }


def image_path(name: str) -> Path:
    """A golden picture; the data files say `shared/images/NAME`."""
    return DATA / "images" / Path(name).name


def tiny_config(folder: Path, name: str = "base", llm: str = "llm_tiny", **sections) -> Path:
    """Write the config.yaml of a tiny model; `sections` are merged over it, e.g. infer={...}."""
    config = {
        "device": "cpu",
        "data": {"num_workers": 0},
        "model": {
            "vision_encoder_path": str(ARTIFACTS / "clip_tiny" / "ViT-tiny-14.pt"),
            "vision_feature_type": "global" if name == "glob" else "local",
            "llm_path": str(ARTIFACTS / llm),
            "delta_path": str(ARTIFACTS / DELTAS[name] / "ckpt.pt"),
        },
        "infer": {"max_new_tokens": 24},
    }
    if name == "abs":
        config["model"]["abstractor"] = {"dim_feedforward": 64, "nhead": 4, "num_layers": 2, "num_query": 8}
        config["vision_preprocess"] = {"resize": 1024, "min_size": 70, "max_size": 2048}
    for key, section in sections.items():
        config[key] = {**config.get(key, {}), **section} if isinstance(section, dict) else section
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """`tiny_model(model, llm, conv_type, unique_tag)` -> (model in eval mode, preprocessor), loaded once."""
    import torch

    from depictqa.config import load_config
    from depictqa.model.build import build_model, build_preprocessor

    torch.set_num_threads(1)

    @functools.cache
    def load(model="base", llm="llm_tiny", conv_type="vicuna_v1", unique_tag=True):
        overrides = {"model.llm_conv_type": conv_type, "model.unique_tag": unique_tag}
        config = load_config(tiny_config(tmp_path_factory.mktemp(model), model, llm), overrides)
        built = build_model(config, torch.device("cpu"), torch.float32, delta=True).eval()
        return built, build_preprocessor(config)

    return load


def load_images(preprocess, task, case: dict, row: int | None = None):
    """The pictures of a golden e2e case, prepared, in the order of the task's slots."""
    from depictqa.data.images import open_image

    names = [case["image" if field == "image_ref" else field] for field in task.fields]
    names = names if row is None else [name[row] for name in names]
    return tuple(preprocess(open_image(image_path(name))) for name in names)


@pytest.fixture
def nodes():
    """Two machines: names of network namespaces, see `namespaces.joined`."""
    with joined() as names:
        yield names
