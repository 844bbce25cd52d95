"""Nano's data: the same bytes however it is made, published formats, answers that the labels bear out."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from build_datasets.dq495k import questions
from build_datasets.nano import build
from build_datasets.nano.build import KINDS
from build_datasets.nano.photos import TEST_PHOTOS, load_photos
from build_datasets.nano.photos import test_photos as held_out
from build_datasets.nano.samples import LABELS, Distortion, draw_distortion, draw_size, draw_view
from build_datasets.x_distortion import ANSWERS, CLASSES, SEEN_WITHOUT_REFERENCE_FROM, SEVERITY_NAMES
from depictqa.errors import InputError
from depictqa.evaluation.accuracy import evaluate
from depictqa.prompts import SINGLE_WORD_REQUEST, get_task

SEED, NUM, TESTED = 5, 60, 6
IMAGES = ("image_ref", "image_A", "image_B")
VOCABULARY = {"None"} | {answer[0].upper() + answer[1:] for answer in ANSWERS.values()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of two pictures that are none of the test photos."""
    folder = tmp_path_factory.mktemp("photos")
    rows, columns = np.mgrid[:300, :420]
    for number, tilt in enumerate((7, 11)):
        picture = np.stack([rows * tilt % 256, columns * tilt % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def make_training(photos, out, workers=1):
    build.build(build.training_jobs(photos, out, NUM, SEED), out, workers)
    return out


@pytest.fixture(scope="module")
def training(photos, tmp_path_factory):
    return make_training(photos, tmp_path_factory.mktemp("root") / "train")


@pytest.fixture(scope="module")
def testing(tmp_path_factory):
    """The first items of each test meta."""
    out = tmp_path_factory.mktemp("root") / "test"
    build.build({kind: items[:TESTED] for kind, items in build.test_jobs(out, SEED).items()}, out, 1)
    return out


def metas(out):
    return {kind: json.loads((out / "metas" / f"{kind.name}.json").read_text()) for kind in KINDS}


def contents(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def distortions(item):
    """What the truth fields of an item say, by image."""
    if "severity" in item:
        return {"image_A": Distortion(item["distortion_class"], item["distortion_name"], item["severity"])}
    return {field: Distortion(*item[field.replace("image", "distortion")]) for field in IMAGES[1:]}


def answer_of(item):
    return item.get("answer") or item["conversations"][1]["value"]


@pytest.mark.slow
def test_processes_and_interruptions_change_nothing(photos, training, tmp_path):
    whole = contents(training)
    out = tmp_path / "train"
    shutil.copytree(training, out)
    for number, path in enumerate(sorted(out.rglob("*.png"))):
        if number % 2:
            path.unlink()
    shutil.rmtree(out / "metas")
    assert contents(make_training(photos, out, workers=2)) == whole


def test_finished_pictures_are_not_drawn_again(photos, training, monkeypatch):
    def draw_again(*_):
        raise AssertionError("a finished picture was distorted again")

    before = contents(training)
    monkeypatch.setattr(Distortion, "apply", draw_again)
    assert contents(make_training(photos, training)) == before


def test_a_folder_begun_with_something_else_is_refused(photos, tmp_path):
    pictures = load_photos(photos)
    build.claim(tmp_path, pictures, SEED)
    build.claim(tmp_path, pictures, SEED)
    for others, seed in ((pictures, SEED + 1), (pictures[::-1], SEED), (pictures[:1], SEED)):
        with pytest.raises(InputError, match="was begun with"):
            build.claim(tmp_path, others, seed)


def test_training_metas_have_the_published_form(training):
    for kind, items in metas(training).items():
        assert len(items) == round(NUM * kind.share)
        for item in items:
            assert item["task_type"] == kind.task
            assert [turn["from"] for turn in item["conversations"]] == ["human", "gpt"]
            assert "query" not in item and "answer" not in item


def test_test_metas_have_the_published_form(testing):
    for items in metas(testing).values():
        assert len(items) == TESTED
        for item in items:
            assert item["query"] and item["answer"] and "conversations" not in item


@pytest.mark.parametrize("which", ["training", "testing"])
def test_items_show_the_images_of_their_task(which, request):
    out = request.getfixturevalue(which)
    for kind, items in metas(out).items():
        assert len({item["id"] for item in items}) == len(items)
        for item in items:
            assert (
                tuple(field for field in IMAGES if item[field] is not None)
                == get_task(kind.task, inference=True).fields
            )
            sizes = {Image.open(out.parent / item[field]).size for field in IMAGES if item[field] is not None}
            assert len(sizes) == 1 and min(sizes.pop()) == 224


@pytest.mark.parametrize("which", ["training", "testing"])
def test_answers_say_what_the_labels_say(which, request):
    for kind, items in metas(request.getfixturevalue(which)).items():
        for item in items:
            seen, answer = distortions(item), answer_of(item)
            question = item.get("query") or item["conversations"][0]["value"]
            assert question.endswith(SINGLE_WORD_REQUEST) != kind.is_detail
            if kind.is_pair:
                better = "Image A" if seen["image_A"].severity < seen["image_B"].severity else "Image B"
            if not kind.is_detail:
                assert answer == (better if kind.is_pair else questions.word_answer(seen["image_A"].state))
                assert answer in (("Image A", "Image B") if kind.is_pair else VOCABULARY)
                continue
            assert {name for name in ANSWERS.values() if re.search(rf"\b{name}\b", answer)} == {
                one.answer for one in seen.values() if one.label
            }
            said = {name for name in SEVERITY_NAMES if re.search(rf"\b{name}(al)?(ly)?\b", answer)}
            assert said >= {one.severity_name for one in seen.values() if one.label}
            if kind.is_pair:
                assert re.findall(r"Image [AB]", answer.split(". ")[-1])[0] == better


def test_nothing_invisible_without_a_reference():
    rng = np.random.default_rng(SEED)
    for label in (label for label, severity in SEEN_WITHOUT_REFERENCE_FROM.items() if severity == 2):
        severities = [
            draw_distortion(rng, needs_reference, label).severity
            for needs_reference in (True, False)
            for _ in range(60)
        ]
        assert 1 in severities[:60] and 1 not in severities[60:]
        assert {2, 3, 4, 5} <= set(severities[60:])
    assert 1 in {draw_distortion(rng, False, "blur").severity for _ in range(60)}
    for _ in range(400):
        assert all(one.is_seen_without_reference for one in build.draw_pair(rng, needs_reference=False))


@pytest.mark.parametrize("needs_reference", [True, False])
def test_rating_pairs_have_a_clearly_better_image(needs_reference):
    rng = np.random.default_rng(SEED)
    for _ in range(400):
        worse, better = build.draw_pair(rng, needs_reference)
        assert worse.severity - better.severity >= (1 if worse.name == better.name else 2)


def test_labels_are_drawn_evenly():
    rng = np.random.default_rng(SEED)
    drawn = [draw_distortion(rng) for _ in range(2600)]
    for label in LABELS:
        names = [one.name for one in drawn if one.label == label]
        assert 140 < len(names) < 260
        assert set(names) == ({None} if label is None else set(CLASSES[label]))


def test_each_image_is_the_better_one_equally_often(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "write_png", lambda *_: None)
    monkeypatch.setattr(Distortion, "apply", lambda self, img, rng: img)
    kind = next(kind for kind in KINDS if kind.name == "AB_rating")
    view = np.zeros((224, 224, 3), np.uint8)
    items = [build.make_item(kind, number, lambda rng: view, tmp_path, SEED) for number in range(600)]
    assert 250 < sum(answer_of(item) == "Image A" for item in items) < 350


def test_the_test_set_asks_every_label_equally_often(tmp_path):
    jobs = build.test_jobs(tmp_path, SEED)
    sizes = {kind.name: len(items) for kind, items in jobs.items()}
    assert sizes == {kind.name: 40 if kind.is_detail else 300 if kind.is_pair else 390 for kind in KINDS}
    for kind, items in jobs.items():
        if not (kind.is_pair or kind.is_detail):
            labels = [arguments[-1] for _, arguments, _ in items]
            assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, 30)


@pytest.mark.parametrize(("name", "measure"), [("refA_brief", "single_distortion"), ("AB_rating", "rating")])
def test_the_evaluation_reads_test_metas(testing, name, measure):
    truths = json.loads((testing / "metas" / f"{name}.json").read_text())
    right = [{"id": item["id"], "text": item["answer"], "confidence": 0.5} for item in truths]
    result = evaluate(measure, right, truths)
    assert result.accuracy == 1
    assert result.by("severity" if measure == "single_distortion" else "distortion_A.2")


def test_views_are_crops_of_a_photo_and_never_enlarged():
    rng = np.random.default_rng(SEED)
    photo = rng.integers(0, 256, (500, 700, 3), dtype=np.uint8)
    for _ in range(40):
        height, width = draw_size(rng)
        assert min(height, width) == 224 and max(height, width) <= 336
        assert draw_view(photo, (height, width), rng).shape == (height, width, 3)
    full = draw_view(photo[:224, :224], (224, 224), rng)
    assert np.array_equal(full, photo[:224, :224]) or np.array_equal(full, photo[:224, 223::-1])


def test_held_out_photos_come_from_two_packages():
    names = [name for name, _ in held_out()]
    assert len(names) == len(set(names)) >= 12
    assert {package for package, *_ in TEST_PHOTOS.values()} == {"skimage", "sklearn"}


def test_halves_of_a_held_out_photo_do_not_overlap(monkeypatch):
    columns = np.tile(np.arange(250, dtype=np.uint8), (224, 1))
    monkeypatch.setattr(Image, "open", lambda path: Image.fromarray(columns))
    halves = {name: set(np.unique(picture)) for name, picture in held_out()}
    assert halves and not halves["china_left"] & halves["china_right"]


def test_test_photos_do_not_leak_into_training_in_one_process(tmp_path):
    """Both keep their photos in the process: each its own."""
    Image.new("RGB", (300, 300), "red").save(tmp_path / "red.png")
    kind = next(kind for kind in KINDS if kind.name == "refA_brief")
    build.make_test_item(kind, 0, tmp_path / "test", SEED, None)
    item = build.make_training_item(kind, 0, tmp_path, tmp_path / "train", SEED)
    assert (np.asarray(Image.open(tmp_path / item["image_ref"])) == (255, 0, 0)).all()


def test_wrong_input_is_one_line(tmp_path, photos, capsys, monkeypatch):
    def complaint(*arguments):
        monkeypatch.setattr(sys, "argv", ["build.py", "--out", str(tmp_path / "out"), *arguments])
        with pytest.raises(SystemExit) as stopped:
            build.main()
        assert stopped.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    broken = tmp_path / "broken"
    broken.mkdir()
    assert "no photo of at least 224 pixels" in complaint("--photos", str(broken))
    (broken / "a.jpg").write_bytes(b"no picture")
    assert "a.jpg: cannot be read as a picture" in complaint("--photos", str(broken))
    assert "--photos is missing" in complaint()
    for flag, value in (("--num", "0"), ("--workers", "-1"), ("--num", "many")):
        assert f"argument {flag}: expected a whole number above 0" in complaint("--photos", str(photos), flag, value)
