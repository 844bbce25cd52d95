import pytest

from depictqa.api import Question
from depictqa.errors import InputError
from depictqa.harnesses import as_question


def test_the_number_of_images_says_which_is_which():
    assert as_question(["x"], " Sharp?\n") == Question("Sharp?", a="x")
    assert as_question(["x", "y"], "Which?") == Question("Which?", a="x", b="y")
    assert as_question(["r", "x", "y"], "Which?") == Question("Which?", a="x", b="y", reference="r")


@pytest.mark.parametrize("count", [0, 4])
def test_other_numbers_are_refused(count):
    with pytest.raises(InputError, match=f"images: expected 1 to 3, found {count}"):
        as_question(["x"] * count, "Which?")
