"""A worker: one model on one device, answering questions over HTTP.

    python -m depictqa.serve.worker --cfg config.yaml --serve_cfg serve.yaml

`POST /assess` takes a question (see `protocol`) and streams the answer as lines of JSON.
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from depictqa.config import WorkerSettings, load_config, load_serve_config, parse_overrides
from depictqa.environment import check_key_log, check_temporary_folder, importing_torch
from depictqa.errors import exit_cleanly
from depictqa.serve.keys import LIVENESS, RequireKey, bearer, read_keys
from depictqa.serve.protocol import (
    FORM_DOCS,
    MAX_DECODING_BYTES,
    NAMES,
    PICTURES,
    Ask,
    Chunk,
    Problem,
    WorkerInfo,
    read_ask,
    task_of,
)
from depictqa.serve.registration import keep_registered
from depictqa.serve.server import Grace, bind, run, start_log
from depictqa.serve.wire import Stream, make_app, while_connected

PING_SECONDS = 3  # a line goes out at least this often, so that a dead worker is told from a busy one
BLOCK = 64 * 1024 * 1024  # bytes Pillow asks for at a time: from 32 MB on, the system gets them back when they are free
DECODERS = 2  # requests whose pictures are decoded at a time: each may take a few hundred MB
_NAME_OF = {field: name for name, field in PICTURES.items()}
log = logging.getLogger("depictqa.worker")


class Worker:
    """The HTTP side of an engine.

    Args:
        engine: an `Engine`.
        preprocess: an `ImagePreprocessor`.
        defaults: the `Sampling` of requests that do not say.
        settings: `worker` of serve.yaml.
    """

    def __init__(self, engine, preprocess, defaults, settings: WorkerSettings):
        self.engine, self.preprocess, self.defaults, self.settings = engine, preprocess, defaults, settings
        self.grace = Grace()
        self._decoders = asyncio.Semaphore(DECODERS)
        self._preparing = 0  # questions whose pictures are decoded, or wait for that

    @property
    def info(self) -> WorkerInfo:
        load = self.engine.running + self.engine.waiting + self._preparing
        return WorkerInfo(
            name=self.settings.model_name, url=self.settings.worker_url, slots=self.engine.slots, load=load
        )

    def status(self) -> dict:
        counts = ("slots", "running", "waiting", "max_waiting", "answered", "generated", "largest_batch")
        return {"model": self.settings.model_name, **{name: getattr(self.engine, name) for name in counts}}

    async def prepare(self, ask: Ask, pictures: dict[str, bytes]):
        """A job's question and sampling.

        Raises:
            Refused: too many wait; no picture is decoded for one who will be refused.
            InputError: a picture cannot be read.
        """
        from depictqa.inference.assessor import Question

        def decode(name: str):
            return self.preprocess.load(pictures[name], name=NAMES[name], max_memory=MAX_DECODING_BYTES)

        task = task_of(pictures)
        self.engine.check_room(self._preparing)
        self._preparing += 1
        try:
            async with self._decoders:
                images = [await run_in_threadpool(decode, _NAME_OF[field]) for field in task.fields]
        finally:
            self._preparing -= 1
        asked = {"temperature": ask.temperature, "top_p": ask.top_p, "max_new_tokens": ask.max_tokens}
        given = {name: value for name, value in asked.items() if value is not None}
        sampling = replace(self.defaults, **given, stop=tuple(ask.stop or ()), seed=ask.seed)
        if ask.score:
            sampling = self.engine.assessor.of_levels
        return Question(task, tuple(images), ask.plain_question), sampling

    async def answer(self, question, sampling, confidence: bool) -> AsyncGenerator[str, None]:
        """Lines of JSON. The first is there once the question is taken on; closing it gives the slot back."""
        from depictqa.serve.worker_engine import EngineRequest

        loop, chunks = asyncio.get_running_loop(), asyncio.Queue()
        request = EngineRequest(
            question, sampling, confidence, lambda chunk: loop.call_soon_threadsafe(chunks.put_nowait, chunk)
        )
        self.engine.submit(request)
        try:
            chunk = Chunk()
            while True:
                yield chunk.line()
                if chunk.done or chunk.error:
                    return
                if self.grace.is_over:
                    yield Chunk(error=Problem(code="stopping", message="this worker is stopping")).line()
                    return
                with suppress(TimeoutError):  # then the last line goes out once more
                    chunk = await asyncio.wait_for(chunks.get(), PING_SECONDS)
        finally:
            self.engine.leave(request)


def build_app(worker: Worker, secret: tuple[str, ...] = ()):
    """The worker's HTTP side. `secret`: what the controller shows, and what is shown to it; empty: none."""
    settings = worker.settings

    @asynccontextmanager
    async def lifespan(app):
        registering = None
        if not settings.no_register:
            beats = keep_registered(
                settings.controller, lambda: [worker.info], settings.heartbeat_seconds, bearer(secret)
            )
            registering = asyncio.create_task(beats)
        yield
        if registering is not None:
            registering.cancel()
            with suppress(asyncio.CancelledError):
                await registering
        await run_in_threadpool(worker.engine.close)

    app = make_app("DepictQA worker", lifespan=lifespan)
    app.add_middleware(RequireKey, keys_of=lambda path: secret)

    @app.get(LIVENESS)
    async def health():
        return {"ok": True}

    @app.get("/status")
    async def status():
        return worker.status()

    @app.post("/assess", openapi_extra=FORM_DOCS)
    async def assess(request: Request):
        ask, pictures = await read_ask(request)
        question, sampling = await while_connected(request.receive, worker.prepare(ask, pictures))
        lines = worker.answer(question, sampling, ask.confidence)
        return await Stream.begin(request.receive, lines, "application/x-ndjson")

    return app


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions with the model of config.yaml over HTTP.")
    parser.add_argument("--cfg", default="config.yaml", help="the experiment's config.yaml (default: here)")
    parser.add_argument("--serve_cfg", default="serve.yaml", help="settings of the demo (default: serve.yaml here)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of config.yaml")
    args = parser.parse_args()

    overrides = {"infer.output_confidence": True, **parse_overrides(args.set)}
    config, serve = load_config(args.cfg, overrides), load_serve_config(args.serve_cfg)
    check_key_log()
    check_temporary_folder()

    with importing_torch():  # only now: --help is instant
        from PIL import Image

        from depictqa.inference.program import build_sampling, lazy_assessor
        from depictqa.model.build import build_preprocessor
        from depictqa.serve.worker_engine import Engine

    get_assessor = lazy_assessor(config)  # absent weights are said before anything is done
    settings, secret = serve.worker, read_keys(serve.secret_file, "secret_file")
    bound = bind(settings.host, settings.port, "worker.port")
    start_log(serve.log_dir, "worker")
    Image.core.set_block_size(BLOCK)
    log.info("loading %s", settings.model_name)
    engine = Engine(get_assessor(), settings.limit_model_concurrency, settings.limit_waiting, settings.stream_interval)
    log.info("%s answers at %s", settings.model_name, settings.worker_url)
    worker = Worker(engine, build_preprocessor(config), build_sampling(config), settings)
    run(build_app(worker, secret), bound, worker.grace)


if __name__ == "__main__":
    main()
