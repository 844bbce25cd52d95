"""How the HTTP servers here talk: limits on a body, streams that end when the client leaves, one form of errors."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from depictqa.errors import InputError
from depictqa.serve.protocol import MAX_BODY_BYTES, Refused, explain

SEND_SECONDS = 15  # a client that takes nothing for this long is cut off
BODY_SECONDS = 30  # a request's body has to be here by then
RETRY_AFTER = {429: "1", 503: "2"}  # seconds
T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection; nobody reads an answer."""


async def while_connected(receive: Callable, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled as soon as the client leaves. The request's body must have been read.

    Raises:
        ClientLeft: it left before `work` was over.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


class Stream(Response):
    """A streamed answer, made by `begin`. Its source is closed in every case: answered, failed, client gone."""

    def __init__(self, first: str, source: AsyncGenerator[str, None], media_type: str):
        super().__init__(media_type=media_type, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first, self._source = first, source

    @classmethod
    async def begin(cls, receive: Callable, source: AsyncGenerator[str, None], media_type: str) -> "Stream":
        """The stream, once its first text is there: what fails before that still has an HTTP status of its own."""
        try:
            first = await while_connected(receive, anext(source))
        except BaseException:
            await source.aclose()
            raise
        return cls(first, source, media_type)

    async def __call__(self, scope, receive, send) -> None:
        async def put(text: str, more: bool = True) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        async def pump() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await put(self._first)
            async for text in self._source:
                await put(text)
            await put("", more=False)

        with suppress(ClientLeft, TimeoutError):
            async with aclosing(self._source):
                await while_connected(receive, pump())


class LimitBody:
    """ASGI middleware: a body over MAX_BODY_BYTES is refused before it is read, or as soon as it gets there.

    One that is still not here after BODY_SECONDS is refused, too.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refused = Refused(413, "too_large", f"the request is over {MAX_BODY_BYTES // 1_000_000} MB")
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            return await error_response(refused)(scope, receive, send)
        read, is_whole = 0, False
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def counted():
            nonlocal read, is_whole
            if is_whole:
                return await receive()  # the client's leaving
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Refused(408, "too_slow", f"the request's body did not arrive within {BODY_SECONDS} s") from None
            read += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if read > MAX_BODY_BYTES:
                raise refused
            return message

        await self.app(scope, counted, send)


def error_response(error: Refused) -> JSONResponse:
    headers = {"retry-after": RETRY_AFTER[error.status]} if error.status in RETRY_AFTER else {}
    return JSONResponse(
        error.body, error.status, headers | ({"www-authenticate": "Bearer"} if error.status == 401 else {})
    )


def make_app(title: str, **options) -> FastAPI:
    """An app in which every error has one form, and no body is over the limit."""
    app = FastAPI(title=title, **options)
    app.add_middleware(LimitBody)
    conversions: dict[type[Exception], Callable[..., Refused]] = {
        Refused: lambda error: error,
        InputError: lambda error: Refused(400, "invalid_image", str(error)),
        RequestValidationError: lambda error: Refused(400, "invalid_field", explain(error.errors())),
        HTTPException: lambda error: Refused(error.status_code, "http_error", str(error.detail)),
        ClientLeft: lambda error: Refused(499, "client_left", "the client left"),
    }

    def handler_of(convert):
        async def handler(request, error):
            return error_response(convert(error))

        return handler

    for kind, convert in conversions.items():
        app.add_exception_handler(kind, handler_of(convert))
    return app


async def read_json(request) -> dict:
    """The JSON object of a request's body. Raises Refused."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_json", "the body is not JSON (or is nested too deeply)") from None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json", f"expected a JSON object, found {type(body).__name__}")
    return body
