"""Take the screenshots of docs/serving.md: the page with Nano behind it, on its own examples.

python tests/serve/screenshots.py --out docs/screenshots
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the tests' own parts of the demo
from tests.serve.browser import Visitor, chromium, start_nano, start_page
from tests.serve.stack import Stack

QUALITY = 70  # of the JPEG files


def compare(visitor: Visitor) -> None:
    """Two flaws, a reference, an answer with its words shaded."""
    visitor.page.locator(".dq-example").nth(4).click()
    visitor.page.locator('[data-slot="b"] img').wait_for()
    card = visitor.ask()
    visitor.answer_of(card)
    card.get_by_text("Word by word").click()
    card.locator("[data-do=up]").click()
    card.locator("[data-do=up].dq-chosen").wait_for()


def swipe(visitor: Visitor) -> None:
    """One picture over the other, enlarged."""
    visitor.page.locator(".dq-example").nth(3).click()
    visitor.page.locator('[data-slot="b"] img').wait_for()
    visitor.answer_of(visitor.ask())
    visitor.page.get_by_text("Swipe", exact=True).click()
    for _ in range(2):
        visitor.page.get_by_label("Zoom in").click()


def name(visitor: Visitor) -> None:
    visitor.page.locator(".dq-example").first.click()
    visitor.page.locator('[data-slot="a"] img').wait_for()
    visitor.answer_of(visitor.ask())


DESKTOP = {"viewport": {"width": 1240, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SHOTS = {  # file -> what is done, on what screen
    "page-light.jpg": (compare, DESKTOP | {"color_scheme": "light"}),
    "page-dark.jpg": (swipe, DESKTOP | {"color_scheme": "dark", "viewport": {"width": 1240, "height": 1020}}),
    "page-phone.jpg": (name, PHONE | {"color_scheme": "light"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the screenshots of docs/serving.md.")
    parser.add_argument("--out", required=True, type=Path, help="folder to write them to")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        stack = Stack(Path(folder))
        try:
            stack.start_controller()
            start_nano(stack)
            start_page(stack)
            for file, (act, context) in SHOTS.items():
                visitor = Visitor(browser, stack.page_url, **context)
                act(visitor)
                visitor.page.mouse.move(0, 0)
                visitor.page.wait_for_timeout(500)
                visitor.page.screenshot(
                    path=out / file, type="jpeg", quality=QUALITY, full_page=context.get("is_mobile", False)
                )
                print(f"{out / file}: {(out / file).stat().st_size // 1000} kB")
                visitor.context.close()
        finally:
            stack.close()


if __name__ == "__main__":
    main()
