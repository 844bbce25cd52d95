"""What `quickstart.sh` runs: Nano on real photos, as a table, an accuracy and a page of pictures with answers.

Without arguments: held-out photos of scikit-image and scikit-learn, distorted on the spot. With one to three paths: the
user's photo, another to compare it with, and their reference. The answers come from `src/infer.py`.
"""

import base64
import html
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from joblib import delayed
from PIL import Image

from depictqa.answers import index_by_id, read_items, write_json, write_text
from depictqa.data.images import open_image
from depictqa.errors import InputError, exit_cleanly
from depictqa.evaluation.accuracy import evaluate
from depictqa.prompts import QUESTIONS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SEED = 7
DATA, ANSWERS, PAGE = HERE / "data", HERE / "answers" / "quickstart", HERE / "answers" / "quickstart.html"
COUNTS = {  # meta -> how many questions, and how they are scored
    "A_brief": (15, "single_distortion"),
    "refA_brief": (15, "single_distortion"),
    "AB_rating": (15, "rating"),
    "refAB_rating": (15, "rating"),
    "A_detail": (3, None),
    "refAB_detail": (3, None),
}
LABELS = {"image_ref": "Reference", "image_A": "A", "image_B": "B"}
SINGLE, DESCRIBE = QUESTIONS["distortions"], QUESTIONS["describe"]


def make_own_questions() -> list[tuple[str, str, str]]:
    """Distort held-out photos and write their metas. Returns (meta path, dataset name, task) of each."""
    from build_datasets.nano import build
    from build_datasets.nano.samples import LABELS as CLASSES

    out, jobs, runs = DATA / "quickstart", {}, []
    for kind in build.KINDS:
        if kind.name in COUNTS:
            count, _ = COUNTS[kind.name]
            is_brief_single = not (kind.is_pair or kind.is_detail)
            labels = [CLASSES[n % len(CLASSES)] if is_brief_single else ... for n in range(count)]
            jobs[kind] = [delayed(build.make_test_item)(kind, n, out, SEED, label) for n, label in enumerate(labels)]
            runs.append((f"quickstart/metas/{kind.name}.json", kind.name, kind.task))
    build.build(jobs, out, workers=1)
    return runs


def make_users_questions(paths: list[str]) -> list[tuple[str, str, str]]:
    """Metas about the user's pictures; every picture is opened before anything is asked."""
    for path in paths:
        open_image(path)
    photo, other, reference = [str(Path(path).resolve()) for path in paths] + [None] * (3 - len(paths))
    suffix = "_noref" if reference is None else ""
    questions = [("photo", f"quality_single_A{suffix}", photo, None, q) for q in (SINGLE, DESCRIBE)]
    if other is not None:
        questions += [("other", f"quality_single_A{suffix}", other, None, q) for q in (SINGLE, DESCRIBE)]
        questions += [
            ("both", f"quality_compare{suffix}", photo, other, q) for q in (QUESTIONS["better"], QUESTIONS["compare"])
        ]
    metas: dict[str, list[dict]] = {}
    for number, (name, task, image_a, image_b, query) in enumerate(questions):
        item = {
            "id": f"{name}_{number}",
            "image_ref": reference,
            "image_A": image_a,
            "image_B": image_b,
            "query": query,
        }
        metas.setdefault(task, []).append(item)
    for task, items in metas.items():
        write_json(DATA / "yours" / f"{task}.json", items)
    return [(f"yours/{task}.json", f"yours_{task}", task) for task in metas]


def ask(runs: list[tuple[str, str, str]]) -> None:
    metas, names, tasks = zip(*runs, strict=True)
    command = [sys.executable, str(ROOT / "src" / "infer.py"), "--cfg", str(HERE / "config.yaml"), "--batch_size", "8"]
    command += ["--meta_path", *metas, "--dataset_name", *names, "--task_name", *tasks]
    command += ["--set", f"infer.answer_dir={ANSWERS}"]
    if subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}).returncode:
        raise InputError("infer.py stopped; its own message stands above")


def shown(path: str) -> str:
    """A picture as an <img> that needs no file beside the page."""
    picture = open_image(DATA / path)
    picture.thumbnail((336, 336), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, format="JPEG", quality=92)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def report(runs: list[tuple[str, str, str]]) -> None:
    """Print every answer and the accuracies; write the page."""
    blocks, scores = [], []
    for meta, name, task in runs:
        items = read_items(DATA / meta)
        predictions = read_items(ANSWERS / f"{task}_{name}.json")
        answers = index_by_id(predictions, ANSWERS)
        measure = COUNTS.get(name, (0, None))[1]
        print(f"\n== {name}: {task}")
        rows = []
        for item in items:
            text, confidence = answers[item["id"]]["text"], answers[item["id"]]["confidence"]
            sure = "" if confidence is None else f"{confidence:.2f}"
            truth = item.get("answer", "")
            mark = "" if measure is None else ("right" if text == truth else "wrong")
            pictures = [(LABELS[field], item[field]) for field in LABELS if item[field] is not None]
            if measure is None:
                print(f"{item['id']}: {item['query']}\n    {text}  [confidence {sure or '-'}]")
                if truth:
                    print(f"    truth: {truth}")
            else:
                print(f"{item['id']:<20} {text:<26} {sure:>5}  truth: {truth:<26} {mark}")
            figures = "".join(
                f"<figure>{shown(path)}<figcaption>{label}</figcaption></figure>" for label, path in pictures
            )
            said = f"<b>{html.escape(text)}</b> <i>confidence {sure or 'unknown'}</i>"
            rows.append(
                f'<section class="{mark}">{figures}<p>{html.escape(item["query"])}<br>{said}'
                + (f"<br>truth: {html.escape(truth)}" if truth else "")
                + "</p></section>"
            )
        if measure is not None:
            accuracy = evaluate(measure, predictions, items).accuracy
            scores.append(f"{name}: {accuracy:.0%} of {len(items)} right")
        blocks.append(f"<h2>{name} <small>{task}</small></h2>{''.join(rows)}")
    print("\n" + "\n".join(scores))
    write_page(blocks, scores)


def write_page(blocks: list[str], scores: list[str]) -> None:
    style = (
        "body{font:16px sans-serif;margin:2em;max-width:75em}section{display:flex;gap:1em;border-left:6px solid #999;"
        "padding:.5em 1em;margin:1em 0}.right{border-color:#2a2}.wrong{border-color:#c33}figure{margin:0}img{height:160px}"
        "figcaption{color:#666}small{color:#666;font-weight:normal}"
    )
    summary = "".join(f"<li>{score}</li>" for score in scores)
    write_text(
        PAGE,
        f"<!doctype html><meta charset=utf-8><title>DepictQA Nano</title><style>{style}</style>"
        f"<h1>DepictQA Nano on real photos</h1><ul>{summary}</ul>{''.join(blocks)}",
    )


@exit_cleanly
def main() -> None:
    paths = sys.argv[1:]
    if len(paths) > 3:
        raise InputError(f"expected at most 3 pictures (photo, other, reference), found {len(paths)}")
    runs = make_users_questions(paths) if paths else make_own_questions()
    ask(runs)
    report(runs)
    here = HERE.relative_to(ROOT)
    print(f"\nThe pictures with their answers: {PAGE}")
    print("Your own photos:  sh quickstart.sh photo.jpg [other.jpg [reference.jpg]]")
    print(f"The demo page:    cd {here} && sh launch_demo.sh")
    print(f"Train your own:   cd {here} && sh make.sh OUT    (docs/nano.md)")


if __name__ == "__main__":
    main()
