"""Prompt text equals what released checkpoints were trained on, in every golden case."""

import pytest

from conftest import golden
from depictqa.errors import InputError
from depictqa.prompts import FORMATS, LEVELS, QUESTIONS, TASKS, get_task, render, render_answer, task_of


@pytest.mark.parametrize("name", ["train", "infer"])
def test_text_in_front_of_every_image(name):
    for case in golden(f"prompts/{name}.json"):
        prompt = render(get_task(case["task_type"]), "?", FORMATS[case["conv_type"]], case["unique_tag"])
        assert list(prompt.prefix) == case["prefix_texts"]


def test_system_texts_and_tags():
    static = golden("prompts/static.json")
    assert {name: TASKS[name].system for name in static["system_texts"]} == static["system_texts"]
    tags = {f"<{slot.tag}>" for task in TASKS.values() for slot in task.slots}
    assert tags == set(static["vision_tags"]["sov"].values())


def test_formats():
    for name, conv in golden("prompts/static.json")["conv_types"].items():
        ours = FORMATS[name]
        assert [ours.user, ours.assistant] == conv["roles"]
        assert [f" {ours.sep1} ", f" {ours.sep2} "] == conv["model_seps"]


def test_without_unique_tags_every_image_is_img():
    prompt = render(TASKS["quality_compare"], "Which?", FORMATS["vicuna_v1"], unique_tag=False)
    assert all(piece.endswith(": <Img>") for piece in prompt.prefix)
    assert prompt.pieces[-1] == "</Img>\n\n </s> USER: Which?\n   ASSISTANT: "


def test_answer_ends_with_separator():
    assert render_answer("Blur", FORMATS["vicuna_v1"]) == "Blur\n </s>"


@pytest.mark.parametrize("suffix", ["", "_noref"])
def test_a_score_is_learned_under_the_prompt_that_asks_for_it(suffix):
    question, format = QUESTIONS["score"], FORMATS["vicuna_v1"]
    learned, asked = (TASKS[name + suffix] for name in ("quality_score_A", "quality_single_A"))
    assert render(learned, question, format, True) == render(asked, question, format, True)
    assert task_of(learned.fields) is asked


def test_the_score_question_names_the_levels_from_best_to_worst():
    assert list(LEVELS.values()) == [5, 4, 3, 2, 1]
    first, second, third, fourth, last = LEVELS
    assert f"{first}, {second}, {third}, {fourth} or {last}?" in QUESTIONS["score"]


@pytest.mark.parametrize("name", golden("prompts/static.json")["inference_errors"])
def test_tasks_that_cannot_be_asked(name):
    assert get_task(name).name == name
    with pytest.raises(InputError, match=f"unknown task '{name}'; expected one of quality_single_A"):
        get_task(name, inference=True)
