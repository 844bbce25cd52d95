"""Which picture is which and what is asked, from the texts and pictures of a message in their order.

A picture has the label that is written before it; without labels, their number decides. Every text is a label or part of
the question. A message in which one is neither, or whose pictures would be assigned against what a text says, is refused.
"""

import re
from collections.abc import Sequence

from depictqa.serve.protocol import MAX_QUESTION, NAMES, Refused

BY_COUNT = {1: ("a",), 2: ("a", "b"), 3: ("ref", "a", "b")}  # slots of pictures without labels
EXPECTED = 'label every picture in the text before it ("Reference Image:", "Image A:", "Image B:"), each once, or none'

_PICTURE = r"(?:image|picture|photo)"
_LEAD = (  # "And this is the", "Here's"
    r"[\W_]*(?:(?:and|now|next|then|finally|first,|second,|third,)\s+)?"
    r"(?:(?:this|here|below)(?:\s+is|['’]s)\s+)?(?:the\s+)?"
)
_TAIL = r"(?:\s*\([^()]*\))?[^\w?!]*"  # "(left):"
_LABELS = [  # a text that says which picture follows, and nothing else -> its slot
    (re.compile(f"{_LEAD}(?:{name}){_TAIL}", re.IGNORECASE), slot)
    for name, slot in (
        (rf"reference(?:[\s_-]*{_PICTURE})?|ref(?=\s*[:)\]])", "ref"),
        (rf"{_PICTURE}[\s_-]*a|a(?=\s*[:)\]])", "a"),
        (rf"{_PICTURE}[\s_-]*b|b(?=\s*[:)\]])", "b"),
        (_PICTURE, "a"),
    )
]
_SENTENCE_ENDS = re.compile(r"(?<=[.?!:;])\s+|\n+")
_REFERENCE = r"(?<!no )(?<!for )(?<!without )(?<!without a )(?<![\w-])reference(?![\w-])(?!\s+to\b)"
_LETTER = r"(?-i:[A-D])\b|[a-d](?=\s*(?:[^\w\s]|$))"  # "this image a friend took" names none
_MORE = r"(?:\s*(?:,|&|and|or|vs\.?)\s+(?-i:[A-D])\b)*"  # "images A and B"
_NAMED = re.compile(rf"(?P<ref>{_REFERENCE})|\b{_PICTURE}s?[\s_-]+(?P<one>{_LETTER})(?P<more>{_MORE})", re.IGNORECASE)


def assign(parts: Sequence[str | bytes]) -> tuple[dict[str, bytes], str]:
    """The pictures by slot (ref, a, b), and the question.

    Args:
        parts: texts, and pictures as bytes.

    Raises:
        Refused: it is not certain which picture is which, a text is neither a label nor part of the question, or there is
            far too much of it.
    """
    if sum(len(part) for part in parts if isinstance(part, str)) > 2 * MAX_QUESTION:
        raise Refused(400, "invalid_field", f"question: expected at most {MAX_QUESTION} characters")
    pictures: list[tuple[str | None, bytes]] = []  # (slot of its label, file)
    texts: list[str] = []  # since the last picture
    question: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts += [part.strip()] if part.strip() else []
            continue
        slot, rest = _read_label(texts)
        if pictures and slot is None and rest:
            raise _unclear(f"the text before picture {len(pictures) + 1} is not a known label ({_quote(rest[-1])})")
        pictures.append((slot, part))
        question += rest
        texts = []
    for text in texts if pictures else ():
        if _slot_of(text):
            raise _unclear(f"the label {_quote(text)} has no picture after it")
    before, slots = question, [slot for slot, _ in pictures]
    question = before + texts
    if not any(slots) and len(slots) in BY_COUNT:
        slots = _by_count(BY_COUNT[len(slots)], before, question)
    named = dict.fromkeys(slot for slot in slots if slot)
    if len(named) < len(pictures):
        raise _unclear("some have a label and some have none, two have the same, or there are more than three")
    return dict(zip(named, (file for _, file in pictures), strict=True)), " ".join(question)


def _read_label(texts: Sequence[str]) -> tuple[str | None, list[str]]:
    """The slot that the last sentence of the texts before a picture names, if it is a label, and what else they say."""
    if not texts:
        return None, []
    *others, last = texts
    ends = [0, *(match.end() for match in _SENTENCE_ENDS.finditer(last))]
    slot = _slot_of(last[ends[-1] :])
    rest = [*others, last if slot is None else last[: ends[-1]].strip()]
    for sentence in (sentence for text in rest for sentence in _SENTENCE_ENDS.split(text)):
        if _slot_of(sentence):
            raise _unclear(f"the label {_quote(sentence)} has no picture right after it")
    return slot, [text for text in rest if text]


def _by_count(slots: tuple[str, ...], before: Sequence[str], question: Sequence[str]) -> list[str]:
    """The slots, if no text says otherwise: by a name that is not among them, or by announcing them in another order."""
    for name in _named(" ".join(question)):
        if name not in slots:
            named = NAMES.get(name, f"Image {name.upper()}")
            raise _unclear(f"the text names {named}, which is none of the pictures as given")
    announced = list(dict.fromkeys(_named(before[-1]))) if before and before[-1].endswith(":") else []
    if announced != sorted(announced, key=slots.index):
        raise _unclear(f"{_quote(before[-1])} announces them in another order than reference, A, B")
    return list(slots)


def _slot_of(label: str) -> str | None:
    return next((slot for pattern, slot in _LABELS if pattern.fullmatch(label)), None)


def _named(text: str) -> list[str]:
    """The pictures that a text names, in its order: ref, a, b, or a letter that no slot has."""
    names = []
    for match in _NAMED.finditer(text):
        letters = re.findall(r"\b[A-D]\b", match["more"] or "")
        names += ["ref"] if match["ref"] else [match["one"].lower(), *map(str.lower, letters)]
    return names


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _unclear(what: str) -> Refused:
    return Refused(400, "unclear_pictures", f"pictures: {what}; {EXPECTED}")
