"""The page in a real browser, in front of a real controller with Nano, and with a slowed tiny model where time matters."""

import json
import signal

import pytest

from conftest import image_path
from processes import GIVE_UP_SECONDS
from tests.serve.browser import Visitor, chromium, start_nano, start_page
from tests.serve.stack import PICTURE, QUESTION, Stack, get, until

pytestmark = pytest.mark.slow

A, B = image_path("s10_84x84.png"), image_path("s06_33x47.png")
NAME = "What is the main distortion in this image? Answer the question using a single word or phrase."


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def stack(browser, tmp_path_factory):
    """A controller with Nano, and the page."""
    stack = Stack(tmp_path_factory.mktemp("page"))
    try:
        stack.start_controller()
        start_nano(stack)
        start_page(stack)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def visit(browser, stack):
    """`visit(**context)` opens the page as someone new. No script of the page may have failed in the end."""
    visitors = []

    def open_page(url=stack.page_url, **context):
        visitors.append(Visitor(browser, url, **context))
        return visitors[-1]

    yield open_page
    errors = [error for visitor in visitors for error in visitor.errors]
    for visitor in visitors:
        visitor.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def slow_worker(stack):
    """The worker of a second model, Slow, that takes its time: (process, url)."""
    return stack.start_worker(slow=True, model_name="Slow", limit_model_concurrency=1, limit_waiting=1)


@pytest.fixture
def slow_url(slow_worker):
    return slow_worker[1]


def test_upload_ask_and_a_streamed_answer(visit, stack):
    visitor = visit()
    visitor.give("a", A)
    slot = visitor.page.locator('[data-slot="a"]')
    slot.get_by_text("s10_84x84.png · 84 × 84").wait_for()
    assert visitor.page.text_content(".dq-task") == "Assess Image A."
    visitor.page.locator(".dq-chips button").nth(1).click()  # to describe it
    visitor.watch()
    card = visitor.ask()
    answer = visitor.answer_of(card)
    question = card.locator("header b").text_content()
    expected = stack.post(question, a=A.read_bytes(), model="Nano", temperature=0, max_tokens=400).json()
    assert answer == expected["text"]
    seen = [text for text in visitor.seen() if text]
    assert len(set(seen)) > 5 and all(later.startswith(first) for first, later in zip(seen, seen[1:], strict=False))
    meter = card.get_by_role("meter")
    assert int(meter.get_attribute("aria-valuenow")) == round(100 * expected["confidence"])
    card.get_by_text("Word by word").click()
    shades = card.locator(".dq-word")
    assert shades.count() == len(answer.split()) and card.locator(".dq-answer").text_content() == answer
    assert all(
        0 <= int(title.removesuffix(" %")) <= 100 for title in shades.evaluate_all("all => all.map(e => e.title)")
    )
    hosts = {url.split("/")[2] for url in visitor.requests if url.startswith("http")}
    assert hosts == {stack.page_url.split("/")[2]}  # nothing is loaded from elsewhere


def test_a_cut_answer_is_marked(visit):
    visitor = visit()
    visitor.give("a", A)
    visitor.page.locator(".dq-chips button").nth(1).click()  # to describe it
    card = visitor.ask()
    visitor.answer_of(card)
    assert not card.locator(".dq-cut").is_visible()
    visitor.page.get_by_text("Settings").click()
    visitor.page.get_by_label("Longest answer, tokens").first.fill("16")
    card = visitor.ask()
    visitor.answer_of(card)
    assert "Cut here" in card.locator(".dq-cut").inner_text()


def test_the_task_follows_from_the_pictures(visit):
    visitor = visit()
    line = visitor.page.locator(".dq-task")
    for given, words, task in (
        ("b", "Assess Image B.", "quality_single_B_noref"),
        ("ref", "Assess Image B, against the reference.", "quality_single_B"),
        ("a", "Compare A and B, against the reference.", "quality_compare"),
    ):
        visitor.give(given, A)
        assert (line.text_content(), line.get_attribute("data-task")) == (words, task)
        asks_to_compare = "A or Image B" in visitor.page.locator(".dq-chips button").first.text_content()
        assert asks_to_compare == ("compare" in task)
    for taken, task in (
        ("Reference Image", "quality_compare_noref"),
        ("Image B", "quality_single_A_noref"),
        ("Image A", ""),
    ):
        visitor.page.get_by_label(f"Remove {taken}").click()
        assert line.get_attribute("data-task") == task


def test_an_example_is_one_click_and_an_answer(visit):
    visitor = visit()
    visitor.page.locator(".dq-example").nth(3).click()
    visitor.page.locator('[data-slot="b"] img').wait_for()
    assert visitor.page.input_value("#dq-question textarea").startswith("Which image has the better quality")
    visitor.page.locator("#dq-question textarea").press("Shift+Enter")
    card = visitor.page.locator(".dq-card").first
    assert visitor.answer_of(card) in ("Image A", "Image B")
    assert "quality_compare_noref" in card.locator("small").text_content()
    assert card.locator(".dq-truth").text_content() == "In truth: both are compressed, A more"
    visitor.give("a", A)
    assert visitor.ask().locator(".dq-truth").text_content() == ""  # an example no more


def test_pictures_are_pasted_and_dropped(visit):
    visitor = visit()
    hand_over = """async ([kind, target, type]) => {
        const blob = await (await fetch("examples/coffee-compression_jpeg1.webp")).blob();
        const data = new DataTransfer();
        for (const name of ["one.png", "two.png"]) data.items.add(new File([blob], name, {type}));
        const Event = kind === "paste" ? ClipboardEvent : DragEvent;
        const options = {bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data};
        document.querySelector(target).dispatchEvent(new Event(kind, options));
    }"""
    visitor.page.evaluate(hand_over, ["paste", "body", "image/webp"])
    visitor.page.get_by_text("one.png · 320 × 320").wait_for()
    assert visitor.page.locator(".dq-task").get_attribute("data-task") == "quality_compare_noref"
    visitor.page.get_by_label("Remove Image A").click()
    assert visitor.page.locator(".dq-task").get_attribute("data-task") == "quality_single_B_noref"
    visitor.page.evaluate(hand_over, ["drop", '[data-slot="ref"]', "image/webp"])
    assert visitor.page.locator(".dq-task").get_attribute("data-task") == "quality_compare"
    visitor.page.evaluate(hand_over, ["drop", '[data-slot="a"]', "text/plain"])
    assert visitor.page.locator('[data-slot="a"] .dq-problem').text_content() == "two.png is not a picture"


def test_a_file_that_will_not_do_is_told_at_once(visit, tmp_path):
    visitor = visit()
    for name, data, words in (
        ("big.png", b"x" * 20_000_001, "big.png is too large: 20.0 MB, at most 20 MB"),
        ("empty.png", b"", "empty.png is empty"),
        ("notes.txt", b"x", "notes.txt is not a picture"),
    ):
        (tmp_path / name).write_bytes(data)
        visitor.give("a", tmp_path / name)
        assert visitor.page.locator('[data-slot="a"] .dq-problem').text_content() == words
        assert visitor.page.text_content(".dq-task").startswith("Give picture A")


def test_what_the_model_cannot_read_is_told_in_the_answer(visit, tmp_path):
    visitor = visit()
    (tmp_path / "broken.png").write_bytes(PICTURE[: len(PICTURE) // 2])
    visitor.give("a", tmp_path / "broken.png")
    assert "Image A: not a readable image" in visitor.problem_of(visitor.ask(QUESTION))
    visitor.page.get_by_label("Remove Image A").click()
    assert "found none" in visitor.problem_of(visitor.ask(QUESTION))
    visitor.give("a", A)
    assert visitor.problem_of(visitor.ask("  ")) == "Please type a question"
    assert visitor.answer_of(visitor.ask(NAME))


def test_stop_ends_the_answer_in_the_model_too(visit, slow_url):
    visitor = visit()
    visitor.choose_model("Slow")
    visitor.give("a", A)
    card = visitor.ask(QUESTION)
    visitor.page.wait_for_function("document.querySelector('.dq-card .dq-answer').textContent.length > 3")
    visitor.page.click("#dq-stop")
    visitor.wait(card, "stopped")
    until(lambda: get(f"{slow_url}/status")["running"] == 0)
    text = card.locator(".dq-answer").text_content()
    visitor.page.wait_for_timeout(500)
    assert card.locator(".dq-answer").text_content() == text
    assert card.locator("[data-do=up]").is_visible()  # what there is may be voted on
    visitor.choose_model("Nano")
    assert visitor.answer_of(visitor.ask(NAME))


def test_closing_the_tab_ends_the_answer_too(visit, slow_url):
    visitor = visit()
    visitor.choose_model("Slow")
    visitor.give("a", A)
    visitor.ask(QUESTION)
    until(lambda: get(f"{slow_url}/status")["running"] == 1)
    visitor.context.close()
    until(lambda: get(f"{slow_url}/status")["running"] == 0)


def test_a_busy_worker_is_told(visit, stack, slow_url):
    visitor = visit()
    visitor.choose_model("Slow")
    visitor.give("a", A)
    with stack.stream(a=PICTURE, model="Slow") as first, stack.stream(a=PICTURE, model="Slow") as second:
        until(lambda: get(f"{slow_url}/status")["waiting"] == 1)
        assert "waiting already; try again" in visitor.problem_of(visitor.ask(QUESTION))
        first.close()
        second.close()


def test_votes_are_written_down(visit, stack):
    visitor = visit()
    visitor.give("a", A)
    card = visitor.ask(NAME)
    answer = visitor.answer_of(card)
    for vote in ("down", "flag"):
        card.locator(f"[data-do={vote}]").click()
        card.locator(f"[data-do={vote}].dq-chosen").wait_for()
    (log,) = (stack.folder / "log").glob("votes-*.jsonl")
    down, flag = [row for row in map(json.loads, log.read_text().splitlines()) if row["question"] == NAME][-2:]
    assert (down["vote"], flag["vote"], down["answer"], down["id"]) == ("down", "flag", answer, flag["id"])
    assert down["model"] == "Nano" and len(down["pictures"]["a"]) == 64 and "ref" not in down["pictures"]
    assert 0 <= down["answer_confidence"] <= 1


def test_history_again_and_use_again(visit):
    visitor = visit()
    visitor.give("a", A)
    first = visitor.answer_of(visitor.ask(NAME))
    visitor.page.click("#dq-clear")
    visitor.page.wait_for_function("document.querySelector('#dq-question textarea').value === ''")
    assert visitor.page.locator(".dq-slot.dq-full").count() == 0
    visitor.give("a", B)
    visitor.answer_of(visitor.ask("What has gone wrong with the quality of this photo?"))
    oldest = visitor.page.locator(".dq-card").last
    oldest.locator("[data-do=again]").click()
    visitor.page.wait_for_function("document.querySelectorAll('.dq-card').length === 3")
    newest = visitor.page.locator(".dq-card").first
    assert visitor.answer_of(newest) == first  # at temperature 0
    assert visitor.page.get_by_text("s06_33x47.png").is_visible()  # the form is as it was
    oldest.locator("[data-do=restore]").click()
    visitor.page.get_by_text("s10_84x84.png · 84 × 84").wait_for()
    visitor.page.wait_for_function(f"document.querySelector('#dq-question textarea').value === {NAME!r}")
    visitor.page.click(".dq-forget")
    assert visitor.page.locator(".dq-card").count() == 0


def test_one_answer_at_a_time(visit, slow_url):
    visitor = visit()
    visitor.give("a", A)
    visitor.choose_model("Nano")
    visitor.answer_of(visitor.ask(NAME))
    visitor.choose_model("Slow")
    card = visitor.ask(QUESTION)
    visitor.page.click("#dq-ask")
    visitor.page.locator(".dq-card").last.locator("[data-do=again]").dispatch_event("click")
    visitor.page.wait_for_timeout(500)
    assert visitor.page.locator(".dq-card").count() == 2
    visitor.page.click("#dq-stop")
    visitor.wait(card, "stopped")


def test_what_cannot_be_sent_is_told(visit):
    visitor = visit()
    visitor.give("a", A)
    visitor.page.route("**/pictures", lambda route: route.abort())
    assert "could not be sent" in visitor.problem_of(visitor.ask(QUESTION))
    visitor.page.unroute("**/pictures")
    visitor.page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
    assert "server does not answer" in visitor.problem_of(visitor.ask(QUESTION))
    visitor.page.unroute("**/queue/join*")
    assert visitor.answer_of(visitor.ask(NAME))


def test_a_picture_that_the_server_forgot_is_sent_again(visit):
    visitor = visit()
    visitor.give("a", A)
    assert visitor.answer_of(visitor.ask(NAME))
    visitor.page.evaluate("depictqa.given.a.id = 'forgotten'")
    assert visitor.answer_of(visitor.ask(NAME))


def test_closer_look(visit):
    visitor = visit()
    page = visitor.page
    page.set_viewport_size({"width": 1280, "height": 560})
    assert not page.locator(".dq-bar").is_visible()
    visitor.give("a", A)
    visitor.give("b", B)
    assert page.locator(".dq-pane").count() == 2
    transforms = "() => [...document.querySelectorAll('.dq-layer img')].map(image => image.style.transform)"
    page.locator(".dq-pane").first.hover()
    page.mouse.wheel(0, 300)  # nothing to make smaller: the page scrolls
    page.wait_for_function("window.scrollY > 0")
    assert page.evaluate(transforms)[0] == "translate(0%, 0%) scale(1)"
    page.evaluate("window.scrollTo(0, 0)")
    page.locator(".dq-pane").first.hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"({transforms})()[0] !== 'translate(0%, 0%) scale(1)'")
    zoomed = page.evaluate(transforms)
    assert zoomed[0] == zoomed[1]  # both move together
    page.mouse.down()
    page.mouse.move(300, 300, steps=4)
    page.mouse.up()
    assert page.evaluate(transforms)[0] != zoomed[0]
    page.get_by_text("Fit", exact=True).click()
    assert page.evaluate(transforms) == ["translate(0%, 0%) scale(1)"] * 2
    fit = page.locator(".dq-zoom").text_content()
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_function(f"document.querySelector('.dq-zoom').textContent !== {fit!r}")
    page.get_by_text("Swipe", exact=True).click()
    assert page.locator(".dq-pane").count() == 1
    page.get_by_label("Swipe", exact=True).fill("20")
    assert page.evaluate("document.querySelector('[data-layer=\"1\"]').style.clipPath") == "inset(0px 0px 0px 20%)"
    page.get_by_text("Difference", exact=True).click()
    blend = "getComputedStyle(document.querySelector('[data-layer=\"1\"]')).mixBlendMode"
    assert page.evaluate(blend) == "difference" and page.locator(".dq-swipe").count() == 0
    visitor.give("ref", A)
    pairs = page.locator(".dq-bar option").all_text_contents()
    assert pairs == ["Image A | Image B", "Reference Image | Image A", "Reference Image | Image B"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screen(visit, scheme):
    visitor = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme)
    page = visitor.page
    page.locator(".dq-example").nth(4).tap()
    page.locator('[data-slot="b"] img').wait_for()
    if scheme == "light":
        page.locator("#dq-ask").tap()
        visitor.answer_of(page.locator(".dq-card").first)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    tops = [
        page.locator(id).bounding_box()["y"] for id in ("#dq-pictures", "#dq-question", "#dq-answers", "#dq-viewer")
    ]
    assert tops == sorted(tops)
    is_dark = "document.body.classList.contains('dark')"
    assert page.evaluate(is_dark) == (scheme == "dark")
    page.locator("#dq-theme").tap()
    page.reload()
    page.wait_for_selector(".dq-slot")
    page.wait_for_function(f"{is_dark} === {'false' if scheme == 'dark' else 'true'}")


def test_parts_that_are_down_are_told_and_come_back(visit, tmp_path):
    stack = Stack(tmp_path)
    try:
        start_page(stack)
        visitor = visit(stack.page_url)
        visitor.page.get_by_text("The controller is not up").wait_for()
        visitor.give("a", A)
        assert "is not up; start it with launch_controller.sh" in visitor.problem_of(visitor.ask(QUESTION))
        stack.start_controller()
        assert "no worker is up" in visitor.problem_of(visitor.ask(QUESTION)).lower()
        stack.start_worker()
        visitor.page.locator(".dq-trouble").wait_for(state="detached")  # seen without a reload
        assert visitor.page.input_value("#dq-model input") == "Tiny"
        assert visitor.answer_of(visitor.ask(QUESTION))
    finally:
        stack.close()


def test_page_that_dies_is_told(visit, stack, slow_url, tmp_path):
    other = Stack(tmp_path)
    other.url = stack.url
    try:
        process = start_page(other)
        visitor = visit(other.page_url)
        visitor.choose_model("Slow")
        visitor.give("a", A)
        card = visitor.ask(QUESTION)
        visitor.page.wait_for_function("document.querySelector('.dq-card .dq-answer').textContent.length > 3")
        process.kill()
        assert "server does not answer" in visitor.problem_of(card)
    finally:
        other.close()


def test_page_that_is_stopped_finishes_its_answers(visit, stack, tmp_path):
    other = Stack(tmp_path)
    other.url = stack.url
    try:
        process = start_page(other)
        visitor = visit(other.page_url)
        visitor.give("a", A)
        card = visitor.ask("Describe the quality of this image and give your reasons.")
        visitor.page.wait_for_function("document.querySelector('.dq-card .dq-answer').textContent.length > 3")
        process.send_signal(signal.SIGTERM)
        assert visitor.answer_of(card)
        assert process.wait(GIVE_UP_SECONDS) == 0
    finally:
        other.close()


def test_worker_that_dies_in_mid_answer_is_told(visit, slow_worker):
    """The last test: it ends the slow model."""
    visitor = visit()
    visitor.choose_model("Slow")
    visitor.give("a", A)
    card = visitor.ask(QUESTION)
    visitor.page.wait_for_function("document.querySelector('.dq-card .dq-answer').textContent.length > 3")
    slow_worker[0].kill()
    assert "went away" in visitor.problem_of(card)
    assert card.locator(".dq-answer").text_content()  # what came is still there
    assert "no worker has 'Slow'" in visitor.problem_of(visitor.ask())
    visitor.choose_model("Nano")
    assert visitor.answer_of(visitor.ask(NAME))
