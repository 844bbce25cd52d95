"""The page as a process in environments that stop Gradio."""

import signal

import httpx
import pytest

from processes import GIVE_UP_SECONDS
from tests.serve.stack import Stack, until

pytestmark = pytest.mark.slow


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=GIVE_UP_SECONDS).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_page_starts_and_ends_whatever_the_environment_says(tmp_path, monkeypatch):
    variables = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "SSL_CERT_FILE": "/nowhere"}
    for name, value in (variables | {"GRADIO_DEBUG": "true", "GRADIO_NUM_WORKERS": "many"}).items():
        monkeypatch.setenv(name, value)
    stack = Stack(tmp_path)
    try:
        page = stack.start(("-m", "depictqa.serve.web"), "--cfg", stack.config()[0])
        until(lambda: page.poll() is not None or answers(stack.page_url))
        for _ in range(20):  # as someone does who is impatient
            page.send_signal(signal.SIGTERM)
        assert page.wait(60) == 0
    finally:
        stack.close()
