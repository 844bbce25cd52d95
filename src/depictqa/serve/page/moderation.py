"""The moderation hook (`gradio.moderate`, off by default): may this question be asked?

It asks `POST {OPENAI_BASE_URL}/moderations`, OpenAI's or any server of that form. Questions leave this machine by it;
pictures do not.
"""

import os
from urllib.parse import urlsplit

import httpx

from depictqa.chat_api import OPENAI
from depictqa.environment import is_this_machine
from depictqa.errors import InputError
from depictqa.serve.protocol import Refused

TIMEOUT_SECONDS = 10


class Moderation:
    """A question is refused where the server flags it, and also where the server does not answer.

    Args:
        base_url: up to `/moderations`.
        api_key: may be empty for a server of one's own.
    """

    def __init__(self, base_url: str, api_key: str | None):
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._url = f"{base_url.rstrip('/')}/moderations"
        self._http = httpx.AsyncClient(
            headers=headers, timeout=TIMEOUT_SECONDS, trust_env=not is_this_machine(base_url)
        )

    @classmethod
    def from_environment(cls) -> "Moderation":
        """By OPENAI_BASE_URL and OPENAI_API_KEY. Raises InputError where OpenAI would be asked without a key."""
        base_url, api_key = os.environ.get("OPENAI_BASE_URL") or OPENAI, os.environ.get("OPENAI_API_KEY")
        if not api_key and urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
            raise InputError("gradio.moderate: no key: set OPENAI_API_KEY, or OPENAI_BASE_URL to a server of your own")
        return cls(base_url, api_key)

    async def check(self, question: str) -> None:
        """Raises Refused."""
        try:
            response = await self._http.post(self._url, json={"input": question})
            response.raise_for_status()
            is_flagged = any(result["flagged"] for result in response.json()["results"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            raise Refused(503, "no_moderation", "questions cannot be checked now; please try again later") from None
        if is_flagged:
            raise Refused(400, "moderated", "moderation refused this question; please rephrase it")
