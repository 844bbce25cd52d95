"""Metas -> long answers, one file each in --save_dir: the meta with its `response`.

`gpt4v` asks a vision LLM through `depictqa.chat_api` (nothing is paid for twice, --max_cost holds); what gave no
answer is recorded in --fail_dir. `template` writes the answers itself (`describe`). Both keep what is there.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from joblib import delayed
from tqdm import tqdm

from build_datasets.dq495k import describe, parallel, prompts
from build_datasets.dq495k.files import Meta, read_metas, write_meta
from build_datasets.dq495k.labels import State, from_fields, generator
from build_datasets.dq495k.measure import measure
from depictqa import chat_api
from depictqa.answers import index_by_id, read_items
from depictqa.chat_api import OK, Reply, Request
from depictqa.data.images import open_image
from depictqa.errors import InputError, exit_cleanly

MAX_TOKENS = {"refA": 200, "refAB": 230}
CHOICES = ("Image A", "Image B")


def pictures_of(meta: Meta, images: str) -> list[tuple[str, State]]:
    """(path, state) of the distorted pictures of a meta. Raises InputError: a field is missing or wrong."""
    if images == "refA":
        return [(meta.text("img_lq"), from_fields(meta.fields, str(meta.path)))]
    found = []
    for key in ("img_lq_A", "img_lq_B"):
        fields = meta.fields.get(key)
        if not isinstance(fields, dict) or not isinstance(fields.get("img_path"), str):
            raise InputError(f"{meta.path}: the field '{key}': expected an object with img_path, found {fields!r}")
        found.append((fields["img_path"], from_fields(fields, f"{meta.path}: {key}")))
    return found


def read_verdicts(path: Path) -> dict[str, str]:
    """id -> "Image A" or "Image B", from a rating model's answers. Raises InputError."""
    verdicts = {
        str(key): str(item.get("text", item.get("answer"))).strip(" .\n")
        for key, item in index_by_id(read_items(path), path).items()
    }
    for key, verdict in verdicts.items():
        if verdict not in CHOICES:
            raise InputError(f"{path}: item {key}: expected 'Image A' or 'Image B' as text, found {verdict!r}")
    return verdicts


def request_for(meta: Meta, images: str, verdicts: dict[str, str]) -> Request:
    """What is asked about a meta. Raises InputError: a picture or the verdict is missing."""
    reference, found = meta.text("img_ref"), pictures_of(meta, images)
    if images == "refA":
        ((picture, state),) = found
        return Request(meta.id, prompts.ask_one(reference, picture, state))
    if meta.id not in verdicts:
        raise InputError(f"{meta.path}: --pred_json has no answer with the id '{meta.id}'")
    paths, states = zip(*found)
    return Request(meta.id, prompts.ask_two(reference, paths, states, verdicts[meta.id]))


@exit_cleanly
def gpt4v_command(images: str) -> None:
    """The programs gen_resp_gpt4v_{refA,refAB}_{sd,md}.py; `images` is refA or refAB."""
    parser = argparse.ArgumentParser(description="Long answers by a vision LLM (docs/datasets.md).")
    _add_folders(parser)
    parser.add_argument("--fail_dir", type=Path, required=True, help="what gave no answer, and why (.json)")
    if images == "refAB":
        parser.add_argument("--pred_json", type=Path, required=True, help="a rating model's answers: id, text")
    parser.add_argument("--dry_run", action="store_true", help="print the first request and the most that all can cost")
    chat_api.add_arguments(parser, max_tokens=MAX_TOKENS[images], temperature=0.5)
    args = parser.parse_args()
    verdicts = read_verdicts(args.pred_json) if images == "refAB" else {}
    metas: dict[str | int, Meta] = {meta.id: meta for meta in read_metas(args.meta_dir)}
    open_ones = {key: meta for key, meta in metas.items() if not (args.save_dir / f"{key}.json").exists()}
    requests = (request_for(meta, images, verdicts) for meta in open_ones.values())
    if args.dry_run:
        return _show(requests, args, len(open_ones))
    options = chat_api.options_from(args)
    for key in open_ones:
        (args.fail_dir / f"{key}.json").unlink(missing_ok=True)
    with tqdm(total=len(open_ones), unit="answer", mininterval=1) as progress:

        def save(reply: Reply) -> None:
            fields = metas[reply.key].fields
            if reply.text is not None and reply.status == OK:
                write_meta(args.save_dir / f"{reply.key}.json", fields | {"response": reply.text.strip()})
            else:
                why = {"status": reply.status, "reason": reply.reason, "response": reply.text}
                write_meta(args.fail_dir / f"{reply.key}.json", fields | why)
            progress.update()

        totals = chat_api.ask(requests, options, args.save_dir / ".ledger.jsonl", save)
    others = ", ".join(f"{count} {status}" for status, count in sorted(totals.counts.items()) if status != OK)
    print(
        f"{len(metas) - len(open_ones)} answers were there, {totals.counts[OK]} are new; {totals.spent:.4f} dollars spent in all"
    )
    if others:
        raise InputError(f"{args.fail_dir}: no answer to some: {others}; run again to ask for those that failed")


def _show(requests: Iterator[Request], args: argparse.Namespace, count: int) -> None:
    """--dry_run. The estimate takes the first request for all; keys and pictures are not shown."""
    first = next(requests, None)
    if first is None:
        print("every meta has its answer: nothing to ask")
        return
    options = chat_api.ChatOptions(args.model, max_tokens=args.max_tokens, price_in=args.price_in, price_out=args.price_out, image_tokens=args.image_tokens)  # fmt: skip
    print(
        f"{args.base_url}, model {args.model}, max_tokens {args.max_tokens}, temperature {args.temperature}: item {first.key}"
    )
    for message in first.messages:
        content = message["content"]
        parts: list[dict] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            shown = part["text"] if part["type"] == "text" else f"<image, {len(part['image_url']['url'])} characters>"
            print(f"[{message['role']}] {shown}")
    known = "" if args.price_in and args.price_out else " (give --price_in and --price_out)"
    print(f"{count} requests cost at most about {count * options.bound(first):.2f} dollars{known}")


def describe_meta(meta: Meta, images: str, save_dir: Path, verdicts: dict[str, str], seed: int) -> None:
    """Write the answer about one meta. Raises InputError: a picture cannot be read."""
    found = pictures_of(meta, images)
    pictures = [np.asarray(open_image(path)) for path, _ in found]
    height, width = pictures[0].shape[:2]
    reference = np.asarray(open_image(meta.text("img_ref")).resize((width, height)))
    states, measured = [state for _, state in found], [measure(picture) for picture in pictures]
    rng = generator(seed, "describe", meta.id)
    if images == "refA":
        text = describe.describe_one(states[0], measured[0], measure(reference), rng)
    else:
        a_is_better = (
            verdicts[meta.id] == "Image A" if meta.id in verdicts else describe.prefers_a(states, pictures, reference)
        )
        text = describe.describe_two(states, measured, measure(reference), a_is_better, rng)
    write_meta(save_dir / f"{meta.id}.json", meta.fields | {"response": text})


@exit_cleanly
def template_command(images: str) -> None:
    """The programs gen_resp_template_{refA,refAB}_{sd,md}.py."""
    parser = argparse.ArgumentParser(description="Long answers from labels and measurements (docs/datasets.md).")
    _add_folders(parser)
    if images == "refAB":
        parser.add_argument("--pred_json", type=Path, help="a rating model's answers decide which one is better")
    parser.add_argument("--seed", type=int, default=131)
    parallel.add_arguments(parser)
    args = parser.parse_args()
    verdicts = read_verdicts(args.pred_json) if images == "refAB" and args.pred_json else {}
    metas = read_metas(args.meta_dir)
    open_ones = [meta for meta in metas if not (args.save_dir / f"{meta.id}.json").exists()]
    with parallel.backend(args):
        calls = (delayed(describe_meta)(meta, images, args.save_dir, verdicts, args.seed) for meta in open_ones)
        for _ in tqdm(parallel.run(calls), total=len(open_ones), unit="answer", mininterval=1):
            pass
    print(f"{len(metas) - len(open_ones)} answers were there, {len(open_ones)} are new: {args.save_dir}")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--meta_dir", type=Path, required=True, help="metas of add_distortion_*.py")
    parser.add_argument("--save_dir", type=Path, required=True, help="where answers go; run again to go on")
