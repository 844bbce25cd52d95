"""Users' mistakes: one exception, and the one place that turns it into a line and an exit code.

Library code raises `InputError` with the file, the field and what was expected; entry points wrap their
`main` with `exit_cleanly`. Anything else that goes wrong is a bug and keeps its traceback.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

EXIT_CODE = 2  # what argparse exits with, too: one code for "your input is wrong"
EXTRAS = {  # module that is imported -> the extra of pyproject.toml that installs it
    "cv2": "data",
    "matplotlib": "data",
    "openai": "data",
    "skimage": "data",
    "fastapi": "serve",
    "gradio": "serve",
    "httpx": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "deepspeed": "train",
}


class InputError(Exception):
    """The user's input is wrong; the message is one clear line, ready to be shown."""


def exit_cleanly(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate an entry point: an `InputError` becomes `error: ...` on stderr and exit code 2."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            with _naming_extras():
                main(*args, **kwargs)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(EXIT_CODE)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return wrapped


@contextlib.contextmanager
def _naming_extras() -> Iterator[None]:
    """A package of an extra that is not installed is for the user to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").split(".")[0]
        if module not in EXTRAS:
            raise
        raise InputError(f"the package {module} is not installed; pip install 'depictqa[{EXTRAS[module]}]'") from None
