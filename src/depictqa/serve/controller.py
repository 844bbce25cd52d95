"""The controller: knows the workers, hands each question to one, passes the answer on. It holds no model.

    python -m depictqa.serve.controller --cfg serve.yaml

Its HTTP API is on /docs of its address. Workers register at `POST /workers`, again and again: that is their heartbeat,
and a restarted controller needs nothing else to find them.
"""

import argparse
import asyncio
import functools
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware

from depictqa.config import load_serve_config
from depictqa.environment import check_key_log, check_temporary_folder
from depictqa.errors import exit_cleanly
from depictqa.prompts import QUESTIONS
from depictqa.serve import chat
from depictqa.serve.keys import LIVENESS, RequireKey, bearer, read_keys
from depictqa.serve.metrics import Measured, Metrics
from depictqa.serve.protocol import (
    FORM_DOCS,
    QUESTION_FIELDS,
    Ask,
    Chunk,
    Problem,
    Refused,
    WorkerInfo,
    check_pictures,
    form_docs,
    form_of,
    read_ask,
    task_of,
)
from depictqa.serve.registration import keep_registered
from depictqa.serve.server import Grace, bind, run, start_log
from depictqa.serve.wire import Stream, make_app, read_json, while_connected

CONNECT_SECONDS, SILENT_SECONDS = 2, 10  # a worker says something every few seconds, or it is dead
ELSEWHERE = (429, 503)  # another worker may well answer
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OF_WORKERS = ("/workers", "/assess")  # routes that take the secret; all others take the keys
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
        worker_hosts: the hosts that workers may be on.
        secret: what is shown to workers.
    """

    def __init__(
        self,
        order: Callable[[list[Entry]], list[Entry]],
        expiry_seconds: float,
        worker_hosts: Sequence[str] = LOOPBACK,
        secret: tuple[str, ...] = (),
    ):
        self._order, self._expiry_seconds, self._worker_hosts = order, expiry_seconds, frozenset(worker_hosts)
        self._entries: dict[tuple[str, str], Entry] = {}  # (url, model): a controller has several models at one url
        self.grace = Grace()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS, pool=None)
        self.client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, headers=bearer(secret))

    def register(self, info: WorkerInfo) -> None:
        """Raises Refused: its url is on a host that workers are not allowed on."""
        host = urlsplit(info.url).hostname
        if host not in self._worker_hosts:
            allowed = ", ".join(sorted(self._worker_hosts))
            raise Refused(
                403, "host_not_allowed", f"url: no worker is allowed on {host} (controller.worker_hosts: {allowed})"
            )
        entry = self._entries.get((info.url, info.name))
        if entry is None:
            log.info("worker %s (%s) is here", info.url, info.name)
            self._entries[info.url, info.name] = Entry(info)
        else:
            entry.info, entry.seen_at = info, time.monotonic()

    def forget(self, info: WorkerInfo, why: str) -> None:
        if self._entries.pop((info.url, info.name), None) is not None:
            log.info("worker %s (%s) is gone: %s", info.url, info.name, why)

    def workers(self) -> list[Entry]:
        """Those that are alive, as far as we know."""
        oldest = time.monotonic() - self._expiry_seconds
        for info in [entry.info for entry in self._entries.values() if entry.seen_at < oldest]:
            self.forget(info, "its heartbeat stopped")
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

    def as_workers(self, url: str) -> list[WorkerInfo]:
        """What a parent is told: one worker for each model, with the slots and the load of all that have it."""
        groups = {name: [entry for entry in self.workers() if entry.info.name == name] for name in self.models()}
        return [
            WorkerInfo(
                name=name,
                url=url,
                slots=sum(entry.info.slots for entry in group),
                load=sum(max(entry.info.load, entry.running) for entry in group),
            )
            for name, group in groups.items()
        ]

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

        A worker that fails before it has sent any text is replaced by another one.
        """
        failure = Refused(503, "no_worker", f"no worker of '{ask.model}' is up")
        for entry in self._order([entry for entry in self.workers() if entry.info.name == ask.model]):
            has_begun = False
            entry.running += 1
            try:
                async with aclosing(self._ask_worker(entry.info.url, ask, pictures)) as chunks:
                    async for chunk in chunks:
                        has_begun = has_begun or bool(chunk.text)
                        self.grace.check()
                        yield chunk
                return
            except httpx.HTTPError as error:
                self.forget(entry.info, type(error).__name__)
                failure = Refused(502, "worker_gone", "the worker went away while it was answering; please ask again")
            except Refused as error:
                failure = error
                if error.status not in ELSEWHERE or self.grace.is_over:
                    raise
            finally:
                entry.running -= 1
            if has_begun:
                break
        raise failure

    async def _ask_worker(self, url: str, ask: Ask, pictures: dict[str, bytes]) -> AsyncGenerator[Chunk, None]:
        request = self.client.build_request("POST", f"{url}/assess", **form_of(ask, pictures))
        request.read()  # one piece: httpx would send a form in dozens
        async with aclosing(await self.client.send(request, stream=True)) as response:
            if response.status_code != 200:
                raise _as_refused(response.status_code, await response.aread())
            lines = response.aiter_lines()
            async for line in lines:
                try:
                    chunk = Chunk.model_validate_json(line)
                except ValidationError:
                    raise httpx.DecodingError("not a chunk") from None
                if chunk.error is not None:
                    raise Refused(503, chunk.error.code, chunk.error.message)
                yield chunk
                if chunk.done:
                    with suppress(httpx.HTTPError, TimeoutError):  # a connection that was read to its end is used again
                        async with asyncio.timeout(1):
                            await anext(lines, None)
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
        async for chunk in chunks:  # noqa: B007  the last one is wanted
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


def build_app(
    controller: Controller,
    keys: tuple[str, ...] = (),
    secret: tuple[str, ...] = (),
    cors_origins: Sequence[str] = (),
    registering: Coroutine | None = None,
):
    """The HTTP API.

    Args:
        keys: of those who may ask; none: everyone may.
        secret: of workers and of a parent; none: everyone may be one.
        cors_origins: web pages of others that may ask from a browser.
        registering: runs as long as the app does.
    """

    @asynccontextmanager
    async def lifespan(app):
        task = asyncio.create_task(registering) if registering is not None else None
        yield
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await controller.client.aclose()

    app = make_app("DepictQA", description="Image quality assessment in words.", lifespan=lifespan)
    app.add_middleware(RequireKey, keys_of=lambda path: secret if path in OF_WORKERS else keys)
    if cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["*"], allow_headers=["*"])
    metrics = Metrics()
    app.add_middleware(Measured, metrics=metrics)
    workers = metrics.gauge("workers", "Workers that are up.", ("model",))
    slots = metrics.gauge("slots", "Questions that they can have in work.", ("model",))
    load = metrics.gauge("load", "Questions that they have in work or waiting.", ("model",))

    @app.get(LIVENESS)
    async def health():
        return {"ok": True}

    @app.get("/status")
    async def status():
        return controller.status()

    @app.get("/metrics")
    async def show_metrics():
        """Figures in the text format of Prometheus."""
        for gauge in (workers, slots, load):
            gauge.clear()
        for entry in controller.workers():
            workers.labels(entry.info.name).inc()
            slots.labels(entry.info.name).inc(entry.info.slots)
            load.labels(entry.info.name).inc(max(entry.info.load, entry.running))
        return metrics.response()

    @app.post("/workers")
    async def register(info: WorkerInfo):
        controller.register(info)
        return {"ok": True}

    @app.delete("/workers")
    async def unregister(info: WorkerInfo):
        controller.forget(info, "it said goodbye")
        return {"ok": True}

    @app.post("/assess", openapi_extra=FORM_DOCS)
    async def assess_as_worker(request: Request):
        """What a parent asks: as a worker's, always lines of JSON."""
        ask, pictures = await read_ask(request)
        ask.model = controller.choose_model(ask.model)
        return await Stream.begin(request.receive, _lines(controller.answer(ask, pictures)), "application/x-ndjson")

    @app.get("/v1/models")
    async def models():
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "depictqa"} for name in controller.models()]
        return {"object": "list", "data": rows}

    @app.post("/v1/assess", openapi_extra=FORM_DOCS)
    async def assess(request: Request):
        """Ask about pictures; the task follows from which of ref, a, b are given. `stream`: lines of JSON."""
        ask, pictures = await read_ask(request, QUESTION_FIELDS)
        ask.model = controller.choose_model(ask.model)
        chunks = controller.answer(ask, pictures)
        if ask.stream:
            return await Stream.begin(request.receive, _lines(chunks), "application/x-ndjson")
        last = await while_connected(request.receive, _last(chunks))
        answer = last.model_dump(include={"text", "confidence", "tokens", "finish_reason", "usage"})
        return JSONResponse({**answer, "task": task_of(pictures).name, "model": ask.model})

    @app.post("/v1/score", openapi_extra=form_docs(["model"], ["ref", "a"], ["a"]))
    async def score(request: Request):
        """The quality of an image from 1 (bad) to 5 (excellent). One pass through the model, nothing is decoded."""
        question = {"question": QUESTIONS["score"], "score": True, "confidence": False}
        ask, pictures = await read_ask(request, ["model"], **question)
        if (task := task_of(pictures)).compares:
            raise Refused(400, "wrong_pictures", "expected one image, file a, with or without file ref; found a and b")
        ask.model = controller.choose_model(ask.model)
        last = await while_connected(request.receive, _last(controller.answer(ask, pictures)))
        if last.scored is None:
            raise Refused(502, "no_score", "the worker is of an older version, which gives no scores")
        return JSONResponse({**last.scored.model_dump(), "task": task.name, "model": ask.model})

    @app.post("/v1/chat/completions", openapi_extra=chat.DOCS)
    async def chat_completions(request: Request):
        """OpenAI's form, pictures as `data:` URLs. `confidence` is an extra field of the choice.

        An option that would change the answer and that is not implemented is refused by its name.
        """
        asked = chat.read(await read_json(request))
        check_pictures(asked.pictures)
        asked.ask.model = controller.choose_model(asked.ask.model)
        chunks = controller.answer(asked.ask, asked.pictures)
        if asked.ask.stream:
            return await Stream.begin(request.receive, chat.events(chunks, asked), "text/event-stream")
        return JSONResponse(chat.completion(await while_connected(request.receive, _last(chunks)), asked))

    return app


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Hand questions to workers; the HTTP API of the demo.")
    parser.add_argument("--cfg", default="serve.yaml", help="settings of the demo (default: serve.yaml here)")
    args = parser.parse_args()
    config = load_serve_config(args.cfg)
    settings = config.controller
    check_key_log()
    check_temporary_folder()
    keys = read_keys(settings.keys_file, "controller.keys_file")
    secret = read_keys(config.secret_file, "secret_file")
    bound = bind(settings.host, settings.port, "controller.port")
    start_log(config.log_dir, "controller")
    log.info("at http://%s:%s", settings.host, settings.port)
    if settings.host not in LOOPBACK and not (keys and secret):
        log.warning(
            "reachable from other machines without keys: set controller.keys_file and secret_file (docs/serving.md)"
        )
    controller = Controller(ORDERS[settings.dispatch_method], settings.expiry_seconds, settings.worker_hosts, secret)
    registering = None
    if settings.parent:
        infos = functools.partial(controller.as_workers, settings.url)
        registering = keep_registered(settings.parent, infos, settings.heartbeat_seconds, bearer(secret))
    run(build_app(controller, keys, secret, settings.cors_origins, registering), bound, controller.grace)


if __name__ == "__main__":
    main()
