"""OpenAI's form: every option is implemented, cannot change the answer, or is refused by its name."""

import asyncio
import base64
import inspect
import json

import pytest

from depictqa.serve import chat
from depictqa.serve.protocol import Chunk, Refused, Usage

PICTURE = b"picture"
USER = {
    "role": "user",
    "content": [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"}},
        {"type": "text", "text": "What?"},
    ],
}


def body(**options) -> dict:
    return {"messages": [USER], **options}


def test_what_is_implemented_is_passed_on():
    asked = chat.read(
        body(
            model="M",
            temperature=1,
            top_p=0.5,
            seed=-3,
            stop=["a", "\n"],
            max_tokens=7,
            logprobs=True,
            confidence=False,
        )
    )
    given = {"model": "M", "temperature": 1, "top_p": 0.5, "seed": -3, "stop": ["a", "\n"], "max_tokens": 7}
    given |= {"question": "What?", "confidence": False, "stream": False, "score": None}
    assert asked.ask.model_dump() == given
    assert asked.pictures == {"a": PICTURE} and asked.logprobs and not asked.include_usage
    assert chat.read(body(stop="END")).ask.stop == ["END"]
    assert chat.read(body(max_completion_tokens=9)).ask.max_tokens == 9
    assert chat.read(body(stream=True, stream_options={"include_usage": True})).include_usage


@pytest.mark.parametrize("name", [name for name in chat.OPTIONS if name != "messages"])
def test_null_is_not_given(name):
    assert chat.read(body(**{name: None})).ask == chat.read(body()).ask


@pytest.mark.parametrize(
    "options",
    [
        {"n": 1},
        {"presence_penalty": 0.0, "frequency_penalty": 0},
        {"tools": [], "functions": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "modalities": ["text"], "logit_bias": {}},
        {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"logprobs": True, "top_logprobs": 0},
        {"stream_options": {}},
    ],
)
def test_what_changes_nothing_is_accepted(options):
    assert chat.read(body(**options)).ask == chat.read(body()).ask


REFUSED = {
    "n": [2, 0, True, 1.5, "1"],
    "presence_penalty": [0.5, False],
    "frequency_penalty": [-1],
    "logit_bias": [{"5": 1}],
    "top_logprobs": [3, False],
    "tools": [[{"type": "function"}], {}],
    "tool_choice": ["required"],
    "functions": [[{"name": "f"}]],
    "function_call": [{"name": "f"}],
    "response_format": [{"type": "json_object"}, "text"],
    "modalities": [["text", "audio"], []],
    "audio": [{"voice": "alloy"}],
    "prediction": [{"type": "content"}],
    "web_search_options": [{}],
    "moderation": [{}],
    "store": [True, 0],
    "max_tokens": [0, -1, 1025, True, "9", 1.0],
    "max_completion_tokens": [0, 1025, "9"],
    "temperature": [True, "1", 3, -1, float("nan"), [1]],
    "top_p": [0, True, "0.5"],
    "seed": [1.5, "1", True, 2**63],
    "stop": ["", [""], ["a"] * 5, [1], 3, {"a": 1}, [None], "x" * 101],
    "stream": ["yes", 1],
    "logprobs": ["true", 1],
    "confidence": ["false"],
    "stream_options": [[], {"include_usage": True}, True],
    "model": [1, ["M"]],
    "messages": [[], {}, [{"role": "system", "content": "Be kind."}, USER], [USER, USER]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_would_change_the_answer_is_refused_by_its_name(name, value):
    with pytest.raises(Refused) as refused:
        chat.read(body(**{name: value}))
    assert refused.value.status == 400 and refused.value.message.startswith(name)
    assert "\n" not in refused.value.message and len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, "temprature: unknown field; did you mean 'temperature'?"),
        ({"top_k": 5}, "top_k: unknown field; did you mean 'top_p'?"),
        ({"x" * 9000: 5}, "unknown field; /docs of this server lists the known ones"),
        ({"a\nb\ud800": 5}, "a?b?: unknown field"),
        ({"messages": [{"role": "\ud800"}, USER]}, "found ? before it"),
        (
            {"stream": True, "stream_options": {"include_use": True}},
            "include_use: unknown field; did you mean 'include_usage'?",
        ),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage: expected true or false",
        ),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens, max_completion_tokens: expected one of them"),
        ({"messages": [{"role": "system", "content": "?"}, USER]}, "found system before it"),
    ],
)
def test_refusals_say_what_to_do(options, words):
    with pytest.raises(Refused) as refused:
        chat.read(body(**options))
    assert words in refused.value.message and refused.value.message.encode()


def test_the_table_has_every_option_of_openais_client():
    openai = pytest.importorskip("openai")
    parameters = set(inspect.signature(openai.resources.chat.Completions.create).parameters)
    parameters -= {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert parameters - set(chat.OPTIONS) == set()


LAST = Chunk(
    text="A blur",
    done=True,
    confidence=0.5,
    tokens=[("A", 0.5), (" blur", 0.25)],
    finish_reason="length",
    usage=Usage(prompt_tokens=70, completion_tokens=2),
)
USAGE = {"prompt_tokens": 70, "completion_tokens": 2, "total_tokens": 72}


def streamed(asked: chat.ChatRequest) -> list:
    async def chunks():
        for chunk in (Chunk(), Chunk(text="A"), LAST):
            yield chunk

    async def collect():
        return [event async for event in chat.events(chunks(), asked)]

    *events, done = asyncio.run(collect())
    assert done == "data: [DONE]\n\n"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_an_answer_says_why_it_ended_and_what_it_used():
    answer = chat.completion(LAST, chat.read(body()))
    assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"] == USAGE


def test_a_stream_says_why_it_ended():
    events = streamed(chat.read(body(stream=True)))
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "length"]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "A blur"
    assert not any("usage" in event for event in events)


def test_a_stream_says_what_it_used_where_that_is_asked_for():
    *events, last = streamed(chat.read(body(stream=True, stream_options={"include_usage": True})))
    assert all(event["usage"] is None and len(event["choices"]) == 1 for event in events)
    assert last["choices"] == [] and last["usage"] == USAGE
