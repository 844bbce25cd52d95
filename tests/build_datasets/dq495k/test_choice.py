"""The four-choice test: four different classes in random order, the true one among them."""

from collections import Counter

import pytest

from build_datasets.dq495k.choice import make_item
from build_datasets.x_distortion import ANSWERS, CLASSES
from depictqa.errors import InputError
from depictqa.evaluation.benchmarks import read_benchmark
from depictqa.evaluation.choice import to_question, true_choice

BLURRED = {
    "id": "p7",
    "image_A": "p7.png",
    "distortion_class": "blur",
    "distortion_name": "blur_gaussian",
    "severity": 3,
}


def test_a_question():
    item = make_item(BLURRED, 131)
    assert item["answer"] == "Blur" and item["category"] == "blur" and item["severity"] == 3
    assert len(set(item["options"])) == 4 and set(item["options"]) <= {one.capitalize() for one in ANSWERS.values()}
    (read,) = read_benchmark([item])
    assert true_choice(read) == "Blur" and to_question(read)["image_A"] == "p7.png"
    assert make_item(BLURRED, 131) == item


def test_places_and_wrong_options_are_even():
    items = [make_item(BLURRED | {"id": number}, 0) for number in range(1100)]
    places = Counter(item["options"].index("Blur") for item in items)
    assert all(abs(count - 275) < 4.5 * (1100 * 3 / 16) ** 0.5 for count in places.values())  # 4.5 deviations
    wrong = Counter(option for item in items for option in item["options"] if option != "Blur")
    assert len(wrong) == 11 and all(
        abs(count - 300) < 4.5 * (1100 * 3 / 11 * 8 / 11) ** 0.5 for count in wrong.values()
    )


def test_clean_pictures_and_two_distortions_are_no_question():
    clean = {"id": 1, "image_A": "a.png", "distortion_class": None, "distortion_name": None, "severity": 0}
    names = [CLASSES[label][0] for label in ("blur", "noise")]
    two = {
        "id": 2,
        "image_A": "a.png",
        "distortion_classes": ["blur", "noise"],
        "distortion_names": names,
        "severities": [1, 2],
    }
    assert make_item(clean, 0) is make_item(two, 0) is None


def test_an_item_without_labels_is_refused():
    with pytest.raises(InputError, match="item 7: expected the fields distortion_class, distortion_name, severity"):
        make_item({"id": 7, "image_A": "a.png"}, 0)
