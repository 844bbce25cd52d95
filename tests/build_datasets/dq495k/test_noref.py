"""Texts without the reference: reworded where a phrase says it, listed where a sentence is about it."""

import json

import pytest

from build_datasets.dq495k import noref
from build_datasets.dq495k.noref import convert, is_seen, mentions_reference, without_reference
from depictqa.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Compared to the reference image, the picture is blurry.", "The picture is blurry."),
        ("The picture, when compared with the reference, is blurry.", "The picture is blurry."),
        ("It is sharp. In comparison with the original image, colors are pale.", "It is sharp. Colors are pale."),
        ("Edges are softer than in the reference.", "Edges are softer."),
        (
            "Edges are softer than those of the original picture, and noise appears.",
            "Edges are softer, and noise appears.",
        ),
        ("Unlike the reference, it shows noise.", "It shows noise."),
        ("Details are lost relative to the given reference image.", "Details are lost."),
        ("A referee holds the ball; nothing is compared.", "A referee holds the ball; nothing is compared."),
        ("The colors are compared with a painting.", "The colors are compared with a painting."),
    ],
)
def test_phrases(text, expected):
    assert without_reference(text) == expected and not mentions_reference(expected)


@pytest.mark.parametrize(
    "text", ["It lacks the reference's colors.", "It deviates from the reference.", "The original image is sharper."]
)
def test_what_phrases_cannot_mend_is_seen(text):
    assert mentions_reference(without_reference(text))


ITEM = {
    "id": "a_0",
    "image_ref": "r.png",
    "image_A": "a.png",
    "image_B": None,
    "task_type": "quality_single_A",
    "distortion_class": "darken",
    "distortion_name": "brightness_darken_shfit_RGB",
    "severity": 1,
    "conversations": [
        {"from": "human", "value": "Assess it, compared with the reference."},
        {"from": "gpt", "value": "It is darker than the reference."},
    ],
}


def test_an_item_loses_its_reference_and_nothing_else():
    changed = convert(ITEM, "here")
    assert changed["image_ref"] is None and changed["task_type"] == "quality_single_A_noref"
    assert [turn["value"] for turn in changed["conversations"]] == ["Assess it.", "It is darker."]
    assert {key for key in ITEM if ITEM[key] != changed[key]} == {"image_ref", "task_type", "conversations"}
    asked = {key: value for key, value in ITEM.items() if key != "conversations"} | {
        "query": "How is it, relative to the reference?",
        "answer": "Dark",
    }
    assert convert(asked, "here")["query"] == "How is it?" and convert(asked, "here")["answer"] == "Dark"


def test_items_of_other_tasks_are_refused():
    with pytest.raises(
        InputError, match="here: the field 'task_type': expected quality_single_A, .* found 'quality_single_A_noref'"
    ):
        convert(convert(ITEM, "here"), "here")


def test_both_pictures_count_for_what_can_be_seen():
    noise = {"distortion_class": "noise", "distortion_name": "noise_poisson", "severity": 1}
    dark = {key: ITEM[key] for key in noise}
    assert is_seen({"distortion_A": noise, "distortion_B": noise}, "here")
    assert not is_seen({"distortion_A": noise, "distortion_B": dark}, "here")
    assert not is_seen({"distortion_A": dark, "distortion_B": noise}, "here")
    assert not is_seen(ITEM, "here") and is_seen(ITEM | {"severity": 2}, "here")


def test_what_still_mentions_a_reference_is_listed(tmp_path, monkeypatch, capsys):
    about = ITEM | {
        "id": "b_0",
        "severity": 3,
        "conversations": [ITEM["conversations"][0], {"from": "gpt", "value": "It lacks the reference's glow."}],
    }
    (tmp_path / "in.json").write_text(json.dumps([ITEM, about]))
    monkeypatch.setattr(
        "sys.argv",
        [
            "x",
            "--read_path",
            str(tmp_path / "in.json"),
            "--save_path",
            str(tmp_path / "out.json"),
            "--training",
            "--exclude",
        ],
    )
    noref.command(may_exclude=True, states_training=True)
    assert [item["id"] for item in json.loads((tmp_path / "out.json").read_text())] == ["b_0"]
    listed = json.loads((tmp_path / "out.mentions.json").read_text())
    assert listed == [{"id": "b_0", "text": "It lacks the reference's glow."}]
    assert "1 texts still mention a reference" in capsys.readouterr().out


def test_the_wrong_form_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "in.json").write_text(json.dumps([ITEM]))
    monkeypatch.setattr(
        "sys.argv", ["x", "--read_path", str(tmp_path / "in.json"), "--save_path", str(tmp_path / "out.json")]
    )
    with pytest.raises(SystemExit):
        noref.command(may_exclude=True, states_training=True)
    assert "item a_0: the field 'query' is missing (--training" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
