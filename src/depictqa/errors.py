"""Users' mistakes: one exception, and the one place that turns it into a line and an exit code.

Library code raises `InputError` with the file, the field and what was expected; entry points wrap their
`main` with `exit_cleanly`. Anything else that goes wrong is a bug and keeps its traceback.
"""

import functools
import sys
from collections.abc import Callable

EXIT_CODE = 2  # what argparse exits with, too: one code for "your input is wrong"


class InputError(Exception):
    """The user's input is wrong; the message is one clear line, ready to be shown."""


def exit_cleanly(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate an entry point: an `InputError` becomes `error: ...` on stderr and exit code 2."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(EXIT_CODE)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return wrapped
