"""In which order questions are asked, and which pictures are decoded when: all stated by hand on toy jobs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import DATA
from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.inference import pipeline
from depictqa.inference.pipeline import Planner, Step, load_ahead, ordered

PREPROCESS = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1))
ABSENT = Path("/absent")  # of pictures whose size does not matter: they count as the smallest


def tokens(width: int, height: int) -> int:
    return (width // 14) * (height // 14)


def items_of(*questions: str) -> list[Item]:
    """`"r a b"` is a question about pictures of these names."""
    return [
        Item(n, tuple(ABSENT / name for name in question.split()), "Better?") for n, question in enumerate(questions)
    ]


def planner(items, batch_size=2, **options) -> Planner:
    return Planner(items, batch_size, PREPROCESS, tokens, **options)


def names(paths) -> str:
    return " ".join(path.name for path in paths)


def told(step: Step) -> tuple[list[str], list[int], str]:
    return [names(group) for group in step.load], list(step.ask), names(step.drop)


@pytest.mark.parametrize(
    ("questions", "order"),
    [
        (["a", "b", "a"], [0, 1, 2]),
        (["a b", "c d", "a c", "b a", "c a"], [0, 2, 1, 4, 3]),
        (["r a b", "s a b", "r c b", "r a c"], [0, 3, 2, 1]),
    ],
)
def test_questions_with_the_same_first_pictures_stay_together(questions, order):
    assert ordered(items_of(*questions)) == order


def test_pairs_of_many_pictures_are_asked_tile_by_tile(monkeypatch):
    monkeypatch.setattr(pipeline, "TILE", 2)
    pairs = [f"{a} {b}" for a, b in itertools.combinations("abcde", 2)]
    order = [pairs[place] for place in ordered(items_of(*pairs))]
    assert order == ["a b", "a c", "a d", "b c", "b d", "a e", "b e", "c d", "c e", "d e"]


def test_each_picture_is_encoded_before_its_first_question_and_kept_until_its_last():
    schedule = planner(items_of("a b", "a c", "b c", "d e", "a d")).schedule(range(5))
    assert [told(step) for step in schedule.steps] == [
        (["a b", "c d"], [0, 1], ""),  # as many are encoded together as are asked
        ([], [4, 2], "a b c"),
        (["e"], [3], "d e"),
    ]
    assert (schedule.pictures, schedule.loads, schedule.peak) == (5, 5, 4 * 25)
    assert str(schedule) == (
        "5 questions about 5 images, each decoded and encoded once; at most 100 image tokens are kept"
    )


def test_features_beyond_the_bound_give_way_those_first_that_are_needed_last():
    items = items_of("a b", "a c", "a d", "b c", "b d")
    schedule = planner(items, batch_size=1, max_tokens=3 * 25).schedule(range(5))
    assert [told(step) for step in schedule.steps] == [
        (["a", "b"], [0], ""),
        (["c"], [1], ""),
        (["d"], [2], "a"),
        ([], [3], "c"),
        ([], [4], "b d"),
    ]
    schedule = planner(items, batch_size=1, max_tokens=2 * 25).schedule(range(5))
    assert [told(step) for step in schedule.steps] == [
        (["a", "b"], [0], ""),
        (["c"], [1], "b"),
        (["d"], [2], "a"),
        (["b"], [3], "c"),
        ([], [4], "b d"),
    ]
    assert (schedule.pictures, schedule.loads, schedule.peak) == (4, 5, 3 * 25)
    assert "each decoded and encoded once, 1 again; at most 75 image tokens" in str(schedule)


@pytest.fixture
def sizes(tmp_path):
    """Pictures by name: a small, a middling, and a large one, thrice each."""
    for name, (width, height) in {"s": (70, 70), "m": (140, 70), "l": (140, 210)}.items():
        for number in range(3):
            Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(tmp_path / f"{name}{number}.png")
    return tmp_path


def test_questions_are_sorted_by_length_and_those_that_share_pictures_stay_together(sizes):
    items = [
        Item(n, tuple(sizes / f"{name}.png" for name in question.split()), "Better?")
        for n, question in enumerate(["s0 s1", "m0 s0", "l0 l1", "s1 m1", "m0 m1", "s2 l2", "l0 s0"])
    ]
    (batches,) = (planner(items, batch_size=7).batches(window) for window in range(1))
    assert batches == [[2, 6, 5, 4, 1, 3, 0]]  # 300 and 175 tokens of l0; 175; 100 and 75 of m0; 75; 50


def test_long_questions_count(sizes):
    items = [Item(n, (sizes / "s0.png",), "word " * words) for n, words in enumerate((1, 50, 20))]
    assert planner(items, batch_size=3).batches(0) == [[1, 2, 0]]


def test_what_is_computed_together_does_not_depend_on_what_is_left_or_on_whose_share_it_is(monkeypatch):
    monkeypatch.setattr(pipeline, "WINDOW", 2)
    pictures = "abcdefgh"
    items = items_of(*(f"{a} {b}" for a, b in itertools.permutations(pictures, 2)))
    whole = planner(items, batch_size=3).schedule(range(len(items)))
    batches = {step.ask for step in whole.steps}
    loads = {group for step in whole.steps for group in step.load}
    halves = [
        planner(items, batch_size=3).schedule(range(len(items)), lambda all, _: all[: len(all) // 2]),
        planner(items, batch_size=3).schedule(range(len(items)), lambda all, _: all[len(all) // 2 :]),
    ]
    assert [step.ask for half in halves for step in half.steps] == [step.ask for step in whole.steps]
    left = planner(items, batch_size=3).schedule([3, 17, 40, 41])
    for schedule in (*halves, left):
        assert {group for step in schedule.steps for group in step.load} <= loads
    assert sorted(place for step in left.steps for place in step.ask) == [3, 17, 40, 41]
    assert all(any(set(step.ask) <= set(batch) for batch in batches) for step in left.steps)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_are_loaded_in_the_order_of_the_steps(workers, sizes):
    paths = [sizes / f"{name}{number}.png" for name in "sml" for number in range(3)]
    paths[4].write_bytes(paths[4].read_bytes()[:60])
    schedule = planner([Item(n, (path,), "?") for n, path in enumerate([*paths, *paths])]).schedule(range(18))
    loaded = list(load_ahead(schedule, PREPROCESS, workers))
    assert [tuple(images) for images in loaded] == [group for step in schedule.steps for group in step.load]
    found = {path: image for images in loaded for path, image in images.items()}
    assert found.keys() == set(paths)
    assert found.pop(paths[4]).startswith(f"{paths[4]}: not a readable image")
    for path, image in found.items():
        assert torch.equal(image, PREPROCESS.load(path))


@pytest.mark.parametrize("keep_ratio", [True, False])
def test_the_size_is_known_from_the_head(keep_ratio):
    preprocess = ImagePreprocessor(14, 84, 300, (0.7, 1), keep_ratio)
    for path in sorted((DATA / "images").glob("*.png")):
        with Image.open(path) as image:
            width, height = preprocess.prepared_size(image.size)
        assert preprocess.load(path).shape == (3, height, width)
