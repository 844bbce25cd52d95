"""A server's life: what it does with heads of requests that are slow, huge or no HTTP, and its end."""

import asyncio
import itertools
import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from depictqa.serve import server
from depictqa.serve.protocol import Refused
from depictqa.serve.server import Grace, HttpProtocol
from processes import GIVE_UP_SECONDS, until

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def address():
    """A server that answers "ok" to everything, bodies unread. It has all the patience that a test may need."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    patience = server.HEAD_SECONDS, server.BODY_SECONDS
    server.HEAD_SECONDS = server.BODY_SECONDS = GIVE_UP_SECONDS
    settings = uvicorn.Config(app, port=0, http=HttpProtocol, lifespan="off", log_config=None)
    running = uvicorn.Server(settings)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield running.servers[0].sockets[0].getsockname()
    running.should_exit = True
    thread.join(10)
    server.HEAD_SECONDS, server.BODY_SECONDS = patience


@pytest.fixture
def impatient(monkeypatch):
    """`impatient("HEAD_SECONDS")`: from now on the server waits half a second for a head, or for a body."""
    return lambda name: monkeypatch.setattr(server, name, 0.5)


def said(connection: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    connection.settimeout(GIVE_UP_SECONDS)
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:  # it closed on what it did not want to read
        pass
    return received


def answers(connection: socket.socket, count: int = 1) -> bytes:
    """What the server says until it has answered "ok" so many times; a head and its body may come apart."""
    connection.settimeout(GIVE_UP_SECONDS)
    received = b""
    while received.count(b"\r\n\r\nok") < count:
        data = connection.recv(1000)
        assert data, f"closed after {received!r}"
        received += data
    return received


def refusal(answer: bytes) -> tuple[int, dict]:
    """(status, error) of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("begin", [b"", b"GET /hea", HEAD, b"\r\n"])
def test_a_head_that_does_not_come_is_refused(begin, address, impatient):
    impatient("HEAD_SECONDS")
    with socket.create_connection(address) as connection:
        connection.sendall(begin)
        status, error = refusal(said(connection))
    assert status == 408 and "headers" in error["message"]


def test_a_head_that_comes_byte_by_byte_is_refused_too(address, impatient):
    impatient("HEAD_SECONDS")
    with socket.create_connection(address) as connection:
        with pytest.raises(OSError):
            for byte in itertools.cycle(HEAD[:-2]):  # never an empty line, which would end it
                connection.sendall(bytes([byte]))
                time.sleep(0.05)


def test_the_second_request_of_a_connection_has_the_same_time(address, impatient):
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + b"\r\n")
        answers(connection)
        impatient("HEAD_SECONDS")
        time.sleep(0.7)  # waiting between requests is not being slow
        connection.sendall(HEAD)
        status, _ = refusal(said(connection))
    assert status == 408


@pytest.mark.parametrize("head", [HEAD + b"X: " + b"x" * 1_000_000, b"GET /" + b"x" * 10_000_000])
def test_a_huge_head_is_refused(head, address):
    with socket.create_connection(address) as connection:
        try:
            connection.sendall(head)
        except OSError:
            return  # it hung up before it had read all
        assert said(connection)[9:12] in (b"431", b"")


def test_the_rest_of_a_body_that_nobody_wants_is_no_head(address, impatient):
    """The answer came before the body, which is read and forgotten; the connection serves the next request."""
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        answers(connection)
        impatient("HEAD_SECONDS")
        for _ in range(3):  # for longer than a head may take
            connection.sendall(b"x" * 100_000)
            time.sleep(0.3)
        connection.sendall(HEAD + b"\r\n")
        answers(connection)


def test_the_rest_of_a_body_is_not_awaited_for_ever(address, impatient):
    impatient("BODY_SECONDS")
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        answers(connection)
        with pytest.raises(OSError):
            for _ in range(299_999):
                connection.sendall(b"x")
                time.sleep(0.05)


def test_requests_that_come_together(address):
    with socket.create_connection(address) as connection:
        connection.sendall((HEAD + b"\r\n") * 3)
        answers(connection, 3)


@pytest.mark.parametrize("extra", [b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n"])
def test_wishes_that_are_not_granted_are_answered_all_the_same(extra, address):
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + extra + b"\r\n")
        assert b"200 OK" in answers(connection)


def test_what_is_no_http_is_told_so_in_the_form_of_all_errors(address):
    with socket.create_connection(address) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00hello\r\n\r\n")
        status, error = refusal(said(connection))
    assert status == 400 and error["code"] == "invalid_http"


def test_many_requests_on_one_connection(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False, timeout=GIVE_UP_SECONDS) as client:
        assert [client.get("/", headers={"x": "y" * 30_000}).text for _ in range(5)] == ["ok"] * 5


def test_grace(monkeypatch):
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.02)

    async def main():
        grace = Grace()
        grace.begin()
        grace.check()  # the loop has not run since
        await asyncio.sleep(0.1)  # the loop calls what is due earlier first
        with pytest.raises(Refused, match="stopping"):
            grace.check()

    asyncio.run(main())


def test_the_end_has_room_for_the_grace():
    assert server.GRACE_SECONDS + 3 < server.SHUTDOWN_SECONDS <= 30  # a worker's line every 3 s carries the error out
