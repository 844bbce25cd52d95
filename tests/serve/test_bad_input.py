"""The bad inputs of a server on a network, each by a real connection: a clear 4xx at once, little memory, and the same
processes answer the next request.
"""

import base64
import io
import json
import os
import pickle
import socket
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from PIL import ExifTags, Image

from processes import GIVE_UP_SECONDS
from tests.serve.promises import note
from tests.serve.stack import PICTURE, QUESTION, Stack

pytestmark = pytest.mark.slow
DECODING = 1.0  # seconds that are promised where a picture is decoded


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("bad"))
    try:
        stack.start_controller()
        stack.start_worker()
        yield stack
    finally:
        stack.close()


def megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_megabytes(pid: int) -> float:
    """The most memory since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def encoded(mode: str, size: tuple[int, int], kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    """The mark of a camera held upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def ztxt_bomb() -> bytes:
    """A PNG whose text chunk unpacks to 200 MB."""
    text = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    plain = encoded("RGB", (64, 64))
    return plain[:33] + chunk + plain[33:]


def chat(url: str | None = None, **fields) -> dict:
    """The body of a chat request about one picture."""
    url = url or "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    return {"model": "Tiny", "messages": [{"role": "user", "content": parts}]} | fields


PICTURES = {  # name -> (bytes or what makes them, words of the answer); None: it is valid
    "a path": (b"/etc/passwd", "not a readable image"),
    "dots": (b"../../../../etc/passwd", "not a readable image"),
    "0 bytes": (b"", "the file is empty"),
    "truncated": (PICTURE[: len(PICTURE) // 2], "not a readable image"),
    "13,000 x 13,000 in 20 kB": (lambda: encoded("1", (13_000, 13_000)), "13000 x 13000 pixels; at most 30,000,000"),
    "20,000 x 20,000": (lambda: encoded("1", (20_000, 20_000)), "far too many pixels"),
    "1 x 1": (lambda: encoded("RGB", (1, 1)), None),
    "1 x 100,000": (lambda: encoded("RGB", (1, 100_000)), None),
    "100,000 x 1": (lambda: encoded("RGB", (100_000, 1)), None),
    "the largest": (lambda: encoded("RGB", (7500, 4000), "JPEG"), None),
    "the largest, 16 bits": (lambda: encoded("I;16", (7500, 4000)), None),
    "the largest, CMYK": (lambda: encoded("CMYK", (7500, 4000), "JPEG"), None),
    "the largest, turned": (lambda: encoded("RGB", (7500, 4000), "JPEG", exif=turned()), None),
    "the largest, floats": (lambda: encoded("F", (4000, 4000), "TIFF", compression="tiff_deflate"), None),
    "the largest, progressive": (lambda: encoded("RGB", (5000, 4000), "JPEG", progressive=True, subsampling=0), None),
    "the largest, progressive CMYK": (lambda: encoded("CMYK", (5000, 4000), "JPEG", progressive=True), None),
    "the largest, WebP": (lambda: encoded("RGB", (3250, 4000), "WEBP", method=0), None),
    "the largest, JPEG 2000": (lambda: encoded("RGB", (3000, 4000), "JPEG2000"), None),
    "a larger WebP": (lambda: encoded("RGB", (3300, 4000), "WEBP", method=0), "at most 13,000,000 of this kind (WEBP)"),
    "a larger JPEG 2000": (
        lambda: encoded("RGB", (3100, 4000), "JPEG2000"),
        "at most 12,000,000 of this kind (JPEG2000)",
    ),
    "a larger progressive JPEG": (
        lambda: encoded("RGB", (5100, 4000), "JPEG", progressive=True),
        "at most 20,000,000 of this kind",
    ),
    "CMYK": (lambda: encoded("CMYK", (64, 48), "JPEG"), None),
    "16 bit": (lambda: encoded("I;16", (64, 48)), None),
    "palette": (lambda: encoded("P", (64, 48)), None),
    "alpha": (lambda: encoded("RGBA", (64, 48)), None),
    "animated": (
        lambda: encoded("P", (64, 48), "GIF", save_all=True, append_images=[Image.new("P", (64, 48), 1)]),
        None,
    ),
    "FITS": (b"SIMPLE  =                    T" + b" " * 2850, "not a readable image"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
    "PDF": (b"%PDF-1.4\n", "not a readable image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a readable image"),
    "a zTXt bomb": (ztxt_bomb, "Image A"),
    "a pickle": (pickle.dumps({"a": 1}), "not a readable image"),
    "a tensor": (b"PK\x03\x04" + b"\0" * 400, "not a readable image"),
}
FIELDS = {  # name -> (fields, words)
    "NaN": ({"temperature": "nan"}, "temperature"),
    "infinite": ({"temperature": "inf"}, "temperature"),
    "negative": ({"temperature": "-1"}, "temperature"),
    "top_p 0": ({"top_p": "0"}, "top_p"),
    "no tokens": ({"max_tokens": "0"}, "max_tokens"),
    "10 MB of question": ({"question": "x" * 10_000_000}, "maximum size"),
    "a cache's id": ({"cache_id": "abc"}, "cache_id"),
    "many fields": ({f"field{number}": "x" for number in range(500)}, ""),
    "huge field name": ({"x" * 50_000: "y"}, ""),
    "another's url": ({"a": "http://169.254.169.254/latest/meta-data"}, "expected a picture's bytes"),
}
BODIES = {  # name -> (body of /v1/chat/completions, words)
    "file url": (chat("file:///etc/passwd"), "data: URL"),
    "metadata address": (chat("http://169.254.169.254/latest/meta-data"), "data: URL"),
    "a path as url": (chat("/etc/passwd"), "data: URL"),
    "bad base64": (chat("data:image/png;base64,????"), "base64"),
    "no base64": (chat("data:image/svg+xml,<svg/>"), "base64"),
    "empty picture": (chat("data:image/png;base64,"), "the file is empty"),
    "no messages": ({"model": "Tiny"}, "messages"),
    "no content": ({"messages": [{"role": "user"}]}, "messages"),
    "infinite": (chat(temperature=1e999), "temperature"),
    "negative": (chat(top_p=-1), "top_p"),
    "a text for a number": (chat(max_tokens="many"), "max_tokens"),
    "a list for a model": (chat(model=["Tiny"]), "model"),
    "no pictures": ({"messages": [{"role": "user", "content": "What?"}]}, "found none"),
    "four pictures": (
        {
            "messages": [
                {"role": "user", "content": chat()["messages"][0]["content"][:1] * 4 + [{"type": "text", "text": "?"}]}
            ]
        },
        "pictures",
    ),
}


class Watched:
    """The parts of a stack before and after: the same processes, little more memory at any time, an answer to the next question.

    Args:
        promised: seconds for the answer.
    """

    def __init__(self, stack: Stack, promised: float = 0.2):
        self.stack, self.promised = stack, promised

    def __enter__(self):
        self.before = [megabytes(process.pid) for process in self.stack.processes]
        for process in self.stack.processes:
            forget_peak(process.pid)
        self.began = time.monotonic()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            what = "with a picture to decode" if self.promised == DECODING else "with nothing to decode"
            note(f"bad input, {what}", time.monotonic() - self.began, self.promised)
            assert [process.poll() for process in self.stack.processes] == [None, None]
            grown = [peak_megabytes(process.pid) - before for process, before in zip(self.stack.processes, self.before)]
            note("bad input: memory", max(grown), 256, "MB")
            assert max(grown) <= 256, grown
            assert self.stack.post(a=PICTURE, max_tokens=2, confidence="false").status_code == 200


def check(response: httpx.Response, words: str | None) -> None:
    if words is None:
        assert response.status_code == 200, response.text
        return
    assert 400 <= response.status_code < 500, response.text
    message = response.json()["error"]["message"]
    assert words in message and "\n" not in message and len(message) < 400


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, stack):
    data, words = PICTURES[name]
    data = data if isinstance(data, bytes) else data()
    with Watched(stack, DECODING):
        check(stack.post(a=data, max_tokens=2, confidence="false"), words)


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name, stack):
    fields, words = FIELDS[name]
    pictures = {} if "a" in fields else {"a": PICTURE}
    with Watched(stack):
        check(stack.post(**{"question": QUESTION} | pictures | fields), words)


@pytest.mark.parametrize("name", BODIES)
def test_chat_bodies(name, stack):
    body, words = BODIES[name]
    with Watched(stack):
        text = json.dumps(body).encode()
        check(httpx.post(f"{stack.url}/v1/chat/completions", content=text, timeout=60, trust_env=False), words)


@pytest.mark.parametrize(
    "body",
    [b'{"a":' * 10_000, b"[" * 10_000 + b"]" * 10_000, b"\xff\xfe", b'{"messages": "\xff"}', b"\0" * 100],
    ids=range(5),
)
def test_json_that_is_none(body, stack):
    with Watched(stack):
        check(
            httpx.post(f"{stack.url}/v1/chat/completions", content=body, trust_env=False, timeout=GIVE_UP_SECONDS),
            "JSON",
        )


def test_100_mb_of_json(stack):
    """The length that is announced is enough for a refusal; so the seconds are the server's, not those of 100 MB."""
    with Watched(stack):
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000001\r\n\r\n"
        assert raw(stack, head.encode() + b"[" + b"1," * 10_000).startswith(b"HTTP/1.1 413")
    with suppress(httpx.WriteError):  # refused before all of it was sent
        body = b"[" + b"1," * 50_000_000
        check(httpx.post(f"{stack.url}/v1/chat/completions", content=body, timeout=60, trust_env=False), "over 81 MB")


@pytest.mark.parametrize(
    "question", ["a\0b", "\x1b[31m", "</s><s>", "<Img-A></Img-A>", "<|im_end|>", "\u202e", "🙂" * 100, "\ud7ff"]
)
def test_strange_questions_are_plain_text(question, stack):
    with Watched(stack):
        assert stack.post(question, a=PICTURE, max_tokens=2, confidence="false").status_code == 200


def raw(stack: Stack, data: bytes) -> bytes:
    """What the controller says to these bytes."""
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=GIVE_UP_SECONDS) as connection:
        connection.sendall(data)
        return connection.recv(4096)


def form(boundary: str, name: str = "a", file: str = "a.png") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
    return head.encode() + PICTURE + f"\r\n--{boundary}--\r\n".encode()


HEAD = "POST /v1/assess HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={}\r\nContent-Length: {}\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "boundary", "body"),
    [
        ("huge file name", "b", form("b", file="x" * 1_000_000)),
        ("huge boundary", "b" * 10_000, form("b" * 10_000)),
        ("wrong boundary", "c", form("b")),
        ("a path as file name", "b", form("b", file="../../../etc/passwd")),
        ("bad UTF-8", "b", form("b").replace(b"a.png", b"\xff\xfe")),
        ("no end", "b", form("b")[:-8]),
        ("nothing", "b", b""),
    ],
)
def test_forms_that_are_none(name, boundary, body, stack):
    with Watched(stack):
        answer = raw(stack, HEAD.format(boundary, len(body)).encode() + body)
        assert answer.startswith(b"HTTP/1.1 4"), (name, answer)


def test_huge_headers_are_refused(stack):
    with Watched(stack):
        assert raw(stack, b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000).startswith(b"HTTP/1.1 431")


def test_a_query_of_10_mb_is_refused(stack):
    with Watched(stack):
        try:
            answer = raw(stack, b"GET /v1/models?" + b"x" * 10_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        except ConnectionError:  # it hung up before all was sent
            return
        assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999"])
def test_content_lengths_that_are_none(length, stack):
    with Watched(stack):
        assert raw(stack, HEAD.format("b", length).encode() + form("b")).startswith(b"HTTP/1.1 4")


def test_slow_headers_and_slow_bodies_hold_nobody_up(stack):
    """200 connections that never finish what they say."""
    host, port = stack.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for number, connection in enumerate(held):
            connection.sendall(b"GET /hea" if number % 2 else HEAD.format("b", 100_000).encode() + b"--b\r\n")
        with Watched(stack):
            assert httpx.get(f"{stack.url}/health", trust_env=False, timeout=GIVE_UP_SECONDS).status_code == 200
        held[1].settimeout(GIVE_UP_SECONDS)
        assert held[1].recv(4096).startswith(b"HTTP/1.1 408")
    finally:
        for connection in held:
            connection.close()
