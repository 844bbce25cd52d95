"""A headless Chromium that looks at the page, and the page with a controller and Nano behind it."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from processes import GIVE_UP_SECONDS
from tests.serve.stack import ROOT, Stack, get, until

NAMES = ("chromium", "chromium-browser", "google-chrome")
NANO = ROOT / "experiments" / "Nano" / "config.yaml"


@contextmanager
def chromium():
    """A headless browser: of the PATH, or the one of `playwright install chromium`.

    Skips where there is none, or fails, if NEED_BROWSER is set.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if path is None:
            reason = "no Chromium on the PATH (apt-get install chromium)"
            pytest.fail(reason) if os.environ.get("NEED_BROWSER") else pytest.skip(reason)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def start_page(stack: Stack):
    """The page's process, once it answers."""
    path, _ = stack.config()
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["gradio"]["model_list_mode"] = "reload"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    process = stack.start(("-m", "depictqa.serve.web"), "--cfg", path)
    until(lambda: is_up(stack.page_url))
    return process


def start_nano(stack: Stack) -> None:
    path, url = stack.config(model_name="Nano")
    stack.start(("-m", "depictqa.serve.worker"), "--cfg", NANO, "--serve_cfg", path)
    until(lambda: url in [row["url"] for row in get(f"{stack.url}/status").get("workers", [])])


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=GIVE_UP_SECONDS, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


class Visitor:
    """Someone at the page. Playwright's own page is `page`; what the browser asked for is in `requests`."""

    def __init__(self, browser, url: str, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * GIVE_UP_SECONDS)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector(".dq-slot")
        self.page.wait_for_selector("#dq-model input")

    def give(self, slot: str, picture: Path) -> None:
        """Choose a file for a slot."""
        self.page.set_input_files(f'[data-slot="{slot}"] input', picture)

    def type(self, question: str) -> None:
        self.page.fill("#dq-question textarea", question)

    def choose_model(self, name: str) -> None:
        from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

        option = self.page.get_by_role("option", name=name, exact=True)
        for _ in range(200):  # the page may not have heard of it yet
            self.page.click("#dq-model input")
            try:
                return option.click(timeout=1500)
            except PlaywrightTimeoutError:
                self.page.keyboard.press("Escape")
        raise AssertionError(f"{name} is not in the list of models")

    def ask(self, question: str | None = None):
        """Press Ask; the new card."""
        if question is not None:
            self.type(question)
        before = self.page.locator(".dq-card").count()
        self.page.click("#dq-ask")
        self.page.wait_for_function(f"document.querySelectorAll('.dq-card').length > {before}")
        return self.page.locator(".dq-card").first

    def wait(self, card, state: str) -> None:
        from playwright.sync_api import expect

        expect(card).to_have_attribute("data-state", re.compile(state), timeout=1000 * GIVE_UP_SECONDS)

    def answer_of(self, card) -> str:
        self.wait(card, "done")
        return card.locator(".dq-answer").text_content()

    def problem_of(self, card) -> str:
        self.wait(card, "failed")
        return card.locator(".dq-problem").text_content()

    def watch(self) -> None:
        """Note every state of the newest card's text from now on, for `seen`."""
        self.page.evaluate(
            """() => {
                window.seen = [];
                const note = () => window.seen.push(document.querySelector(".dq-card .dq-answer")?.textContent ?? "");
                new MutationObserver(note).observe(document.querySelector("#dq-answers"), {subtree: true, childList: true});
            }"""
        )

    def seen(self) -> list[str]:
        return self.page.evaluate("window.seen")
