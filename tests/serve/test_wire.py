"""Limits in time: a client that takes nothing is cut off, a body that does not come is refused."""

import asyncio

import pytest

from depictqa.serve import wire
from depictqa.serve.protocol import Refused
from depictqa.serve.wire import LimitBody, Stream
from processes import GIVE_UP_SECONDS


async def never():
    await asyncio.sleep(3600)


@pytest.mark.parametrize("blocks_at", [1, 2])
def test_a_client_that_takes_nothing_is_cut_off_and_its_source_is_closed(blocks_at, monkeypatch):
    monkeypatch.setattr(wire, "SEND_SECONDS", 0.05)
    closed, sent = [], []

    async def source():
        try:
            for number in range(5):
                yield f"{number}\n"
        finally:
            closed.append(True)

    async def send(message):
        sent.append(message)
        if len(sent) > blocks_at:
            await never()

    async def serve():
        stream = await Stream.begin(never, source(), "text/plain")
        await stream({}, never, send)

    asyncio.run(asyncio.wait_for(serve(), GIVE_UP_SECONDS))
    assert closed == [True] and len(sent) == blocks_at + 1


def test_a_body_that_does_not_come_is_refused(monkeypatch):
    monkeypatch.setattr(wire, "BODY_SECONDS", 0.05)

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    async def drip():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Refused) as refused:
        asyncio.run(LimitBody(app)({"type": "http", "headers": []}, drip, None))
    assert refused.value.status == 408


def test_a_whole_body_may_wait_for_the_client_to_leave(monkeypatch):
    monkeypatch.setattr(wire, "BODY_SECONDS", 0.01)
    messages = iter([{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}])
    seen = []

    async def receive():
        await asyncio.sleep(0.03 if seen else 0)
        return next(messages)

    async def app(scope, receive, send):
        for _ in range(2):
            seen.append((await receive())["type"])

    asyncio.run(LimitBody(app)({"type": "http", "headers": []}, receive, None))
    assert seen == ["http.request", "http.disconnect"]
