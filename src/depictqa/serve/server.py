"""A server's life: its address, its log, the heads of requests, its end after SIGTERM."""

import asyncio
import logging
import logging.handlers
import os
import signal
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from depictqa.errors import InputError
from depictqa.files import writing
from depictqa.serve.protocol import Refused
from depictqa.serve.wire import BODY_SECONDS, error_response

SHUTDOWN_SECONDS = 30  # after SIGTERM everything has ended
GRACE_SECONDS = 24  # answers in work may take this long after SIGTERM, then they end with an error
HEAD_SECONDS, HEAD_BYTES = 10, 65_536  # a request's line and headers are here by then, and no larger
LOG_BYTES, LOG_FILES = 10_000_000, 5


def bind(host: str, port: int, key: str) -> socket.socket:
    """A socket at the address that `key` of serve.yaml gives. Raises InputError if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{key}: cannot listen at {host}:{port} ({reason})") from None
    return bound


class StopSignals:
    """SIGTERM and Ctrl-C, as something to wait for.

    A handler runs between any two instructions of the main thread, also inside another run of itself. It must take no lock,
    which rules out `threading.Event` and logging: it writes a byte into a pipe, and `wait` reads it.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._receiver, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        for number in self.NUMBERS:
            signal.signal(number, self._note)

    def wait(self) -> None:
        """Block until one has come, if none has yet."""
        os.read(self._receiver, 1)

    def _note(self, *_) -> None:
        with suppress(BlockingIOError):  # the pipe is full of earlier ones
            os.write(self._sender, b"\0")


class Grace:
    """The time between SIGTERM and the end. `is_over`: answers in work are to end with an error now."""

    def __init__(self):
        self.is_over = False

    def begin(self) -> None:
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._end)

    def check(self) -> None:
        """Raises Refused once the time is over."""
        if self.is_over:
            raise Refused(503, "stopping", "this server is stopping; please ask again in a moment")

    def _end(self) -> None:
        self.is_over = True


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which by itself waits for ever for the head of a request, takes one of any size, and reads on for ever
    when a request was answered before all of it was here.
    """

    _timer: asyncio.TimerHandle | None = None  # runs while a head is awaited
    _linger: asyncio.TimerHandle | None = None  # runs while the rest of a request is read that has its answer
    _head_bytes = 0
    _in_message = False  # of which not all has been read; the rest of one that was refused is no head

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._in_message and self.cycle is not None and self.cycle.response_complete:
            self._await_head()  # of the next request on a connection that stays open
        self._head_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._head_bytes > HEAD_BYTES:
            self._refuse(Refused(431, "too_large", f"the request's line and headers are over {HEAD_BYTES:,} bytes"))

    def on_message_begin(self) -> None:
        self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete:
            self._linger = self.loop.call_later(BODY_SECONDS, self.transport.close)

    def connection_lost(self, exc) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refused(400, "invalid_http", "this is not an HTTP request"))

    def _await_head(self) -> None:
        too_slow = Refused(408, "too_slow", f"the request's headers did not arrive within {HEAD_SECONDS} s")
        self._timer, self._head_bytes = self.loop.call_later(HEAD_SECONDS, self._refuse, too_slow), 0

    def _stop_waiting(self) -> None:
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._timer = self._linger = None

    def _refuse(self, error: Refused) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        response = error_response(error)
        headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        line = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nconnection: close\r\n".encode()
        self.transport.write(line + headers + b"\r\n" + response.body)
        self.transport.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, grace: Grace):
        super().__init__(config)
        self._grace = grace

    async def shutdown(self, sockets=None) -> None:
        self._grace.begin()
        await super().shutdown(sockets)


def run(app, bound: socket.socket, grace: Grace) -> None:
    """Serve until SIGTERM or Ctrl-C; answers in work are finished, or ended when the grace is over."""
    settings = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=30,
    )
    _Server(settings, grace).run(sockets=[bound])


class LogFile(logging.handlers.RotatingFileHandler):
    """A log that rotates. Where it cannot be written (a full disk), one line on stderr says so, not a traceback a line."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._complained:
            self._complained = True
            reason = error.strerror or error
            print(f"warning: {self.baseFilename}: cannot be written ({reason}); the log goes on here", file=sys.stderr)


def start_log(log_dir: str, name: str) -> logging.Logger:
    """Log to stderr and to `{log_dir}/{name}.log`, which rotates. Raises InputError: there can be no such folder."""
    with writing(log_dir):
        Path(log_dir).mkdir(parents=True, exist_ok=True)
    file = LogFile(
        Path(log_dir) / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", delay=True
    )
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        handlers=[file, logging.StreamHandler()],
        force=True,
    )
    for noisy in ("httpx", "httpx2", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return logging.getLogger(f"depictqa.{name}")
