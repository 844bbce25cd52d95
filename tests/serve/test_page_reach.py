"""What anybody on the network can get out of the page's server: the real Gradio, asked in unfriendly ways."""

import json
import socket
import sys
from pathlib import Path

import httpx
import pytest

from processes import GIVE_UP_SECONDS
from tests.serve.browser import start_page
from tests.serve.stack import ROOT, Stack

pytestmark = pytest.mark.slow
SECRET = "a line that nobody outside may read"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The page alone; no controller is needed to try its doors."""
    stack = Stack(tmp_path_factory.mktemp("reach"))
    (stack.folder / "secret.txt").write_text(SECRET)
    try:
        start_page(stack)
        yield stack
    finally:
        stack.close()


def paths(stack) -> list[str]:
    files = [
        stack.folder / "secret.txt",
        Path("/etc/passwd"),
        ROOT / "README.md",
        Path(sys.executable),
        Path("secret.txt"),
    ]
    prefixes = ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api//file=", "//gradio_api/file=")
    traversals = [
        f"/{folder}/{up * 8}etc/passwd"
        for folder in ("static", "assets", "examples", "svelte", "gradio_api/custom_component/x/client/component")
        for up in ("../", "..%2f", "%2e%2e/", "%252e%252e/")
    ]
    return [prefix + str(file) for prefix in prefixes for file in files] + traversals


def test_no_file_of_the_server_is_served(stack):
    with httpx.Client(base_url=stack.page_url, trust_env=False, timeout=GIVE_UP_SECONDS) as client:
        for path in paths(stack):
            response = client.get(httpx.URL(stack.page_url).copy_with(raw_path=path.encode()))
            assert response.status_code in (400, 404), path
            assert SECRET not in response.text and "root:" not in response.text, path


def join(stack, data: list, function: int = 0, session: str = "s") -> httpx.Response:
    body = {"data": data, "fn_index": function, "session_hash": session, "trigger_id": None, "event_data": None}
    return httpx.post(f"{stack.page_url}/gradio_api/queue/join", json=body, trust_env=False, timeout=GIVE_UP_SECONDS)


def test_no_path_and_no_url_in_a_question_is_opened(stack):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        for place in (url, "/etc/passwd", f"file://{stack.folder}/secret.txt"):
            for picture in ({"path": place, "meta": {"_type": "gradio.FileData"}}, {"path": place, "url": place}):
                assert join(stack, [picture, "What?", None, 0, 0.9, 24]).status_code == 400
                assert join(stack, [{"a": picture}, "What?", None, 0, 0.9, 24]).status_code == 400
        httpx.get(f"{stack.page_url}/gradio_api/file={url}", trust_env=False, timeout=GIVE_UP_SECONDS)
        httpx.get(f"{stack.page_url}/gradio_api/proxy={url}", trust_env=False, timeout=GIVE_UP_SECONDS)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody is in its queue
            listener.accept()


def test_strange_events_do_not_break_the_page(stack):
    config = httpx.get(f"{stack.page_url}/config", trust_env=False, timeout=GIVE_UP_SECONDS).json()
    functions = range(-1, len(config["dependencies"]) + 2)
    for function in functions:
        for data in ([], [None] * 6, [{"a": "x"}] * 6, ["\0"] * 6, [1e308] * 6, [[]] * 6):
            assert join(stack, data, function, f"s{function}").status_code < 600
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert httpx.request(
            method, f"{stack.page_url}/config", trust_env=False, timeout=GIVE_UP_SECONDS
        ).status_code in (400, 404, 405)
    response = httpx.get(stack.page_url, trust_env=False, timeout=GIVE_UP_SECONDS)
    assert response.status_code == 200 and "DepictQA" in response.text


def test_nothing_private_is_in_what_the_browser_is_told(stack):
    told = json.dumps(httpx.get(f"{stack.page_url}/config", trust_env=False, timeout=GIVE_UP_SECONDS).json())
    for private in (str(stack.folder), str(ROOT), stack.url):
        assert private not in told
