"""Long answers by a vision LLM: a real server that misbehaves, nothing paid for twice, nothing given away."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from build_datasets.dq495k import prompts, responses
from build_datasets.dq495k.files import read_metas, write_meta
from build_datasets.dq495k.labels import Distortion, to_fields
from depictqa.chat_api import ChatOptions
from depictqa.errors import InputError
from processes import until
from tests.build_datasets.dq495k.photos import SCRIPTS, write_crops
from tests.chat_server import ChatServer

NOISE, BLUR = Distortion("noise", "noise_poisson", 3), Distortion("blur", "blur_lens", 2)
FLAGS = [
    "--concurrency",
    "4",
    "--timeout",
    "300",
    "--retries",
    "4",
    "--price_in",
    "10",
    "--price_out",
    "30",
    "--api_key",
    "k",
]


def write_metas(folder: Path, count: int, two: bool = False) -> dict[str, str]:
    """Metas m_0 ... about pictures that all differ; data URL of a picture -> id."""
    ids = {}
    for number, name in enumerate(write_crops(folder / "photos", count)):
        path = folder / "photos" / name
        state = () if number == 0 else (NOISE,)
        pictures = {"img_lq": str(path)} | to_fields(state, False)
        if two:
            pictures = {f"img_lq_{letter}": {"img_path": str(path)} | to_fields((NOISE, BLUR), True) for letter in "AB"}
        write_meta(folder / f"meta/m_{number}.json", {"img_ref": str(path)} | pictures)
        ids["data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()] = f"m_{number}"
    return ids


def served(ids: dict[str, str], *arguments, **settings) -> ChatServer:
    def item_of(body: dict) -> str:
        return next(
            ids[part["image_url"]["url"]] for part in body["messages"][-1]["content"] if part["type"] == "image_url"
        )

    return ChatServer(*arguments, item_of=item_of, **{"answer": "A clear photo with noise."} | settings)


def run(monkeypatch, server: ChatServer, folder: Path, images: str, *more: str) -> None:
    folders = [
        "--meta_dir",
        str(folder / "meta"),
        "--save_dir",
        str(folder / "saved"),
        "--fail_dir",
        str(folder / "failed"),
    ]
    monkeypatch.setattr("sys.argv", ["x", *folders, "--base_url", server.url, *FLAGS, *more])
    responses.gpt4v_command(images)


def saved(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


SCRIPT = {  # what goes wrong on the way to an answer
    "m_1": ["429:0.2", "ok"],
    "m_2": ["500", "503", "ok"],
    "m_3": ["hold", "ok"],
    "m_4": ["badjson", "ok"],
    "m_5": ["drop", "ok"],
    "m_6": ["refusal"],
    "m_7": ["cut"],
}


@pytest.mark.slow
def test_every_item_is_resolved_and_paid_for_once(tmp_path, monkeypatch, capsys):
    ids = write_metas(tmp_path, 10)
    with served(ids, SCRIPT) as server:
        with pytest.raises(SystemExit):
            run(monkeypatch, server, tmp_path, "refA", "--timeout", "2")
        assert "no answer to some: 1 cut, 1 refused" in capsys.readouterr().err
        assert max(server.calls.values()) <= 5
        answers, failures = saved(tmp_path / "saved"), saved(tmp_path / "failed")
        assert set(answers) == {f"m_{n}" for n in range(10)} - {"m_6", "m_7"} and set(failures) == {"m_6", "m_7"}
        assert (
            answers["m_1"]["response"] == "A clear photo with noise." and answers["m_1"]["distortion_class"] == "noise"
        )
        assert (failures["m_6"]["status"], failures["m_7"]["status"]) == ("refused", "cut")
        calls = server.calls.total()
        with pytest.raises(SystemExit):
            run(monkeypatch, server, tmp_path, "refA")  # what is final is not asked again
        assert server.calls.total() == calls
        for body in server.bodies:
            assert body["max_tokens"] == 200 and body["temperature"] == 0.5


@pytest.mark.slow
def test_the_cap_holds_and_a_later_run_goes_on(tmp_path, monkeypatch, capsys):
    ids = write_metas(tmp_path, 6)
    options = ChatOptions("m", max_tokens=200, price_in=10, price_out=30)
    bound = min(options.bound(responses.request_for(meta, "refA", {})) for meta in read_metas(tmp_path / "meta"))
    cost = options.cost(10, 5)  # what the server counts
    with served(ids) as server:
        with pytest.raises(SystemExit):
            run(monkeypatch, server, tmp_path, "refA", "--max_cost", str(bound + 2.5 * cost))
        assert "unasked" in capsys.readouterr().err
        some = len(saved(tmp_path / "saved"))
        assert 0 < some == server.completed.total() <= 3
        run(monkeypatch, server, tmp_path, "refA", "--max_cost", "10")
        assert len(saved(tmp_path / "saved")) == 6 == server.completed.total() and saved(tmp_path / "failed") == {}


@pytest.mark.slow
def test_a_killed_run_pays_for_no_answer_twice(tmp_path):
    ids = write_metas(tmp_path, 12)
    folders = ["--meta_dir", "meta", "--save_dir", "saved", "--fail_dir", "failed"]
    held = {f"m_{number}": ["hold"] for number in range(5, 12)}
    with served(ids, held) as server:
        command = [sys.executable, SCRIPTS / "gen_resp_gpt4v_refA_sd.py", *folders, "--base_url", server.url, *FLAGS]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: server.held == 4)  # five have their answer, four are under way
        process.kill()
        process.wait()
        server.script = {}
        kept = {
            json.loads(line)["key"]
            for line in (tmp_path / "saved/.ledger.jsonl").read_text().splitlines()
            if '"answered"' in line
        }
        assert len(kept) == 5
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert set(saved(tmp_path / "saved")) == set(ids.values())
        assert server.completed == dict.fromkeys(ids.values(), 1) and server.calls.total() == 12 + 4


def test_the_prompt_gives_pictures_and_facts_and_asks_for_silence_about_them(tmp_path):
    (path,) = [tmp_path / "photos" / name for name in write_crops(tmp_path / "photos", 1)]
    system, user = prompts.ask_two(path, (path, path), ((NOISE, BLUR), ()), "Image B")
    kinds = [part["type"] if part["type"] == "image_url" else part["text"].split("\n")[0] for part in user["content"]]
    assert kinds[:6] == ["The reference:", "image_url", "Image A:", "image_url", "Image B:", "image_url"]
    text = user["content"][-1]["text"]
    for said in (
        "less than 170 words",
        "serious noise and then obvious blur",
        "Image B is undistorted",
        "Image B to be the better one",
        "Never mention",
    ):
        assert said in text
    assert "unless it is obviously wrong" in text and "technical quality" in system["content"]
    text = prompts.ask_one(path, path, (NOISE,))[1]["content"][-1]["text"]
    assert "less than 100 words" in text and "obvious noise" in text and "Never mention" in text


def test_a_dry_run_shows_the_first_request_and_the_cost_and_asks_nothing(tmp_path, monkeypatch, capsys):
    with served(write_metas(tmp_path, 3)) as server:
        run(monkeypatch, server, tmp_path, "refA", "--dry_run")
        assert server.calls.total() == 0
    out = capsys.readouterr().out
    assert "item m_0" in out and "<image, " in out and "base64" not in out
    assert re.search(r"3 requests cost at most about 0\.\d\d dollars", out)


@pytest.mark.slow
def test_two_pictures_want_the_verdicts_of_a_rating_model(tmp_path, monkeypatch, capsys):
    ids = write_metas(tmp_path, 2, two=True)
    verdicts = tmp_path / "pred.json"
    verdicts.write_text(json.dumps([{"id": "m_0", "text": "Image A"}]))
    with served(ids) as server:
        with pytest.raises(SystemExit):
            run(monkeypatch, server, tmp_path, "refAB", "--pred_json", str(verdicts))
        assert "m_1.json: --pred_json has no answer with the id 'm_1'" in capsys.readouterr().err
        verdicts.write_text(json.dumps([{"id": f"m_{n}", "text": f"Image {x}"} for n, x in enumerate("AB")]))
        run(monkeypatch, server, tmp_path, "refAB", "--pred_json", str(verdicts))
        assert set(saved(tmp_path / "saved")) == {"m_0", "m_1"}
        texts = {server.item_of(body): body["messages"][-1]["content"][-1]["text"] for body in server.bodies}
        assert "Image A to be the better one" in texts["m_0"] and "Image B to be the better one" in texts["m_1"]
        assert {body["max_tokens"] for body in server.bodies} == {230}


def test_verdicts_that_are_none(tmp_path):
    (tmp_path / "pred.json").write_text('[{"id": 1, "text": "both"}]')
    with pytest.raises(InputError, match="pred.json: item 1: expected 'Image A' or 'Image B' as text, found 'both'"):
        responses.read_verdicts(tmp_path / "pred.json")
