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

from depictqa.serve.protocol import NAMES, Ask, Chunk, Refused, make_ask

PASSED_ON = ("model", "temperature", "top_p", "stream")
BY_COUNT = {1: ("a",), 2: ("a", "b"), 3: ("ref", "a", "b")}  # pictures without labels
_LABELS = {label.lower(): name for name, label in NAMES.items()} | {"image": "a"}


@dataclass
class ChatRequest:
    ask: Ask
    pictures: dict[str, bytes]
    logprobs: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str) -> dict:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.ask.model}


def read(body: dict) -> ChatRequest:
    """The one question of a chat request, its pictures labelled by the text before each. Raises Refused."""
    texts, pictures = [], []  # pictures: (label of the text before it, bytes)
    for part in _parts(body):
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                label = _LABELS.get(texts[-1].strip().rstrip(":").lower()) if texts else None
                if label is not None:
                    texts.pop()
                pictures.append((label, _decode(url)))
            case _:
                raise _invalid("content: expected parts of type text or image_url")
    labels = [label for label, _ in pictures]
    if not any(labels) and len(labels) in BY_COUNT:
        labels = list(BY_COUNT[len(labels)])
    if None in labels or len(set(labels)) < len(labels):
        raise _invalid('pictures: label all ("Reference Image:", "Image A:", "Image B:") or none, each once, at most three')
    fields = {key: body[key] for key in PASSED_ON if body.get(key) is not None}
    fields["max_tokens"] = body.get("max_completion_tokens") or body.get("max_tokens")
    fields["question"] = texts[-1] if texts else ""
    ask = make_ask(fields)
    return ChatRequest(ask, dict(zip(labels, (data for _, data in pictures), strict=True)), bool(body.get("logprobs")))


def _parts(body: dict) -> list:
    match body.get("messages"):
        case [*_, {"role": "user", "content": list(parts)}] as messages:
            pass
        case [*_, {"role": "user", "content": str(text)}] as messages:
            parts = [{"type": "text", "text": text}]
        case _:
            raise _invalid("messages: expected a list that ends with the user's message")
    if len(messages) > 1:
        raise _invalid("messages: expected one message of the user; the model takes one question at a time")
    return parts


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
        "finish_reason": "stop",
        "logprobs": _logprobs(last, asked),
        "confidence": last.confidence,
    }
    return {**asked.head("chat.completion"), "choices": [choice]}


async def events(chunks: AsyncGenerator[Chunk, None], asked: ChatRequest) -> AsyncGenerator[str, None]:
    """Server-sent events of a streamed answer; `confidence` and logprobs are in the last one."""
    def event(delta: dict, **choice) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": None, **choice}]
        return f"data: {json.dumps({**asked.head('chat.completion.chunk'), 'choices': choices})}\n\n"

    sent = ""
    async with aclosing(chunks):
        await anext(chunks)  # it has no text yet; a failure before it has an HTTP status of its own
        yield event({"role": "assistant", "content": ""})
        try:
            async for chunk in chunks:
                text = chunk.text if chunk.done else chunk.text.rstrip("\N{REPLACEMENT CHARACTER}")  # half a character
                if len(text) > len(sent):
                    yield event({"content": text[len(sent) :]})
                    sent = text
                if chunk.done:
                    yield event({}, finish_reason="stop", logprobs=_logprobs(chunk, asked), confidence=chunk.confidence)
        except Refused as error:
            yield f"data: {json.dumps(error.body)}\n\n"
    yield "data: [DONE]\n\n"
