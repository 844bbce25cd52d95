"""Every question and short answer, in tables; one renderer.

In a template `[a|b|c]` is what is asked for: any number of distortions, ONE, TWO (in an answer `[b|c]`); the text in
`<...>` is there only where a reference is shown. `noref.py` takes the same phrases out of finished texts.
"""

import re
from dataclasses import dataclass

import numpy as np

from build_datasets.dq495k.labels import State, named
from depictqa.prompts import SINGLE_WORD_REQUEST

ANY, ONE, TWO = 0, 1, 2  # what a question says about the number of distortions


@dataclass(frozen=True)
class Template:
    """A question and the sentence that answers it; `{names}`, `{better}`, `{worse}` are filled in."""

    question: str
    answer: str = ""


BRIEF = tuple(
    Template(*pair)
    for pair in (
        (
            "Which [distortion(s)|one distortion|two distortions] can you identify in the evaluated image<, compared with the reference>?",
            "I can identify {names} in the evaluated image.",
        ),
        (
            "<Compared with the reference, >what [kind(s) of distortion|kind of distortion|two kinds of distortion] can be seen in this image?",
            "The [distortion|distortions] to be seen in this image [is|are] {names}.",
        ),
        (
            "Please name the [distortion(s)|one distortion|two distortions] that most [degrade(s)|degrades|degrade] the evaluated image.",
            "The image is degraded most by {names}.",
        ),
        (
            "What [is or are the most obvious distortion(s)|is the most obvious distortion|are the two most obvious distortions] in the given image<, relative to the reference>?",
            "The most obvious [distortion is|distortions are] {names}.",
        ),
        (
            "How has the quality of this image suffered<, compared with the reference>? Name the [distortion(s)|one distortion|two distortions].",
            "The quality has suffered from {names}.",
        ),
        (
            "Judging by what you see, which [type(s) of degradation|one type of degradation|two types of degradation] affected the picture?",
            "The picture was affected by {names}.",
        ),
        (
            "Identify the [distortion(s)|distortion|two distortions] in the evaluated image<, compared with the reference image>.",
            "The evaluated image suffers from {names}.",
        ),
        (
            "Which [flaw(s) stand(s)|one flaw stands|two flaws stand] out when you inspect the quality of the image<, compared with the reference>?",
            "When I inspect the image, {names} [stands|stand] out.",
        ),
        (
            "By which [distortion(s)|distortion|two distortions] has the quality of this photo been reduced?",
            "The quality of this photo has been reduced by {names}.",
        ),
        (
            "<Relative to the reference, >which [artifact(s)|kind of artifact|two kinds of artifact] would you say the image contains?",
            "I would say the image contains {names}.",
        ),
        (
            "Could you tell me the [distortion(s)|one distortion|two distortions] present in this picture?",
            "The [distortion|distortions] present in this picture [is|are] {names}.",
        ),
        (
            "Focus on technical quality: what [distortion(s) do|single distortion do|two distortions do] you notice in the image<, compared with the reference>?",
            "In technical terms, I notice {names}.",
        ),
        (
            "What is the cause of the quality loss in the evaluated image? Give the [distortion(s)|one distortion|two distortions] responsible.",
            "The quality loss comes from {names}.",
        ),
        (
            "<Compared with the reference, >which [degradation(s)|one degradation|two degradations] did the evaluated image suffer?",
            "The [degradation|degradations] of the evaluated image [is|are] {names}.",
        ),
        (
            "If you had to label the [quality problem(s)|one quality problem|two quality problems] of this image, what would you write?",
            "I would write {names}.",
        ),
        (
            "Look closely at the image. Which [distortion(s)|one distortion|two distortions] can you make out?",
            "Looking closely, I can make out {names}.",
        ),
        (
            "What [distortion type(s)|one distortion type|two distortion types] would you assign to the given picture<, relative to the reference>?",
            "I would assign {names} to the given picture.",
        ),
        (
            "Say which [distortion(s) dominate(s)|distortion dominates|two distortions dominate] this image.",
            "This image is dominated by {names}.",
        ),
        (
            "A viewer complains about the quality of this image. Which [distortion(s)|one distortion|two distortions] might be the reason?",
            "The reason might well be {names}.",
        ),
        (
            "Through which [distortion(s)|one distortion|two distortions] does the picture lose quality<, compared with the reference picture>?",
            "The picture loses quality through {names}.",
        ),
        (
            "Examine the evaluated image and report its [distortion(s)|main distortion|two main distortions].",
            "My report on the evaluated image: {names}.",
        ),
        (
            "Which [visible distortion(s)|one visible distortion|two visible distortions] would you want to correct in this photo?",
            "In this photo I would want to correct the {names}.",
        ),
        (
            "<In comparison with the reference, >what [kind(s) of damage|one kind of damage|two kinds of damage] does the image show?",
            "The image shows {names}.",
        ),
        (
            "Determine the [distortion(s)|distortion|two distortions] that the evaluated picture is impaired by.",
            "The evaluated picture is impaired by {names}.",
        ),
        (
            "What would an expert call the [distortion(s)|distortion|two distortions] in this image<, compared with the reference>?",
            "An expert would call this {names}.",
        ),
    )
)
NO_DISTORTION_SENTENCES = (
    "No distortion can be seen in the image.",
    "The image is free of visible distortions.",
    "I see no distortion in this image.",
    "There is no visible degradation in the image.",
    "The image looks clean, without any distortion.",
)

RATING = tuple(
    Template(*pair)
    for pair in (
        ("Which image has the better quality, Image A or Image B?", "{better} has the better quality."),
        (
            "<Compared with the reference, >which of the two images is of higher quality?",
            "{better} is of higher quality than {worse}.",
        ),
        ("Of Image A and Image B, which one looks better to you?", "{better} looks better to me."),
        ("Compare the quality of Image A and Image B. Which one wins?", "{better} wins the comparison of quality."),
        (
            "Which image is closer to perfect quality<, compared with the reference>?",
            "{better} is closer to perfect quality.",
        ),
        ("If you could keep only one of the two images for its quality, which would it be?", "I would keep {better}."),
        (
            "Which one of these images is less distorted<, relative to the reference>?",
            "{better} is less distorted than {worse}.",
        ),
        (
            "Between Image A and Image B, which is visually more pleasing in quality?",
            "{better} is visually more pleasing.",
        ),
        ("Please decide which image has been degraded less.", "{better} has been degraded less."),
        ("Whose quality is superior, that of Image A or that of Image B?", "The quality of {better} is superior."),
        (
            "<In comparison with the reference, >which image preserves its quality better?",
            "{better} preserves its quality better.",
        ),
        ("Tell me which image you consider to be of better quality.", "I consider {better} to be of better quality."),
        (
            "Which image suffers less from visible artifacts?",
            "{better} suffers less from visible artifacts than {worse}.",
        ),
        ("Judge the two images by their quality: which one comes first?", "{better} comes first, {worse} second."),
        ("Is the quality of Image A or of Image B higher?", "The quality of {better} is higher."),
        ("Which of the two would a careful viewer prefer for its quality?", "A careful viewer would prefer {better}."),
        ("Rank Image A and Image B by quality. Which one is on top?", "{better} is on top, ahead of {worse}."),
        (
            "Which image shows the content with fewer quality problems<, compared with the reference>?",
            "{better} shows fewer quality problems.",
        ),
        ("Looking at both images, which has less visible damage?", "{better} has less visible damage than {worse}."),
        (
            "Image A or Image B: which should be published, if quality alone counts?",
            "If quality alone counts, {better} should be published.",
        ),
        ("Pick the image with the better perceptual quality.", "My pick is {better}."),
    )
)

DETAIL_ONE = tuple(
    Template(question)
    for question in (
        "Please describe the quality of the evaluated image in detail<, compared with the reference>.",
        "How would you assess the quality of this image<, relative to the reference>? Explain your view.",
        "What do you think of the quality of this picture? Please give your reasons.",
        "Describe the distortions of the image and how they change what one sees.",
        "<Compared with the reference, >how good is the evaluated image? Discuss its flaws.",
        "Evaluate this image's quality thoroughly, with attention to distortions and their consequences.",
        "Write a detailed assessment of the quality of the given image.",
        "Explain what affects the quality of this image<, in comparison with the reference>.",
        "Could you comment on the technical quality of this photo and justify your judgement?",
        "Take a close look at the image and report on its quality, part by part.",
        "What are the strengths and weaknesses in the quality of the evaluated image?",
        "Give a reasoned account of how well this image preserves details, tones and colors.",
        "Describe how the content of the image suffers from distortions, if it does.",
        "I would like to know how good this image is, and why. Please elaborate.",
        "Analyze the quality of the image<, compared with the reference>. Then sum up your impression.",
        "Tell me about the quality of this picture: what is degraded, how strongly, and with what effect?",
        "As a quality inspector, what would you note about this image?",
        "Provide a full description of the image's quality, from its content to its distortions.",
        "How do distortions influence the way this image looks? Explain in a few sentences.",
        "Assess the evaluated picture<, relative to the reference>: describe distortions, their severity and the overall quality.",
    )
)

DETAIL_TWO = tuple(
    Template(question)
    for question in (
        "<With the reference in mind, >compare the quality of Image A and Image B in detail and explain which one is better.",
        "Which image is of better quality, and why? Please discuss both.",
        "Describe the distortions in Image A and Image B, then decide which image has higher quality.",
        "<Compared with the reference, >how do the two images differ in quality? Give your verdict.",
        "Please weigh the flaws of both images against each other and state which is better.",
        "Write a detailed comparison of the quality of these two images.",
        "Explain, with reasons, whether Image A or Image B looks better.",
        "<Relative to the reference, >assess both images and justify your preference.",
        "What are the quality problems of each image, and which image suffers less?",
        "Take a close look at Image A and Image B. Which one is of higher quality, and what makes the difference?",
        "Contrast the technical quality of the two images and draw a conclusion.",
        "If quality matters, which image would you choose? Describe what you see in both.",
        "Discuss how well details, tones and colors are preserved in Image A and in Image B, then conclude which is better.",
        "Give a reasoned judgement of which image is better<, compared with the reference>.",
        "Describe the effects of the distortions in both images and compare the overall quality.",
        "Tell me which image has the better quality and walk me through your reasoning.",
        "Evaluate Image A first, then Image B, and finish with a comparison.",
        "Analyze the two images side by side: what is degraded in each, how badly, and which one wins?",
        "How would a careful viewer compare the quality of these images? Explain in detail.",
        "Provide a thorough quality comparison of Image A and Image B and name the better one.",
    )
)


def render(text: str, number: int, has_reference: bool) -> str:
    """A question as it is asked: `number` is ANY, ONE or TWO."""
    text = re.sub(r"<([^>]*)>", r"\1" if has_reference else "", text)
    return capitalised(_choose(text, number))


def pick(options: tuple, rng: np.random.Generator):
    return options[rng.integers(len(options))]


def capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def word_answer(state: State) -> str:
    """The answer in a word or phrase: "Noise", "Noise and blur", "None"."""
    return capitalised(" and ".join(named(state)))


def brief(
    template: Template, state: State, number: int, in_a_word: bool, has_reference: bool, no_distortion: str
) -> tuple[str, str]:
    """(question, answer) about what is wrong with one picture; `no_distortion` is the sentence where nothing is."""
    question = render(template.question, number, has_reference)
    if in_a_word:
        return question + SINGLE_WORD_REQUEST, word_answer(state)
    if not state:
        return question, no_distortion
    return question, _choose(template.answer, len(state) - 1).format(names=" and ".join(named(state)))


def rating(template: Template, a_is_better: bool, in_a_word: bool, has_reference: bool) -> tuple[str, str]:
    """(question, answer) about which of two pictures is better."""
    better, worse = ("Image A", "Image B") if a_is_better else ("Image B", "Image A")
    question = render(template.question, ANY, has_reference)
    if in_a_word:
        return question + SINGLE_WORD_REQUEST, better
    return question, template.answer.format(better=better, worse=worse)


def _choose(text: str, number: int) -> str:
    return re.sub(r"\[([^\]]*)\]", lambda match: match[1].split("|")[number], text)
