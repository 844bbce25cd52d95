"""Every script runs as a program, in training and in test mode: from photos to the json files of all tasks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from depictqa.data.training import read_mixture
from processes import GIVE_UP_SECONDS
from tests.build_datasets.dq495k.photos import SCRIPTS, write_crops
from tests.chat_server import ChatServer

NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
pytestmark = pytest.mark.slow


def run(folder: Path, name: str, *arguments: str) -> str:
    """As the documentation says: from build_datasets, with PYTHONPATH=./ (here with absolute paths)."""
    process = subprocess.run(
        [sys.executable, f"scripts/{name}.py", *(argument.replace("@", str(folder)) for argument in arguments)],
        cwd=SCRIPTS.parent,
        env=os.environ | {"PYTHONPATH": "./"},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
    )
    assert process.returncode == 0, process.stderr
    RAN.add(name)
    return process.stdout


RAN: set[str] = set()  # scripts that some test has run


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """30 photos, and what all scripts make of them: {task}__{what}_{train|test}.json beside pictures and metas."""
    folder = tmp_path_factory.mktemp("built")
    write_crops(folder / "photos", 30)
    make_pictures(folder)
    for kind in ("sd", "md"):
        make_brief(folder, kind)
        make_detail(folder, kind)
    make_rating(folder)
    for kind in ("refA_sd", "refA_md", "refAB_sd", "refAB_md"):
        ask_vision_model(folder, kind)
    run(folder, "draw_contact_sheet", "--save_path", "@/sheet.jpg")
    return folder


def make_pictures(folder: Path) -> None:
    run(folder, "make_split", "--reference_dir", "@/photos", "--save_path", "@/split.json", "--test", "6")
    for kind in ("refA_sd", "refA_md", "refAB_sd", "refAB_md"):
        arguments = ["--reference_dir", "@/photos", "--distortion_dir", f"@/{kind}", "--meta_dir", f"@/{kind}_meta"]
        if kind != "refA_sd":
            arguments += ["--split_json", "@/split.json", "--workers", "1"]
            run(folder, f"add_distortion_{kind}", *arguments)
            arguments += ["--training"]
        run(folder, f"add_distortion_{kind}", *arguments)
        responses = ["--meta_dir", f"@/{kind}_meta", "--save_dir", f"@/{kind}_resp", "--workers", "1"]
        run(folder, f"gen_resp_template_{kind}", *responses)


def make_brief(folder: Path, kind: str) -> None:
    for images, task, flags in ("refA", "quality_single_A", []), ("A", "quality_single_A_noref", ["--exclude"]):
        arguments = ["--split_json", "@/split.json", "--meta_dir", f"@/refA_{kind}_meta", *flags]
        for mode, part in ([], "test"), (["--training"], "train"):
            path = f"@/{task}__brief_{kind}_{part}.json"
            run(folder, f"gen_json_{images}_brief_{kind}", *arguments, "--save_path", path, *mode)
    read_path = f"@/quality_single_A__brief_{kind}_test.json"
    run(folder, "make_choice_test", "--read_path", read_path, "--save_path", f"@/choice_{kind}.json")


def make_detail(folder: Path, kind: str) -> None:
    for images, bare, task in ("refA", "A", "quality_single_A"), ("refAB", "AB", "quality_compare"):
        for part in ("train", "test"):
            path, bare_path = f"@/{task}__detail_{kind}_{part}.json", f"@/{task}_noref__detail_{kind}_{part}.json"
            mode = {("refA", "test"): ["--test"], ("refAB", "train"): ["--training"]}.get((images, part), [])
            run(
                folder, f"gen_json_{images}_detail", "--meta_dir", f"@/{images}_{kind}_resp", "--save_path", path, *mode
            )
            flags = ["--training"] if part == "train" and kind == "sd" else []
            run(folder, f"{images}2{bare}_{kind}", "--read_path", path, "--save_path", bare_path, "--exclude", *flags)


def make_rating(folder: Path) -> None:
    photos = sorted(path.name for path in (folder / "photos").iterdir())[:6]
    rows = [f"{name},{photos[0]},{score}\n" for score, name in enumerate(photos)]
    (folder / "mos.csv").write_text("image,reference,mos\n" + "".join(rows))
    run(
        folder,
        "make_rating_pairs",
        "--mos_path",
        "@/mos.csv",
        "--image_prefix",
        "@/photos/",
        "--save_path",
        "@/pairs.json",
    )
    table = ("--mos_path", "@/mos.csv", "--image_prefix", "@/photos/", "--dataset", "mine", "--no_reference")
    run(folder, "make_score_labels", *table, "--save_path", "@/scores.json", "--test_path", "@/scores_test.json")
    for mode, part in ([], "test"), (["--training"], "train"):
        path, bare = f"@/quality_compare__rating_{part}.json", f"@/quality_compare_noref__rating_{part}.json"
        run(folder, "gen_json_refAB_brief", "--json_original", "@/pairs.json", "--save_path", path, *mode)
        run(folder, "refAB2AB_brief", "--read_path", path, "--save_path", bare)


def ask_vision_model(folder: Path, kind: str) -> None:
    arguments = ["--meta_dir", f"@/{kind}_meta", "--save_dir", f"@/{kind}_gpt", "--fail_dir", f"@/{kind}_failed"]
    if kind.startswith("refAB"):
        metas = (folder / f"{kind}_meta").glob("*.json")
        (folder / "pred.json").write_text(json.dumps([{"id": path.stem, "text": "Image A"} for path in metas]))
        arguments += ["--pred_json", "@/pred.json"]
    with ChatServer(answer="A street at night.", item_of=lambda body: "any") as server:
        run(folder, f"gen_resp_gpt4v_{kind}", *arguments, "--base_url", server.url)


def items(path: Path) -> list[dict]:
    return json.loads(path.read_text())


def test_every_script_has_run(built):
    assert set(NAMES) - RAN <= {"make_page_examples"}  # it has a test of its own


def test_items_are_of_their_task_and_their_pictures_are_there(built):
    paths = sorted(built.glob("*__*.json"))
    assert len(paths) == 2 * (2 + 2 + 2 + 2 + 2 + 2 + 2)
    for path in paths:
        task, is_training = path.name.split("__")[0], path.stem.endswith("_train")
        found = items(path)
        assert found, path
        for item in found:
            assert item["task_type"] == task
            assert (item["image_ref"] is None) == task.endswith("_noref") and (item["image_B"] is None) == (
                "single" in task
            )
            assert all(Path(item[key]).exists() for key in ("image_ref", "image_A", "image_B") if item[key])
            assert ("conversations" in item) == is_training and ("query" in item) != is_training
            is_asked_only = "compare" in task and "detail" in path.name
            assert is_training or ("answer" in item) != is_asked_only


def test_photos_keep_to_their_part_of_the_split(built):
    split = items(built / "split.json")
    for part, count in ("train", 24), ("test", 6):
        found = items(built / f"quality_single_A__brief_sd_{part}.json")
        assert sorted(Path(item["image_ref"]).name for item in found) == sorted(split[part]) and len(found) == count


def test_training_reads_what_was_built(built):
    paths = sorted(built.glob("*__*_train.json"))
    mixture = read_mixture([[path.name, 1] for path in paths], built, "config")
    assert len(mixture) == sum(len(items(path)) for path in paths)


@pytest.mark.parametrize("kind", ["refA_sd", "refA_md", "refAB_sd", "refAB_md"])
def test_every_meta_got_its_answers(kind, built):
    metas = {path.name for path in (built / f"{kind}_meta").glob("*.json")}
    assert len(metas) == 30
    for answers in ("resp", "gpt"):
        assert {path.name for path in (built / f"{kind}_{answers}").glob("*.json")} == metas
    assert not (built / f"{kind}_failed").exists()
