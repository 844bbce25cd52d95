"""Long answers (folders of metas with `response`) -> json to train on, or to ask."""

import argparse
from pathlib import Path

from build_datasets.dq495k import questions
from build_datasets.dq495k.brief import add_root, spoken
from build_datasets.dq495k.files import Meta, read_metas, relative_to
from build_datasets.dq495k.labels import MULTI_KEYS, SINGLE_KEYS, generator
from build_datasets.dq495k.responses import pictures_of
from depictqa.answers import write_json
from depictqa.errors import exit_cleanly


def is_refusal(text: str) -> bool:
    """Whether an answer is an apology instead; such are not trained on."""
    return "sorry" in text.lower()


def make_item(meta: Meta, images: str, form: str, seed: int, root: Path | None) -> dict:
    """An item; `form`: "training" (conversations), "test" (query and answer), "questions" (query alone)."""
    (picture_a, _), *rest = pictures_of(meta, images)
    templates = questions.DETAIL_ONE if images == "refA" else questions.DETAIL_TWO
    template = questions.pick(templates, generator(seed, meta.id))
    query = questions.render(template.question, questions.ANY, has_reference=True)
    item = {
        "id": meta.id,
        "image_ref": relative_to(meta.text("img_ref"), root),
        "image_A": relative_to(picture_a, root),
        "image_B": relative_to(rest[0][0], root) if rest else None,
        "task_type": "quality_single_A" if images == "refA" else "quality_compare",
    }
    item |= (
        _labels(meta.fields)
        if images == "refA"
        else {f"distortion_{x}": _labels(meta.fields[f"img_lq_{x}"]) for x in "AB"}
    )
    return item | (
        {"query": query} if form == "questions" else spoken(query, meta.text("response"), form == "training")
    )


def _labels(fields: dict) -> dict:
    return {key: fields[key] for key in (*SINGLE_KEYS, *MULTI_KEYS) if key in fields}


@exit_cleanly
def command(images: str) -> None:
    """The programs gen_json_refA_detail.py and gen_json_refAB_detail.py."""
    parser = argparse.ArgumentParser(description="Long answers -> items of a training or test json (docs/datasets.md).")
    parser.add_argument(
        "--meta_dir", type=Path, required=True, help="metas with a response (--save_dir of gen_resp_*.py)"
    )
    parser.add_argument("--save_path", type=Path, required=True, help="where the items go (.json)")
    if images == "refA":
        parser.add_argument(
            "--test", action="store_true", help="query and answer, to ask and to judge; else conversations"
        )
    else:
        parser.add_argument("--training", action="store_true", help="conversations; else queries without answers")
    parser.add_argument("--seed", type=int, default=131)
    add_root(parser)
    args = parser.parse_args()
    if images == "refA":
        form = "test" if args.test else "training"
    else:
        form = "training" if args.training else "questions"
    metas = read_metas(args.meta_dir)
    kept = [meta for meta in metas if form != "training" or not is_refusal(meta.text("response"))]
    write_json(args.save_path, [make_item(meta, images, form, args.seed, args.root) for meta in kept])
    print(f"{len(kept)} items ({len(metas) - len(kept)} refusals left out): {args.save_path}")
