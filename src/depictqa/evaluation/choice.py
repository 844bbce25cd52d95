"""Multiple-choice and yes-no questions (the form of Q-Bench A1): from benchmark to questions, from text to option.

An item of a benchmark is `{"id", "image", "question", "options": ["Yes", "No"], "answer": "No"}`; `answer` is an
option or its letter. (Q-Bench: Wu et al., "Q-Bench: A benchmark for general-purpose foundation models on
low-level vision", ICLR 2024.)
"""

import re
from string import ascii_uppercase

from depictqa.errors import InputError
from depictqa.evaluation.joining import text_field

_LETTER = re.compile(
    r"(?:(?:the )?(?:correct )?answer(?: is)?:?\s*|option\s*)?\(?([A-Z])(?:[).:]+(?=\s|$)|\s*$)", re.IGNORECASE
)
_PAUSE = re.compile(r"[.,;:!\n]")
_NEGATION = re.compile(r"\b(?:not|never|neither|nor)\b|n['’]t\b", re.IGNORECASE)


def read_choice(text: str, item: dict) -> str:
    """The option that a text chooses, or the text itself where that is not clear.

    In this order: the whole text is an option ("blurry."), it begins with a letter ("B", "(B)", "B. Sharp",
    "Answer: B"), its first clause is an option ("No, it is sharp."), it holds one option ("It is rather blurry.").
    Capitals and punctuation do not matter; "very blurry" is not also "blurry".

    Arguments:
        text: an answer without surrounding white space.
        item: with `options`, a list of 2 to 26 different texts.

    Raises:
        InputError: `options` is something else.
    """
    options = _options(item)
    text_of = {_plain(option): option for option in options}
    text = text.strip("*")  # markdown's bold
    if option := text_of.get(_plain(text)):
        return option
    letter = _LETTER.match(text)
    if letter and (place := ascii_uppercase.index(letter[1].upper())) < len(options):
        return options[place]
    if option := text_of.get(_plain(_PAUSE.split(text)[0])):
        return option
    if _NEGATION.search(text):  # "It is not sharp."
        return text
    held = [plain for plain in text_of if _inside(plain, _plain(text))]
    longest = [plain for plain in held if not any(plain != other and _inside(plain, other) for other in held)]
    return text_of[longest[0]] if len(longest) == 1 else text


def true_choice(item: dict) -> str:
    """The option that the field `answer` names. Raises InputError where it names none."""
    option = read_choice(text_field(item, "answer"), item)
    if option not in item["options"]:
        raise InputError(f"item {item['id']}: the field 'answer' must be an option or its letter, found {option!r}")
    return option


def to_question(item: dict) -> dict:
    """The inference item (`id, image_ref, image_A, image_B, query`) of a benchmark's item.

    Raises:
        InputError: the item lacks its image, question or options.
    """
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, _options(item)))
    return {
        "id": item["id"],
        "image_ref": None,
        "image_A": text_field(item, "image"),
        "image_B": None,
        "query": f"{text_field(item, 'question')}\n{listed}\nAnswer with the option's letter.",
    }


def _options(item: dict) -> list[str]:
    options = item.get("options")
    if isinstance(options, list) and all(isinstance(option, str) and option.strip() for option in options):
        if 2 <= len({_plain(option) for option in options}) == len(options) <= len(ascii_uppercase):
            return options
    raise InputError(
        f"item {item.get('id')}: the field 'options' must be a list of 2 to 26 different texts, found {options!r}"
    )


def _plain(text: str) -> str:
    """Lower case, words only, one space between them."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _inside(words: str, text: str) -> bool:
    return f" {words} " in f" {text} "
