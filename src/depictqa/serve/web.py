"""The web page: pictures and a question in, a streamed answer with its confidence out. It asks the controller.

    python -m depictqa.serve.web --cfg serve.yaml
"""

import argparse
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio
import httpx
from easydict import EasyDict

from depictqa.config import load_serve_config
from depictqa.errors import InputError, exit_cleanly
from depictqa.serve.protocol import MAX_PICTURE_BYTES, MAX_QUESTION, MAX_TOKENS, PICTURES, Ask, Chunk, Refused
from depictqa.serve.protocol import check_pictures, form_of, make_ask
from depictqa.serve.wire import bind, start_log

VOTES = {"👍 Good": "up", "👎 Bad": "down", "🚩 Report": "flag"}
EXAMPLES = {
    "One picture": [
        "What distortions are most apparent in this image?",
        "Describe the quality of this image in detail.",
        "Which distortion is most obvious? Answer the question using a single word or phrase.",
    ],
    "Two pictures": [
        "Which image has better quality, Image A or Image B? Answer the question using a single word or phrase.",
        "Compare the quality of Image A and Image B, and explain your reasons in detail.",
    ],
}
HEAD = """# DepictQA
Give picture A (or A and B, to compare them), with or without the undistorted reference, and ask about their quality."""
NOTES = "The answers come from a model and may be wrong. Votes are kept on this server: the question, the answer, no picture."
STYLE = "#columns > div { min-width: 220px } .gradio-container { max-width: 1200px !important; margin: auto }"
log = logging.getLogger("depictqa.web")


class Client:
    """Asks the controller. Every failure is a `Refused` with a line for people."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self._http = httpx.Client(timeout=httpx.Timeout(30, connect=5), trust_env=False)

    def models(self) -> list[str]:
        """Names of the models that are up; none where the controller is not."""
        try:
            return [row["id"] for row in self._http.get(f"{self.url}/v1/models").json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    def ask(self, ask: Ask, pictures: dict[str, bytes]) -> Iterator[Chunk]:
        try:
            with self._http.stream("POST", f"{self.url}/v1/assess", **form_of(ask, pictures)) as response:
                if response.status_code != 200:
                    response.read()
                    error = response.json()["error"]
                    raise Refused(response.status_code, error["code"], error["message"])
                for line in response.iter_lines():
                    chunk = Chunk.model_validate_json(line)
                    if chunk.error is not None:
                        raise Refused(503, chunk.error.code, chunk.error.message)
                    yield chunk
        except httpx.ConnectError:
            raise Refused(503, "no_controller", f"the controller at {self.url} is not up") from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Refused(502, "controller_failed", f"the answer was cut off ({type(error).__name__})") from None


class Votes:
    """Votes on answers, one JSON object a line, in `{log_dir}/votes-{day}.jsonl`."""

    def __init__(self, log_dir: str):
        self._folder, self._lock = Path(log_dir), threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, vote: str, shown: dict) -> None:
        now = datetime.now(UTC)
        line = json.dumps({"time": now.isoformat(timespec="seconds"), "vote": vote, **shown}, ensure_ascii=False)
        with self._lock, (self._folder / f"votes-{now:%Y-%m-%d}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def confidence_html(confidence: float | None) -> str:
    """A bar; nothing where the model gives no confidence."""
    if confidence is None:
        return ""
    percent = round(100 * confidence)
    return (
        f'<div aria-label="confidence {percent} %">confidence {percent} %'
        '<div style="height:8px;border-radius:4px;background:var(--border-color-primary)">'
        f'<div style="height:8px;border-radius:4px;width:{percent}%;background:var(--color-accent)"></div></div></div>'
    )


class Page:
    """What happens when people press buttons.

    Args:
        client: a `Client`.
        votes: a `Votes`.
    """

    def __init__(self, client: Client, votes: Votes):
        self.client, self.votes = client, votes

    def answer(self, ref, a, b, question, model, temperature, top_p, max_tokens):
        """Stream (answer, confidence, tokens with their probabilities, what a vote is about)."""
        pictures = {
            name: Path(path).read_bytes() for name, path in zip(PICTURES, (ref, a, b), strict=True) if path is not None
        }
        try:
            if not question.strip():
                raise Refused(400, "invalid_field", "Please type a question.")
            check_pictures(pictures)
            fields = {"question": question, "model": model or None, "stream": True}
            ask = make_ask(fields | {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens})
            yield "…", "", [], None
            chunk = Chunk()
            for chunk in self.client.ask(ask, pictures):
                yield chunk.text or "…", "", [], None
        except Refused as error:
            log.info("%s: %s", error.code, error.message)
            raise gradio.Error(error.message[:1].upper() + error.message[1:], duration=10, print_exception=False) from None
        shown = {
            **ask.model_dump(exclude={"stream"}),
            "pictures": {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()},
            "answer": chunk.text,
            "answer_confidence": chunk.confidence,
        }
        yield chunk.text, confidence_html(chunk.confidence), _shades(chunk), shown

    def vote(self, label: str, shown: dict | None) -> None:
        if shown is None:
            raise gradio.Error("There is no answer to vote on yet.", print_exception=False)
        self.votes.write(VOTES[label], shown)
        gradio.Info("Thank you, your vote is kept.")


def _shades(chunk: Chunk) -> list[tuple[str, float]]:
    """Tokens to be shaded by how unsure the model was of each."""
    return [(text, 1 - prob) for text, prob in chunk.tokens or []]


def build_page(page: Page, settings: EasyDict) -> gradio.Blocks:
    with gradio.Blocks(title="DepictQA", analytics_enabled=False) as blocks:
        if not settings.embed:
            gradio.Markdown(HEAD)
        with gradio.Row(elem_id="columns"):
            labels = ("Reference (optional)", "Image A", "Image B (to compare)")
            kinds = {"type": "filepath", "sources": ["upload", "clipboard"], "height": 260}
            pictures = [gradio.Image(label=label, **kinds) for label in labels]
        with gradio.Row():
            with gradio.Column(scale=3):
                question = gradio.Textbox(label="Question", lines=2, max_length=MAX_QUESTION, autofocus=True)
                with gradio.Row():
                    ask, stop = gradio.Button("Ask", variant="primary"), gradio.Button("Stop", variant="stop")
                    clear = gradio.Button("Clear")
                answer = gradio.Textbox(label="Answer", lines=5, buttons=["copy"], interactive=False)
                confidence = gradio.HTML()
                with gradio.Row():
                    votes = [gradio.Button(label, size="sm") for label in VOTES]
                with gradio.Accordion("How sure of each word", open=False):
                    words = gradio.HighlightedText(label="darker: less sure", show_legend=False)
            with gradio.Column(scale=2):
                model = gradio.Dropdown(page.client.models(), label="Model", allow_custom_value=True)
                with gradio.Accordion("Settings", open=False):
                    temperature = gradio.Slider(0, 1, 0, step=0.05, label="Temperature (0: the likeliest answer)")
                    top_p = gradio.Slider(0.05, 1, 0.9, step=0.05, label="Top p")
                    max_tokens = gradio.Slider(16, MAX_TOKENS, 400, step=16, label="Longest answer, tokens")
                for title, questions in EXAMPLES.items():
                    gradio.Examples([[text] for text in questions], [question], label=title)
        if not settings.embed:
            gradio.Markdown(NOTES)
        shown = gradio.State()
        inputs = [*pictures, question, model, temperature, top_p, max_tokens]
        outputs = [answer, confidence, words, shown]
        asking = [
            event(page.answer, inputs, outputs, concurrency_id="ask", concurrency_limit=settings.concurrency_count)
            for event in (ask.click, question.submit)
        ]
        stop.click(None, cancels=asking)
        clear.click(lambda: ([None] * 4 + ["", "", [], None]), None, [*pictures, question, *outputs], cancels=asking)
        for button in votes:
            button.click(page.vote, [button, shown])
        if settings.model_list_mode == "reload":
            blocks.load(lambda: _choices(page.client.models()), None, model)
    return blocks


def _choices(models: list[str]):
    return gradio.Dropdown(choices=models, value=models[0] if models else None)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="The web page of the demo.")
    parser.add_argument("--cfg", default="serve.yaml", help="settings of the demo (default: serve.yaml here)")
    args = parser.parse_args()
    config = load_serve_config(args.cfg)
    settings = config.gradio
    if settings.moderate:
        raise InputError(f"{args.cfg}: gradio.moderate: there is no moderation hook yet; expected false")
    bind(settings.host, settings.port, "gradio.port").close()  # gradio binds itself; its own words are a traceback
    start_log(config.log_dir, "web").info("at http://%s:%s", settings.host, settings.port)
    blocks = build_page(Page(Client(settings.controller_url), Votes(config.log_dir)), settings)
    blocks.queue(max_size=10 * settings.concurrency_count).launch(
        server_name=settings.host,
        server_port=settings.port,
        share=settings.share,
        max_file_size=MAX_PICTURE_BYTES,
        css=STYLE,
        footer_links=[],
        quiet=True,
    )


if __name__ == "__main__":
    main()
