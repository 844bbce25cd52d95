"""Published multiple-choice benchmarks as items of ours: {id, image, question, options, answer}.

A form is a row of `FORMS`; the fields of an item say which one it has. An item without an id gets its place in the file,
so that `choice_questions.py` and `cal_acc_choice.py` agree. All other fields are kept, to group by (`--by`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase

from depictqa.errors import InputError


@dataclass(frozen=True)
class Form:
    """Where a benchmark keeps what.

    Attributes:
        image, answer: fields; `answer` is None where the true answers are not published.
        options: the texts to choose from, in order.
        mark: a field that only this form has.
    """

    mark: str
    image: str
    options: Callable[[dict], list]
    answer: str | None


def _numbered(item: dict) -> list:
    """`option0`, `option1`, ...; "N/A" stands for none."""
    options = [item[name] for name in map("option{}".format, range(len(ascii_uppercase))) if name in item]
    return [option for option in options if option != "N/A"]


def _lettered(item: dict) -> list:
    """Columns `A`, `B`, ...; empty where a question has fewer."""
    return [item[letter] for letter in ascii_uppercase if item.get(letter) not in (None, "")]


FORMS = {
    "ours": Form("options", "image", lambda item: item["options"], "answer"),
    # llvisionqa_dev.json of Q-Bench A1 (Wu et al., ICLR 2024)
    "Q-Bench A1": Form("candidates", "img_path", lambda item: item["candidates"], "correct_ans"),
    # the same as rows of its data set on the Hugging Face hub, images saved to files
    "Q-Bench A1, rows": Form("option0", "image", _numbered, "correct_choice"),
    # Abench.json of A-Bench (Zhang et al., 2024): the true answers are with its authors
    "A-Bench": Form("answers", "img_path", lambda item: item["answers"], None),
    # columns A to D: four-choice tables, as VLMEvalKit has them and DistortBench (Goyal et al., 2026) asks
    "lettered": Form("A", "image_path", _lettered, "answer"),
}


def read_benchmark(items: list[dict]) -> list[dict]:
    """Items of any form of `FORMS`, mixed or not, as items of ours, in their order.

    Raises:
        InputError: an item has no known form.
    """
    return [_read(item, number) for number, item in enumerate(items)]


def _read(item: dict, number: int) -> dict:
    form = next((form for form in FORMS.values() if form.mark in item), None)
    if form is None:
        raise InputError(
            f"item {number}: no known form; expected one of the fields {', '.join(f.mark for f in FORMS.values())}"
        )
    truth = {} if form.answer is None or form.answer not in item else {"answer": item[form.answer]}
    return {"id": number} | item | {"image": item.get(form.image), "options": form.options(item)} | truth
