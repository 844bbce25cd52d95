"""A controller below a controller, figures for Prometheus, and workers that are not what they seem."""

import asyncio
import json
import socket
import threading
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from depictqa.serve.controller import ORDERS, Controller, Entry, build_app
from depictqa.serve.protocol import WorkerInfo
from processes import GIVE_UP_SECONDS
from tests.serve.promises import note
from tests.serve.stack import PICTURE, QUESTION, Stack, chunks, get, until


def info(port: int, name: str = "Tiny", slots: int = 1, load: int = 0) -> WorkerInfo:
    return WorkerInfo(name=name, url=f"http://127.0.0.1:{port}", slots=slots, load=load)


def figures(text: str) -> dict:
    """(name, labels) -> value."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_figures_for_prometheus():
    controller = Controller(ORDERS["lottery"], 60)
    for worker in info(1, slots=2, load=1), info(2, slots=3), info(3, "Other"):
        controller.register(worker)
    with TestClient(build_app(controller)) as client:
        for path in "/health", "/health", "/nowhere", "/elsewhere", "/status":
            client.get(path)
        client.post("/v1/assess", data={"question": "?"})
        response = client.get("/metrics")
        found = figures(response.text)
        assert response.headers["content-type"].startswith("text/plain")
    assert found["depictqa_requests_total", "/health", "200"] == 2
    assert found["depictqa_requests_total", "other", "404"] == 2  # no row for every path that somebody tries
    assert found["depictqa_requests_total", "/v1/assess", "400"] == 1
    assert found["depictqa_request_seconds_count", "/status"] == 1
    assert found["depictqa_requests_in_work",] == 1  # this one
    assert (found["depictqa_workers", "Tiny"], found["depictqa_slots", "Tiny"], found["depictqa_load", "Tiny"]) == (
        2,
        5,
        1,
    )
    assert found["depictqa_workers", "Other"] == 1
    controller.forget(info(3, "Other"), "test")
    with TestClient(build_app(controller)) as client:
        assert ("depictqa_workers", "Other") not in figures(client.get("/metrics").text)


def test_a_parent_is_told_of_each_model_once():
    controller = Controller(ORDERS["lottery"], 60)
    for worker in info(1, slots=2, load=1), info(2, slots=3, load=4), info(3, "Other"):
        controller.register(worker)
    assert controller.as_workers("http://here:1") == [
        WorkerInfo(name="Other", url="http://here:1", slots=1, load=0),
        WorkerInfo(name="Tiny", url="http://here:1", slots=5, load=5),
    ]


def test_orders():
    entries = [Entry(info(1, slots=4, load=4)), Entry(info(2, slots=1, load=2)), Entry(info(3, slots=2, load=1))]
    assert [entry.info.url[-1] for entry in ORDERS["shortest_queue"](entries)] == ["3", "1", "2"]
    entries[2].running = 8  # more than its last heartbeat told
    assert [entry.info.url[-1] for entry in ORDERS["shortest_queue"](entries)] == ["1", "2", "3"]
    firsts = [ORDERS["lottery"](entries)[0].info.slots for _ in range(3000)]
    assert [round(firsts.count(slots) / 3000, 1) for slots in (4, 2, 1)] == pytest.approx(
        [4 / 7, 2 / 7, 1 / 7], abs=0.06
    )


@pytest.mark.slow
def test_a_controller_below_a_controller(tmp_path):
    parent, child = Stack(tmp_path / "parent"), Stack(tmp_path / "child")
    child.settings = {"controller": {"parent": parent.url, "url": child.url, "heartbeat_seconds": 0.3}}
    try:
        parent.start_controller()
        child.start_controller()
        child.start_worker()
        until(lambda: get(f"{parent.url}/v1/models").get("data"))
        (row,) = get(f"{parent.url}/status")["workers"]
        assert (row["url"], row["name"]) == (child.url, "Tiny")
        direct = child.post(a=PICTURE).json()
        assert parent.post(a=PICTURE).json() == direct
        with parent.stream(a=PICTURE) as response:
            rows = chunks(response)
        assert rows[-1]["done"] and rows[-1]["text"] == direct["text"] and len(rows) > 3
        bad = parent.post(a=b"no picture")
        assert bad.status_code == 400 and "Image A: not a readable image" in bad.json()["error"]["message"]
        worker = child.processes.pop()  # its worker leaves: the model is taken back
        worker.terminate()
        worker.wait()
        until(lambda: not get(f"{parent.url}/v1/models").get("data"))
    finally:
        child.close()
        parent.close()


# workers that are not what they seem


class FakeWorker:
    """Listens, and does with every connection what `answer(connection)` does."""

    def __init__(self, answer):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

        def serve():
            while True:
                try:
                    connection, _ = self.socket.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def read_request(connection) -> None:
    """All of it: a connection that is closed on unread bytes is reset."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(1 << 16)


def http_200(*lines: bytes):
    def answer(connection):
        read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n"
            + b"\n".join(lines)
            + b"\n"
        )
        connection.close()

    return answer


DONE = json.dumps({"text": "Noise", "done": True}).encode()
STRANGE = {
    "hangs up": (lambda connection: connection.close(), 502),
    "no HTTP": (
        lambda connection: (read_request(connection), connection.sendall(b"hello\r\n"), connection.close()),
        502,
    ),
    "no chunk": (http_200(b"<html>"), 502),
    "no end": (http_200(b'{"text": "Noi"}'), 502),
    "an error": (http_200(b'{"error": {"message": "oh", "code": "generation_failed"}}'), 503),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_workers_are_typed_errors(name):
    answer, status = STRANGE[name]
    controller = Controller(ORDERS["lottery"], 60)
    with FakeWorker(answer) as worker, TestClient(build_app(controller)) as client:
        controller.register(WorkerInfo(name="Tiny", url=worker.url))
        response = client.post("/v1/assess", data={"question": "What?"}, files={"a": PICTURE})
        assert response.status_code == status and response.json()["error"]["code"], response.text
        assert bool(controller.workers()) == (status == 503)  # one that is no worker is forgotten


def test_a_failing_worker_is_passed_over():
    controller = Controller(ORDERS["shortest_queue"], 60)
    with (
        FakeWorker(STRANGE["an error"][0]) as bad,
        FakeWorker(http_200(DONE)) as good,
        TestClient(build_app(controller)) as client,
    ):
        controller.register(WorkerInfo(name="Tiny", url=bad.url, load=0))
        controller.register(WorkerInfo(name="Tiny", url=good.url, load=5))
        response = client.post("/v1/assess", data={"question": "What?"}, files={"a": PICTURE})
        assert response.json()["text"] == "Noise"


@pytest.mark.slow
def test_a_worker_that_swallows_packets_holds_nobody_else_up(tmp_path):
    """A listener with a full backlog: connections to it hang. Other routes answer at once meanwhile."""
    stack = Stack(tmp_path)
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    filling = [socket.socket() for _ in range(3)]
    for one in filling:
        one.setblocking(False)
        one.connect_ex(silent.getsockname())
    try:
        stack.start_controller()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        httpx.post(
            f"{stack.url}/workers", json={"name": "Tiny", "url": url}, trust_env=False, timeout=GIVE_UP_SECONDS
        ).raise_for_status()

        async def both() -> tuple[list[float], httpx.Response]:
            async with httpx.AsyncClient(trust_env=False, timeout=GIVE_UP_SECONDS) as client:
                data, files = {"question": QUESTION}, {"a": PICTURE}
                asking = asyncio.create_task(client.post(f"{stack.url}/v1/assess", data=data, files=files))
                seconds = []
                while not asking.done():
                    began = time.monotonic()
                    assert (await client.get(f"{stack.url}/status")).status_code == 200
                    seconds.append(time.monotonic() - began)
                return seconds, await asking

        seconds, asked = asyncio.run(both())
        assert asked.status_code == 502 and seconds  # others were answered meanwhile
        p99 = sorted(seconds)[int(0.99 * len(seconds))]
        note("a worker swallows packets: p99 of another route", p99, 0.1)
        assert get(f"{stack.url}/status")["workers"] == []
    finally:
        stack.close()
        for one in (silent, *filling):
            one.close()
