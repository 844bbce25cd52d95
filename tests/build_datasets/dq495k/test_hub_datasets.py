"""Metas are what `datasets.load_dataset("json")` reads (skipped where `datasets` is not installed)."""

import json

import pytest

from build_datasets.dq495k.brief import make_item as make_brief
from build_datasets.dq495k.choice import make_item as make_choice
from build_datasets.dq495k.files import Meta
from build_datasets.dq495k.rating import make_item as make_rating

datasets = pytest.importorskip("datasets")

CLEAN = {"distortion_class": None, "distortion_name": None, "severity": 0}
BLURRED = {"distortion_class": "blur", "distortion_name": "blur_gaussian", "severity": 3}


def brief(number, state, training, tmp_path):
    fields = {"img_ref": "photos/r.png", "img_lq": f"lq/{number}.png", **state}
    return make_brief(Meta(str(number), tmp_path / f"{number}.json", fields), 0, number % 2 == 0, training, None)


def kinds(tmp_path):
    briefs = {
        mode: [brief(n, (CLEAN, BLURRED)[n % 2], mode == "train", tmp_path) for n in range(4)]
        for mode in ("train", "test")
    }
    comparisons = [
        {"id": n, "image_ref": ("r.png", None)[n % 2], "image_A": "a.png", "image_B": "b.png", "A_better_B": True}
        for n in range(4)
    ]
    choices = [make_choice({"id": n, "image_A": f"{n}.png", **BLURRED}, 0) for n in range(4)]
    ratings = {
        mode: [make_rating(one, "here", 0, mode == "train") for one in comparisons] for mode in ("train", "test")
    }
    return {
        "brief_train": briefs["train"],
        "brief_test": briefs["test"],
        "rating_train": ratings["train"],
        "rating_test": ratings["test"],
        "choice": choices,
    }


@pytest.mark.parametrize("kind", ["brief_train", "brief_test", "rating_train", "rating_test", "choice"])
def test_rows_are_the_items(kind, tmp_path):
    items = kinds(tmp_path)[kind]
    (tmp_path / "meta.json").write_text(json.dumps(items))
    options = {"data_files": str(tmp_path / "meta.json"), "split": "train", "cache_dir": str(tmp_path / "cache")}
    assert list(datasets.load_dataset("json", **options)) == items
