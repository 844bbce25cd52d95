"""The page's side of the controller's HTTP API, and the pictures that wait to be asked about."""

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator

import httpx

from depictqa.serve.protocol import Ask, Chunk, Refused, form_of

HELD_BYTES, HELD_SECONDS = 500_000_000, 3600


class Client:
    """Asks the controller at `url`, with `headers` that show a key. Every failure is a `Refused` with a line for people."""

    def __init__(self, url: str, headers: dict[str, str] | None = None):
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(30, connect=5), trust_env=False, headers=headers)

    async def models(self) -> list[str]:
        """Names of the models that are up. Raises Refused where the controller is not."""
        try:
            response = await self._http.get(f"{self.url}/v1/models")
            _raise_refusal(response)
            return [row["id"] for row in response.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            raise _controller_is_down() from None

    async def ask(self, ask: Ask, pictures: dict[str, bytes]) -> AsyncGenerator[Chunk, None]:
        """The chunks of an answer; the last one is `done`. Closing it ends the answer in the model, too."""
        try:
            async with self._http.stream("POST", f"{self.url}/v1/assess", **form_of(ask, pictures)) as response:
                if response.status_code != 200:
                    await response.aread()
                    _raise_refusal(response)
                async for line in response.aiter_lines():
                    chunk = Chunk.model_validate_json(line)
                    if chunk.error is not None:
                        raise Refused(503, chunk.error.code, chunk.error.message)
                    yield chunk
                    if chunk.done:
                        return
            raise httpx.RemoteProtocolError("the answer has no end")
        except httpx.ConnectError:
            raise _controller_is_down() from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Refused(
                502, "cut_off", f"the answer was cut off ({type(error).__name__}); please ask again"
            ) from None


def _controller_is_down() -> Refused:
    return Refused(503, "no_controller", "the controller is not up; start it with launch_controller.sh")


def _raise_refusal(response: httpx.Response) -> None:
    if response.status_code == 401:
        raise Refused(503, "no_key", "the controller asks for a key; gradio.key_file of serve.yaml names its file")
    if response.status_code != 200:
        error = response.json()["error"]
        raise Refused(response.status_code, error["code"], error["message"])


class HeldPictures:
    """Pictures between their upload and their question, in memory: nothing is written, nothing is ever given back.

    Args:
        max_bytes: of all of them; beyond it, the oldest are forgotten.
        max_seconds: how long one is held.
    """

    def __init__(self, max_bytes: int = HELD_BYTES, max_seconds: float = HELD_SECONDS):
        self.max_bytes, self.max_seconds = max_bytes, max_seconds
        self.bytes = 0
        self._held: OrderedDict[str, tuple[float, bytes]] = (
            OrderedDict()
        )  # id -> (when it came, the file), oldest first

    def put(self, data: bytes) -> str:
        """Hold a picture; its id, which nobody can guess."""
        name = secrets.token_urlsafe(16)
        self._held[name] = (time.monotonic(), data)
        self.bytes += len(data)
        self._forget()
        return name

    def get(self, name: str) -> bytes | None:
        self._forget()
        return self._held[name][1] if name in self._held else None

    def _forget(self) -> None:
        oldest = time.monotonic() - self.max_seconds
        while self._held:
            name, (came, data) = next(iter(self._held.items()))
            if self.bytes <= self.max_bytes and came >= oldest:
                return
            del self._held[name]
            self.bytes -= len(data)
