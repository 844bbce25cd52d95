"""The controller: knows the workers, hands each question to one, passes the answer on. It holds no model.

    python -m depictqa.serve.controller --cfg serve.yaml

Its HTTP API is on /docs of its address. Workers register at `POST /workers`, again and again: that is their heartbeat,
and a restarted controller needs nothing else to find them.
"""

import argparse
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import httpx
from fastapi import Request
from pydantic import ValidationError

from depictqa.config import load_serve_config
from depictqa.errors import exit_cleanly
from depictqa.serve import chat
from depictqa.serve.protocol import (
    FORM_DOCS,
    Ask,
    Chunk,
    Problem,
    Refused,
    WorkerInfo,
    check_pictures,
    form_of,
    read_ask,
    task_of,
)
from depictqa.serve.wire import Stream, bind, make_app, read_json, run, start_log, while_connected

CONNECT_SECONDS, SILENT_SECONDS = 2, 10  # a worker says something every few seconds, or it is dead
ELSEWHERE = (429, 503)  # another worker may well answer
log = logging.getLogger("depictqa.controller")


@dataclass
class Entry:
    """A registered worker."""

    info: WorkerInfo
    seen_at: float = field(default_factory=time.monotonic)
    running: int = 0  # answers that we are passing on

    @property
    def load(self) -> float:
        """How long its queue is, per slot; what it told last may be seconds old, so our own count counts, too."""
        return max(self.info.load, self.running) / self.info.slots


def _shortest_queue(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.load, random.random()))


def _lottery(entries: list[Entry]) -> list[Entry]:
    """At random; one with twice the slots is twice as often first (Efraimidis and Spirakis, 2006)."""
    return sorted(entries, key=lambda entry: -(random.random() ** (1 / entry.info.slots)))


ORDERS: dict[str, Callable[[list[Entry]], list[Entry]]] = {"shortest_queue": _shortest_queue, "lottery": _lottery}


class Controller:
    """The registered workers, and the way of a question through one of them.

    Args:
        order: puts the workers of a model in the order in which they are tried.
        expiry_seconds: a worker that is not heard of for this long is forgotten.
    """

    def __init__(self, order: Callable[[list[Entry]], list[Entry]], expiry_seconds: float):
        self._order, self._expiry_seconds = order, expiry_seconds
        self._entries: dict[str, Entry] = {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS, pool=None)
        self.client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)

    def register(self, info: WorkerInfo) -> None:
        entry = self._entries.get(info.url)
        if entry is None:
            log.info("worker %s (%s) is here", info.url, info.name)
            self._entries[info.url] = Entry(info)
        else:
            entry.info, entry.seen_at = info, time.monotonic()

    def forget(self, url: str, why: str) -> None:
        if self._entries.pop(url, None) is not None:
            log.info("worker %s is gone: %s", url, why)

    def workers(self) -> list[Entry]:
        """Those that are alive, as far as we know."""
        oldest = time.monotonic() - self._expiry_seconds
        for url in [url for url, entry in self._entries.items() if entry.seen_at < oldest]:
            self.forget(url, "its heartbeat stopped")
        return list(self._entries.values())

    def status(self) -> dict:
        now = time.monotonic()
        rows = [
            {**entry.info.model_dump(), "passing_on": entry.running, "heartbeat_age": round(now - entry.seen_at, 1)}
            for entry in self.workers()
        ]
        return {"workers": rows}

    def models(self) -> list[str]:
        return sorted({entry.info.name for entry in self.workers()})

    def choose_model(self, asked: str | None) -> str:
        """Raises Refused where no worker has that model, or there is no worker at all."""
        models = self.models()
        if not models:
            raise Refused(503, "no_worker", "no worker is up; start one with launch_worker.sh")
        if asked is not None and asked not in models:
            raise Refused(404, "model_not_found", f"model: no worker has '{asked}'; there are: {', '.join(models)}")
        return asked or models[0]

    async def answer(self, ask: Ask, pictures: dict[str, bytes]) -> AsyncGenerator[Chunk, None]:
        """The chunks of an answer. Raises Refused.

        A worker that fails before its first word is passed over for another one.
        """
        failure = Refused(503, "no_worker", f"no worker of '{ask.model}' is up")
        for entry in self._order([entry for entry in self.workers() if entry.info.name == ask.model]):
            has_begun = False
            entry.running += 1
            try:
                async with aclosing(self._ask_worker(entry.info.url, ask, pictures)) as chunks:
                    async for chunk in chunks:
                        has_begun = has_begun or bool(chunk.text)
                        yield chunk
                return
            except httpx.HTTPError as error:
                self.forget(entry.info.url, type(error).__name__)
                failure = Refused(502, "worker_gone", "the worker went away while it was answering; please ask again")
            except Refused as error:
                failure = error
                if error.status not in ELSEWHERE:
                    raise
            finally:
                entry.running -= 1
            if has_begun:
                break
        raise failure

    async def _ask_worker(self, url: str, ask: Ask, pictures: dict[str, bytes]) -> AsyncGenerator[Chunk, None]:
        async with self.client.stream("POST", f"{url}/assess", **form_of(ask, pictures)) as response:
            if response.status_code != 200:
                raise _as_refused(response.status_code, await response.aread())
            async for line in response.aiter_lines():
                try:
                    chunk = Chunk.model_validate_json(line)
                except ValidationError:
                    raise httpx.DecodingError("not a chunk") from None
                if chunk.error is not None:
                    raise Refused(503, chunk.error.code, chunk.error.message)
                yield chunk
                if chunk.done:
                    return
        raise httpx.RemoteProtocolError("the answer has no end")


def _as_refused(status: int, body: bytes) -> Refused:
    try:
        error = json.loads(body)["error"]
        return Refused(status, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return Refused(502, "worker_failed", f"the worker answered with HTTP {status}")


async def _last(chunks: AsyncGenerator[Chunk, None]) -> Chunk:
    chunk = Chunk()
    async with aclosing(chunks):
        async for chunk in chunks:
            pass
    return chunk


async def _lines(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[str, None]:
    async with aclosing(chunks):
        yield (await anext(chunks)).line()  # a failure before this has an HTTP status of its own
        try:
            async for chunk in chunks:
                yield chunk.line()
        except Refused as error:
            yield Chunk(error=Problem(code=error.code, message=error.message)).line()


def build_app(controller: Controller):
    @asynccontextmanager
    async def lifespan(app):
        yield
        await controller.client.aclose()

    app = make_app("DepictQA", description="Image quality assessment in words.", lifespan=lifespan)

    @app.get("/health")
    async def health():
        return {"ok": True}

    @app.get("/status")
    async def status():
        return controller.status()

    @app.post("/workers")
    async def register(info: WorkerInfo):
        controller.register(info)
        return {"ok": True}

    @app.delete("/workers")
    async def unregister(info: WorkerInfo):
        controller.forget(info.url, "it said goodbye")
        return {"ok": True}

    @app.get("/v1/models")
    async def models():
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "depictqa"} for name in controller.models()]
        return {"object": "list", "data": rows}

    @app.post("/v1/assess", openapi_extra=FORM_DOCS)
    async def assess(request: Request):
        """Ask about pictures; the task follows from which of ref, a, b are given. `stream`: lines of JSON."""
        ask, pictures = await read_ask(request)
        ask.model = controller.choose_model(ask.model)
        chunks = controller.answer(ask, pictures)
        if ask.stream:
            return await Stream.begin(request.receive, _lines(chunks), "application/x-ndjson")
        last = await while_connected(request.receive, _last(chunks))
        answer = {"text": last.text, "confidence": last.confidence, "tokens": last.tokens}
        return {**answer, "task": task_of(pictures).name, "model": ask.model}

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request):
        """OpenAI's form, pictures as `data:` URLs. `confidence` is an extra field of the choice."""
        asked = chat.read(await read_json(request))
        check_pictures(asked.pictures)
        asked.ask.model = controller.choose_model(asked.ask.model)
        chunks = controller.answer(asked.ask, asked.pictures)
        if asked.ask.stream:
            return await Stream.begin(request.receive, chat.events(chunks, asked), "text/event-stream")
        return chat.completion(await while_connected(request.receive, _last(chunks)), asked)

    return app


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Hand questions to workers; the HTTP API of the demo.")
    parser.add_argument("--cfg", default="serve.yaml", help="settings of the demo (default: serve.yaml here)")
    args = parser.parse_args()
    config = load_serve_config(args.cfg)
    settings = config.controller
    bound = bind(settings.host, settings.port, "controller.port")
    start_log(config.log_dir, "controller")
    log.info("at http://%s:%s", settings.host, settings.port)
    run(build_app(Controller(ORDERS[settings.dispatch_method], settings.expiry_seconds)), bound)


if __name__ == "__main__":
    main()
