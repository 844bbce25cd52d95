import pytest
from hypothesis import given
from hypothesis import strategies as st

from depictqa.errors import InputError
from depictqa.evaluation.accuracy import choice
from depictqa.evaluation.choice import read_choice, to_question, true_choice

OPTIONS = ["Sharp", "Very blurry", "Blurry", "None of these"]


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", "Sharp"),
        ("b.", "Very blurry"),
        ("(C)", "Blurry"),
        ("C. Blurry", "Blurry"),
        ("Answer: B", "Very blurry"),
        ("The answer is B.", "Very blurry"),
        ("Option D", "None of these"),
        ("**B**", "Very blurry"),
        ("very blurry.", "Very blurry"),
        ("Blurry, with some noise", "Blurry"),
        ("The picture is very blurry", "Very blurry"),
        ("A picture that is blurry", "Blurry"),
        # not clear: the text itself
        ("E", "E"),
        ("A, B", "A, B"),
        ("Sharp or blurry", "Sharp or blurry"),
        ("It is not sharp", "It is not sharp"),
        ("none", "none"),
        ("", ""),
    ],
)
def test_which_option_a_text_chooses(text, option):
    assert read_choice(text, {"id": 0, "options": OPTIONS}) == option


@pytest.mark.parametrize(
    ("text", "option"), [("Yes, it is.", "Yes"), ("no", "No"), ("No, not yes", "No"), ("I know", "I know")]
)
def test_yes_and_no(text, option):
    assert read_choice(text, {"id": 0, "options": ["Yes", "No"]}) == option


@given(st.integers(0, 3), st.sampled_from(["{}", "{}.", "({})", "{}) ", "Answer: {}"]))
def test_a_letter_and_its_words_are_one_choice(place, form):
    item = {"id": 0, "options": OPTIONS}
    assert (
        read_choice(form.format("ABCD"[place]).strip(), item)
        == OPTIONS[place]
        == read_choice(OPTIONS[place].upper(), item)
    )


def test_accuracy_over_letters_and_words():
    answers = [
        {"id": 0, "question": "?", "options": ["Yes", "No"], "answer": "B", "category": "noise"},
        {"id": 1, "question": "?", "options": ["Red", "Green"], "answer": "Red", "category": "colour"},
    ]
    result = choice([{"id": 0, "text": "No, it is not."}, {"id": 1, "text": "B. Green"}], answers)
    assert result.accuracy == 0.5
    assert {value: group.accuracy for value, group in result.by("category").items()} == {"colour": 0, "noise": 1}


@pytest.mark.parametrize("options", [None, ["Yes"], ["Yes", "yes."], ["Yes", 1], ["Yes", " "]])
def test_options_are_checked(options):
    with pytest.raises(InputError, match="item 7: the field 'options' must be a list of 2 to 26 different texts"):
        read_choice("Yes", {"id": 7, "options": options})


def test_the_true_answer_must_be_an_option():
    with pytest.raises(InputError, match="item 7: the field 'answer' must be an option or its letter, found 'Maybe'"):
        true_choice({"id": 7, "options": ["Yes", "No"], "answer": "Maybe"})


def test_a_question_shows_its_options():
    item = {"id": "q", "image": "x.png", "question": "Is it sharp?", "options": ["Yes", "No"], "answer": "No"}
    assert to_question(item) == {
        "id": "q",
        "image_ref": None,
        "image_A": "x.png",
        "image_B": None,
        "query": "Is it sharp?\nA. Yes\nB. No\nAnswer with the option's letter.",
    }
