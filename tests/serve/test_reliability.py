"""What a server on a network promises under load, and when parts of it die: real processes, real connections."""

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from conftest import tiny_config
from tests.serve.promises import keep
from tests.serve.stack import OTHER, PICTURE, QUESTION, SLOW_WORKER, get, until

pytestmark = pytest.mark.slow

FAILING_WORKER = """
import torch
from depictqa.model.generation import Decoder
from depictqa.serve import worker

def failing_step(decoder, real=Decoder.step, numbers=iter(range(10**9)), errors=[RuntimeError("a kernel failed")]):
    if next(numbers) == 2:
        raise errors.pop()
    return real(decoder)

def failing_prefill(decoder, prompts, real=Decoder.prefill, numbers=iter(range(10**9))):
    if next(numbers) == 0:
        raise torch.OutOfMemoryError("out of memory")
    return real(decoder, prompts)

Decoder.step, Decoder.prefill = failing_step, failing_prefill
worker.main()
"""  # the first question fails while it is read, the second while it is answered
SHORT_GRACE = "from depictqa.serve import server\nserver.GRACE_SECONDS = 1\n"


@pytest.fixture
def stack(own_stack):
    return own_stack


def form(**fields) -> dict:
    return {"data": {"question": QUESTION, "confidence": "false"} | fields, "files": {"a": ("a", PICTURE)}}


async def gather(count: int, one) -> list:
    """`one(client, number)` so many times at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)))


def test_overload_is_refused_at_once_and_what_is_taken_is_answered(stack):
    """Four times as many clients as there is room for: the model answers as many a second as if there were just enough."""
    slots, waiting, seconds = 4, 6, 10
    _, worker_url = stack.start_worker(slow=True, limit_model_concurrency=slots, limit_waiting=waiting)

    async def answered_by(clients: int) -> tuple[int, int, float]:
        """(answers, refusals, seconds of the slowest refusal that a client of its own saw)."""
        end, statuses, slowest = time.monotonic() + seconds, [], 0.0

        async def one(client, number):
            while time.monotonic() < end:
                response = await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"))
                statuses.append(response.status_code)
                if response.status_code == 429:
                    assert response.json()["error"]["code"] == "busy"
                    await asyncio.sleep(float(response.headers["retry-after"]) * (0.5 + number / clients))

        asking = asyncio.create_task(gather(clients, one))
        async with httpx.AsyncClient(trust_env=False) as client:
            while not asking.done():
                status = (await client.get(f"{worker_url}/status")).json()
                assert status["running"] <= slots and status["waiting"] <= waiting
                began = time.monotonic()
                if status["waiting"] == waiting and clients > slots + waiting:  # there is room for none
                    response = await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"), timeout=60)
                    if response.status_code == 429:
                        slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.1)
        await asking
        assert set(statuses) <= {200, 429}
        return statuses.count(200), statuses.count(429), slowest

    saturated, *_ = asyncio.run(answered_by(slots + waiting))
    overloaded, refused, slowest = asyncio.run(answered_by(4 * (slots + waiting)))
    assert refused > 0 and slowest > 0
    keep("4x overload: a refusal", slowest, 0.1, slack=10)
    keep("4x overload: answers that are fewer than with just enough clients", 100 * (1 - overloaded / saturated), 5, "%")


def test_two_hundred_clients_that_leave_at_the_first_word(stack):
    _, worker_url = stack.start_worker(slow=True, limit_model_concurrency=8, limit_waiting=200)
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
    keep("200 clients leave: their slots are free", time.monotonic() - left, 1)
    assert status["answered"] == 0
    most = sum(lines_read) + 200  # a line may be a token; the word that they left at is one, too
    keep("200 clients leave: tokens more for each", max(0, status["generated"] - most) / 200, 2, "tokens", slack=1)
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
        keep("64 slow readers: p95 of others, beside without them", p95() / alone, 1.2, "times", slack=2)
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
        keep("a failure inside the model: its 503", time.monotonic() - began, 1)
        assert response.status_code == 503 and words in response.json()["error"]["message"]
        assert "kernel" not in response.text  # what went wrong is in the log, not in the answer
    assert stack.post(a=PICTURE).status_code == 200 and process.poll() is None
    assert get(f"{url}/status")["running"] == 0


def test_a_killed_worker_in_mid_answer(stack):
    """A typed error within 2 s; the next question goes elsewhere within 1 s; questions that waited are answered elsewhere."""
    process, _ = stack.start_worker(slow=True, limit_model_concurrency=1)
    with stack.stream(a=PICTURE) as response:
        lines = response.iter_lines()
        until(lambda: json.loads(next(lines))["text"])
        stack.start_worker()

        async def waiting(client, number):
            return await client.post(f"{stack.url}/v1/assess", **form(max_tokens="4"))

        async def kill_meanwhile():
            asked = asyncio.create_task(gather(6, waiting))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGKILL)
            return await asked

        responses = asyncio.run(kill_meanwhile())
        killed = time.monotonic()
        assert json.loads(list(lines)[-1])["error"]["code"] == "worker_gone"
        keep("a worker killed in mid-answer: a typed error", time.monotonic() - killed, 2, slack=2)
    assert [response.status_code for response in responses] == [200] * 6
    began = time.monotonic()
    assert stack.post(a=PICTURE, max_tokens=2, confidence="false").status_code == 200
    keep("a worker killed in mid-answer: the next answer, by another", time.monotonic() - began, 1)


def test_a_worker_stays_well_while_its_controller_is_down(stack):
    _, url = stack.start_worker()
    stack.processes[0].kill()
    stack.processes[0].wait()
    seconds = []
    for _ in range(100):
        began = time.monotonic()
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        seconds.append(time.monotonic() - began)
        time.sleep(0.02)
    keep("the controller is down: p99 of a worker's health", sorted(seconds)[98], 0.1)
    stack.start_controller()
    began = time.monotonic()
    until(lambda: get(f"{stack.url}/v1/models").get("data"))
    keep("the controller is back: its worker is, too", time.monotonic() - began, 5, slack=2)


@pytest.mark.parametrize("part", ["controller", "worker"])
def test_after_sigterm_answers_end_with_themselves_or_a_typed_error(stack, tmp_path, part):
    """The grace is cut to a second here. A short answer is finished, a long one ends with an error, both in time."""
    if part == "controller":
        stack.processes.pop().kill()
        code = SHORT_GRACE + "from depictqa.serve import controller\ncontroller.main()"
        stack.start(("-c", code), "--cfg", stack.config()[0])
        until(lambda: get(f"{stack.url}/health"))
        target = stack.processes[-1]
        stack.start_worker(slow=True)
    else:
        config = tiny_config(tmp_path / "slow", infer={"max_new_tokens": 400})
        target = stack.start(("-c", SHORT_GRACE + SLOW_WORKER), "--cfg", config, "--serve_cfg", stack.config()[0])
        until(lambda: get(f"{stack.url}/v1/models").get("data"))

    async def one(client, number):
        long = number % 2
        fields = form(stream="true", max_tokens="300" if long else "6")
        async with client.stream("POST", f"{stack.url}/v1/assess", **fields) as response:
            rows = [json.loads(line) async for line in response.aiter_lines()]
        return rows[-1]

    async def stop_meanwhile():
        asked = asyncio.create_task(gather(4, one))
        await asyncio.sleep(1.0)
        target.send_signal(signal.SIGTERM)
        return await asked

    began = time.monotonic()
    rows = asyncio.run(stop_meanwhile())
    assert time.monotonic() - began < 15
    assert all(row["done"] for row in rows[::2])
    assert [row["error"]["code"] for row in rows[1::2]] == ["stopping"] * 2
    assert target.wait(15) in (0, -signal.SIGTERM)


def test_after_sigterm_a_worker_has_ended_in_time_with_the_grace_as_it_is(stack):
    config = tiny_config(stack.folder / "slower", infer={"max_new_tokens": 400})
    slower = SLOW_WORKER.replace("sleep(0.1)", "sleep(1)")
    process = stack.start(("-c", slower), "--cfg", config, "--serve_cfg", stack.config()[0])
    until(lambda: get(f"{stack.url}/v1/models").get("data"))
    with stack.stream(a=PICTURE, max_tokens=400) as response:  # minutes of words
        lines = response.iter_lines()
        until(lambda: json.loads(next(lines))["text"])
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert [json.loads(line) for line in lines][-1]["error"]["code"] == "stopping"
    process.wait(40)
    keep("SIGTERM: answers and process have ended", time.monotonic() - began, 30, slack=1.2)


def memory_and_files(pid: int) -> tuple[float, int]:
    """(MB of memory, open files) of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def test_soak(stack):
    """Three minutes of questions, some of them broken off or bad: no memory, file or slot stays behind."""
    process, url = stack.start_worker(limit_model_concurrency=8)
    asked = 0

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

    def ask_for(seconds: float) -> list[tuple[float, int]]:
        nonlocal asked
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asyncio.run(gather(20, one))
            asked += 20
        until(lambda: (s := get(f"{url}/status"))["running"] + s["waiting"] == 0)
        return [memory_and_files(pid) for pid in (stack.processes[0].pid, process.pid)]

    before = ask_for(60)  # caches fill
    asked = 0
    after = ask_for(120)
    for part, (memory, files), (memory_after, files_after) in zip(("controller", "worker"), before, after, strict=True):
        keep(f"soak: memory that 1,000 questions leave, {part}", 1000 * (memory_after - memory) / asked, 1, "MB", slack=3)
        assert files_after <= files + 5
    assert get(f"{stack.url}/status")["workers"][0]["passing_on"] == 0
