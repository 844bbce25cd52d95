"""The loop of `infer.py` loses nothing and mixes nothing up, wherever it is killed and whatever pictures it meets."""

import itertools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.inference.assessor import Assessment
from depictqa.inference.generation import Answer, Sampling
from depictqa.inference.runner import FIELDS, Job, Options, run
from depictqa.prompts import TASKS
from processes import kill_before, killed_before, no_room_beyond
from tests.inference.programs import PROGRAM, call, make_config, make_root, read, write_meta

PREPROCESS = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1))
TASK = TASKS["quality_compare_noref"]
NAME = "quality_compare_noref_toy"


class Echo:
    """Instead of a model: says which picture it was asked what, so that answers mixed up are seen."""

    def __init__(self, opening: str = ""):
        self.opening, self.asked = opening, []

    def assess(self, questions, sampling, confidence=False):
        self.asked += [question.query for question in questions]
        texts = [f"{self.opening}{q.query} {[image.max().item() for image in q.images]} \u2028 été" for q in questions]
        return [Assessment(Answer(text, [1, 2], [0.5, 1 / 3], "stop"), 0.25) for text in texts]


def make_items(folder: Path, count: int = 10) -> list[Item]:
    """Two pictures each; the brightest pixels of item n's are 2n and 2n + 1."""
    folder.mkdir(exist_ok=True)
    for value in range(2 * count):
        Image.fromarray(np.full((4 + value % 3, 5, 3), value, dtype=np.uint8)).save(folder / f"{value}.png")
    return [Item(n, (folder / f"{2 * n}.png", folder / f"{2 * n + 1}.png"), f"Q{n}") for n in range(count)]


def text_of(number: int) -> str:
    return f"Q{number} [{2 * number}, {2 * number + 1}] \u2028 été"


def answer(items, answers: Path, assessor=None, fingerprint="1", max_broken=0.0, workers=0) -> Path:
    options = Options(answers, 3, Sampling(), True, True, max_broken, workers)
    return run(Job(TASK, "toy", items, fingerprint), lambda: assessor or Echo(), PREPROCESS, options)


def files(answers: Path) -> dict[str, bytes]:
    """All but the temporary files that a killed run leaves."""
    return {path.name: path.read_bytes() for path in answers.iterdir() if path.suffix != ".tmp"}


@pytest.fixture
def items(tmp_path):
    return make_items(tmp_path / "pictures")


@pytest.fixture
def clean(items, tmp_path):
    """The files of one run that nothing disturbs."""
    answer(items, tmp_path / "clean")
    return files(tmp_path / "clean")


@pytest.mark.parametrize("workers", [0, 2])
def test_each_item_has_its_own_answer_in_order(workers, tmp_path):
    path = answer(make_items(tmp_path / "pictures", 40), tmp_path / "answers", workers=workers)
    fields = {"output_id": [1, 2], "prob": [0.5, 1 / 3], "confidence": 0.25, "finish_reason": "stop"}
    assert read(path) == [{"id": n, "text": text_of(n), **fields} for n in range(40)]
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == read(path)


def test_a_run_on_a_full_disk_is_one_line_and_goes_on_where_it_ended(items, clean, tmp_path):
    answers = tmp_path / "answers"
    whole = len(clean[next(name for name in clean if name.endswith(".jsonl"))])
    with (
        no_room_beyond(whole - 1),
        pytest.raises(InputError, match=r"toy.jsonl: cannot be written \(File too large\)") as error,
    ):
        answer(items, answers)
    assert "\n" not in str(error.value)
    answer(items, answers)
    assert files(answers) == clean


def is_killed(function, *arguments) -> bool:
    """Run a function in a process of its own; whether that was killed (SIGKILL) in the middle."""
    child = os.fork()
    if child == 0:
        function(*arguments)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def answer_until_operation(number: int, items, answers: Path) -> None:
    kill_before(number, answers)
    answer(items, answers)


class Mortal(Echo):
    """Answers one batch and dies over the second."""

    def assess(self, questions, *options):
        if self.asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().assess(questions, *options)


@pytest.mark.slow
@pytest.mark.parametrize("older_answers", [False, True])
def test_killed_before_any_operation_on_its_files_and_resumed(older_answers, items, clean, tmp_path):
    for number in itertools.count(1):
        answers = tmp_path / str(number)
        if older_answers:
            answer(items, answers, Echo("Of other settings: "), fingerprint="0")
        if not is_killed(answer_until_operation, number, items, answers):
            break
        answer(items, answers)
        assert files(answers) == clean, number
    assert number > 12  # the folder, three files, a file opened for every batch


def test_killed_again_and_again(items, clean, tmp_path):
    kills = 0
    while is_killed(answer, items, tmp_path / "answers", Mortal()):
        kills += 1
    assert kills == 3  # of 4 batches, each run has answered one more
    assert files(tmp_path / "answers") == clean


def test_questions_about_the_same_first_pictures_are_asked_together(tmp_path):
    """As a vote's pairs share the reference and Image A; the list has the order of the meta file all the same."""
    refs, images = ([item.image_paths[0] for item in make_items(tmp_path / name, 4)] for name in ("ref", "image"))
    pairs = [(0, 1, 2), (1, 0, 1), (0, 2, 3), (2, 0, 1), (0, 1, 3), (1, 2, 3), (1, 0, 3), (0, 2, 0)]
    items = [Item(n, (refs[r], images[a], images[b]), f"Q{n}") for n, (r, a, b) in enumerate(pairs)]
    assessor = Echo()
    rows = read(answer(items, tmp_path / "answers", assessor))
    assert assessor.asked == ["Q0", "Q4", "Q2", "Q7", "Q1", "Q6", "Q5", "Q3"]
    assert [row["id"] for row in rows] == [item.id for item in items]
    assert [row["text"].split()[0] for row in rows] == [item.query for item in items]
    again = Echo()
    assert read(answer(items, tmp_path / "answers", again)) == rows and again.asked == []


def test_a_torn_last_line_is_repaired(items, clean, tmp_path):
    whole = clean[f"{NAME}.jsonl"]
    for length in range(0, len(whole), 97):
        shutil.copytree(tmp_path / "clean", tmp_path / "torn", dirs_exist_ok=True)
        (tmp_path / "torn" / f"{NAME}.json").unlink()
        (tmp_path / "torn" / f"{NAME}.jsonl").write_bytes(whole[:length])
        assessor = Echo()
        answer(items, tmp_path / "torn", assessor)
        assert files(tmp_path / "torn") == clean
        lines = whole[:length].count(b"\n")
        assert assessor.asked == [f"Q{n}" for n in range(lines // 3 * 3, 10)]  # whole batches are kept


@pytest.mark.slow
def test_the_program_killed_and_resumed(tmp_path):
    torch.set_num_threads(1)
    root = make_root(tmp_path / "root")
    names = [f"shared/images/{name}.png" for name in ("s10_84x84", "s11_84x84", "s01_70x70", "s06_33x47")]
    queries = ["Noise?", "Describe how good the photo looks and give reasons.", "Which distortion is it?"]
    rows = [{"id": n, "image_A": names[n % 4], "query": queries[n % 3]} for n in range(60)]
    arguments = ["--meta_path", write_meta(tmp_path / "meta.json", rows), "--dataset_name", "toy"]
    arguments += ["--task_name", "quality_single_A_noref", "--batch_size", "2"]
    infer = {"output_prob_id": True, "output_confidence": True}
    lines = tmp_path / "killed" / "answers" / "quality_single_A_noref_toy.jsonl"
    config = make_config(tmp_path / "killed", root, infer=infer)
    command = killed_before(20, lines.parent, PROGRAM)  # an operation on the answers; there are 30 batches
    assert subprocess.run([*command, "--cfg", config, *arguments]).returncode == -signal.SIGKILL
    assert 0 < lines.read_bytes().count(b"\n") < 60
    assert not lines.with_suffix(".json").exists()
    call(config, *arguments)
    call(make_config(tmp_path / "clean", root, infer=infer), *arguments)
    for suffix in (".json", ".jsonl"):
        clean = tmp_path / "clean" / "answers" / lines.with_suffix(suffix).name
        assert lines.with_suffix(suffix).read_bytes() == clean.read_bytes()


def test_a_finished_job_is_not_asked_again(items, clean, tmp_path):
    def no_model():
        raise AssertionError("a model was loaded")

    run(
        Job(TASK, "toy", items, "1"), no_model, PREPROCESS, Options(tmp_path / "clean", 3, Sampling(), True, True, 0, 0)
    )
    assert files(tmp_path / "clean") == clean


def test_other_settings_start_anew(items, clean, tmp_path):
    assessor = Echo()
    answer(items, tmp_path / "clean", assessor, fingerprint="2")
    assert len(assessor.asked) == 10


def test_a_question_or_picture_that_changed_is_asked_again_with_what_follows(items, clean, tmp_path):
    Image.new("RGB", (9, 9), (200, 200, 200)).save(items[4].image_paths[0])
    assessor = Echo()
    path = answer(items, tmp_path / "clean", assessor)
    assert assessor.asked == [f"Q{n}" for n in range(3, 10)]
    assert read(path)[4]["text"].startswith("Q4 [200, 9]")
    items[8] = Item(8, items[8].image_paths, "New?")
    assessor = Echo()
    answer(items, tmp_path / "clean", assessor)
    assert assessor.asked == ["Q6", "Q7", "New?", "Q9"]


def break_pictures(items, *numbers: int) -> None:
    for number in numbers:
        path = items[number].image_paths[1]
        path.write_bytes(path.read_bytes()[:50])


def test_broken_pictures_have_rows_that_name_them(items, tmp_path):
    break_pictures(items, 1, 5)
    with pytest.raises(
        InputError, match=r"^2 of 10 items have broken images \(finished, the rest is answered; see 'error' in "
    ):
        answer(items, tmp_path / "answers", max_broken=0.2)
    for number, row in enumerate(read(tmp_path / "answers" / f"{NAME}.json")):
        assert row["id"] == number
        if number in (1, 5):
            assert row["error"].startswith(f"{items[number].image_paths[1]}: not a readable image")
            assert all(row[field] is None for field in FIELDS)
        else:
            assert row["text"] == text_of(number) and "error" not in row


def test_a_whole_batch_of_broken_pictures(items, tmp_path):
    break_pictures(items, 3, 4, 5)
    with pytest.raises(InputError, match="3 of 10"):
        answer(items, tmp_path / "answers", max_broken=0.3)
    texts = [row["text"] for row in read(tmp_path / "answers" / f"{NAME}.json")]
    assert texts == [None if n in (3, 4, 5) else text_of(n) for n in range(10)]


def test_too_many_broken_pictures_stop_the_run_and_lose_nothing(items, clean, tmp_path):
    whole = {number: items[number].image_paths[1].read_bytes() for number in (4, 7)}
    break_pictures(items, *whole)
    assessor = Echo()
    with pytest.raises(
        InputError,
        match=r"^1 of 10 items have broken images \(stopped: infer.max_broken allows 0%; see 'error' in .*jsonl\): .*9.png: ",
    ):
        answer(items, tmp_path / "answers", assessor)
    assert assessor.asked == ["Q0", "Q1", "Q2", "Q3", "Q5"]
    assert not (tmp_path / "answers" / f"{NAME}.json").exists()
    for number, data in whole.items():
        items[number].image_paths[1].write_bytes(data)
    assessor = Echo()
    path = answer(items, tmp_path / "answers", assessor)
    assert assessor.asked == [f"Q{n}" for n in range(3, 10)]  # from the batch of the first broken one on
    assert path.read_bytes() == clean[path.name]


def test_a_picture_that_vanishes_meanwhile_is_a_broken_one(items, tmp_path):
    items[0].image_paths[0].unlink()
    with pytest.raises(InputError, match=r"1 of 10 .*0.png: no such image"):
        answer(items, tmp_path / "answers", max_broken=0.1)


class Dice:
    """Instead of a model: says which seed each question was asked with, and is cut at every third."""

    def assess(self, questions, samplings, confidence=False):
        answers = [Answer(str(sampling.seed)) for sampling in samplings]
        for question, answer in zip(questions, answers, strict=True):
            answer.finish_reason = "length" if int(question.query[1:]) % 3 == 0 else "stop"
        return [Assessment(answer) for answer in answers]


def seeds(items, answers: Path, batch_size: int, seed: int | None = 131) -> dict:
    """Item id -> the seed that it was asked with."""
    options = Options(answers, batch_size, Sampling(temperature=1, seed=seed), False, False, 0, 0)
    return {row["id"]: row["text"] for row in read(run(Job(TASK, "toy", items, "1"), Dice, PREPROCESS, options))}


def test_the_draws_of_an_item_follow_from_seed_and_id_alone(items, tmp_path):
    expected = seeds(items, tmp_path / "1", batch_size=3)
    assert len(set(expected.values())) == 10
    assert seeds(items, tmp_path / "2", batch_size=1) == seeds(items[::-1], tmp_path / "3", batch_size=4) == expected
    assert seeds(items[4:5], tmp_path / "4", batch_size=3) == {4: expected[4]}
    assert set(seeds(items, tmp_path / "5", 3, seed=132).values()).isdisjoint(expected.values())
    assert set(seeds(items, tmp_path / "6", 3, seed=None).values()) == {"None"}


def test_how_many_answers_were_cut_is_said(items, clean, tmp_path, capsys):
    answer(items, tmp_path / "clean")
    assert "cut" not in capsys.readouterr().err
    for _ in range(2):  # the second time of the finished job's rows
        answer(items, tmp_path / "cut", Dice())
        assert f"{NAME}: 4 of 10 answers were cut by infer.max_new_tokens (400)\n" in capsys.readouterr().err
    reasons = [row["finish_reason"] for row in read(tmp_path / "cut" / f"{NAME}.json")]
    assert reasons == ["length", "stop", "stop"] * 3 + ["length"]
