"""OpenAI's chat completions, as far as a question about pictures goes: reading a request, writing answers."""

import base64
import binascii
import json
import math
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from depictqa.serve.labels import assign
from depictqa.serve.protocol import MAX_TOKENS, Ask, Chunk, Refused, check_names, make_ask

ANY, READ = object(), object()
PASSED_ON = ("model", "temperature", "top_p", "seed", "stop", "stream", "confidence")  # fields of `Ask`, checked there
OPTIONS = {  # every option of a request -> READ: it is implemented; ANY: it cannot change the answer; or the values taken
    **dict.fromkeys(
        (*PASSED_ON, "messages", "max_tokens", "max_completion_tokens", "logprobs", "stream_options"), READ
    ),
    **dict.fromkeys(("user", "metadata", "safety_identifier", "service_tier", "parallel_tool_calls"), ANY),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"), ANY),
    "store": (False,),
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
}
STREAM_OPTIONS = ("include_usage", "include_obfuscation")  # the second pads chunks, where a server does that


@dataclass
class ChatRequest:
    ask: Ask
    pictures: dict[str, bytes]
    logprobs: bool
    include_usage: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str) -> dict:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.ask.model}


def read(body: dict) -> ChatRequest:
    """The one question of a chat request and its pictures, labelled by the texts before them. Raises Refused."""
    given = {name: value for name, value in body.items() if value is not None}  # null: not given
    _check_options(given)
    pictures, question = assign([_text_or_picture(part) for part in _parts(given)])
    fields = {name: given[name] for name in PASSED_ON if name in given}
    limits = [name for name in ("max_tokens", "max_completion_tokens") if name in given]
    if len(limits) > 1:
        raise _invalid("max_tokens, max_completion_tokens: expected one of them; they mean the same")
    for name in limits:
        if type(given[name]) is not int or not 1 <= given[name] <= MAX_TOKENS:
            raise _invalid(f"{name}: expected a whole number from 1 to {MAX_TOKENS}")
        fields["max_tokens"] = given[name]
    ask = make_ask(fields | {"question": question}, strict=True)
    return ChatRequest(ask, pictures, _flag(given, "logprobs"), _includes_usage(given, ask.stream))


def _check_options(given: dict) -> None:
    check_names(given, OPTIONS)
    for name, value in given.items():
        taken = OPTIONS[name]
        if taken is ANY or taken is READ or any(_is_same(value, one) for one in taken):
            continue
        advice = f"leave it out or send {' or '.join(map(json.dumps, taken))}" if taken else "leave it out"
        raise Refused(400, "unsupported_option", f"{name}: not supported here; {advice}")


def _is_same(value, other) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)  # in Python, True == 1


def _flag(given: dict, name: str, where: str = "") -> bool:
    value = given.get(name)
    if not isinstance(value, bool | None):
        raise _invalid(f"{where}{name}: expected true or false")
    return bool(value)


def _includes_usage(given: dict, stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or (options and not stream):
        raise _invalid("stream_options: expected an object, and only with stream: true")
    check_names(options, STREAM_OPTIONS)
    include_usage, _ = (_flag(options, name, "stream_options.") for name in STREAM_OPTIONS)
    return include_usage


def _parts(body: dict) -> list:
    match body.get("messages"):
        case [*_, {"role": "user", "content": list(parts)}] as messages:
            pass
        case [*_, {"role": "user", "content": str(text)}] as messages:
            parts = [{"type": "text", "text": text}]
        case _:
            raise _invalid("messages: expected a list that ends with the user's message")
    if len(messages) > 1:
        roles = [str(one.get("role"))[:20] if isinstance(one, dict) else type(one).__name__ for one in messages[:-1]]
        raise _invalid(
            f"messages: expected the user's message alone, found {', '.join(roles[:5])} before it; the model takes one "
            "question at a time, without history, and its system text is fixed: put all it needs to know into the question"
        )
    return parts


def _text_or_picture(part) -> str | bytes:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return _decode(url)
    raise _invalid("content: expected parts of type text or image_url")


def _decode(url: str) -> bytes:
    head, separator, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and separator):
        raise _invalid("image_url: expected a data: URL with base64; no other URL is opened")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("image_url: not valid base64") from None


def _invalid(message: str) -> Refused:
    return Refused(400, "invalid_field", message)


def _logprobs(chunk: Chunk, asked: ChatRequest) -> dict | None:
    if not asked.logprobs or chunk.tokens is None:
        return None
    rows = [
        {"token": text, "logprob": math.log(max(prob, 1e-30)), "bytes": list(text.encode()), "top_logprobs": []}
        for text, prob in chunk.tokens
    ]
    return {"content": rows}


def completion(last: Chunk, asked: ChatRequest) -> dict:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": last.text},
        "finish_reason": last.finish_reason,
        "logprobs": _logprobs(last, asked),
        "confidence": last.confidence,
    }
    return {**asked.head("chat.completion"), "choices": [choice], "usage": _usage(last)}


def _usage(last: Chunk) -> dict | None:
    return last.usage and last.usage.model_dump()


async def events(chunks: AsyncGenerator[Chunk, None], asked: ChatRequest) -> AsyncGenerator[str, None]:
    """Server-sent events of a streamed answer. `confidence` and logprobs are in the last one with a choice; where usage is
    asked for, one without choices follows it."""

    def event(choices: list[dict], usage: dict | None = None) -> str:
        body = {**asked.head("chat.completion.chunk"), "choices": choices}
        return f"data: {json.dumps(body | ({'usage': usage} if asked.include_usage else {}))}\n\n"

    def choice(delta: dict, **more) -> list[dict]:
        return [{"index": 0, "delta": delta, "finish_reason": None, **more}]

    sent = ""
    async with aclosing(chunks):
        await anext(chunks)  # it has no text yet; a failure before it has an HTTP status of its own
        yield event(choice({"role": "assistant", "content": ""}))
        try:
            async for chunk in chunks:
                if len(chunk.text) > len(sent):
                    yield event(choice({"content": chunk.text[len(sent) :]}))
                    sent = chunk.text
                if chunk.done:
                    end = {"finish_reason": chunk.finish_reason, "confidence": chunk.confidence}
                    yield event(choice({}, logprobs=_logprobs(chunk, asked), **end))
                    if asked.include_usage:
                        yield event([], _usage(chunk))
        except Refused as error:
            yield f"data: {json.dumps(error.body)}\n\n"
    yield "data: [DONE]\n\n"


def _schema(name: str, taken) -> dict:
    if name in Ask.model_fields:
        return Ask.model_json_schema()["properties"][name]
    if taken is ANY:
        return {"description": "accepted; it does not change the answer"}
    if taken is READ:
        return {}
    return {"enum": [*taken, None], "description": "other values are refused"}


DOCS = {  # OpenAPI: what `read` reads
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["messages"],
                    "additionalProperties": False,
                    "properties": {name: _schema(name, taken) for name, taken in OPTIONS.items()}
                    | {
                        "messages": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}},
                        "max_completion_tokens": Ask.model_json_schema()["properties"]["max_tokens"],
                        "logprobs": {"type": ["boolean", "null"]},
                        "stream_options": {"type": ["object", "null"]},
                    },
                }
            }
        },
    }
}
