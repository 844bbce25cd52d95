"""Variables of the environment that a program depends on, and the import of PyTorch (no torch, no gradio in here).

Requests between our own parts ignore proxies. Requests to the outside (judge, responses, moderation) honour them; a
variable that cannot be used is one line with its name, before anything is asked.
"""

import gc
import importlib.util
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from depictqa.errors import InputError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SCHEMES = ("http", "https", "socks5", "socks5h")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE are not read by what we use
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
SPINS = "1000"  # about 50 us: longer than the gap between two small operations, shorter than a turn of the scheduler
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # what a user may have decided about waiting threads
GRADIO_KEPT = {"GRADIO_TEMP_DIR", "GRADIO_ROOT_PATH"}  # the rest is decided by serve.yaml


@contextmanager
def resting_collector() -> Iterator[None]:
    """Leave out Python's search for cycles while many objects are made that hold none, such as the values of a json file."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def importing_torch() -> Iterator[None]:
    """Around the first import of torch and transformers in a program that computes.

    PyTorch's threads (libgomp) wait for each other by spinning 300,000 times before they sleep. Beside another busy
    program they so burn the time that the thread they wait for would need; `SPINS` is enough on a quiet machine. libgomp
    reads the variable when it is loaded. The user's own choice stays.

    Imports make a great many objects that stay, which the garbage collector would look through again and again: it waits
    until the end, and leaves them out from then on. That is a fifth of the time of these imports.

    Where torch is loaded already, nothing is changed: the process is somebody else's.
    """
    if "torch" in sys.modules:
        yield
        return
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        with resting_collector():
            yield
    finally:
        gc.freeze()


def check_outside() -> None:
    """What requests to other machines read. Raises InputError, naming the variable."""
    for name in _either_case(PROXIES):
        _check_proxy(name, os.environ[name])
    for name in _either_case(("NO_PROXY",)):
        _check_exceptions(name, os.environ[name])
    _check_certificates()
    check_key_log()


def is_this_machine(url: str) -> bool:
    """Whether a URL leads to this machine, by its name: then no proxy stands between."""
    return urlsplit(url).hostname in THIS_MACHINE


def check_key_log() -> None:
    """SSLKEYLOGFILE, which every HTTP client of Python opens. Raises InputError."""
    if path := os.environ.get("SSLKEYLOGFILE"):
        try:
            open(path, "ab").close()
        except OSError as error:
            raise InputError(f"SSLKEYLOGFILE={path}: cannot be written ({error.strerror}); unset it") from None


def check_temporary_folder() -> None:
    """Large requests wait on the disk. Raises InputError: there is no folder for them."""
    try:
        tempfile.gettempdir()
    except OSError:
        raise InputError("TMPDIR: no temporary folder can be written to; set TMPDIR to one that can") from None


def prepare_page(host: str, *, asks_outside: bool) -> None:
    """Make the environment fit for Gradio; call it before Gradio is imported.

    Gradio asks its own address through proxies, reads certificates for it, and takes settings from GRADIO_* variables.

    Args:
        host: where the page listens.
        asks_outside: the page moderates or is shared; otherwise it needs neither proxies nor certificates.

    Raises:
        InputError: a variable cannot be used.
    """
    check_temporary_folder()
    if asks_outside:
        check_outside()
    else:
        check_key_log()
        for name in _either_case((*PROXIES, "NO_PROXY", *CERTIFICATES)):
            del os.environ[name]
    exceptions = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if exceptions.strip() != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(
            filter(None, (exceptions, *dict.fromkeys((*THIS_MACHINE, host))))
        )
    for name in [name for name in os.environ if name.startswith("GRADIO_") and name not in GRADIO_KEPT]:
        del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # else it keeps 10,000 events, and makes a pandas table of them after each one
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    }
    _check_gradio_folder()


def _either_case(names: tuple[str, ...]) -> list[str]:
    """The variables that are set, as they are spelled: proxies are read in capitals and in small letters."""
    return [name for one in names for name in (one, one.lower()) if os.environ.get(name)]


def _check_proxy(name: str, value: str) -> None:
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        usable = url.scheme in SCHEMES and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable or any(one.isspace() for one in value):
        forms = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(f"{name}: not the address of a proxy; expected {forms} with host:port, or unset it")
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise InputError(
            f"{name}: a {url.scheme}:// proxy needs the package socksio (pip install socksio); or unset it"
        )


def _check_exceptions(name: str, value: str) -> None:
    import httpx

    try:
        httpx.Client(verify=False).close()  # reads proxies and exceptions, no certificates
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"{name}={value}: cannot be used ({error}); expected host names with commas between") from None


def _check_certificates() -> None:
    file, folder = (os.environ.get(name) for name in CERTIFICATES)
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or error
            raise InputError(f"SSL_CERT_FILE={file}: no certificates can be read ({reason}); unset it") from None
    if folder and not Path(folder).is_dir():
        raise InputError(f"SSL_CERT_DIR={folder}: no such folder; unset it or name a folder of certificates")


def _check_gradio_folder() -> None:
    name = "GRADIO_TEMP_DIR"
    folder = Path(os.environ.get(name) or Path(tempfile.gettempdir()) / "gradio")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{name}: {folder} cannot be written to ({error.strerror}); name a folder that can") from None
