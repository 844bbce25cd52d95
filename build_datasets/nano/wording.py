"""Questions and answers of Nano's data: our own wordings, from labels alone.

Nano knows distortions and severities, not what a photo shows; its detailed answers say so much and no more.
"""

import numpy as np

from nano.samples import Distortion

BRIEF_QUESTIONS = (
    "What is the main distortion in this image?",
    "Which kind of degradation affects the image most?",
    "Name the distortion that you see in this picture.",
    "What has gone wrong with the quality of this photo?",
    "What type of distortion does the evaluated image have?",
    "Which flaw harms the quality of this image?",
    "If this image is degraded, by what?",
    "Identify the distortion of the image.",
)

RATING_QUESTIONS = (
    "Which image has the better quality, Image A or Image B?",
    "Of the two images, which one looks better?",
    "Compare the quality of Image A and Image B: which is higher?",
    "Which one would you keep, Image A or Image B?",
    "Which of these images suffers less from distortion?",
    "Is Image A or Image B of higher quality?",
    "Which of the two pictures is closer to a perfect photo?",
    "Choose the image with fewer quality problems.",
)

DETAIL_QUESTIONS = (
    "Describe the quality of this image and give your reasons.",
    "Assess this image in detail: what is wrong with it, and how badly?",
    "Explain how distortions affect this picture.",
    "Please evaluate the quality of the image and explain your judgement.",
    "How good is this photo? Describe its flaws and their effect.",
    "Give a detailed account of the quality of this image.",
)

DETAIL_PAIR_QUESTIONS = (
    "Compare the two images in detail and say which one is better.",
    "Describe the quality of Image A and of Image B, then decide between them.",
    "Which image is better, and why? Discuss the distortions of both.",
    "Please weigh the quality of both images against each other and explain your choice.",
    "Explain what is wrong with each image and conclude which is better.",
    "Assess Image A and Image B, giving reasons for your preference.",
)

EFFECTS = {  # class -> what a viewer notices
    "blur": ("edges are soft and fine details are lost", "contours smear and textures melt away"),
    "noise": ("grains cover the surfaces and disturb smooth areas", "random specks hide the fine textures"),
    "compression": ("blocky artifacts and smeared textures appear", "coding artifacts surround the edges"),
    "brighten": ("bright areas are washed out and lose their details", "the picture looks overexposed and pale"),
    "darken": ("shadows swallow the details", "the picture looks underexposed and gloomy"),
    "contrast_strengthen": ("tones jump harshly from dark to light", "highlights and shadows are clipped"),
    "contrast_weaken": ("tones run together and the picture looks flat", "everything looks dull and grey"),
    "saturate_strengthen": ("colors are garish and bleed into each other", "colors glow unnaturally"),
    "saturate_weaken": ("colors are faded and lifeless", "colors are weaker than in life"),
    "oversharpen": ("bright and dark halos follow the edges", "edges look harsh and textures rough"),
    "pixelate": ("square blocks replace the details", "edges turn into visible steps"),
    "quantization": ("smooth gradients break into bands", "few tones remain and false contours appear"),
}

STATES = ("affected by", "degraded by", "impaired by")
ADVERBS = ("slightly", "moderately", "obviously", "seriously", "catastrophically")  # by severity, 1..5
VERDICTS = ("excellent", "good", "fair", "poor", "bad", "very bad")  # by severity, 0..5


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]


def capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def brief_answer(distortion: Distortion) -> str:
    return capitalised(distortion.answer)


def describe(subject: str, distortion: Distortion, rng: np.random.Generator) -> str:
    """One sentence on the state of one image."""
    if distortion.label is None:
        return f"{subject} shows no visible distortion, with clean edges and natural tones."
    state = f"{ADVERBS[distortion.severity - 1]} {pick(STATES, rng)} {distortion.answer}"
    return f"{subject} is {state}: {pick(EFFECTS[distortion.label], rng)}."


def detail_answer(distortion: Distortion, rng: np.random.Generator) -> str:
    verdict = VERDICTS[distortion.severity]
    ending = pick(("Overall, the quality is", "In summary, the quality of the image is", "The overall quality is"), rng)
    return f"{describe('The image', distortion, rng)} {ending} {verdict}."


def detail_pair_answer(first: Distortion, second: Distortion, better: str, rng: np.random.Generator) -> str:
    worse = "Image B" if better == "Image A" else "Image A"
    ending = pick(("Therefore, {0} is better than {1}.", "So {0} has the higher quality.", "In conclusion, {0} looks better."), rng)
    return f"{describe('Image A', first, rng)} {describe('Image B', second, rng)} {ending.format(better, worse)}"
