"""Questions and short answers: enough of them, well formed in every form, and the same without the reference."""

import re

import numpy as np
import pytest

from build_datasets.dq495k import questions
from build_datasets.dq495k.labels import Distortion
from build_datasets.dq495k.noref import mentions_reference, without_reference
from build_datasets.dq495k.questions import (
    ANY,
    BRIEF,
    DETAIL_ONE,
    DETAIL_TWO,
    NO_DISTORTION_SENTENCES,
    ONE,
    RATING,
    TWO,
    Template,
    brief,
    rating,
    render,
)
from depictqa.prompts import SINGLE_WORD_REQUEST

ONE_STATE = (Distortion("saturate_weaken", "saturate_weaken_HSV", 2),)
TWO_STATE = (Distortion("noise", "noise_poisson", 3), Distortion("blur", "blur_lens", 2))
TABLES = {"brief": BRIEF, "rating": RATING, "one": DETAIL_ONE, "two": DETAIL_TWO}
ALL = [
    pytest.param(template.question, id=f"{name}{i}")
    for name, table in TABLES.items()
    for i, template in enumerate(table)
]


def test_there_are_enough_and_none_twice():
    assert len(BRIEF) >= 25 and len(RATING) >= 20 and len(DETAIL_ONE) >= 20 and len(DETAIL_TWO) >= 20
    texts = [template.question for table in TABLES.values() for template in table]
    assert len(set(texts)) == len(texts)
    assert len({template.answer for template in BRIEF}) == len(BRIEF)


@pytest.mark.parametrize("text", ALL)
def test_every_question_is_a_clean_sentence_in_every_form(text):
    for number in (ANY, ONE, TWO):
        for has_reference in (True, False):
            question = render(text, number, has_reference)
            assert question[0].isupper() and question[-1] in "?." and "  " not in question
            assert not re.search(r"[\[\]<>|{}]| [,.?]|,,", question)
            assert mentions_reference(question) <= has_reference


@pytest.mark.parametrize("text", ALL)
def test_rewording_gives_the_question_without_reference(text):
    for number in (ANY, ONE, TWO):
        assert without_reference(render(text, number, True)) == render(text, number, False)


def test_some_questions_of_each_kind_speak_of_the_reference():
    for table in TABLES.values():
        assert 3 <= sum("<" in template.question for template in table) < len(table)


@pytest.mark.parametrize("template", BRIEF, ids=range(len(BRIEF)))
def test_brief_questions_state_the_number_and_answers_name_the_distortions(template: Template):
    for state, number, said in (
        (ONE_STATE, ONE, r"\b(one|single|the distortion|distortion|kind|type|flaw|problem)\b"),
        (TWO_STATE, TWO, r"\btwo\b"),
    ):
        question, answer = brief(template, state, number, False, True, "")
        assert re.search(said, question) and "(s)" not in question
        names = "insufficient saturation" if state == ONE_STATE else "noise and blur"
        assert names in answer and answer[0].isupper() and answer[-1] == "." and not re.search(r"[\[\]{}|]", answer)
        assert not mentions_reference(answer)
    open_question, _ = brief(template, ONE_STATE, ANY, False, True, "")
    assert "(s)" in open_question and "two" not in open_question
    assert brief(template, TWO_STATE, TWO, True, True, "") == (
        brief(template, TWO_STATE, TWO, False, True, "")[0] + SINGLE_WORD_REQUEST,
        "Noise and blur",
    )
    assert brief(template, (), ONE, True, True, "")[1] == "None"
    assert brief(template, (), ONE, False, True, NO_DISTORTION_SENTENCES[0])[1] == NO_DISTORTION_SENTENCES[0]


@pytest.mark.parametrize("template", RATING, ids=range(len(RATING)))
def test_rating_answers_prefer_the_better_one(template: Template):
    assert rating(template, True, True, False) == (
        render(template.question, ANY, False) + SINGLE_WORD_REQUEST,
        "Image A",
    )
    for a_is_better, better in (True, "Image A"), (False, "Image B"):
        _, answer = rating(template, a_is_better, False, True)
        assert re.findall(r"Image [AB]", answer)[0] == better and "{" not in answer


def test_picks_reach_every_template():
    rng = np.random.default_rng(0)
    assert {questions.pick(BRIEF, rng) for _ in range(1000)} == set(BRIEF)
