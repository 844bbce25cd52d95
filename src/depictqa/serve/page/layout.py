"""The page's layout: three parts of our own (pictures, closer look, answers), Gradio's for the rest, and how they meet."""

import html
import json
from pathlib import Path

import gradio

from depictqa.config import GradioSettings
from depictqa.prompts import QUESTIONS
from depictqa.serve.page.gate import EXAMPLES
from depictqa.serve.page.handlers import Handlers
from depictqa.serve.protocol import MAX_PICTURE_BYTES, MAX_QUESTION, MAX_TOKENS, NAMES, PICTURES, task_of

HERE = Path(__file__).parent
STYLE = (HERE / "page.css").read_text(encoding="utf-8")
FONTS = ("system-ui", "sans-serif")  # none is fetched from elsewhere
REFRESH_SECONDS = 5  # between two looks at which models are up
SUGGESTIONS = {  # questions to try, by the kind of task
    "single": [
        QUESTIONS["distortions"],
        QUESTIONS["describe"],
        "Assess this image in detail: what is wrong with it, and how badly?",
    ],
    "compare": [
        QUESTIONS["better"],
        QUESTIONS["compare"],
        "Explain what is wrong with each image and conclude which is better.",
    ],
}
HEAD = """<div class="dq-root dq-head"><h1>DepictQA</h1>
<p>What is wrong with a photo, how badly, and which of two is better.</p>
<button type="button" id="dq-theme" title="Dark or light" aria-label="Dark or light">◐</button></div>"""
NOTES = (
    "Answers come from a model and may be wrong. Pictures are held for an hour at most and are not kept. A vote keeps the "
    "question, the answer and the pictures' checksums."
)
HELP = {
    "ref": "Optional, what it should look like: drop, paste or click",
    "a": "Drop, paste or click",
    "b": "To compare: drop, paste or click",
}
HINT = "What would you like to know? Shift + Enter asks."
ROOT = '<div class="dq-root"></div>'


def part(script: str, **options) -> gradio.HTML:
    """A part of the page that a script of ours draws; `table` is what the script is told once.

    Not a subclass: for each one, Gradio writes a .pyi file beside the source.
    """
    code = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("common.js", script))
    return gradio.HTML(html_template=ROOT, js_on_load=code, apply_default_css=False, **options)


def tasks() -> dict[str, dict]:
    """`ref+a` -> name, kind and words of the task that follows from those pictures."""
    table = {}
    for given in (["a"], ["b"], ["ref", "a"], ["ref", "b"], ["a", "b"], ["ref", "a", "b"]):
        task = task_of(given)
        words = "Compare A and B" if task.is_comparison else f"Assess {NAMES[given[-1]]}"
        words += ", against the reference." if "ref" in given else "."
        table["+".join(given)] = {
            "name": task.name,
            "kind": "compare" if task.is_comparison else "single",
            "words": words,
        }
    return table


def build_page(handlers: Handlers, models: list[str], settings: GradioSettings) -> gradio.Blocks:
    """The page.

    Args:
        models: those that are up now.
        settings: `gradio` of serve.yaml.
    """
    examples = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    table = {
        "slots": [{"name": name, "label": NAMES[name], "help": HELP[name]} for name in PICTURES],
        "tasks": tasks(),
        "questions": SUGGESTIONS,
        "examples": examples,
        "megabytes": MAX_PICTURE_BYTES // 1_000_000,
    }
    labels = {"labels": NAMES}
    with gradio.Blocks(title="DepictQA", analytics_enabled=False, fill_width=True) as blocks:
        if not settings.embed:
            gradio.HTML(HEAD, js_on_load=(HERE / "theme.js").read_text(encoding="utf-8"), apply_default_css=False)
        trouble = gradio.HTML(visible=False, elem_id="dq-trouble")
        with gradio.Row(elem_id="dq-main"):
            with gradio.Column(scale=3, min_width=300):
                pictures = part("pictures.js", table=table, elem_id="dq-pictures")
                part("viewer.js", table=labels, elem_id="dq-viewer")
            with gradio.Column(scale=2, min_width=300):
                question = gradio.Textbox(
                    label="Question", placeholder=HINT, lines=2, max_length=MAX_QUESTION, elem_id="dq-question"
                )
                with gradio.Row():
                    ask = gradio.Button("Ask", variant="primary", min_width=80, elem_id="dq-ask")
                    stop = gradio.Button("Stop", min_width=80, elem_id="dq-stop")
                    clear = gradio.Button("Clear", min_width=80, elem_id="dq-clear")
                model = gradio.Dropdown(models, value=models[0] if models else None, label="Model", elem_id="dq-model")
                with gradio.Accordion("Settings", open=False):
                    temperature = gradio.Slider(0, 1, 0, step=0.05, label="Temperature (0: the likeliest answer)")
                    top_p = gradio.Slider(0.05, 1, 0.9, step=0.05, label="Top p")
                    max_tokens = gradio.Slider(16, MAX_TOKENS, 400, step=16, label="Longest answer, tokens")
                answers = part("answers.js", table=labels, elem_id="dq-answers")
        if not settings.embed:
            gradio.Markdown(NOTES)

        sampling = [model, temperature, top_p, max_tokens]
        options = {
            "inputs": [pictures, question, *sampling],
            "outputs": [answers],
            "show_progress": "hidden",
            "trigger_mode": "once",
        }
        asking = [
            gradio.on(
                [ask.click, question.submit],
                handlers.answer,
                js="(_, question, ...settings) => depictqa.ask({...depictqa.given}, question, settings)",
                **options,
            ),
            answers.again(
                handlers.answer,
                js="(_, question, ...settings) => depictqa.ask(depictqa.about.pictures, depictqa.about.question, settings)",
                **options,
            ),
        ]
        for event in asking:  # whatever became of it, no card waits for ever
            event.then(None, js="() => depictqa.end('failed')")
        stop.click(None, cancels=asking)
        stop.click(None, js="() => depictqa.end('stopped')")
        clear.click(None, cancels=asking)
        clear.click(None, None, question, js="() => { depictqa.end('stopped'); depictqa.give({}); return ''; }")
        pictures.question(None, None, question, js="() => depictqa.question")
        answers.restore(None, None, question, js="() => depictqa.about.question")
        answers.vote(handlers.vote, None, answers, show_progress="hidden")

        async def look(chosen: str | None):
            names, words = await handlers.health()
            told = gradio.HTML(f'<div class="dq-trouble" role="alert">{html.escape(words)}</div>', visible=bool(words))
            if settings.model_list_mode == "once":
                return gradio.skip(), told
            keep = chosen if chosen in names or not names else names[0]
            return gradio.Dropdown(choices=names or models, value=keep), told

        blocks.load(look, model, [model, trouble], show_progress="hidden")
        gradio.Timer(REFRESH_SECONDS).tick(look, model, [model, trouble], show_progress="hidden")
    return blocks
