"""Long answers from labels and measurements, without any API.

Which sentence may be said follows from the label alone; a measurement only adds how it shows, and only where it agrees.
A text can therefore never contradict its labels. What it cannot say is what a photo shows.
"""

from collections.abc import Sequence

import numpy as np

from build_datasets.dq495k.labels import State, graded
from build_datasets.dq495k.measure import Measures
from build_datasets.dq495k.questions import capitalised, pick
from build_datasets.x_distortion.classes import ROWS

_ROWS = {row.name: row for row in ROWS}
MILD, STRONG = 1.15, 1.6  # factors between a measure and the reference's

_ADVERBS = {
    "slight": "slightly",
    "moderate": "moderately",
    "obvious": "obviously",
    "serious": "seriously",
    "catastrophic": "catastrophically",
}
_WEAK, _STRONG = ("slight", "moderate"), ("serious", "catastrophic")  # "obvious" may be called either
_CLEAN = (
    "{subject} shows no visible distortion: edges are clean and tones look natural.",
    "{subject} is free of visible distortions, with clear details and natural colors.",
    "No degradation is visible in {object}; details, tones and colors are intact.",
)
_OPENINGS = (
    "{subject} is {adverb} affected by {name}: {effect}.",
    "{subject} is {adverb} degraded by {name}, so that {effect}.",
    "{subject} is {adverb} impaired by {name}; {effect}.",
)
_NOUN_OPENINGS = (  # for names that take an adjective: not "slight overly high contrast"
    "There is {severity} {name} in {object}; {effect}.",
    "{subject} suffers from {severity} {name}: {effect}.",
)
_SECOND = (
    "In addition, {object} is {adverb} affected by {name}: {effect}.",
    "On top of that, {object} is {adverb} degraded by {name}, and {effect}.",
    "{subject} is also {adverb} impaired by {name}, so that {effect}.",
)
_NOUN_SECOND = (
    "In addition, there is {severity} {name}: {effect}.",
    "On top of that, {severity} {name} is present, and {effect}.",
)
_EVIDENCE = (
    "Looking closely, {evidence}.",
    "At second glance, {evidence}.",
    "In particular, {evidence}.",
    "One also notes that {evidence}.",
)
_ENDINGS = (
    "Overall, the quality is {verdict}.",
    "In summary, the quality of the image is {verdict}.",
    "All in all, this is an image of {verdict} quality.",
    "Taken together, the quality has to be called {verdict}.",
)
_VERDICTS = (
    "Therefore, {better} is better than {worse}.",
    "In conclusion, {better} has the higher quality.",
    "All in all, {better} is preferable to {worse}.",
    "Weighing both, the quality of {better} is better than that of {worse}.",
)
_VERDICT_OF = ("excellent", "good", "fair", "poor", "bad", "very bad")  # by harm, 0..5
_WEIGHT_OF_TWO = {1: 1.5, 2: 3.0, 3: 4.0}  # slight, obvious, serious, on the scale of a single distortion's 1..5


def harm(state: State) -> float:
    """How bad a picture is, 0..5, by its labels alone; of two distortions the worse one leads."""
    if len(state) < 2:
        return float(sum(distortion.severity for distortion in state))
    low, high = sorted(_WEIGHT_OF_TWO[distortion.severity] for distortion in state)
    return min(5.0, high + low / 4)


def describe_one(state: State, measures: Measures, reference: Measures, rng: np.random.Generator) -> str:
    """An answer about one picture."""
    verdict = _VERDICT_OF[round(harm(state))]
    return " ".join(
        [
            *_account("The image", "the image", state, measures, reference, rng),
            pick(_ENDINGS, rng).format(verdict=verdict),
        ]
    )


def describe_two(states: Sequence[State], measured: Sequence[Measures], reference: Measures, a_is_better: bool,
                 rng: np.random.Generator) -> str:  # fmt: skip
    """An answer about two pictures that ends in a verdict."""
    better, worse = ("Image A", "Image B") if a_is_better else ("Image B", "Image A")
    accounts = [
        sentence
        for name, state, measures in zip(("Image A", "Image B"), states, measured)
        for sentence in _account(name, name, state, measures, reference, rng)
    ]
    return " ".join([*accounts, pick(_VERDICTS, rng).format(better=better, worse=worse)])


def prefers_a(states: Sequence[State], pictures: Sequence[np.ndarray], reference: np.ndarray) -> bool:
    """Whether A is better: less harm by the labels; where they say the same, the smaller mean error against the reference."""
    first, second = map(harm, states)
    if first != second:
        return first < second
    errors = [float(np.square(picture.astype(np.float32) - reference).mean()) for picture in pictures]
    return errors[0] <= errors[1]


def evidence(label: str, severity: str, measures: Measures, reference: Measures) -> str | None:
    """What measurements say for a distortion; None where they do not, or where it would sound too weak or too strong."""
    row = _ROWS[label].evidence
    before, after = getattr(reference, row.measure), getattr(measures, row.measure)
    floor = 0.02 if row.measure == "flatness" else 0.5  # below it ratios mean nothing
    ratio = (max(after, floor) / max(before, floor)) ** row.sign
    if severity in _STRONG or (severity not in _WEAK and ratio >= STRONG):
        return row.strong if ratio >= STRONG else None
    return row.weak if ratio >= MILD else None


def _account(subject: str, object_: str, state: State, measures: Measures, reference: Measures, rng) -> list[str]:
    """Sentences on the state of one picture."""
    if not state:
        return [pick(_CLEAN, rng).format(subject=subject, object=object_)]
    sentences = []
    for number, (distortion, (severity, name)) in enumerate(zip(state, graded(state))):
        words = {
            "subject": subject,
            "object": object_,
            "severity": severity,
            "adverb": _ADVERBS[severity],
            "name": name,
        }
        takes_adjective = not name.startswith(("overly", "insufficient"))
        templates = (_SECOND, _NOUN_SECOND) if number else (_OPENINGS, _NOUN_OPENINGS)
        template = pick(templates[0] + takes_adjective * templates[1], rng)
        row = _ROWS[distortion.label]
        effect = pick(row.weak_effects if severity in _WEAK else row.strong_effects, rng)
        sentences.append(capitalised(template.format(effect=effect, **words)))
        seen = evidence(distortion.label, severity, measures, reference)
        if seen and rng.random() < 0.7:
            sentences.append(pick(_EVIDENCE, rng).format(evidence=seen))
    return sentences
