"""What the page's server answers to: Gradio's routes that the page needs, by a list, and three of its own.

Gradio has many more: files, uploads to disk, a proxy for any URL, an API. None of them is reachable here.
"""

import asyncio
import json
import re
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from depictqa.serve.page.client import HeldPictures
from depictqa.serve.protocol import MAX_PICTURE_BYTES, Refused
from depictqa.serve.wire import error_response

EXAMPLES = Path(__file__).parent / "examples"
OPEN = re.compile(  # "METHOD path"; a request that matches nothing here is not found
    r"(GET|HEAD) /"
    r"|(GET|HEAD) /(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json)"
    r"|GET /(assets|static)/[\w./@-]+"
    r"|GET /gradio_api/(startup-events|queue/data|heartbeat/\w+)"
    r"|POST /gradio_api/(queue/join|cancel|reset)/?"
    r"|POST /pictures|HEAD /pictures/[\w-]+|GET /examples/[\w-]+\.(png|jpg|webp)"
)
MAX_EVENT_BYTES, EVENT_SECONDS = (
    100_000,
    30,
)  # of a request to Gradio: a question and settings; pictures go to /pictures
PICTURE_SECONDS = 300  # a slow line may take so long
HEADERS = {
    "content-security-policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class Gate:
    """ASGI middleware: what is not in OPEN does not exist; bodies have a limit; the browser loads nothing from elsewhere."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if scope["type"] != "http" or ".." in path or not OPEN.fullmatch(f"{scope['method']} {path}"):
            return await error_response(Refused(404, "not_found", "there is nothing here"))(scope, receive, send)
        if scope["method"] == "POST" and path.startswith("/gradio_api/"):
            try:
                receive = _again(await _read_event(Request(scope, receive)), receive)
            except Refused as error:
                return await error_response(error)(scope, receive, send)
            except ClientDisconnect:
                return

        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def _body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """Raises Refused for a body that is too large or takes too long."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise Refused(413, "too_large", f"over {max_bytes / 1e6:g} MB")
    except TimeoutError:
        raise Refused(408, "too_slow", f"the request did not arrive within {seconds:g} s") from None
    return bytes(body)


async def _read_event(request: Request) -> bytes:
    """The body of a request to Gradio. Raises Refused for one that names a file: Gradio would open or download it."""
    body = await _body(request, MAX_EVENT_BYTES, EVENT_SECONDS)
    try:
        event = json.loads(body)
        names_file = _names_file(event)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_json", "the body is not JSON (or is nested too deeply)") from None
    if names_file:
        raise Refused(400, "no_files", "pictures are sent to /pictures; no path and no URL is opened")
    return body


def _names_file(value) -> bool:
    if isinstance(value, dict):
        return "path" in value or any(map(_names_file, value.values()))
    return isinstance(value, list) and any(map(_names_file, value))


def _again(body: bytes, receive):
    """A `receive` that gives a body that has been read once more."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def give():
        return rest.pop() if rest else await receive()

    return give


def routes(pictures: HeldPictures) -> list[Route]:
    """`POST /pictures` (a file as the body, gives its id), `HEAD /pictures/ID` (is it held?), `GET /examples/NAME`."""
    examples = {path.name: path for path in EXAMPLES.iterdir()} if EXAMPLES.is_dir() else {}

    async def put(request: Request) -> Response:
        try:
            return JSONResponse({"id": pictures.put(await _body(request, MAX_PICTURE_BYTES, PICTURE_SECONDS))})
        except Refused as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=499)

    async def is_held(request: Request) -> Response:
        return Response(status_code=404 if pictures.get(request.path_params["name"]) is None else 204)

    async def example(request: Request) -> Response:
        path = examples.get(request.path_params["name"])
        if path is None:
            return error_response(Refused(404, "not_found", "there is no such example"))
        kind = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}[path.suffix]
        return Response(path.read_bytes(), media_type=kind, headers={"cache-control": "max-age=3600"})

    return [
        Route("/pictures", put, methods=["POST"]),
        Route("/pictures/{name}", is_held, methods=["HEAD"]),
        Route("/examples/{name}", example, methods=["GET"]),
    ]
