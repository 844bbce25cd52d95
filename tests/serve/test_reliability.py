"""What a server on a network promises under load, and when parts of it die: real processes, real connections."""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from conftest import tiny_config
from processes import GIVE_UP_SECONDS
from tests.serve import promises
from tests.serve.promises import note
from tests.serve.stack import OTHER, PICTURE, QUESTION, SLOW_WORKER, get, until

pytestmark = pytest.mark.slow

FAILING_WORKER = """
import torch
from depictqa.inference.session import Session
from depictqa.serve import worker

def failing_step(session, real=Session.step, numbers=iter(range(10**9)), errors=[RuntimeError("a kernel failed")]):
    if next(numbers) == 2:
        raise errors.pop()
    return real(session)

def failing_join(session, prompts, real=Session.join, numbers=iter(range(10**9))):
    if next(numbers) == 0:
        raise torch.OutOfMemoryError("out of memory")
    return real(session, prompts)

Session.step, Session.join = failing_step, failing_join
worker.main()
"""  # the first question fails while it is read, the second while it is answered
SHORT_GRACE = "from depictqa.serve import server\nserver.GRACE_SECONDS = 0.1\n"


@pytest.fixture
def stack(own_stack):
    return own_stack


def form(**fields) -> dict:
    return {"data": {"question": QUESTION, "confidence": "false"} | fields, "files": {"a": ("a", PICTURE)}}


async def gather(count: int, one) -> list:
    """`one(client, number)` so many times at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=GIVE_UP_SECONDS, limits=limits) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)))


def test_overload_is_refused_at_once_and_what_is_taken_is_answered(stack):
    """Four times as many clients as there is room for: the model answers as many a second as if there were just enough."""
    slots, waiting, wanted = 4, 6, 100 if promises.measuring else 30
    _, worker_url = stack.start_worker(slow=True, limit_model_concurrency=slots, limit_waiting=waiting)

    async def answered_by(clients: int) -> tuple[float, list[float]]:
        """(answers a second, seconds of each refusal that a client of its own saw), until as many as wanted are answered."""
        statuses, refusals, began = [], [], time.monotonic()

        async def one(client, number):
            while statuses.count(200) < wanted:
                response = await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"))
                statuses.append(response.status_code)
                if response.status_code == 429:
                    assert response.json()["error"]["code"] == "busy"
                    await asyncio.sleep(float(response.headers["retry-after"]) * (0.5 + number / clients))

        asking = asyncio.create_task(gather(clients, one))
        async with httpx.AsyncClient(trust_env=False, timeout=GIVE_UP_SECONDS) as client:
            while not asking.done():
                status = (await client.get(f"{worker_url}/status")).json()
                assert status["running"] <= slots and status["waiting"] <= waiting
                sent = time.monotonic()
                if status["waiting"] == waiting and clients > slots + waiting:  # there is room for none
                    response = await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"))
                    refusals += [time.monotonic() - sent] if response.status_code == 429 else []
                await asyncio.sleep(0.1)
        await asking
        assert set(statuses) <= {200, 429} and (429 in statuses or clients == slots + waiting)
        return statuses.count(200) / (time.monotonic() - began), refusals

    saturated, _ = asyncio.run(answered_by(slots + waiting))
    overloaded, refusals = asyncio.run(answered_by(4 * (slots + waiting)))
    note("4x overload: a refusal", max(refusals, default=math.inf), 0.1)
    note(
        "4x overload: answers that are fewer than with just enough clients", 100 * (1 - overloaded / saturated), 5, "%"
    )


def test_two_hundred_clients_that_leave_at_the_first_word(stack):
    _, worker_url = stack.start_worker(endless=True, limit_model_concurrency=8, limit_waiting=200)
    lines_read = []

    async def one(client, number):
        async with client.stream("POST", f"{stack.url}/v1/assess", **form(stream="true")) as response:
            if response.status_code == 200:
                async for line in response.aiter_lines():
                    if number % 8 or json.loads(line)["text"]:
                        return  # seven of eight leave while they wait
                    lines_read.append(1)

    asyncio.run(gather(200, one))
    left = time.monotonic()
    status = until(lambda: (s := get(f"{worker_url}/status"))["running"] + s["waiting"] == 0 and s)
    note("200 clients leave: their slots are free", time.monotonic() - left, 1)
    assert status["answered"] == 0
    most = sum(lines_read) + 200  # a line may be a token; the word that they left at is one, too
    note("200 clients leave: tokens more for each", max(0, status["generated"] - most) / 200, 2, "tokens")
    until(lambda: get(f"{stack.url}/status")["workers"][0]["passing_on"] == 0)
    assert stack.post(a=PICTURE, max_tokens=2).status_code == 200


def test_slow_readers_do_not_slow_the_others(stack):
    """64 clients that read a byte a second: the answers of others come as without them."""
    _, worker_url = stack.start_worker(limit_model_concurrency=8, limit_waiting=100)
    host, port = stack.url.removeprefix("http://").split(":")
    request = httpx.Request("POST", f"{stack.url}/v1/assess", **form(stream="true"))
    request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())

    def p95() -> float:
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            assert stack.post(a=OTHER, max_tokens=4, confidence="false").status_code == 200
            seconds.append(time.monotonic() - began)
        return sorted(seconds)[18]

    alone, readers = p95(), []
    for _ in range(64):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reader.connect((host, int(port)))
        reader.sendall(f"POST /v1/assess HTTP/1.1\r\n{head}\r\n".encode() + request.content)
        readers.append(reader)
    until(lambda: get(f"{worker_url}/status")["answered"] == 20 + 64)
    try:
        [reader.recv(1) for reader in readers]
        note("64 slow readers: p95 of others, beside without them", p95() / alone, 1.2, "times")
    finally:
        for reader in readers:
            reader.close()


def test_a_failure_inside_the_model_is_a_503_and_the_same_process_goes_on(stack):
    path, url = stack.config()
    config = tiny_config(stack.folder / "failing")
    process = stack.start(("-c", FAILING_WORKER), "--cfg", config, "--serve_cfg", path)
    until(lambda: get(f"{stack.url}/v1/models").get("data"))
    for words in "out of memory", "an error inside the model":
        began = time.monotonic()
        response = stack.post(a=PICTURE)
        note("a failure inside the model: its 503", time.monotonic() - began, 1)
        assert response.status_code == 503 and words in response.json()["error"]["message"]
        assert "kernel" not in response.text  # what went wrong is in the log, not in the answer
    assert stack.post(a=PICTURE).status_code == 200 and process.poll() is None
    assert get(f"{url}/status")["running"] == 0


def test_a_killed_worker_in_mid_answer(stack):
    """A typed error at once; the next question goes elsewhere at once; questions that waited are answered elsewhere."""
    process, url = stack.start_worker(
        held=True, limit_model_concurrency=100
    )  # the shortest queue, while the other works
    with ThreadPoolExecutor() as pool, stack.stream(a=PICTURE) as response:
        lines = response.iter_lines()
        until(lambda: json.loads(next(lines))["text"])
        _, other = stack.start_worker(slow=True, limit_model_concurrency=8)
        busy = pool.submit(stack.post, a=PICTURE)
        until(lambda: get(f"{other}/status")["running"] == 1)
        waiting = [pool.submit(stack.post, a=PICTURE, max_tokens=4, confidence="false") for _ in range(6)]
        until(lambda: get(f"{url}/status")["waiting"] == 6)
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert json.loads(list(lines)[-1])["error"]["code"] == "worker_gone"
        note("a worker killed in mid-answer: a typed error", time.monotonic() - killed, 2)
        assert [one.result().status_code for one in (busy, *waiting)] == [200] * 7
    began = time.monotonic()
    assert stack.post(a=PICTURE, max_tokens=2, confidence="false").status_code == 200
    note("a worker killed in mid-answer: the next answer, by another", time.monotonic() - began, 1)


def test_a_worker_stays_well_while_its_controller_is_down(stack):
    _, url = stack.start_worker()
    stack.processes[0].kill()
    stack.processes[0].wait()
    seconds = []
    for _ in range(100):
        began = time.monotonic()
        assert httpx.get(f"{url}/health", trust_env=False, timeout=GIVE_UP_SECONDS).status_code == 200
        seconds.append(time.monotonic() - began)
    note("the controller is down: p99 of a worker's health", sorted(seconds)[98], 0.1)
    stack.start_controller()
    began = time.monotonic()
    until(lambda: get(f"{stack.url}/v1/models").get("data"))
    note("the controller is back: its worker is, too", time.monotonic() - began, 5)


def start_slow(stack, code: str, part: str) -> subprocess.Popen:
    """A controller and a slow worker, of which `part` runs this code first; the process of that part."""
    if part == "controller":
        stack.processes.pop().kill()
        code += "from depictqa.serve import controller\ncontroller.main()"
        started = stack.start(("-c", code), "--cfg", stack.config()[0])
        until(lambda: get(f"{stack.url}/health"))
        stack.start_worker(slow=True)
    else:
        config = tiny_config(stack.folder / "slow", infer={"max_new_tokens": 400})
        started = stack.start(("-c", code + SLOW_WORKER), "--cfg", config, "--serve_cfg", stack.config()[0])
        until(lambda: get(f"{stack.url}/v1/models").get("data"))
    return started


def ends_after_sigterm(stack, process, max_tokens: int) -> list[dict]:
    """The rows of two answers in work, from SIGTERM on; then the process has ended."""
    with stack.stream(a=PICTURE, max_tokens=max_tokens) as one, stack.stream(a=PICTURE, max_tokens=max_tokens) as two:
        lines = [one.iter_lines(), two.iter_lines()]
        for each in lines:
            until(lambda each=each: json.loads(next(each))["text"])
        process.send_signal(signal.SIGTERM)
        rows = [json.loads(list(each)[-1]) for each in lines]
    assert process.wait(GIVE_UP_SECONDS) in (0, -signal.SIGTERM)
    return rows


@pytest.mark.parametrize("part", ["controller", "worker"])
def test_after_sigterm_answers_that_end_within_the_grace_are_finished(stack, part):
    rows = ends_after_sigterm(stack, start_slow(stack, "", part), max_tokens=12)
    assert all(row["done"] for row in rows)


@pytest.mark.parametrize("part", ["controller", "worker"])
def test_after_sigterm_longer_answers_end_with_a_typed_error(stack, part, monkeypatch):
    """The grace is cut to a tenth of a second; the real one is waited for by the benchmark only, with slower answers."""
    if promises.measuring:
        monkeypatch.setenv("STEP_SECONDS", "1")
    process = start_slow(stack, "" if promises.measuring else SHORT_GRACE, part)
    began = time.monotonic()
    rows = ends_after_sigterm(stack, process, max_tokens=400)
    assert [row["error"]["code"] for row in rows] == ["stopping"] * 2
    note(f"SIGTERM to a {part}: answers and process have ended", time.monotonic() - began, 30)


def memory_and_files(pid: int) -> tuple[float, int]:
    """(MB of memory, open files) of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def test_soak(stack):
    """Thousands of questions, some of them broken off or bad: no memory, file or slot stays behind."""
    process, url = stack.start_worker(limit_model_concurrency=8)

    async def one(client, number):
        if number % 7 == 0:
            await client.post(f"{stack.url}/v1/assess", data={"question": "?"}, files={"a": b"bad"})
        elif number % 5 == 0:
            async with client.stream("POST", f"{stack.url}/v1/assess", **form(stream="true")) as response:
                async for _ in response.aiter_lines():
                    break
        else:
            response = await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"))
            assert response.status_code in (200, 429)

    def after(count: int) -> list[tuple[float, int]]:
        """What controller and worker hold after so many more questions."""
        for _ in range(count // 20):
            asyncio.run(gather(20, one))
        until(lambda: (s := get(f"{url}/status"))["running"] + s["waiting"] == 0)
        return [memory_and_files(pid) for pid in (stack.processes[0].pid, process.pid)]

    asked = 5000 if promises.measuring else 1000
    before, later = after(asked), after(asked)  # caches fill, then nothing grows
    for part, (memory, files), (memory_later, files_later) in zip(("controller", "worker"), before, later, strict=True):
        grown = 1000 * (memory_later - memory) / asked
        note(f"soak: memory that 1,000 questions leave, {part}", grown, 1, "MB")
        assert grown <= 1 and files_later <= files + 5
    until(lambda: get(f"{stack.url}/status")["workers"][0]["passing_on"] == 0)
