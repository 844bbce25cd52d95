"""The loop of `infer.py` loses nothing and mixes nothing up, wherever it is killed and whatever pictures it meets."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depictqa.data.meta import Item, read_questions
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.inference.answer_files import AnswerFiles
from depictqa.inference.assessor import Assessment
from depictqa.inference.runner import FIELDS, Job, Options, run
from depictqa.inference.sampling import Completion, Sampling
from depictqa.prompts import TASKS
from processes import GIVE_UP_SECONDS, kill_before, killed_before, no_room_beyond
from tests.inference.programs import PROGRAM, call, make_config, make_root, read, write_meta

PREPROCESS = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1))
TASK = TASKS["quality_compare_noref"]
NAME = "quality_compare_noref_toy"


class Echo:
    """Instead of a model: says which picture it was asked what, so that answers mixed up are seen."""

    def __init__(self, opening: str = ""):
        self.opening, self.asked, self.encoded = opening, [], []

    def encode(self, images):
        self.encoded += [image.max().item() for image in images]
        return [image.max() for image in images]

    def assess(self, questions, sampling, confidence=False, embeds=None):
        self.asked += [question.query for question in questions]
        told = [[value.item() for value in values] for values in embeds]
        texts = [f"{self.opening}{q.query} {values} \u2028 été" for q, values in zip(questions, told, strict=True)]
        return [Assessment(Completion(text, [1, 2], [0.5, 1 / 3], "stop"), 0.25) for text in texts]


def make_items(folder: Path, count: int = 10) -> list[Item]:
    """Two pictures each; the brightest pixels of item n's are 2n and 2n + 1."""
    folder.mkdir(exist_ok=True)
    for value in range(2 * count):
        Image.fromarray(np.full((4 + value % 3, 5, 3), value, dtype=np.uint8)).save(folder / f"{value}.png")
    return [Item(n, (folder / f"{2 * n}.png", folder / f"{2 * n + 1}.png"), f"Q{n}") for n in range(count)]


def text_of(number: int) -> str:
    return f"Q{number} [{2 * number}, {2 * number + 1}] \u2028 été"


def looked_at(items, task=TASK) -> list[Item]:
    """The same items, with the fingerprints that the files have now."""
    entries = [
        {"id": item.id, "query": item.query, **dict(zip(task.fields, map(str, item.image_paths), strict=True))}
        for item in items
    ]
    with tempfile.TemporaryDirectory() as folder:
        return read_questions(write_meta(Path(folder) / "meta.json", entries), task, Path(folder))


def make_options(answers: Path, **changed) -> Options:
    options = Options(answers, 3, Sampling(), True, True, 0.0, 0, lambda width, height: width * height // 196)
    return replace(options, **changed)


def answer_as_known(items, answers: Path, assessor=None, fingerprint="1", task=TASK, **options) -> Path:
    assessor = assessor or Echo()
    job = Job(task, "toy", items, fingerprint)
    (path,) = run([job], lambda: assessor, PREPROCESS, make_options(answers, **options))
    return path


def answer(items, *arguments, task=TASK, **options) -> Path:
    return answer_as_known(looked_at(items, task), *arguments, task=task, **options)


def files(answers: Path) -> dict[str, bytes]:
    """All but the temporary files that a killed run leaves, and the lock."""
    return {path.name: path.read_bytes() for path in answers.iterdir() if path.suffix not in (".tmp", ".lock")}


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
    path = answer(make_items(tmp_path / "pictures", 40), tmp_path / "answers", num_workers=workers)
    fields = {"output_id": [1, 2], "prob": [0.5, 1 / 3], "confidence": 0.25, "finish_reason": "stop"}
    assert read(path) == [{"id": n, "text": text_of(n), **fields} for n in range(40)]
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == read(path)


def test_a_run_on_a_full_disk_is_one_line_and_goes_on_where_it_ended(items, clean, tmp_path):
    answers, items = tmp_path / "answers", looked_at(items)
    whole = len(clean[f"{NAME}.jsonl"])
    with (
        no_room_beyond(whole - 1),
        pytest.raises(InputError, match=r"toy.jsonl: cannot be written \(File too large\)") as error,
    ):
        answer_as_known(items, answers)
    assert "\n" not in str(error.value)
    assessor = Echo()
    answer_as_known(items, answers, assessor)
    assert assessor.asked == ["Q9"] and files(answers) == clean


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
    """Answers some batches of three and dies over the next."""

    def __init__(self, batches: int = 1):
        super().__init__()
        self.batches = batches

    def assess(self, questions, *options):
        if len(self.asked) == 3 * self.batches:
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


def holding(answers: Path, pipe: int) -> None:
    """Hold the lock as a run does, with a loading process that outlives it; say so, and wait to be killed."""
    files = AnswerFiles(answers, NAME)
    files.lock()
    if os.fork() == 0:
        time.sleep(GIVE_UP_SECONDS)
    os.write(pipe, b"locked")
    time.sleep(GIVE_UP_SECONDS)


def test_a_second_run_into_the_same_files_ends_at_once_and_leaves_them_alone(items, clean, tmp_path):
    answers = tmp_path / "clean"
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setpgid(0, 0)
        holding(answers, writing)
    assert os.read(reading, 6) == b"locked"
    try:
        message = rf"^{answers}/{NAME}.jsonl: another run is writing it \(process {child} on .*\); wait for its end"
        with pytest.raises(InputError, match=message):
            answer(items, answers, fingerprint="2")
        assert files(answers) == clean
        answer(items, tmp_path / "elsewhere")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        answer(items, answers)  # the loading process is still there
        assert files(answers) == clean
    finally:
        os.killpg(child, signal.SIGKILL)


def test_a_process_that_is_left_over_from_a_run_holds_its_files(items, clean, tmp_path):
    """Of several processes: the first was killed, and another one has not noticed."""
    token = AnswerFiles(tmp_path / "clean", NAME).lock()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        other = AnswerFiles(tmp_path / "clean", NAME, rank=1)
        other.join(token)
        os.write(writing, b"joined")
        time.sleep(GIVE_UP_SECONDS)
    assert os.read(reading, 6) == b"joined"
    try:
        with pytest.raises(InputError, match="another run is writing it"):
            answer(items, tmp_path / "clean")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_that_sees_another_folder_says_so(tmp_path):
    """As on a second machine, where the path is not of a shared disk."""
    token = AnswerFiles(tmp_path / "one", NAME).lock()
    AnswerFiles(tmp_path / "two", NAME).lock()
    for folder in ("two", "absent"):
        with pytest.raises(
            InputError, match=f"^infer.answer_dir: {tmp_path}/{folder} on .* is not the folder that the first"
        ):
            AnswerFiles(tmp_path / folder, NAME, rank=1).join(token)


def test_questions_about_the_same_first_pictures_are_asked_together(tmp_path):
    """As a vote's pairs share the reference and Image A; the list has the order of the meta file all the same."""
    refs, images = ([item.image_paths[0] for item in make_items(tmp_path / name, 4)] for name in ("ref", "image"))
    pairs = [(0, 1, 2), (1, 0, 1), (0, 2, 3), (2, 0, 1), (0, 1, 3), (1, 2, 3), (1, 0, 3), (0, 2, 0)]
    items = [Item(n, (refs[r], images[a], images[b]), f"Q{n}") for n, (r, a, b) in enumerate(pairs)]
    assessor, task = Echo(), TASKS["quality_compare"]
    rows = read(answer(items, tmp_path / "answers", assessor, task=task))
    assert assessor.asked == ["Q0", "Q4", "Q2", "Q7", "Q1", "Q6", "Q5", "Q3"]
    assert [row["id"] for row in rows] == [item.id for item in items]
    assert [row["text"].split()[0] for row in rows] == [item.query for item in items]
    again = Echo()
    assert read(answer(items, tmp_path / "answers", again, task=task)) == rows and again.asked == []


def test_rows_of_a_torn_batch_are_asked_again(items, clean, tmp_path):
    """Together: in another batch a probability may have other last digits. The 10 items are 3, 3, 3, and 1."""
    answers = tmp_path / "answers"
    assert is_killed(answer, items, answers, Mortal(batches=3))
    whole = (answers / f"{NAME}.jsonl").read_bytes()
    for length in range(0, len(whole) + 1, 97):
        shutil.copytree(answers, tmp_path / "torn", dirs_exist_ok=True)
        (tmp_path / "torn" / f"{NAME}.jsonl").write_bytes(whole[:length])
        assessor = Echo()
        answer(items, tmp_path / "torn", assessor)
        assert files(tmp_path / "torn") == clean
        lines = whole[:length].count(b"\n")
        assert assessor.asked == [f"Q{n}" for n in range(lines // 3 * 3, 10)]


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


def test_a_finished_job_is_not_asked_again_and_loads_no_model(items, clean, tmp_path):
    def no_model():
        raise AssertionError("a model was loaded")

    run([Job(TASK, "toy", looked_at(items), "1")], no_model, PREPROCESS, make_options(tmp_path / "clean"))
    assert files(tmp_path / "clean") == clean


def test_other_settings_start_anew(items, clean, tmp_path):
    assessor = Echo()
    answer(items, tmp_path / "clean", assessor, fingerprint="2")
    assert len(assessor.asked) == 10


def test_another_batch_size_goes_on(items, clean, tmp_path):
    """Whoever runs out of memory lowers it."""
    assert is_killed(answer, items, tmp_path / "answers", Mortal(batches=2))
    assessor = Echo()
    answer(items, tmp_path / "answers", assessor, batch_size=2)
    assert assessor.asked == ["Q6", "Q7", "Q8", "Q9"] and files(tmp_path / "answers") == clean


def test_only_what_changed_is_asked_again(items, clean, tmp_path):
    Image.new("RGB", (9, 9), (200, 200, 200)).save(items[4].image_paths[0])
    assessor = Echo()
    path = answer(items, tmp_path / "clean", assessor)
    assert assessor.asked == ["Q4"] and read(path)[4]["text"].startswith("Q4 [200, 9]")
    items[8] = Item(8, items[8].image_paths, "New?")
    assessor = Echo()
    answer(items, tmp_path / "clean", assessor)
    assert assessor.asked == ["New?"] and read(path)[8]["text"].startswith("New? [16, 17]")


def test_items_may_come_go_and_change_places(items, clean, tmp_path):
    assessor = Echo()
    rows = read(answer([*items[9:1:-1], Item("new", items[0].image_paths, "New?")], tmp_path / "clean", assessor))
    assert assessor.asked == ["New?"]
    assert [row["id"] for row in rows] == [9, 8, 7, 6, 5, 4, 3, 2, "new"]
    assert [row["text"] for row in rows[:-1]] == [text_of(n) for n in range(9, 1, -1)]


def break_pictures(items, *numbers: int) -> dict[int, bytes]:
    """Cut the second picture of some items short; returns what they were."""
    whole = {}
    for number in numbers:
        path = items[number].image_paths[1]
        whole[number] = path.read_bytes()
        path.write_bytes(whole[number][:50])
    return whole


def test_broken_pictures_have_rows_that_name_them(items, tmp_path, capsys):
    break_pictures(items, 1, 5)
    path = answer(items, tmp_path / "answers", max_broken=0.2)
    message = f"2 of 10 items have broken images (the others are answered; see 'error' in {path}): "
    assert f"\n{NAME}: {message}{items[1].image_paths[1]}: not a readable image" in capsys.readouterr().err
    for number, row in enumerate(read(path)):
        assert row["id"] == number
        if number in (1, 5):
            assert row["error"].startswith(f"{items[number].image_paths[1]}: not a readable image")
            assert all(row[field] is None for field in FIELDS)
        else:
            assert row["text"] == text_of(number) and "error" not in row


def test_more_broken_pictures_than_allowed_are_a_failure_after_all_else_is_answered(items, tmp_path):
    break_pictures(items, 3, 4, 5)  # a whole batch
    other = make_items(tmp_path / "other", 4)
    jobs = [Job(TASK, name, looked_at(some), "1") for name, some in (("toy", items), ("other", other))]
    with pytest.raises(
        InputError, match=f"^3 of 10 items have broken images .*{NAME}.json\\): .*/7.png: not a rea.*; .*9"
    ):
        run(jobs, Echo, PREPROCESS, make_options(tmp_path / "answers", max_broken=0.2))
    texts = [row["text"] for row in read(tmp_path / "answers" / f"{NAME}.json")]
    assert texts == [None if n in (3, 4, 5) else text_of(n) for n in range(10)]
    assert len(read(tmp_path / "answers" / "quality_compare_noref_other.json")) == 4


def test_a_broken_picture_is_tried_again_and_costs_no_other_answer(items, clean, tmp_path):
    whole = break_pictures(items, 2)
    asked = []
    for _ in range(3):
        assessor = Echo()
        with pytest.raises(InputError, match="^1 of 10 items have broken images"):
            answer(items, tmp_path / "answers", assessor)
        asked.append(assessor.asked)
    assert asked == [[f"Q{n}" for n in range(10) if n != 2], [], []]
    items[2].image_paths[1].write_bytes(whole[2])
    assessor = Echo()
    answer(items, tmp_path / "answers", assessor)
    assert assessor.asked == ["Q2"]
    rows = (read(tmp_path / folder / f"{NAME}.json") for folder in ("answers", "clean"))
    assert next(rows) == next(rows)


def test_a_picture_that_vanishes_meanwhile_is_a_broken_one(items, tmp_path):
    known = looked_at(items)
    items[0].image_paths[0].unlink()
    with pytest.raises(InputError, match=r"1 of 10 .*0.png: no such image"):
        answer_as_known(known, tmp_path / "answers")


class Dice:
    """Instead of a model: says which seed each question was asked with, and is cut at every third."""

    def encode(self, images):
        return images

    def assess(self, questions, samplings, confidence=False, embeds=None):
        answers = [Completion(str(sampling.seed)) for sampling in samplings]
        for question, answer in zip(questions, answers, strict=True):
            answer.finish_reason = "length" if int(question.query[1:]) % 3 == 0 else "stop"
        return [Assessment(answer) for answer in answers]


def seeds(items, answers: Path, batch_size: int, seed: int | None = 131) -> dict:
    """Item id -> the seed that it was asked with."""
    path = answer(items, answers, Dice(), batch_size=batch_size, sampling=Sampling(temperature=1, seed=seed))
    return {row["id"]: row["text"] for row in read(path)}


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
