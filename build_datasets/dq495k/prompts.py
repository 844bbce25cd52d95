"""What a vision LLM is asked for a long answer: our own words.

The model sees the reference and the labels, so that it is right; its answer must read as if it had seen the evaluated
pictures alone.
"""

from pathlib import Path

from build_datasets.dq495k.labels import State, graded
from depictqa.chat_api import image_part, system_message, user_message

_SYSTEM = (
    "You write training answers for a model that assesses image quality. You judge technical quality only: sharpness, noise, "
    "compression, exposure, contrast, color and resolution, not composition or taste. You write plain, fluent English prose, "
    "without lists, headings or numbers of severity."
)
_SECRECY = (
    "Your answer will be shown to someone who sees only the evaluated {what}. Never mention or hint at a reference, an original, "
    "a label or given information; speak as if everything had been seen in the {what} itself."
)
_ONE = (
    "Write one paragraph of less than 100 words about the quality of the evaluated image. First say briefly what it shows. Then "
    "name each distortion and its severity, and describe what it does to the parts of the image where it shows. End with a "
    "sentence that sums up the quality."
)
_TWO = (
    "Write one paragraph of less than 170 words that compares the quality of Image A and Image B. First say briefly what they "
    "show. Then take the images in turn: name each distortion and its severity, and describe what it does to the parts where it "
    "shows. Weigh the distortions against each other by how much they disturb a viewer. End by saying explicitly which image is "
    "better, Image A or Image B."
)
_HINT = "A rating model holds {verdict} to be the better one. Follow it, unless it is obviously wrong; do not mention it in any case."


def facts(subject: str, state: State) -> str:
    """What is known about a picture, for the prompt."""
    if not state:
        return f"{subject} is undistorted: its quality is that of the reference. Describe it as free of distortions."
    found = " and then ".join(f"{severity} {name}" for severity, name in graded(state))
    return f"{subject} was made from the reference by {found}."


def ask_one(reference: str | Path, picture: str | Path, state: State) -> list[dict]:
    """Messages in OpenAI's form. Raises InputError: a picture cannot be read."""
    request = [_ONE, facts("The evaluated image", state), _SECRECY.format(what="image")]
    parts = ("The reference:", image_part(reference), "The evaluated image:", image_part(picture), "\n".join(request))
    return [system_message(_SYSTEM), user_message(*parts)]


def ask_two(reference: str | Path, pictures: tuple, states: tuple[State, State], verdict: str) -> list[dict]:
    """As `ask_one`; `verdict` is "Image A" or "Image B"."""
    known = [facts(name, state) for name, state in zip(("Image A", "Image B"), states)]
    request = [_TWO, *known, _HINT.format(verdict=verdict), _SECRECY.format(what="images")]
    shown = [("Image A:", image_part(pictures[0])), ("Image B:", image_part(pictures[1]))]
    parts = ("The reference:", image_part(reference), *shown[0], *shown[1], "\n".join(request))
    return [system_message(_SYSTEM), user_message(*parts)]
