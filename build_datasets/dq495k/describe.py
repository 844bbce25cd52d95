"""Long answers from labels and measurements, without any API.

Which sentence may be said follows from the label alone; a measurement only adds how it shows, and only where it agrees.
A text can therefore never contradict its labels. What it cannot say is what a photo shows.
"""

from dataclasses import dataclass

import numpy as np

from build_datasets.dq495k.labels import State, graded
from build_datasets.dq495k.measure import Measures
from build_datasets.dq495k.questions import capitalised, pick

EFFECTS = {  # class -> what a viewer notices where it is weak, and where it is strong
    "blur": (
        ("edges are a little soft", "the finest details have lost some definition", "textures look slightly smooth"),
        ("edges are soft and fine details are lost", "contours smear and textures melt away", "small structures run together"),
    ),
    "noise": (
        ("a fine grain lies over smooth areas", "even areas look a little restless", "light speckles show in flat regions"),
        ("grain covers all surfaces", "random specks hide the fine textures", "small details drown in speckles"),
    ),
    "compression": (
        ("faint artifacts surround some edges", "the finest textures look smeared", "weak ringing follows sharp contours"),
        ("coding artifacts surround the edges", "details dissolve into coarse patches", "textures are smeared beyond recognition"),
    ),
    "brighten": (
        ("tones are a little too light", "bright areas begin to lose details", "the picture looks somewhat pale"),
        ("bright areas are washed out", "the picture looks overexposed", "highlights merge into white"),
    ),
    "darken": (
        ("tones are a little too dark", "shadows begin to lose details", "the picture looks somewhat gloomy"),
        ("shadows swallow the details", "the picture looks underexposed", "dark areas merge into black"),
    ),
    "contrast_strengthen": (
        ("tones are set apart a little too much", "transitions look somewhat hard", "light and dark differ more than they should"),
        ("tones jump harshly from dark to light", "highlights and shadows are clipped", "subtle tones are pushed to the extremes"),
    ),
    "contrast_weaken": (
        ("the picture looks a little flat", "tones lie somewhat close together", "the scene has lost some depth"),
        ("tones run together and the picture looks flat", "everything looks dull, as if behind a veil",
         "objects hardly separate from their background"),
    ),
    "saturate_strengthen": (
        ("colors are a little too strong", "some colors look exaggerated", "vivid areas begin to lose nuances"),
        ("colors are garish and bleed into each other", "colors glow unnaturally", "nuances are lost in loud tones"),
    ),
    "saturate_weaken": (
        ("colors are a little weak", "the palette looks somewhat faded", "colors have lost some of their life"),
        ("colors are faded and lifeless", "the picture drifts towards grey", "the palette looks washed out"),
    ),
    "oversharpen": (
        ("thin halos follow some edges", "textures look a little rough", "outlines are somewhat harsh"),
        ("bright and dark halos follow the edges", "edges look harsh and textures rough", "fine structures look brittle and artificial"),
    ),
    "pixelate": (
        ("slanted edges show small steps", "fine details look a little blocky", "the finest structures have turned into tiny tiles"),
        ("square blocks replace the details", "edges turn into visible steps", "the picture seems built of coarse tiles"),
    ),
    "quantization": (
        ("soft shading shows faint steps", "smooth gradients are slightly banded", "weak false contours appear in even areas"),
        ("smooth gradients break into bands", "few tones remain and false contours appear", "areas of even color are cut into patches"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """A measure that a distortion moves: `sign` +1 up, -1 down; what is said where it moved by the factor MILD or STRONG."""

    measure: str
    sign: int
    mild: str
    strong: str


EVIDENCE = {  # class -> measures that move with it
    "blur": Evidence("sharpness", -1, "edges have lost part of their bite", "most of the crispness of the edges is gone"),
    "noise": Evidence(
        "noise", +1, "the grain is fine but present everywhere", "the grain is coarse and impossible to overlook"
    ),
    "compression": Evidence("blockiness", +1, "a faint grid of blocks shows", "a grid of square blocks is plain to see"),
    "brighten": Evidence("exposure", +1, "the overall tone is lighter than natural", "the overall tone is far too light"),
    "darken": Evidence("exposure", -1, "the overall tone is darker than natural", "the overall tone is far too dark"),
    "contrast_strengthen": Evidence(
        "contrast", +1, "the span of tones is stretched", "the span of tones is stretched to its limits"
    ),
    "contrast_weaken": Evidence("contrast", -1, "the span of tones has narrowed", "only a narrow span of tones is left"),
    "saturate_strengthen": Evidence(
        "colorfulness", +1, "colors are stronger than natural", "colors are pushed to the extreme"
    ),
    "saturate_weaken": Evidence("colorfulness", -1, "colors are weaker than natural", "much of the color is gone"),
    "oversharpen": Evidence("sharpness", +1, "edges stand out more than they should", "edges stand out glaringly"),
    "pixelate": Evidence("flatness", +1, "neighboring pixels form small tiles", "neighboring pixels form large tiles"),
    "quantization": Evidence("flatness", +1, "tones fall into steps", "tones fall into wide, flat steps"),
}
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
        [*_account("The image", "the image", state, measures, reference, rng), pick(_ENDINGS, rng).format(verdict=verdict)]
    )


def describe_two(states: tuple[State, State], measured: tuple[Measures, Measures], reference: Measures, a_is_better: bool,
                 rng: np.random.Generator) -> str:  # fmt: skip
    """An answer about two pictures that ends in a verdict."""
    better, worse = ("Image A", "Image B") if a_is_better else ("Image B", "Image A")
    accounts = [
        sentence
        for name, state, measures in zip(("Image A", "Image B"), states, measured)
        for sentence in _account(name, name, state, measures, reference, rng)
    ]
    return " ".join([*accounts, pick(_VERDICTS, rng).format(better=better, worse=worse)])


def prefers_a(states: tuple[State, State], pictures: tuple[np.ndarray, np.ndarray], reference: np.ndarray) -> bool:
    """Whether A is better: less harm by the labels; where they say the same, the smaller mean error against the reference."""
    first, second = map(harm, states)
    if first != second:
        return first < second
    errors = [float(np.square(picture.astype(np.float32) - reference).mean()) for picture in pictures]
    return errors[0] <= errors[1]


def evidence(label: str, severity: str, measures: Measures, reference: Measures) -> str | None:
    """What measurements say for a distortion; None where they do not, or where it would sound too weak or too strong."""
    row = EVIDENCE[label]
    before, after = getattr(reference, row.measure), getattr(measures, row.measure)
    floor = 0.02 if row.measure == "flatness" else 0.5  # below it ratios mean nothing
    ratio = (max(after, floor) / max(before, floor)) ** row.sign
    if severity in _STRONG or (severity not in _WEAK and ratio >= STRONG):
        return row.strong if ratio >= STRONG else None
    return row.mild if ratio >= MILD else None


def _account(subject: str, object_: str, state: State, measures: Measures, reference: Measures, rng) -> list[str]:
    """Sentences on the state of one picture."""
    if not state:
        return [pick(_CLEAN, rng).format(subject=subject, object=object_)]
    sentences = []
    for number, (distortion, (severity, name)) in enumerate(zip(state, graded(state))):
        words = {"subject": subject, "object": object_, "severity": severity, "adverb": _ADVERBS[severity], "name": name}
        takes_adjective = not name.startswith(("overly", "insufficient"))
        templates = (_SECOND, _NOUN_SECOND) if number else (_OPENINGS, _NOUN_OPENINGS)
        template = pick(templates[0] + takes_adjective * templates[1], rng)
        effect = pick(EFFECTS[distortion.label][severity not in _WEAK], rng)
        sentences.append(capitalised(template.format(effect=effect, **words)))
        seen = evidence(distortion.label, severity, measures, reference)
        if seen and rng.random() < 0.7:
            sentences.append(pick(_EVIDENCE, rng).format(evidence=seen))
    return sentences
