"""The parts of the page, without a browser: what its server answers to, what it holds, what it writes down."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace

import gradio
import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from depictqa.config import GradioSettings
from depictqa.errors import InputError
from depictqa.files import append
from depictqa.prompts import TASKS
from depictqa.serve.page.client import Client, HeldPictures
from depictqa.serve.page.gate import EXAMPLES, Gate, routes
from depictqa.serve.page.handlers import Handlers, Votes, words_of
from depictqa.serve.page.layout import SUGGESTIONS, build_page, tasks
from depictqa.serve.page.moderation import Moderation
from depictqa.serve.protocol import MAX_PICTURE_BYTES, MAX_QUESTION, Chunk, Refused

ROOT = Path(__file__).parents[2]
DEFAULTS = ("What?", "Nano", 0, 0.9, 24)


class StubClient:
    """Answers with these chunks; a Refused among them is raised."""

    def __init__(self, *chunks):
        self.chunks, self.asked = chunks, []

    async def ask(self, ask, pictures):
        self.asked.append((ask, pictures))
        for chunk in self.chunks:
            if isinstance(chunk, Refused):
                raise chunk
            yield chunk

    async def models(self):
        return ["Nano"]


def make_handlers(tmp_path, *chunks) -> Handlers:
    return Handlers(StubClient(*chunks), HeldPictures(), Votes(tmp_path), slots=2)


def states(handlers: Handlers, asked: dict, *arguments) -> list[dict]:
    async def collect():
        return [state async for state in handlers.answer(asked, *(arguments or DEFAULTS))]

    return asyncio.run(collect())


def vote(handlers: Handlers, **data):
    return handlers.vote(gradio.EventData(None, data))


def test_answer_streams_into_its_card(tmp_path):
    done = Chunk(
        text="A blur.", done=True, confidence=0.5, tokens=[("A", 0.9), (" blur", 0.5), (".", 0.5), ("</s>", 1)]
    )
    handlers = make_handlers(tmp_path, Chunk(text="A"), done)
    name = handlers.pictures.put(b"picture")
    first, *middle, last = states(handlers, {"key": "k1", "b": name})
    assert first["state"] == "writing" and first["task"] == "quality_single_B_noref"
    assert [state["text"] for state in middle] == ["A", "A blur."]
    assert (last["state"], last["text"], last["confidence"]) == ("done", "A blur.", 0.5)
    assert last["words"] == [("A", 0.9), (" blur.", 0.25)]
    assert {state["key"] for state in (first, *middle, last)} == {"k1"}
    ask, pictures = handlers.client.asked[0]
    assert ask.stream and ask.max_tokens == 24 and pictures == {"b": b"picture"}
    assert handlers.running == 0


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_the_card_is_told_why_an_answer_ended(reason, tmp_path):
    handlers = make_handlers(tmp_path, Chunk(text="A bl", done=True, tokens=[], finish_reason=reason))
    *_, last = states(handlers, {"a": handlers.pictures.put(b"picture")})
    assert (last["state"], last["finish_reason"]) == ("done", reason)


@pytest.mark.parametrize(
    ("asked", "arguments", "code"),
    [
        ({}, DEFAULTS, "wrong_pictures"),
        (None, DEFAULTS, "invalid_field"),
        ([], DEFAULTS, "invalid_field"),
        ({"a": "unknown"}, DEFAULTS, "forgotten"),
        ({"a": {"path": "/etc/passwd"}}, DEFAULTS, "forgotten"),
        ({"a": ...}, (" ", *DEFAULTS[1:]), "no_question"),
        ({"a": ...}, ("x" * (MAX_QUESTION + 1), *DEFAULTS[1:]), "invalid_field"),
        ({"a": ...}, ("What?", "Nano", float("nan"), 0.9, 24), "invalid_field"),
        ({"a": ...}, ("What?", "Nano", 0, 0.9, 10**6), "invalid_field"),
    ],
)
def test_what_cannot_be_asked_is_a_failed_card(tmp_path, asked, arguments, code):
    handlers = make_handlers(tmp_path)
    if asked:
        asked = {slot: handlers.pictures.put(b"picture") if name is ... else name for slot, name in asked.items()}
    (state,) = states(handlers, asked, *arguments)
    assert (state["state"], state["code"]) == ("failed", code)
    assert state["message"][0].isupper() and "\n" not in state["message"]
    assert handlers.client.asked == []


def test_failure_in_mid_answer_keeps_what_came(tmp_path):
    handlers = make_handlers(tmp_path, Chunk(text="A bl"), Refused(502, "worker_gone", "the worker went away"))
    *_, writing, failed = states(handlers, {"key": "k", "a": handlers.pictures.put(b"picture")})
    assert writing["text"] == "A bl"
    assert "text" not in failed  # the card keeps what it has
    assert (failed["key"], failed["state"], failed["message"]) == ("k", "failed", "The worker went away")


def test_page_that_stops_takes_no_more_questions(tmp_path):
    handlers = make_handlers(tmp_path)
    handlers.stopping = True
    (state,) = states(handlers, {"a": handlers.pictures.put(b"picture")})
    assert state["code"] == "stopping"


def test_questions_wait_for_a_turn_and_too_many_are_refused(tmp_path):
    handlers = make_handlers(tmp_path)
    name = handlers.pictures.put(b"picture")
    at_once = largest = 0

    class Client:
        async def ask(self, ask, pictures):
            nonlocal at_once, largest
            at_once += 1
            largest = max(largest, at_once)
            yield Chunk(text="a")
            await asyncio.sleep(0.01)
            at_once -= 1
            yield Chunk(text="a", done=True)

    handlers.client = Client()

    async def collect(number: int):
        return [state async for state in handlers.answer({"key": str(number), "a": name}, *DEFAULTS)]

    async def crowd():
        return await asyncio.gather(*map(collect, range(30)))

    cards = asyncio.run(crowd())
    ends = [card[-1]["state"] for card in cards]
    assert ends == ["done"] * 22 + ["failed"] * 8 and {card[-1]["code"] for card in cards[22:]} == {"busy"}
    assert largest == 2
    assert cards[21][0]["note"] == "waiting for a turn" and cards[21][-1]["note"] == ""
    assert handlers.running == 0


def test_votes_are_of_answers_that_were_given(tmp_path):
    handlers = make_handlers(tmp_path, Chunk(text="Blür", done=True, confidence=None, tokens=[]))
    name = states(handlers, {"key": "k", "a": handlers.pictures.put(b"secret")})[-1]["id"]
    assert vote(handlers, id=name, vote="up") == {"id": name, "vote": "up"}
    for data in (
        {"id": "other", "vote": "up"},
        {"id": name, "vote": "more"},
        {},
        {"id": name, "vote": None},
        {"id": [name]},
    ):
        with pytest.raises(gradio.Error, match="too old"):
            vote(handlers, **data)
    (path,) = tmp_path.iterdir()
    (row,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert path.name.startswith("votes-") and row["vote"] == "up" and row["answer"] == "Blür"
    assert row["question"] == "What?" and len(row["pictures"]["a"]) == 64
    assert b"secret" not in path.read_bytes()


def test_votes_on_one_answer_have_an_end(tmp_path):
    handlers = make_handlers(tmp_path, Chunk(text="none", done=True))
    name = states(handlers, {"key": "k", "a": handlers.pictures.put(b"picture")})[-1]["id"]
    for number in range(10):
        vote(handlers, id=name, vote=("up", "down")[number % 2])
    with pytest.raises(gradio.Error, match="too many votes"):
        vote(handlers, id=name, vote="up")
    (path,) = tmp_path.iterdir()
    assert len(path.read_text().splitlines()) == 10


@pytest.mark.parametrize(
    ("text", "tokens", "words"),
    [
        ("", [], []),
        ("none", [("no", 0.5), ("ne", 0.5)], [("none", 0.25)]),
        ("Image A", [(" Image", 0.9), (" A", 0.5), ("<|im_end|>", 0.1)], [("Image", 0.9), (" A", 0.5)]),
        ("a é b", [("a", 0.9), (" \ufffd", 0.5), ("\ufffd", 0.5), (" b", 0.8)], [("a", 0.9), (" é b", 0.8)]),
        ("a\nb", [("a", 0.9), ("\n", 0.5), ("b", 0.8)], [("a", 0.9), ("\nb", 0.8)]),
    ],
)
def test_words(text, tokens, words):
    assert words_of(text, tokens) == words
    assert "".join(word for word, _ in words) == text


def test_held_pictures_have_a_limit_in_bytes_and_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr("depictqa.serve.page.client.time", SimpleNamespace(monotonic=lambda: now))
    held = HeldPictures(max_bytes=10, max_seconds=60)
    first, second = held.put(b"12345"), held.put(b"67890")
    assert (held.get(first), held.get(second), held.bytes) == (b"12345", b"67890", 10)
    third = held.put(b"x")
    assert (held.get(first), held.get(third), held.bytes) == (None, b"x", 6)
    now = 61.0
    assert (held.get(second), held.get(third), held.bytes) == (None, None, 0)


def test_controller_that_is_down_is_told(tmp_path):
    handlers = Handlers(Client("http://127.0.0.1:9/"), HeldPictures(), Votes(tmp_path), slots=2)
    models, words = asyncio.run(handlers.health())
    assert models == [] and words.startswith("The controller is not up")


@pytest.mark.parametrize(
    ("key", "models", "words"),
    [("right", ["Nano"], ""), ("wrong", [], "The controller asks for a key; gradio.key_file")],
)
def test_key_is_shown_to_the_controller(tmp_path, key, models, words):
    def reply(request):
        if request.headers["authorization"] != "Bearer right":
            return httpx.Response(401, json={"error": {"code": "invalid_key", "message": "a key is needed"}})
        return httpx.Response(200, json={"data": [{"id": "Nano"}]})

    client = Client("http://controller", {"authorization": f"Bearer {key}"})
    client._http._transport = httpx.MockTransport(reply)
    found, told = asyncio.run(Handlers(client, HeldPictures(), Votes(tmp_path), slots=2).health())
    assert found == models and told.startswith(words) and bool(told) == bool(words)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (httpx.Response(200, json={"results": [{"flagged": True}]}), "moderated"),
        (httpx.Response(200, json={"results": [{"flagged": False}]}), None),
        (httpx.Response(500), "no_moderation"),
        (httpx.Response(200, json={"no": "results"}), "no_moderation"),
        (httpx.Response(200, text="no json"), "no_moderation"),
    ],
)
def test_moderation(tmp_path, reply, code):
    handlers = make_handlers(tmp_path, Chunk(text="none", done=True))
    handlers.moderation = Moderation("http://moderation/v1/", "key")
    sent = []
    transport = httpx.MockTransport(lambda request: sent.append(request) or reply)
    handlers.moderation._http = httpx.AsyncClient(transport=transport)
    last = states(handlers, {"key": "k", "a": handlers.pictures.put(b"picture")})[-1]
    assert last.get("code") == code and (last["state"] == "done") == (code is None)
    assert [(str(request.url), json.loads(request.content)) for request in sent] == [
        ("http://moderation/v1/moderations", {"input": "What?"})
    ]
    assert bool(handlers.client.asked) == (code is None)


def test_moderation_uses_a_proxy_for_other_machines_only():
    assert Moderation("https://moderation.example/v1", "key")._http.trust_env
    assert not Moderation("http://127.0.0.1:9/v1", None)._http.trust_env


def test_a_vote_for_which_there_is_no_room_is_told(tmp_path, monkeypatch, caplog):
    handlers = make_handlers(tmp_path)
    handlers._answers["one"] = {"question": "What?"}
    monkeypatch.setattr("depictqa.serve.page.handlers.append", lambda path, line: append("/dev/full", line))
    with pytest.raises(gradio.Error, match="Votes cannot be saved"):
        vote(handlers, id="one", vote="up")
    assert "a vote is lost: /dev/full: cannot be written (No space left on device)" in caplog.text


def test_moderation_needs_a_key_for_openai(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InputError, match="gradio.moderate: no key: set OPENAI_API_KEY"):
        Moderation.from_environment()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert Moderation.from_environment()


@pytest.fixture
def server():
    """The page's own routes, and one of each that Gradio has and must not be reached."""
    reached = [
        Route("/{path:path}", lambda request: PlainTextResponse("reached"), methods=["GET", "POST", "HEAD", "PUT"])
    ]
    pictures = HeldPictures()
    app = Starlette(routes=[*routes(pictures), *reached], middleware=[Middleware(Gate)])
    return SimpleNamespace(http=TestClient(app), pictures=pictures)


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /gradio_api/file=/etc/passwd",
        "GET /gradio_api/file=README.md",
        "GET /gradio_api/file=http://127.0.0.1/",
        "GET /file=/etc/passwd",
        "GET /gradio_api/file/etc/passwd",
        "GET /gradio_api/proxy=http://127.0.0.1/",
        "POST /gradio_api/upload",
        "POST /gradio_api/run/predict",
        "POST /gradio_api/call/answer",
        "POST /gradio_api/component_server",
        "POST /gradio_api/vibe-code/",
        "POST /gradio_api/process_recording",
        "GET /gradio_api/deep_link?session_hash=x",
        "GET /gradio_api/run-history/buckets",
        "GET /gradio_api/custom_component/1/client/component/../../../../etc/passwd",
        "GET /monitoring",
        "GET /docs",
        "GET /openapi.json",
        "GET /static/../../etc/passwd",
        "GET /static/%2e%2e/%2e%2e/etc/passwd",
        "GET /examples/..%2fpage.css",
        "GET /examples/nothing.webp",
        "GET /examples/examples.json",
        "GET /pictures/x",
        "PUT /pictures",
        "POST /",
    ],
)
def test_the_rest_of_gradio_is_not_there(server, request_line):
    method, path = request_line.split(" ")
    response = server.http.request(method, path)
    assert response.status_code == 404 and "reached" not in response.text


FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps({"data": [None, "What?"]}), 200),
        (json.dumps({"data": [FILE]}), 400),
        (json.dumps({"data": [[{"a": FILE}]]}), 400),
        (json.dumps({"data": [FILE]}).replace("path", "\\u0070ath"), 400),
        (json.dumps({"event_data": FILE}), 400),
        ("[" * 90_000, 400),
        ("no json", 400),
        (b"\xff", 400),
        ("x" * 100_001, 413),
    ],
)
def test_events_name_no_files(server, body, status):
    assert server.http.post("/gradio_api/queue/join", content=body).status_code == status


def test_pictures_are_held_and_not_given_back(server):
    name = server.http.post("/pictures", content=b"picture").json()["id"]
    assert server.pictures.get(name) == b"picture"
    assert server.http.head(f"/pictures/{name}").status_code == 204
    assert server.http.head("/pictures/other").status_code == 404
    assert server.http.get(f"/pictures/{name}").status_code == 404
    response = server.http.post("/pictures", content=b"x" * (MAX_PICTURE_BYTES + 1))
    assert response.status_code == 413 and response.json()["error"]["message"] == "over 20 MB"
    assert server.pictures.bytes == 7


def test_slow_bodies_are_cut(server, monkeypatch):
    monkeypatch.setattr("depictqa.serve.page.gate.EVENT_SECONDS", 0.1)
    monkeypatch.setattr("depictqa.serve.page.gate.PICTURE_SECONDS", 0.1)

    async def post(path: str) -> int:
        sent, parts = [], [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive():
            return parts.pop() if parts else await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await server.http.app(scope, receive, send)
        return sent[0]["status"]

    assert [asyncio.run(post(path)) for path in ("/pictures", "/gradio_api/queue/join")] == [408, 408]


def test_browser_loads_nothing_from_elsewhere(server):
    headers = server.http.get("/").headers
    assert (
        "default-src 'self'" in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    )


def test_examples_are_complete(server):
    rows = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    assert len(rows) >= 6
    named = set()
    for row in rows:
        assert "+".join(slot for slot in ("ref", "a", "b") if slot in row["pictures"]) in tasks()
        assert row["title"] and row["question"] and row["truth"]
        named |= set(row["pictures"].values())
    for name in named:
        assert server.http.get(f"/examples/{name}").headers["content-type"] == "image/webp"
        with Image.open(EXAMPLES / name) as picture:
            assert picture.size == (320, 320)
    assert {path.name for path in EXAMPLES.iterdir()} == named | {"examples.json"}
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 500_000


def test_every_set_of_pictures_has_its_task_and_questions():
    assert {row["name"] for row in tasks().values()} == {
        task.name for task in TASKS.values() if task.inference and not task.by_name
    }
    assert {row["kind"] for row in tasks().values()} == set(SUGGESTIONS)


@pytest.mark.parametrize("embed", [False, True])
def test_page_is_built(tmp_path, embed):
    settings = GradioSettings(embed=embed, concurrency_count=3, model_list_mode="once")
    config = build_page(make_handlers(tmp_path), ["Nano"], settings).get_config_file()
    text = json.dumps(config["components"])
    assert ("Answers come from a model" in text) == (not embed)


def test_pictures_of_the_docs_are_there_and_small():
    docs = ROOT / "docs"
    shown = set(re.findall(r"\]\((screenshots/[^)]+)\)", (docs / "serving.md").read_text(encoding="utf-8")))
    assert {docs / path for path in shown} == set((docs / "screenshots").iterdir())
    assert all((docs / path).stat().st_size <= 150_000 for path in shown)
