"""How a worker, or a controller below another, makes itself known: it registers again and again."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx

from depictqa.serve.protocol import WorkerInfo

log = logging.getLogger("depictqa.registration")


async def keep_registered(
    controller: str, infos: Callable[[], Sequence[WorkerInfo]], seconds: float, headers: dict[str, str]
) -> None:
    """Tell the controller every few seconds that we are here, until cancelled; then say goodbye.

    The controller may be down for a while, refuse us, or come back without memory of us.

    Args:
        infos: what to register now; what is no longer among it is taken back.
        headers: the secret, as `keys.bearer` gives it.
    """
    told: list[WorkerInfo] = []
    words = ""
    async with httpx.AsyncClient(timeout=5, trust_env=False, headers=headers) as client:
        try:
            while True:
                now = list(infos())
                try:
                    for info in now:
                        (await client.post(f"{controller}/workers", json=info.model_dump())).raise_for_status()
                    kept = {(info.name, info.url) for info in now}
                    await _take_back(client, controller, [info for info in told if (info.name, info.url) not in kept])
                    told, news = now, "registered with"
                except httpx.HTTPStatusError as error:
                    news = f"refused with HTTP {error.response.status_code} by"
                except httpx.HTTPError as error:
                    news = f"{type(error).__name__} from"
                if news != words:
                    log.info("%s the controller at %s", news, controller)
                words = news
                await asyncio.sleep(seconds)
        finally:
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(2):
                    await _take_back(client, controller, told)


async def _take_back(client: httpx.AsyncClient, controller: str, infos: Sequence[WorkerInfo]) -> None:
    for info in infos:
        await client.request("DELETE", f"{controller}/workers", json=info.model_dump())
