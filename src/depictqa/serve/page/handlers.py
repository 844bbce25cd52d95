"""What happens when people press buttons: an answer is streamed, a vote is written down."""

import asyncio
import hashlib
import json
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import gradio

from depictqa.errors import InputError
from depictqa.files import append
from depictqa.serve.page.client import Client, HeldPictures
from depictqa.serve.page.moderation import Moderation
from depictqa.serve.protocol import PICTURES, Ask, Chunk, Refused, check_pictures, make_ask, task_of

VOTES = ("up", "down", "flag")
REMEMBERED = 2000  # answers that can still be voted on
MAX_VOTES = 10  # on one answer, changes of mind included
WAITING_PER_SLOT = 10
log = logging.getLogger("depictqa.web")


class Votes:
    """Votes on answers, one JSON object a line, in `{log_dir}/votes-{day}.jsonl`. A later vote on an answer replaces one."""

    def __init__(self, log_dir: str):
        self._folder, self._lock = Path(log_dir), threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, vote: str, about: dict) -> None:
        """Raises InputError: the file cannot be written to; it is as it was."""
        now = datetime.now(UTC)
        line = json.dumps({"time": now.isoformat(timespec="seconds"), "vote": vote, **about}, ensure_ascii=False)
        with self._lock:
            append(self._folder / f"votes-{now:%Y-%m-%d}.jsonl", line + "\n")


class Handlers:
    """The server's side of the page.

    Args:
        client: asks the controller.
        pictures: where the page's scripts put the pictures before they ask.
        votes: where votes go.
        slots: questions in flight at a time; others wait for a turn, WAITING_PER_SLOT for each.
        moderation: asked before a question is; None: every question is asked.
    """

    def __init__(
        self, client: Client, pictures: HeldPictures, votes: Votes, slots: int, moderation: Moderation | None = None
    ):
        self.client, self.pictures, self.votes, self.moderation = client, pictures, votes, moderation
        self.running = 0  # questions in flight or waiting
        self.stopping = False
        self._slots, self._turns = slots, asyncio.Semaphore(slots)
        self._answers: OrderedDict[str, dict] = OrderedDict()  # id -> what a vote on it says; oldest first

    async def answer(self, asked: dict, question, model, temperature, top_p, max_tokens) -> AsyncGenerator[dict, None]:
        """The states of a card of the page: `key` as asked, `state` (writing, done, failed), and what there is so far.

        Args:
            asked: `key`, the card's name in the browser, and ids of `pictures` as ref, a, b.
        """
        card = {"key": str(asked.get("key"))[:40] if isinstance(asked, dict) else "", "state": "writing", "note": ""}
        self.running += 1
        try:
            ask, pictures = self._read(asked, question, model, temperature, top_p, max_tokens)
            card |= {"task": task_of(pictures).name, "model": ask.model}
            yield card | ({"note": "waiting for a turn"} if self._turns.locked() else {})
            async with self._turns:
                if self.moderation is not None:
                    await self.moderation.check(ask.question)
                card["id"] = secrets.token_urlsafe(12)
                about = self._remember(card, ask.model_dump(exclude={"stream"}), pictures)
                chunk = Chunk()
                async with aclosing(self.client.ask(ask, pictures)) as chunks:
                    async for chunk in chunks:
                        about |= {"answer": chunk.text, "answer_confidence": chunk.confidence}
                        yield card | {"text": chunk.text}
            words = words_of(chunk.text, chunk.tokens or [])
            last = {"text": chunk.text, "confidence": chunk.confidence, "words": words}
            yield card | {"state": "done", "finish_reason": chunk.finish_reason, **last}
        except Refused as error:
            log.info("%s: %s", error.code, error.message)
            yield card | {"state": "failed", "code": error.code, "message": _sentence(error.message)}
        finally:
            self.running -= 1

    def vote(self, event: gradio.EventData) -> dict:
        """Write a vote (`id` of an answer, `vote`) down; what the card then shows."""
        name, vote = event._data.get("id"), event._data.get("vote")
        about = self._answers.get(name) if isinstance(name, str) else None
        if vote not in VOTES or about is None:
            raise gradio.Error("That answer is too old to vote on.", print_exception=False)
        about["votes"] = about.get("votes", 0) + 1
        if about["votes"] > MAX_VOTES:
            raise gradio.Error("This answer has had too many votes.", print_exception=False)
        try:
            self.votes.write(vote, about)
        except InputError as error:
            log.error("a vote is lost: %s", error)
            raise gradio.Error("Votes cannot be saved at the moment.", print_exception=False) from None
        return {"id": name, "vote": vote}

    async def health(self) -> tuple[list[str], str]:
        """Names of the models that are up, and what is wrong in a line (or nothing)."""
        try:
            models = await self.client.models()
        except Refused as error:
            return [], _sentence(error.message)
        return models, "" if models else "No model is up yet; start one with launch_worker.sh"

    def _read(self, asked, question, model, temperature, top_p, max_tokens) -> tuple[Ask, dict[str, bytes]]:
        """What the page asks, checked. Raises Refused."""
        if self.stopping:
            raise Refused(503, "stopping", "this page is being stopped")
        if self.running > self._slots * (1 + WAITING_PER_SLOT):
            raise Refused(429, "busy", "too many questions are waiting already; try again in a moment")
        pictures = self._pictures_of(asked)
        if not str(question or "").strip():
            raise Refused(400, "no_question", "please type a question")
        check_pictures(pictures)
        fields = {"question": question, "model": model or None, "stream": True}
        return make_ask(fields | {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}), pictures

    def _pictures_of(self, asked: dict) -> dict[str, bytes]:
        if not isinstance(asked, dict):
            raise Refused(400, "invalid_field", "expected a card's name and ids of pictures")
        ids = {name: str(asked[name]) for name in PICTURES if asked.get(name)}
        found = {name: data for name, id in ids.items() if (data := self.pictures.get(id)) is not None}
        if len(found) < len(ids):
            raise Refused(410, "forgotten", "a picture is no longer held by the page's server; please ask again")
        return found

    def _remember(self, card: dict, fields: dict, pictures: dict[str, bytes]) -> dict:
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()}
        about = {"id": card["id"], "task": card["task"], "pictures": hashes, **fields}
        self._answers[card["id"]] = about
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return about


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]


def words_of(text: str, tokens: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The words of an answer with their probabilities: the product of a word's tokens. Their texts join to `text`.

    Tokens that leave no trace in the text (the end token) have no part in it.
    """
    words: list[tuple[str, float]] = []
    at = lost = 0  # lost: tokens since the last one found; bytes of one character, e.g., are none alone
    for token, prob in tokens:
        piece = token.strip()
        start = text.find(piece, at) if piece else -1
        if start < 0 or len(text[at:start].strip()) > lost:
            lost += 1
            continue
        end = start + len(piece)
        if words and not text[at:end][0].isspace():
            words[-1] = (words[-1][0] + text[at:end], words[-1][1] * prob)
        else:
            words.append((text[at:end], prob))
        at, lost = end, 0
    if words:
        words[-1] = (words[-1][0] + text[at:], words[-1][1])
    return words
