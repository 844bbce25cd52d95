"""Which picture of a message is which: by its label, else by number; never by a guess against what a text says."""

import pytest

from depictqa.serve.labels import assign
from depictqa.serve.protocol import Refused

X, Y, Z = b"x", b"y", b"z"
Q = "Which is sharper?"


@pytest.mark.parametrize(
    "label",
    [
        "Image B:",
        "image b",
        "IMAGE B",
        "This is Image B:",
        "Here is image B.",
        "Here's the image B:",
        "And this is Image B:",
        "Now Image B:",
        "**Image B:**",
        "[Image B]",
        "Image-B:",
        "Photo B:",
        "B:",
        "Image B (left):",
        " Image B :\n",
        f"{Q} Image B:",
        f"{Q}\nThis is Image B:",
    ],
)
def test_a_label_is_read_tolerantly(label):
    assert assign([label, X, Q]) == ({"b": X}, f"{Q} {Q}" if Q in label else Q)


@pytest.mark.parametrize(
    "label",
    ["Reference Image:", "Here is the reference image:", "Reference:", "reference", "Ref:", "The reference picture"],
)
def test_labels_of_a_reference(label):
    assert assign(["Image A", Y, label, X, Q]) == ({"a": Y, "ref": X}, Q)


@pytest.mark.parametrize("label", ["Image:", "This is the image:", "photo"])
def test_one_picture_may_just_be_called_image(label):
    assert assign([label, X, Q]) == ({"a": X}, Q)
    assert assign(["Reference Image:", Y, label, X, Q]) == ({"ref": Y, "a": X}, Q)


@pytest.mark.parametrize(
    ("parts", "pictures", "question"),
    [
        ([X, Q], {"a": X}, Q),
        ([X, Y, Q], {"a": X, "b": Y}, Q),
        ([X, Y, Z, Q], {"ref": X, "a": Y, "b": Z}, Q),
        (["\n", X, " ", Y, Q], {"a": X, "b": Y}, Q),
        ([Q, X], {"a": X}, Q),
        ([Q, X, Y], {"a": X, "b": Y}, Q),
        ([X, Y, "Is Image B better than Image A?"], {"a": X, "b": Y}, "Is Image B better than Image A?"),
        (["Is Image B better than Image A?", X, Y], {"a": X, "b": Y}, "Is Image B better than Image A?"),
        (["Image A and Image B:", X, Y, Q], {"a": X, "b": Y}, f"Image A and Image B: {Q}"),
        (["Images A and B:", X, Y, Q], {"a": X, "b": Y}, f"Images A and B: {Q}"),
        (["Describe the quality of Image A", X], {"a": X}, "Describe the quality of Image A"),
        (["Be brief.", X, Q, "In a word."], {"a": X}, f"Be brief. {Q} In a word."),
        ([X, "Is this image a friend took without a reference good?"], {"a": X}, ...),
        ([X, "With reference to noise, is it good?"], {"a": X}, ...),
        (["Image B:", X, "Image A:", Y, "Is Image A better than Image B?"], {"b": X, "a": Y}, ...),
        ([Q], {}, Q),
        ([], {}, ""),
    ],
)
def test_without_labels_the_number_decides_and_every_text_is_asked(parts, pictures, question):
    assert assign(parts) == (pictures, parts[-1] if question is ... else question)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["Image A and Image B:", X, Q], "the text names Image B"),
        (["Images A and B:", X, Q], "the text names Image B"),
        (["This is Image A. This is Image B:", X, Q], "'This is Image A.' has no picture"),
        (["Image A:", "Image B:", X, Q], "'Image A:' has no picture"),
        (["Image B and Image A:", X, Y, Q], "in another order"),
        (["This is Image B, taken at night:", X, Q], "the text names Image B"),
        (["Image C:", X, Q], "the text names Image C"),
        ([X, "Describe Image B"], "the text names Image B"),
        ([X, Y, "Compared with the reference, how good is Image A?"], "the text names Reference Image"),
        ([X, "That was Image A", Y, Q], "the text before picture 2"),
        ([X, "and this one", Y, Q], "the text before picture 2"),
        (["Image A:", X, "look at this", Y, Q], "the text before picture 2"),
        ([X, "Image A", Y, "Image B"], "'Image B' has no picture after it"),
        (["Image A:", X, Y, Q], "some have a label and some have none"),
        (["Image A:", X, "Image A:", Y, Q], "two have the same"),
        ([X, Y, Z, X, Q], "more than three"),
        ([X, "Image B:", Y, Q], "some have a label and some have none"),
    ],
)
def test_what_is_not_certain_is_refused(parts, words):
    with pytest.raises(Refused, match="label every picture") as refused:
        assign(parts)
    assert refused.value.status == 400 and words in refused.value.message and len(refused.value.message) < 300


def test_far_too_much_text_is_refused_before_it_is_read():
    for text in ("x" * 10_000_000, "Image A" + " " * 10_000_000 + "x", "reference " * 1_000_000):
        with pytest.raises(Refused, match="question: expected at most 2000 characters"):
            assign([text, X])
