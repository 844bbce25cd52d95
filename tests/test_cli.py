"""The command `depictqa`: what it prints, what it passes on, and how it fails."""

import json

import pytest

from conftest import image_path, tiny_config
from depictqa import cli
from depictqa.doctor import report

A, B = (str(image_path(name)) for name in ("s10_84x84.png", "s06_33x47.png"))


@pytest.fixture
def call(monkeypatch, capsys):
    """Run `depictqa ...`: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["depictqa", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def model(tmp_path):
    return str(tiny_config(tmp_path, infer={"max_new_tokens": 4}))


def test_an_answer_for_people_and_for_programs(call, model):
    code, out, _ = call("describe", A, B, "--model", model)
    assert code == 0 and [line.split(": ")[0] for line in out.splitlines()] == [A, B]
    code, out, _ = call("describe", A, "--model", model, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["image"] == A and answer["finish_reason"] in ("stop", "length")
    assert {"text", "confidence", "tokens", "task", "question"} <= answer.keys()


def test_two_images(call, model):
    code, out, _ = call("compare", A, B, "--reference", A, "--model", model)
    assert code == 0 and out.startswith("better: ")
    answer = json.loads(call("compare", A, B, "--model", model, "--json")[1])
    assert answer["task"] == "quality_compare_noref" and "better" in answer


def test_a_question_of_ones_own_and_overrides(call, model):
    code, out, _ = call("ask", "Is it sharp?", "--b", A, "--model", model, "--set", "infer.max_new_tokens=2", "--json")
    assert code == 0 and len(json.loads(out)["tokens"]) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "absent.png"), "absent.png: no such image"),
        (("describe", A, "--set", "infer.top_p=7"), "infer.top_p: expected a number"),
        (("ask", "How?"), "images: expected Image A"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(call, model, arguments, message):
    code, out, err = call(*arguments, "--model", model)
    assert code == 2 and out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1


def test_programs_read_their_own_arguments(call, model):
    code, out, _ = call("config", model, "infer.max_new_tokens")
    assert (code, out) == (0, "4\n")
    evaluations = [("eval", name) for name in ("voting", "score", "order-bias")]
    for program in (
        ("infer",),
        ("train",),
        ("export",),
        ("calibrate",),
        *evaluations,
        ("serve", "worker"),
        ("data", "distort"),
    ):
        code, out, _ = call(*program, "--help")
        assert code == 0 and out.startswith(f"usage: depictqa {' '.join(program)}")


def test_doctor_says_what_is_missing_and_what_to_do(call, tmp_path):
    code, out, _ = call("doctor", "--model", "nano")
    assert code == 0 and "package   torch" in out and "model.delta_path  ok" in out
    shown = report(
        tiny_config(tmp_path, model={"vision_encoder_path": str(tmp_path / "ViT-L-14.pt"), "delta_path": "no.pt"})
    )
    assert f"model.delta_path  MISSING: {tmp_path}/no.pt; README.md, section 'Models'" in shown
    assert "infer.sentence_model  not set" in shown
    (tmp_path / "ViT-L-14.pt").write_bytes(b"not the published file")
    assert "WRONG sha256" in report(tmp_path / "config.yaml")
