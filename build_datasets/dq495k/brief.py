"""Metas -> short questions and answers about what is wrong with one picture."""

import argparse
from pathlib import Path

from build_datasets.dq495k import questions
from build_datasets.dq495k.files import Meta, draw_names, of_photos, read_metas, read_split, relative_to
from build_datasets.dq495k.labels import MULTI_KEYS, SINGLE_KEYS, from_fields, generator, is_seen_without_reference
from build_datasets.dq495k.questions import ANY, ONE, TWO
from depictqa.answers import write_json
from depictqa.errors import exit_cleanly

MOST_TEST_NAMES = 5000
SEEDS = {"sd": 132, "md": 133}


def make_item(meta: Meta, seed: int, has_reference: bool, training: bool, root: Path | None) -> dict:
    """An item for training (conversations) or to ask (query, answer).

    In training half of the questions ask for a single word or phrase, and half say how many distortions there are;
    in a test all do both. Nobody is asked for the two distortions of a clean picture.
    """
    state = from_fields(meta.fields, str(meta.path))
    rng = generator(seed, meta.id)
    template, sentence = questions.pick(questions.BRIEF, rng), questions.pick(questions.NO_DISTORTION_SENTENCES, rng)
    in_a_word, says_number = rng.random(2) < 0.5 if training else (True, True)
    is_double = MULTI_KEYS[0] in meta.fields
    number = ANY if not says_number or (is_double and not state) else TWO if len(state) == 2 else ONE
    query, answer = questions.brief(template, state, number, bool(in_a_word), has_reference, sentence)
    keys = MULTI_KEYS if is_double else SINGLE_KEYS
    item = {
        "id": meta.id,
        "image_ref": relative_to(meta.text("img_ref"), root) if has_reference else None,
        "image_A": relative_to(meta.text("img_lq"), root),
        "image_B": None,
        "task_type": "quality_single_A" if has_reference else "quality_single_A_noref",
    } | {key: meta.fields[key] for key in keys}
    return item | spoken(query, answer, training)


def spoken(query: str, answer: str, training: bool) -> dict:
    """A question and its answer in the form that training wants, or inference and evaluation."""
    if training:
        return {"conversations": [{"from": "human", "value": query}, {"from": "gpt", "value": answer}]}
    return {"query": query, "answer": answer}


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="data.root_dir of the config: pictures' paths become relative to it")


@exit_cleanly
def command(has_reference: bool, kind: str) -> None:
    """The programs gen_json_{refA,A}_brief_{sd,md}.py."""
    parser = argparse.ArgumentParser(description="Metas -> short questions and answers (docs/datasets.md).")
    parser.add_argument("--split_json", type=Path, required=True, help='{"train": [names], "test": [names]}')
    parser.add_argument("--meta_dir", type=Path, required=True, help=f"metas of add_distortion_refA_{kind}.py")
    parser.add_argument("--save_path", type=Path, required=True, help="where the items go (.json)")
    parser.add_argument("--training", action="store_true", help="conversations about the train part; else questions")
    if not has_reference:
        parser.add_argument("--exclude", action="store_true", help="drop what nobody sees without a reference")
    parser.add_argument("--seed", type=int, default=SEEDS[kind])
    add_root(parser)
    args = parser.parse_args()
    names = read_split(args.split_json, args.training)
    if not args.training:
        names = draw_names(names, MOST_TEST_NAMES, args.seed)
    metas = of_photos(read_metas(args.meta_dir), names)
    kept = [
        meta
        for meta in metas
        if not getattr(args, "exclude", False) or is_seen_without_reference(from_fields(meta.fields, str(meta.path)))
    ]
    write_json(args.save_path, [make_item(meta, args.seed, has_reference, args.training, args.root) for meta in kept])
    print(f"{len(kept)} items ({len(metas) - len(kept)} left out) of {len(names)} photos: {args.save_path}")
