"""The same data without the reference: image_ref becomes null, the task its `_noref` form, and texts no longer mention it.

Texts are reworded by a short list of phrases; answers that still speak of a reference are kept and listed, for a
person to read.
"""

import argparse
import json
import re
from pathlib import Path

from build_datasets.dq495k.files import SHOWN
from build_datasets.dq495k.labels import from_fields, is_seen_without_reference
from depictqa.answers import read_items, write_json
from depictqa.errors import InputError, exit_cleanly

_REFERENCE = r"(?:(?:the|its|a|an) )?(?:(?:given|original|pristine|high-quality|undistorted) )*(?:reference|original)(?: image| picture| photo| version)?"
_PHRASE = (
    rf"(?:(?:when |as |if )?(?:compared|in comparison|by comparison|in contrast|relative|in relation) (?:to|with) {_REFERENCE}"
    rf"|with {_REFERENCE} in mind|unlike {_REFERENCE}|with respect to {_REFERENCE})\b(?!['’])"
)
_RULES = (  # (pattern, replacement), in this order
    (rf",\s*{_PHRASE},\s*", " "),  # in the middle of a sentence, between commas
    (rf"(?<![^.!?:;]\s)(?<![\w,])\s*\b{_PHRASE},\s*", " "),  # at its beginning
    (rf",?\s*\b{_PHRASE}", ""),
    (rf"\s+than (?:in |that of |those of |those in )?{_REFERENCE}\b(?!['’])", ""),
)
_MENTION = re.compile(r"\breferences?\b|\boriginal (?:image|picture|photo|version)\b", re.IGNORECASE)


def without_reference(text: str) -> str:
    """The text without its comparisons to a reference; sentences still begin with a capital."""
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    text = re.sub(r"[ \t]+", " ", text).strip()
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda match: match[1] + match[2].upper(), text)


def mentions_reference(text: str) -> bool:
    return _MENTION.search(text) is not None


def convert(item: dict, where: str) -> dict:
    """An item without its reference. Raises InputError: it has no task with a `_noref` form."""
    task = item.get("task_type")
    if task not in ("quality_single_A", "quality_single_B", "quality_compare"):
        raise InputError(
            f"{where}: the field 'task_type': expected quality_single_A, quality_single_B or quality_compare, found {task!r}"
        )
    item = item | {"image_ref": None, "task_type": f"{task}_noref"}
    if "conversations" in item:
        item["conversations"] = [turn | {"value": without_reference(turn["value"])} for turn in item["conversations"]]
    return item | {key: without_reference(item[key]) for key in ("query", "answer") if key in item}


def texts_of(item: dict) -> list[str]:
    turns = [turn["value"] for turn in item.get("conversations", ())]
    return turns + [item[key] for key in ("query", "answer") if key in item]


def is_seen(item: dict, where: str) -> bool:
    """Whether every distortion of every picture can be seen without a reference."""
    pictures = [item[key] for key in ("distortion_A", "distortion_B") if key in item] or [item]
    return all(is_seen_without_reference(from_fields(fields, where)) for fields in pictures)


@exit_cleanly
def command(may_exclude: bool, states_training: bool) -> None:
    """The programs refA2A_*.py and refAB2AB_*.py."""
    parser = argparse.ArgumentParser(description="Data with a reference -> data without one (docs/datasets.md).")
    parser.add_argument("--read_path", type=Path, required=True, help="items with a reference (.json)")
    parser.add_argument("--save_path", type=Path, required=True, help="where those without one go (.json)")
    if may_exclude:
        parser.add_argument("--exclude", action="store_true", help="drop what nobody sees without a reference")
    if states_training:
        parser.add_argument(
            "--training", action="store_true", help="the items hold conversations; else query and answer"
        )
    args = parser.parse_args()
    items, kept = read_items(args.read_path), []
    for number, item in enumerate(items):
        where = f"{args.read_path}: item {item.get('id', number)}"
        expected = "conversations" if getattr(args, "training", "conversations" in item) else "query"
        if expected not in item:
            raise InputError(
                f"{where}: the field '{expected}' is missing (--training says whether items hold conversations)"
            )
        if not getattr(args, "exclude", False) or is_seen(item, where):
            kept.append(convert(item, where))
    listed = [
        {"id": item.get("id"), "text": text} for item in kept for text in texts_of(item) if mentions_reference(text)
    ]
    write_json(args.save_path, kept)
    print(f"{len(kept)} of {len(items)} items: {args.save_path}")
    if listed:
        path = args.save_path.with_suffix(".mentions.json")
        write_json(path, listed)
        print(f"{len(listed)} texts still mention a reference: {path}")
        for row in listed[:SHOWN]:
            print(json.dumps(row, ensure_ascii=False))
