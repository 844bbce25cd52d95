"""Short questions about metas: half and half in training, always both in a test."""

import json

import pytest

from build_datasets.dq495k import brief, questions
from build_datasets.dq495k.files import Meta, draw_names
from build_datasets.dq495k.labels import Distortion, to_fields
from depictqa.prompts import SINGLE_WORD_REQUEST

NOISE, DARK = Distortion("noise", "noise_poisson", 3), Distortion("darken", "brightness_darken_shfit_RGB", 1)


def meta(name: str, state, multi: bool, folder=None) -> Meta:
    return Meta(
        name,
        (folder or brief.Path(".")) / f"{name}.json",
        {"img_ref": f"refs/{name[:-2]}.png", "img_lq": f"d/{name}.png"} | to_fields(state, multi),
    )


def test_training_draws_the_form_of_question():
    items = [brief.make_item(meta(f"a{i}_0", (NOISE,), False), 132, True, True, None) for i in range(2000)]
    queries = [item["conversations"][0]["value"] for item in items]
    answers = [item["conversations"][1]["value"] for item in items]
    in_a_word = [query.endswith(SINGLE_WORD_REQUEST) for query in queries]
    assert 900 < sum(in_a_word) < 1100
    assert all((answer == "Noise") == word for answer, word in zip(answers, in_a_word))
    assert 900 < sum("(s)" in query for query in queries) < 1100
    assert len(set(queries)) == 4 * len(questions.BRIEF)


@pytest.mark.parametrize(
    ("state", "multi", "answer", "said"),
    [
        ((NOISE,), False, "Noise", ""),
        ((NOISE, DARK), True, "Noise and insufficient brightness", "two"),
        ((), False, "None", ""),
        ((), True, "None", "(s)"),
    ],
)
def test_a_test_asks_for_a_word_and_says_the_number(state, multi, answer, said):
    for number in range(60):
        item = brief.make_item(meta(f"a{number}_0", state, multi), 132, False, False, None)
        assert item["query"].endswith(SINGLE_WORD_REQUEST) and item["answer"] == answer
        assert said in item["query"] and ("(s)" in item["query"]) == (said == "(s)")
        assert (
            item["image_ref"] is None
            and item["task_type"] == "quality_single_A_noref"
            and "reference" not in item["query"]
        )


def test_an_item_does_not_depend_on_the_others():
    first = brief.make_item(meta("a_0", (NOISE,), False), 132, True, True, None)
    assert first == brief.make_item(meta("a_0", (NOISE,), False), 132, True, True, None)
    assert list(first) == [
        "id",
        "image_ref",
        "image_A",
        "image_B",
        "task_type",
        "distortion_class",
        "distortion_name",
        "severity",
        "conversations",
    ]


def test_at_most_five_thousand_names_are_tested_and_fewer_are_no_fault():
    many = [f"{i:05d}.png" for i in range(6000)]
    drawn = draw_names(many, brief.MOST_TEST_NAMES, 132)
    assert len(set(drawn)) == 5000 and set(drawn) < set(many) and drawn == draw_names(many, 5000, 132)
    assert draw_names(many[:7], 5000, 132) == many[:7]


def test_the_program_takes_its_part_of_the_split_and_makes_paths_relative(tmp_path, monkeypatch, capsys):
    (tmp_path / "meta").mkdir()
    for name, state in {"a_0": (NOISE,), "a_1": (DARK,), "b_0": (NOISE,)}.items():
        fields = meta(name, state, False).fields
        fields = {key: str(tmp_path / value) if key.startswith("img") else value for key, value in fields.items()}
        (tmp_path / f"meta/{name}.json").write_text(json.dumps(fields))
    (tmp_path / "split.json").write_text('{"train": ["a.png"], "test": ["b.png"]}')
    arguments = ["--split_json", "split.json", "--meta_dir", "meta", "--save_path", "out.json", "--root", "."]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", *arguments, "--training", "--exclude"])
    brief.command(has_reference=False, kind="sd")
    assert [item["id"] for item in json.loads((tmp_path / "out.json").read_text())] == ["a_0"]  # a_1 cannot be seen
    monkeypatch.setattr("sys.argv", ["x", *arguments])
    brief.command(has_reference=True, kind="sd")
    (item,) = json.loads((tmp_path / "out.json").read_text())
    assert (item["image_ref"], item["image_A"]) == ("refs/b.png", "d/b_0.png")
    assert "1 items (0 left out) of 1 photos" in capsys.readouterr().out
