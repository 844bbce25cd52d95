"""The one client of OpenAI-form chat servers: many requests at once, each paid for once.

`ask` takes requests, sends as many at a time as allowed, tries again where that may help, stays under a cost
cap, and hands over a typed reply for every request. What came back is kept in a ledger (`depictqa.ledger`), so
that a run that was killed goes on where it stopped. It knows nothing of what is asked: that is the callers'.

    requests = (Request(item["id"], [user_message("Describe this.", image_part(path))]) for ...)
    ask(requests, ChatOptions(model="gpt-4o"), "out/ledger.jsonl", on_reply=print)
"""

import argparse
import asyncio
import base64
import hashlib
import json
import mimetypes
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from urllib.parse import urlsplit

from depictqa.environment import check_key_log, check_outside, is_this_machine
from depictqa.errors import InputError
from depictqa.ledger import Ledger

OK, REFUSED, CUT, FAILED, UNASKED = "ok", "refused", "cut", "failed", "unasked"
OPENAI = "https://api.openai.com/v1"
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is not waited for
FAILURES_IN_A_ROW = 20  # so many items without one answer between them: the server is down, stop
MESSAGE_TOKENS = 16  # upper bound of what the chat format adds to a message

_FATAL = {401: "the key is not accepted", 403: "access is denied", 404: "no such model or address"}
_FILTERED = {"content_filter", "content_policy_violation", "moderation_blocked"}
_REPEATABLE = {408, 409, 425, 429}  # and every 5xx
_GATEWAY = {502, 504, 524}  # the server behind it may have answered


@dataclass(frozen=True)
class ChatOptions:
    """Where to ask, how, and how much."""

    model: str
    base_url: str = OPENAI
    api_key: str | None = None
    max_tokens: int = 512
    temperature: float | None = None  # None: the server's default
    concurrency: int = 8  # requests under way at a time
    retries: int = 5  # further tries of one request
    timeout: float = 120.0  # seconds for one try
    backoff: float = 1.0  # seconds before the first further try; doubles each time
    max_items: int | None = None  # requests to send in this run; those in the ledger are free
    max_cost: float | None = None  # dollars, over all runs of one ledger
    price_in: float = 0.0  # dollars per million prompt tokens
    price_out: float = 0.0  # dollars per million answer tokens
    image_tokens: int = 1600  # the most that one image counts for

    def cost(self, prompt_tokens: int, answer_tokens: int) -> float:
        """In dollars."""
        return (prompt_tokens * self.price_in + answer_tokens * self.price_out) / 1e6

    def bound(self, request: "Request") -> float:
        """The most that one try can cost, in dollars: a token is at least a byte of text."""
        tokens = 0
        for message in request.messages:
            tokens += MESSAGE_TOKENS
            content = message["content"]
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                tokens += len(part["text"].encode()) if part["type"] == "text" else self.image_tokens
        return self.cost(tokens, self.max_tokens)


@dataclass(frozen=True)
class Request:
    """One question. `key` names the item, `messages` are in OpenAI's form."""

    key: str | int
    messages: list[dict]


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        status: OK; REFUSED (by the model or a filter); CUT (at max_tokens); FAILED (no answer after all tries: ask
            again in a later run); UNASKED (the cost cap or max_items was reached).
        text: the answer, up to the cut if it was cut; None without one.
        reason: why there is no whole answer.
        cost: dollars, 0 where no prices were given.
    """

    key: str | int
    status: str
    text: str | None = None
    reason: str | None = None
    cost: float = 0.0


@dataclass(frozen=True)
class Totals:
    """How many replies of each status, and the dollars spent over all runs of the ledger."""

    counts: Counter
    spent: float


def user_message(*parts: str | dict) -> dict:
    """A user's message of texts and image parts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": parts[0] if parts and list(map(type, parts)) == [str] else content}


def system_message(text: str) -> dict:
    return {"role": "system", "content": text}


def image_part(path: str | Path, detail: str = "auto") -> dict:
    """An image file as a data URL. Raises InputError: the file is absent or has no known image suffix."""
    kind = mimetypes.guess_type(str(path))[0] or ""
    if not kind.startswith("image/"):
        raise InputError(f"{path}: expected an image file (.png, .jpg, ...)")
    try:
        data = base64.b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}", "detail": detail}}


def add_arguments(
    parser: argparse.ArgumentParser, *, max_tokens: int, temperature: float, model: str = "gpt-4o"
) -> None:
    """Add the flags that `options_from` reads; the defaults of the sampling are the caller's."""
    group = parser.add_argument_group("chat server")
    group.add_argument("--model", default=model)
    group.add_argument("--base_url", default=os.environ.get("OPENAI_BASE_URL", OPENAI), help="or OPENAI_BASE_URL")
    group.add_argument("--api_key", help="better in the environment, as OPENAI_API_KEY: arguments are public")
    group.add_argument("--max_tokens", type=int, default=max_tokens)
    group.add_argument("--temperature", type=float, default=temperature, help="negative: the server's default")
    group.add_argument("--concurrency", type=int, default=ChatOptions.concurrency, help="requests at a time")
    group.add_argument("--retries", type=int, default=ChatOptions.retries, help="further tries of one request")
    group.add_argument("--timeout", type=float, default=ChatOptions.timeout, help="seconds for one try")
    group.add_argument("--max_items", type=int, help="requests to send in this run")
    group.add_argument("--max_cost", type=float, help="dollars, over all runs; needs the prices")
    group.add_argument("--price_in", type=float, default=0.0, help="dollars per million prompt tokens")
    group.add_argument("--price_out", type=float, default=0.0, help="dollars per million answer tokens")
    group.add_argument(
        "--image_tokens", type=int, default=ChatOptions.image_tokens, help="the most one image counts for"
    )


def options_from(args: argparse.Namespace) -> ChatOptions:
    """The options of a command line.

    Raises:
        InputError: a variable of the environment cannot be used, a number is out of range, a cap has no prices, or
            there is no key for OpenAI's own server.
    """
    check_key_log() if is_this_machine(args.base_url) else check_outside()
    key = args.api_key or os.environ.get("OPENAI_API_KEY")
    if not key and urlsplit(args.base_url).hostname == urlsplit(OPENAI).hostname:
        raise InputError("no key: set OPENAI_API_KEY, or name another server by --base_url")
    for name, least in {"max_tokens": 1, "concurrency": 1, "retries": 0, "max_items": 0, "max_cost": 0}.items():
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise InputError(f"--{name}: expected at least {least}, found {value}")
    if not args.timeout > 0:
        raise InputError(f"--timeout: expected more than 0 seconds, found {args.timeout}")
    if args.max_cost is not None and not args.price_in > 0 < args.price_out:
        raise InputError("--max_cost: expected --price_in and --price_out, too (dollars per million tokens)")
    names = [name for name in ChatOptions.__dataclass_fields__ if name not in ("api_key", "temperature", "backoff")]
    temperature = None if args.temperature < 0 else args.temperature
    return ChatOptions(api_key=key, temperature=temperature, **{name: getattr(args, name) for name in names})


def ask(
    requests: Iterable[Request], options: ChatOptions, ledger_path: str | Path, on_reply: Callable[[Reply], None]
) -> Totals:
    """Resolve every request; block until all are.

    Arguments:
        requests: taken one by one as places get free, so that a generator may load images as it goes.
        ledger_path: jsonl; the answers in it are handed over without a call.
        on_reply: called once for each request, in the order of the replies.

    Raises:
        InputError: the server refuses the key, the model or the account, or it is down; whatever `requests` raises.
            The calls under way are waited for first.
    """
    with Ledger(ledger_path) as ledger:
        return asyncio.run(_Run(options, ledger, on_reply).all(requests))


class _Lost(Exception):
    """A try without an answer. `wait` is what the server asked for in seconds; `charged` if it may be on the bill."""

    def __init__(self, reason: str, *, repeat: bool, charged: bool, wait: float | None = None):
        super().__init__(reason)
        self.repeat, self.charged, self.wait = repeat, charged, wait


class _Run:
    def __init__(self, options: ChatOptions, ledger: Ledger, on_reply: Callable[[Reply], None]):
        self.options, self.ledger, self.on_reply = options, ledger, on_reply
        self.sent = 0  # requests, not tries
        self.failures = 0  # since the last answer
        self.pause_until = 0.0  # the server asked all of us to wait
        self.stopped: InputError | None = None
        self.limit_field = "max_tokens"
        self.counts: Counter = Counter()

    async def all(self, requests: Iterable[Request]) -> Totals:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # a second to import: only runs that ask pay for it

        self.settled = asyncio.Condition()
        queue = iter(requests)
        key = self.options.api_key or "none"  # servers of one's own want none, the client does
        http = DefaultAsyncHttpxClient(trust_env=not is_this_machine(self.options.base_url))  # no proxy to oneself
        async with AsyncOpenAI(
            base_url=self.options.base_url, api_key=key, max_retries=0, http_client=http
        ) as self.client:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.options.concurrency):
                    group.create_task(self.work(queue))
        if self.stopped:
            raise self.stopped
        return Totals(self.counts, self.ledger.spent)

    async def work(self, queue: Iterator[Request]) -> None:
        while not self.stopped:
            try:
                if not (request := next(queue, None)):
                    return
                if reply := await self.resolve(request):
                    self.counts[reply.status] += 1
                    self.on_reply(reply)
            except InputError as error:  # of the caller's: an image that cannot be read, a full disk
                self.stopped = error

    async def resolve(self, request: Request) -> Reply | None:
        """The reply to a request; None where the run is being stopped."""
        digest = self.digest(request)
        if known := self.ledger.answers.get(digest):
            return Reply(request.key, known["status"], known["text"], known["reason"], known["cost"])
        if self.options.max_items is not None and self.sent >= self.options.max_items:
            return Reply(request.key, UNASKED, reason=f"max_items ({self.options.max_items}) is reached")
        self.sent += 1
        for number in range(self.options.retries + 1):
            if self.stopped:
                return None
            if not await self.reserve(digest, request):
                return Reply(request.key, UNASKED, reason=f"max_cost ({self.options.max_cost} dollars) is reached")
            try:
                return await self.attempt(digest, request)
            except _Lost as lost:
                await self.lose(digest, request, lost)
                if not lost.repeat and self.stopped:
                    return None
                if not lost.repeat or number == self.options.retries:
                    return self.fail(request, lost)
                await self.wait(number, lost.wait)
        raise AssertionError("unreachable: the last try returns")

    def fail(self, request: Request, lost: _Lost) -> Reply:
        self.failures += 1
        if self.failures == FAILURES_IN_A_ROW:
            self.stopped = InputError(f"{self.options.base_url}: {self.failures} items in a row failed: {lost}")
        return Reply(request.key, FAILED, reason=str(lost))

    async def wait(self, number: int, asked: float | None) -> None:
        """Exponential backoff with jitter; where the server names a time, all requests wait for it."""
        now = asyncio.get_running_loop().time()
        if asked is not None:
            self.pause_until = max(self.pause_until, now + asked)
        await asyncio.sleep(min(60.0, self.options.backoff * 2**number) * random.uniform(0.5, 1.0))

    # money

    async def reserve(self, digest: str, request: Request) -> bool:
        """Put the most that a try can cost aside; wait for those under way where that decides. False: over the cap."""
        while (left := self.pause_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)
        amount, cap = self.options.bound(request), self.options.max_cost
        async with self.settled:
            while cap is not None and self.ledger.committed + amount > cap:
                if not self.ledger.under_way:
                    return False
                await self.settled.wait()
            self.ledger.send(digest, request.key, amount)
        return True

    async def lose(self, digest: str, request: Request, lost: _Lost) -> None:
        async with self.settled:
            self.ledger.lose(digest, request.key, self.options.bound(request) if lost.charged else 0.0, str(lost))
            self.settled.notify_all()

    # one try

    def digest(self, request: Request) -> str:
        """What the ledger knows a request by: the item, the question and how it is asked."""
        asked = [self.options.model, self.options.max_tokens, self.options.temperature, request.key, request.messages]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    async def attempt(self, digest: str, request: Request) -> Reply:
        body = {"model": self.options.model, "messages": request.messages, self.limit_field: self.options.max_tokens}
        if self.options.temperature is not None:
            body["temperature"] = self.options.temperature
        answer = await self.call(body)
        usage = answer.pop("usage")
        cost = self.options.cost(*usage) if usage else self.options.bound(request)
        async with self.settled:
            self.ledger.answer(digest, request.key, cost, **answer)
            self.settled.notify_all()
        self.failures = 0
        return Reply(request.key, cost=cost, **answer)

    async def call(self, body: dict) -> dict:
        """As `_read`. Raises _Lost without an answer; sets `stopped` where no request can succeed."""
        import openai

        try:
            async with asyncio.timeout(self.options.timeout):
                response = await self.client.chat.completions.with_raw_response.create(**body)
                return _read(response.text)
        except (TimeoutError, openai.APITimeoutError):
            raise _Lost(f"no answer within {self.options.timeout:g} s", repeat=True, charged=True) from None
        except openai.APIConnectionError as error:
            raise _Lost(f"connection: {error.__cause__ or error}", repeat=True, charged=True) from None
        except openai.APIStatusError as error:
            if error.code in _FILTERED:
                reason = f"content filter: {_first_line(error)}"
                return {"status": REFUSED, "text": None, "reason": reason, "usage": (0, 0)}
            raise self.explain(error, body) from None

    def explain(self, error, body: dict) -> _Lost:
        """What an HTTP error means for the request and for the run. Only a gateway's error may be on the bill."""
        status = error.status_code
        reason = f"HTTP {status}: {_first_line(error)}"
        if status in _FATAL or error.code == "insufficient_quota":
            what = _FATAL.get(status, "the account is used up")
            self.stopped = InputError(f"{self.options.base_url}, model {self.options.model}: {what} ({reason})")
            return _Lost(reason, repeat=False, charged=False)
        if status == 400 and "max_tokens" in body and "max_completion_tokens" in reason:
            self.limit_field = "max_completion_tokens"  # OpenAI's newer models want the newer name
            return _Lost(reason, repeat=True, charged=False, wait=0.0)
        wait = _retry_after(error.response.headers)
        if wait is not None and wait > LONGEST_WAIT:
            return _Lost(f"{reason} (asks to wait {wait:.0f} s)", repeat=False, charged=False)
        return _Lost(reason, repeat=status in _REPEATABLE or status >= 500, charged=status in _GATEWAY, wait=wait)


def _read(text: str) -> dict:
    """Status, text, reason and usage (prompt, answer tokens) of a response. Raises _Lost where it is none."""
    try:
        response = json.loads(text)
        choice = response["choices"][0]
        content, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        finish = choice.get("finish_reason")
        if content is not None and not isinstance(content, str):
            raise TypeError
        content = content and content.encode(errors="replace").decode()  # half a surrogate pair cannot be saved
        usage = response.get("usage")
        tokens = (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise _Lost(f"not a chat completion: {text[:80]!r}", repeat=True, charged=True) from None
    if refusal or finish == "content_filter":
        return {"status": REFUSED, "text": content, "reason": refusal or "content filter", "usage": tokens}
    if finish == "length":
        return {"status": CUT, "text": content, "reason": "cut at max_tokens", "usage": tokens}
    if not content:
        raise _Lost("the answer is empty", repeat=True, charged=True)
    return {"status": OK, "text": content, "reason": None, "usage": tokens}


def _first_line(error) -> str:
    message = error.body.get("message") if isinstance(error.body, dict) else error.message
    return (str(message).strip().splitlines() or ["no message"])[0][:200]


def _retry_after(headers) -> float | None:
    """Seconds the server asks to wait: a number or a date (RFC 9110, 10.2.3), or OpenAI's milliseconds."""
    name, unit = ("retry-after-ms", 1e-3) if "retry-after-ms" in headers else ("retry-after", 1.0)
    if (value := headers.get(name)) is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(value) * unit)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
