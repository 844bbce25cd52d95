"""Keys: who may ask a controller, who may be its worker. They come as `Authorization: Bearer KEY`."""

import hmac
from collections.abc import Callable
from pathlib import Path

from depictqa.errors import InputError
from depictqa.serve.protocol import Refused
from depictqa.serve.wire import error_response

LIVENESS = "/health"  # needs no key anywhere


def read_keys(path: str | None, key: str) -> tuple[str, ...]:
    """The keys of a file, one a line; empty where `key` of serve.yaml names no file (then none is asked for).

    Raises:
        InputError: the file cannot be read or holds no key.
    """
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{key}: {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys or not all(one.isascii() and one.isprintable() and " " not in one for one in keys):
        raise InputError(f"{key}: {path}: expected keys of letters, digits and signs, one a line")
    return keys


def bearer(keys: tuple[str, ...]) -> dict[str, str]:
    """The header that shows the first of some keys, if there is one."""
    return {"authorization": f"Bearer {keys[0]}"} if keys else {}


class RequireKey:
    """ASGI middleware: a request without a right key is refused before anything of it is read.

    Args:
        keys_of: path -> the keys it takes; none: it is open.
    """

    def __init__(self, app, keys_of: Callable[[str], tuple[str, ...]]):
        self.app, self.keys_of = app, keys_of

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == LIVENESS:
            return await self.app(scope, receive, send)
        keys = self.keys_of(scope["path"])
        shown = dict(scope["headers"]).get(b"authorization", b"")
        if keys and not any(
            [hmac.compare_digest(shown, f"Bearer {key}".encode()) for key in keys]
        ):  # a list: all compared
            refused = Refused(
                401, "invalid_key", "the key is missing or wrong; expected the header 'Authorization: Bearer KEY'"
            )
            return await error_response(refused)(scope, receive, send)
        await self.app(scope, receive, send)
