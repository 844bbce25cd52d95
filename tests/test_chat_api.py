"""The chat client against a real server that misbehaves (tests/chat_server.py)."""

import argparse
import base64
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from depictqa import chat_api
from depictqa.chat_api import CUT, FAILED, OK, REFUSED, UNASKED, ChatOptions, Request, ask, user_message
from depictqa.errors import InputError
from processes import GIVE_UP_SECONDS
from tests.chat_server import ChatServer

ROOT = Path(__file__).resolve().parents[1]
PRICES = {"price_in": 1000.0, "price_out": 1000.0}  # a tenth of a cent a token: an answer of 15 tokens costs 0.015


def requests(*items):
    return [Request(item, [user_message(f"item {item}")]) for item in items]


def run(server, items, tmp_path, **options):
    settings = {
        "model": "m",
        "base_url": server.url,
        "timeout": GIVE_UP_SECONDS,
        "backoff": 0.01,
        "max_tokens": 5,
    } | options
    replies = {}
    totals = ask(
        requests(*items), ChatOptions(**settings), tmp_path / "ledger.jsonl", lambda r: replies.update({r.key: r})
    )
    assert sum(totals.counts.values()) == len(replies)
    return replies, totals


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_server_on_this_machine_is_asked_without_a_proxy(name, tmp_path, monkeypatch):
    for one in (name, "SSL_CERT_FILE"):
        monkeypatch.setenv(one, "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ChatServer({"a": ["ok"]}) as server:
        replies, _ = run(server, "a", tmp_path, retries=0, timeout=30.0)
    assert replies["a"].status == OK


@pytest.mark.slow
def test_every_fault_is_overcome(tmp_path):
    script = {
        "rate": ["429:0.3", "ok"],
        "five": ["500", "503", "ok"],
        "drop": ["drop", "ok"],
        "json": ["badjson", "html", "ok"],
        "empty": ["empty", "ok"],
        "all": ["429:0.1", "500", "badjson", "drop", "ok"],
        "fine": ["ok"],
    }
    with ChatServer(script) as server:
        replies, totals = run(server, script, tmp_path, retries=5)
    assert {item: (reply.status, reply.reason) for item, reply in replies.items()} == dict.fromkeys(script, (OK, None))
    assert {reply.text for reply in replies.values()} == {"8 9\nGood."}
    assert {item: server.calls[item] for item in script} == {item: len(calls) for item, calls in script.items()}


@pytest.mark.slow
def test_a_call_that_hangs_is_made_again(tmp_path):
    with ChatServer({"a": ["hold", "ok"], "b": ["hold"]}) as server:
        replies, _ = run(server, ["a", "b"], tmp_path, retries=3, timeout=1.0)
    assert replies["a"].status == OK and 2 <= server.calls["a"] <= 1 + 3
    assert (replies["b"].status, replies["b"].reason) == (FAILED, "no answer within 1 s") and server.calls["b"] == 1 + 3


@pytest.mark.slow
def test_answers_that_are_none_are_typed_and_final(tmp_path):
    script = {
        "r": ["refusal"],
        "f": ["filter"],
        "x": ["400:content_filter"],
        "c": ["cut"],
        "b": ["400"],
        "e": ["empty"],
    }
    with ChatServer(script) as server:
        replies, totals = run(server, script, tmp_path, retries=1)
        statuses = {item: reply.status for item, reply in replies.items()}
        assert statuses == {"r": REFUSED, "f": REFUSED, "x": REFUSED, "c": CUT, "b": FAILED, "e": FAILED}
        assert replies["c"].text == "8 9\nGood." and replies["r"].reason == "I cannot help with that."
        assert replies["b"].reason == "HTTP 400: error 400" and server.calls["b"] == 1
        assert totals.counts == {REFUSED: 3, CUT: 1, FAILED: 2}
        before = server.calls.copy()
        again, _ = run(server, script, tmp_path, retries=1)
    assert {item: reply.status for item, reply in again.items()} == statuses
    assert server.calls - before == {"b": 1, "e": 2}  # only what failed is asked again


@pytest.mark.slow
def test_retry_after_makes_everyone_wait(tmp_path, monkeypatch):
    refused, moments = threading.Event(), []

    def read(headers, real=chat_api._retry_after):
        moments.append(time.monotonic())
        refused.set()
        return real(headers)

    def answer(body):
        refused.wait()  # the one call that was under way with the refused one
        moments.append(time.monotonic())
        return "8 9"

    monkeypatch.setattr(chat_api, "_retry_after", read)
    with ChatServer({"a": ["429:0.8", "ok"]}, answer=answer) as server:
        run(server, ["a", *range(20)], tmp_path, concurrency=2)
    refusal, _, *later = moments
    assert len(later) == 20 and min(later) >= refusal + 0.8


def test_retry_after_forms(monkeypatch):
    monkeypatch.setattr(chat_api, "time", lambda: 1_000_000_000)
    assert chat_api._retry_after({"retry-after": "2"}) == 2
    assert chat_api._retry_after({"retry-after": "2", "retry-after-ms": "1500"}) == 1.5
    assert chat_api._retry_after({"retry-after": "Sun, 09 Sep 2001 01:47:10 GMT"}) == 30
    assert chat_api._retry_after({"retry-after": "soon"}) is None
    assert chat_api._retry_after({}) is None


@pytest.mark.slow
def test_a_wait_of_an_hour_is_not_waited_for(tmp_path):
    with ChatServer({"a": ["429:3600"]}) as server:
        replies, _ = run(server, ["a", "b"], tmp_path, concurrency=1)
    assert (replies["a"].status, replies["b"].status) == (FAILED, OK)
    assert "asks to wait 3600 s" in replies["a"].reason and server.calls["a"] == 1


@pytest.mark.slow
def test_concurrency_is_used_and_kept(tmp_path):
    all_six = threading.Barrier(6, timeout=GIVE_UP_SECONDS)  # none is answered before six are under way
    with ChatServer(answer=lambda body: f"8 {all_six.wait()}") as server:
        run(server, range(24), tmp_path, concurrency=6)
    assert server.most_busy == 6


@pytest.mark.slow
def test_the_cap_is_never_passed(tmp_path):
    # a call may cost (6 text bytes + 16 + 5 answer tokens) = 27 or 28 tokens, and does cost 15
    with ChatServer(default=("500", "ok"), delay=0.02) as server:
        replies, totals = run(server, range(40), tmp_path, max_cost=0.2, concurrency=8, **PRICES)
        completed = sum(server.completed.values())
        assert 0 < completed and completed * 0.015 <= 0.2
        assert totals.spent == pytest.approx(completed * 0.015) and totals.counts[OK] == completed
        assert sum(totals.counts.values()) == 40
        unasked = next(reply for reply in replies.values() if reply.status == UNASKED)
        assert unasked.reason == "max_cost (0.2 dollars) is reached"
        _, again = run(server, range(40), tmp_path, max_cost=0.2, **PRICES)  # the cap is over all runs
        assert again.spent == totals.spent and sum(server.completed.values()) == completed


@pytest.mark.slow
def test_what_may_have_been_charged_counts(tmp_path):
    with ChatServer({"a": ["hold", "badjson", "500", "ok"]}) as server:
        replies, _ = run(server, ["a"], tmp_path, retries=0, timeout=0.3, **PRICES)
        assert replies["a"].reason == "no answer within 0.3 s"
        _, totals = run(server, ["a"], tmp_path, **PRICES)
    bound = (len("item a") + chat_api.MESSAGE_TOKENS + 5) / 1000
    assert totals.spent == pytest.approx(2 * bound + 0.015)


@pytest.mark.slow
def test_max_items_counts_new_requests_only(tmp_path):
    with ChatServer() as server:
        _, first = run(server, range(5), tmp_path, max_items=2)
        _, second = run(server, range(5), tmp_path, max_items=2)
    assert first.counts == {OK: 2, UNASKED: 3} and second.counts == {OK: 4, UNASKED: 1}
    assert server.calls.total() == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("401", "the key is not accepted"),
        ("404", "no such model or address"),
        ("429:0", None),
    ],
)
def test_what_no_request_can_overcome_stops_the_run(tmp_path, behaviour, message):
    if behaviour == "429:0":
        behaviour, message = "402:insufficient_quota", "the account is used up"
    with ChatServer(default=(behaviour,)) as server:
        with pytest.raises(InputError, match=message):
            run(server, range(100), tmp_path, concurrency=2)
    assert server.calls.total() <= 4


@pytest.mark.slow
def test_a_server_that_is_down_stops_the_run(tmp_path):
    with ChatServer(default=("500",)) as server:
        with pytest.raises(InputError, match="20 items in a row failed: HTTP 500: error 500"):
            run(server, range(1000), tmp_path, retries=0)
    assert server.calls.total() <= 20 + 8


@pytest.mark.slow
def test_newer_models_get_the_newer_field(tmp_path):
    with ChatServer(default=("old_field",)) as server:
        replies, _ = run(server, range(20), tmp_path, concurrency=8)
    assert all(reply.status == OK for reply in replies.values())
    assert "max_completion_tokens" in server.bodies[-1] and "max_tokens" not in server.bodies[-1]


@pytest.mark.slow
def test_a_question_that_changed_is_asked_again(tmp_path):
    with ChatServer() as server:
        run(server, ["a"], tmp_path, temperature=0.0)
        run(server, ["a"], tmp_path, temperature=0.0)
        run(server, ["a"], tmp_path, temperature=0.5)
    assert server.calls["a"] == 2


@pytest.mark.slow
def test_half_a_character_can_be_kept(tmp_path):
    with ChatServer(answer="8 \ud83d") as server:
        replies, _ = run(server, ["a"], tmp_path)
    assert replies["a"].text == "8 ?"


@pytest.mark.slow
def test_a_bad_item_ends_the_run_after_those_under_way(tmp_path):
    def items():
        yield from requests("a", "b")
        raise InputError("x.png: no such file")

    replies = []
    with ChatServer(delay=0.2) as server:
        with pytest.raises(InputError, match="x.png"):
            ask(items(), ChatOptions("m", server.url), tmp_path / "l.jsonl", replies.append)
    assert [reply.status for reply in replies] == [OK, OK]


@pytest.mark.slow
def test_images_travel_as_data_urls(tmp_path):
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG")
    with ChatServer() as server:
        question = Request("a", [chat_api.system_message("s"), user_message("look", chat_api.image_part(picture), "a")])
        ask([question], ChatOptions("m", server.url, api_key="secret"), tmp_path / "l.jsonl", lambda reply: None)
    system, user = server.bodies[0]["messages"]
    assert system == {"role": "system", "content": "s"}
    assert (
        user["content"][1]["image_url"]["url"]
        == f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    )
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert "secret" not in (tmp_path / "l.jsonl").read_text()


def test_a_file_that_is_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent.png: cannot be read"):
        chat_api.image_part(tmp_path / "absent.png")
    with pytest.raises(InputError, match="expected an image file"):
        chat_api.image_part(tmp_path / "x.txt")


def options(*words):
    parser = argparse.ArgumentParser()
    chat_api.add_arguments(parser, max_tokens=100, temperature=0.0)
    return chat_api.options_from(parser.parse_args(words))


def test_options_from_flags_and_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InputError, match="no key: set OPENAI_API_KEY"):
        options()
    assert options("--base_url", "http://127.0.0.1:1/v1", "--temperature", "-1").temperature is None
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert options().api_key == "k" and options().max_tokens == 100 and options().base_url == chat_api.OPENAI
    with pytest.raises(InputError, match="--max_cost: expected --price_in and --price_out"):
        options("--max_cost", "1")
    with pytest.raises(InputError, match="--concurrency: expected at least 1, found 0"):
        options("--concurrency", "0")
    assert options("--max_cost", "1", "--price_in", "2", "--price_out", "8").max_cost == 1


CHILD = """
import itertools, json, os, signal, sys
from depictqa.chat_api import ChatOptions, Request, ask, user_message
from depictqa.ledger import Ledger

url, ledger, number, moment = sys.argv[1:]  # the number of the line of the ledger at which it is killed

def append(ledger, line, real=Ledger._append, numbers=itertools.count(1)):
    dies = next(numbers) == int(number)
    if dies and moment == "within":
        ledger._file.write(json.dumps(line).encode()[:30])
        ledger._file.flush()
    if not dies or moment == "after":
        real(ledger, line)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)

Ledger._append = append
requests = (Request(item, [user_message(f"item {item}")]) for item in range(300))
totals = ask(requests, ChatOptions("m", url, max_tokens=5, concurrency=4, price_in=1000.0, price_out=1000.0), ledger, lambda reply: None)
print(totals.counts["ok"], totals.spent)
"""


@pytest.mark.slow
def test_kill_9_and_resume_pays_for_no_answer_twice(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    kills = [(40, "before"), (51, "before"), (62, "within"), (73, "within"), (84, "after"), (95, "after")]
    with ChatServer(delay=0.01) as server:
        command = [sys.executable, "-c", CHILD, server.url, str(ledger)]
        for number, moment in kills:
            child = subprocess.run([*command, str(number), moment])
            assert child.returncode == -signal.SIGKILL
            known = answered(ledger)
            calls = server.calls.copy()
            assert known <= {item for item, count in server.completed.items() if count}
        done = subprocess.run([*command, "0", "never"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        asked_again = {item for item in known if server.calls[item] != calls[item]}
    assert asked_again == set()
    count, spent = done.stdout.split()
    assert int(count) == 300
    # answers that were on their way when the process died are asked again, at most four a kill
    twice = server.completed.total() - 300
    assert 0 <= twice <= 4 * len(kills)
    assert server.completed.total() * 0.015 <= float(spent) + 1e-9


def answered(ledger: Path) -> set[str]:
    lines = ledger.read_bytes().split(b"\n")[:-1] if ledger.exists() else []
    events = [json.loads(line) for line in lines]
    return {str(event["key"]) for event in events if event["event"] == "answered"}
