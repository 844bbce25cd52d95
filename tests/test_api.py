"""The library as a user has it: `import depictqa`, load a model, ask about images of any kind."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import depictqa
from conftest import image_path, tiny_config
from depictqa.api import find_config

A, B, REFERENCE = (image_path(name) for name in ("s10_84x84.png", "s06_33x47.png", "s11_84x84.png"))


@pytest.fixture(scope="module")
def dq(tmp_path_factory):
    config = tiny_config(tmp_path_factory.mktemp("api"), infer={"max_new_tokens": 6})
    return depictqa.load(config, device="cpu", infer={"output_confidence": True})


def test_importing_loads_no_torch():
    code = "import depictqa, sys; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ({"a": A}, "quality_single_A_noref"),
        ({"b": A}, "quality_single_B_noref"),
        ({"a": A, "reference": REFERENCE}, "quality_single_A"),
        ({"a": A, "b": B}, "quality_compare_noref"),
        ({"a": A, "b": B, "reference": REFERENCE}, "quality_compare"),
    ],
)
def test_the_task_follows_from_the_images(dq, given, task):
    answer = dq.ask("How is it?", **given)
    assert answer.task == task and answer.question == "How is it?"
    assert list(answer.images) == [name for name in ("reference", "a", "b") if name in given]


@pytest.mark.parametrize("given", [{}, {"reference": REFERENCE}])
def test_images_that_no_task_takes_are_refused(dq, given):
    with pytest.raises(depictqa.InputError, match="images: expected Image A, or Images A and B"):
        dq.ask("How is it?", **given)


def test_a_question_needs_words(dq):
    with pytest.raises(depictqa.InputError, match="question: expected text"):
        dq.ask(" ", a=A)


def test_every_kind_of_image_gives_the_same_answer(dq):
    picture = Image.open(A).convert("RGB")
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    kinds = [A, str(A), A.read_bytes(), Image.open(A), picture, array, tensor]
    answers = [dq.describe(kind) for kind in kinds]
    assert len({(answer.text, tuple(token.prob for token in answer.tokens)) for answer in answers}) == 1
    assert all(answer.images["a"].size == picture.size for answer in answers)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("absent.png", "absent.png: no such image"),
        (b"text", "Image A: not a readable image"),
        (np.zeros((4, 4, 3)), r"Image A: expected .* a uint8 array \[H, W, 3\], found float64 \[4, 4, 3\]"),
        (np.zeros((3, 40, 40), np.uint8), r"found uint8 \[3, 40, 40\]"),
        (
            torch.full((3, 40, 40), 255.0),
            r"Image A: expected a tensor \[3, H, W\] with values in \[0, 1\], found .* 255",
        ),
        (torch.full((3, 40, 40), float("nan")), "Image A: expected a tensor"),
        (7, "Image A: expected a path, bytes, a PIL image or .*, found int"),
    ],
)
def test_an_image_that_is_none_is_named(dq, image, message):
    with pytest.raises(depictqa.InputError, match=message):
        dq.describe(image)


def test_an_answer_says_how_it_ended_and_what_it_is_made_of(dq):
    answer = dq.describe(A)
    assert str(answer) == answer.text
    assert answer.finish_reason == ("length" if len(answer.tokens) == 6 else "stop")
    assert all(0 <= token.prob <= 1 for token in answer.tokens)
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["text"] == answer.text and len(plain["tokens"]) == len(answer.tokens) and "images" not in plain
    shown = answer._repr_html_()
    assert shown.count('<img src="data:image/jpeg;base64,') == 1 and "Image A" in shown
    with pytest.raises(AttributeError):
        answer.text = "other"


def test_many_questions_answer_as_each_alone(dq):
    questions = [
        {"question": "How is it?", "a": A},
        depictqa.Question("Which is better?", a=A, b=B),
        {"question": "What is wrong?", "a": B, "reference": REFERENCE},
    ]
    together = dq.ask_many(questions, batch_size=2)
    alone = [dq.ask_many([question])[0] for question in questions]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert dq.ask_many([]) == []


def said(answer: depictqa.Answer, text: str, confidence: float | None) -> depictqa.Answer:
    return depictqa.Answer(**vars(answer) | {"text": text, "confidence": confidence})


def test_comparing_gives_a_verdict_of_its_own(dq, monkeypatch):
    comparison = dq.compare(A, B)
    assert comparison.better in ("a", "b", None) and comparison.task == "quality_compare_noref"
    told, verdict = dq.ask_many([depictqa.Question(comparison.question, A, B)] * 2)
    for text, better, confidence in (
        ("Image A", "a", 0.75),
        ("Image B.", "b", 0.75),
        ("Both", None, 0.75),
        ("Image A is sharper than Image B", None, 0.75),
    ):
        found = (told, said(verdict, text, 0.75))
        monkeypatch.setattr(dq, "ask_many", lambda _, found=found: found)
        comparison = dq.compare(A, B, both_orders=False)
        assert (comparison.better, comparison.confidence, comparison.text) == (better, confidence, told.text)


@pytest.mark.parametrize(
    ("first", "second", "better", "confidence"),
    [
        (("Image A", 0.8), ("Image B", 0.6), "a", 0.7),  # A is the better one with .8, in the other order with .6
        (("Image A", 0.8), ("Image A", 0.9), "b", 0.55),  # a preference for the first: .8 and .1
        (("Image B", 0.9), ("Image A", 0.7), "b", 0.8),
        (("Image A", 0.8), ("Both", 0.9), "a", 0.8),  # no verdict in the second order: the first one counts
        (("Image A", None), ("Image B", None), "a", None),
    ],
)
def test_both_orders_are_averaged(dq, monkeypatch, first, second, better, confidence):
    told = dq.ask("Compare.", a=A, b=B)
    asked = []

    def answers(questions):
        asked.extend((question.a, question.b) for question in questions)
        return told, said(told, *first), said(told, *second)

    monkeypatch.setattr(dq, "ask_many", answers)
    comparison = dq.compare(A, B)
    assert asked == [(A, B), (A, B), (B, A)]
    assert (comparison.better, comparison.confidence) == (better, confidence and pytest.approx(confidence))


def test_a_score_is_a_number_with_an_error_bar(dq):
    one, with_reference = dq.score(A), dq.score(A, reference=REFERENCE)
    assert 1 <= float(one) == one.score <= 5 and str(one) == f"{one.score:.2f} ± {one.score_std:.2f}"
    assert sum(one.levels.values()) == pytest.approx(1)
    assert (one.task, with_reference.task) == ("quality_single_A_noref", "quality_single_A")
    assert [round(score.score, 4) for score in dq.score([A, B])] == [
        round(dq.score(image).score, 4) for image in (A, B)
    ]
    assert json.loads(json.dumps(one.to_dict())).keys() == {"score", "score_std", "levels", "task", "mass"}
    assert "<img" in one._repr_html_()


def test_images_are_ranked_by_comparisons_in_both_orders(dq, monkeypatch):
    template = dq.ask("Which?", a=A, b=B)
    worth = {"best": 2.0, "middle": 0.0, "worst": -2.0}

    def answers(questions):
        shares = [1 / (1 + np.exp(worth[question.b] - worth[question.a])) for question in questions]
        biased = [min(1, share + 0.1) for share in shares]  # towards the first image: evened out
        return [
            said(template, "Image A", share) if share >= 0.5 else said(template, "Image B", 1 - share)
            for share in biased
        ]

    monkeypatch.setattr(dq, "ask_many", answers)
    ranking = dq.rank(["worst", "best", "middle"], schedule="all")
    assert (ranking.order, ranking.comparisons) == ((1, 2, 0), 3)
    assert ranking.scores[1] > ranking.scores[2] > ranking.scores[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [("None", ()), ("Noise", ("noise",)), ("Overly high contrast and Blur.", ("overly high contrast", "blur"))],
)
def test_distortions_are_names(dq, monkeypatch, text, names):
    answer = dq.ask("How is it?", a=A)
    monkeypatch.setattr(dq, "ask", lambda *_, **__: depictqa.Answer(**vars(answer) | {"text": text}))
    assert dq.distortions(A).names == names


def test_overrides_are_checked(tmp_path):
    config = tiny_config(tmp_path)
    assert depictqa.load(config.parent, infer={"max_new_tokens": 3}).config.infer.max_new_tokens == 3
    with pytest.raises(depictqa.InputError, match="infer.top_p: expected a number"):
        depictqa.load(config, infer={"top_p": 7})


def test_models_are_found_by_name_folder_or_file(tmp_path):
    assert find_config("nano").parent.name == find_config("NANO").parent.name == "Nano"
    config = tiny_config(tmp_path)
    assert find_config(tmp_path) == find_config(config) == config
    with pytest.raises(
        depictqa.InputError, match="none: no such model; expected a folder with a config.yaml, or one of .*nano"
    ):
        find_config("none")
