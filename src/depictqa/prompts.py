"""Every word of a prompt: tasks, image tags, conversation formats and the one renderer (standard library only).

A released checkpoint answers well only to the exact text it was trained on, so the strings here are part of
the checkpoint format. A prompt is a chain of text pieces with an image between each two:

    system + "\\n\\n {sep2} Reference Image: <Img>" [image] "</Img>\\n\\n {sep2} Image A: <Img>" [image] "</Img>..."

Each piece is tokenized alone (`model.tokenizer`). A new task or format is a new row of a table.
"""

from collections.abc import Collection
from dataclasses import dataclass

from depictqa.errors import InputError

DISTORTIONS = {  # class -> its word in the answer vocabulary
    "blur": "blur",
    "noise": "noise",
    "compression": "compression",
    "brighten": "overly high brightness",
    "darken": "insufficient brightness",
    "contrast_strengthen": "overly high contrast",
    "contrast_weaken": "insufficient contrast",
    "saturate_strengthen": "overly high saturation",
    "saturate_weaken": "insufficient saturation",
    "oversharpen": "oversharpening",
    "pixelate": "pixelation",
    "quantization": "color quantization",
}
NO_DISTORTION = "none"
SINGLE_WORD_REQUEST = " Answer the question using a single word or phrase."
QUESTIONS = {  # what is asked where the user has no question of their own
    "describe": "Describe the quality of this image and give your reasons.",
    "distortions": "What is the main distortion in this image?" + SINGLE_WORD_REQUEST,
    "compare": "Compare the two images in detail and say which one is better.",
    "better": "Which image has the better quality, Image A or Image B?" + SINGLE_WORD_REQUEST,
    "score": "Is the quality of this image excellent, good, fair, poor or bad?" + SINGLE_WORD_REQUEST,
}
LEVELS = {"excellent": 5, "good": 4, "fair": 3, "poor": 2, "bad": 1}  # answer to QUESTIONS["score"] -> its weight
IMAGE_PLACEHOLDER = "<image>"  # LLaVA-style mark in a first question; the image always comes first here

_CHAT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_QUALITY = _CHAT + " As an AI assistant, you are performing an image quality assessment task."
_QUALITY_REFERENCE = _QUALITY + " A high-quality Reference Image is provided to assist the evaluation."
_DESCRIPTION = _CHAT + (
    " As an AI assistant, you are performing an image detail description task, and your goal is to generate a "
    "natural language description of an image that accurately and comprehensively conveys its visual content."
)


@dataclass(frozen=True)
class Slot:
    """One image of a prompt: the meta file's field that names it, its label in the text, its unique tag."""

    field: str
    label: str | None  # None: the image follows the user's role ("USER: <Img>...")
    tag: str


@dataclass(frozen=True)
class Task:
    """What is asked about which images.

    Attributes:
        inference: whether users ask it; the others are for training only.
        by_name: users ask it by its name alone (`infer.py --task_name`). Any other task follows from the images that
            are given, so no two of those may take the same ones.
        answer: how an answer is learned, a key of `training.losses.LOSSES`: "text", word for word; or "level", one word
            of LEVELS, from the opinion score that stands behind it.
    """

    name: str
    system: str
    slots: tuple[Slot, ...]
    inference: bool = True
    by_name: bool = False
    answer: str = "text"

    @property
    def compares(self) -> bool:
        """Whether it is about two images."""
        return {"image_A", "image_B"} <= set(self.fields)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(slot.field for slot in self.slots)

    @property
    def is_comparison(self) -> bool:
        return {"image_A", "image_B"} <= set(self.fields)


LABELS = {"image_ref": "Reference Image", "image_A": "Image A", "image_B": "Image B"}  # field -> what users call it
_REFERENCE = Slot("image_ref", "Reference Image", "Img-Reference")
_IMAGE_A, _IMAGE_B = Slot("image_A", "Image A", "Img-A"), Slot("image_B", "Image B", "Img-B")
_ONLY_A, _ONLY_B = Slot("image_A", "Image", "Img"), Slot("image_B", "Image", "Img")
_SCENE = Slot("image", None, "Img")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("quality_single_A", _QUALITY_REFERENCE, (_REFERENCE, _ONLY_A)),
        Task("quality_single_A_noref", _QUALITY, (_ONLY_A,)),
        Task("quality_single_B", _QUALITY_REFERENCE, (_REFERENCE, _ONLY_B)),
        Task("quality_single_B_noref", _QUALITY, (_ONLY_B,)),
        Task("quality_compare", _QUALITY_REFERENCE, (_REFERENCE, _IMAGE_A, _IMAGE_B)),
        Task("quality_compare_noref", _QUALITY, (_IMAGE_A, _IMAGE_B)),
        Task("description", _DESCRIPTION, (_SCENE,), inference=False),
        Task("normal", _CHAT, (_SCENE,), inference=False),
        # asked as quality_single_A[_noref], whose prompts these are
        Task("quality_score_A", _QUALITY_REFERENCE, (_REFERENCE, _ONLY_A), inference=False, answer="level"),
        Task("quality_score_A_noref", _QUALITY, (_ONLY_A,), inference=False, answer="level"),
    )
}


def _by_images() -> dict[frozenset[str], Task]:
    """Fields of the images that are given -> the task that follows."""
    found: dict[frozenset[str], Task] = {}
    for task in TASKS.values():
        if task.inference and not task.by_name:
            other = found.setdefault(frozenset(task.fields), task)
            if other is not task:  # one of them would never be asked, and nobody would be told
                raise ValueError(f"tasks {other.name} and {task.name} take the same images: one needs by_name=True")
    return found


_BY_IMAGES = _by_images()


@dataclass(frozen=True)
class Format:
    """How turns of a conversation are written: the two roles, what ends a question, what ends an answer."""

    user: str
    assistant: str
    sep1: str
    sep2: str


_VICUNA_V0 = Format("Human", "Assistant", "###", "###")
_VICUNA_V1 = Format("USER", "ASSISTANT", " ", "</s>")
_LLAMA_2 = Format("USER", "ASSISTANT", "<s>", "</s>")
_CHATML = Format("<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>")
_PLAIN = Format("", "", "\n", "\n")

FORMATS: dict[str, Format] = {
    "default": _VICUNA_V0,
    "v0": _VICUNA_V0,
    "v0_mmtag": _VICUNA_V0,
    "v0_plain": _PLAIN,
    "v1": _VICUNA_V1,
    "v1_mmtag": _VICUNA_V1,
    "vicuna_v0": _VICUNA_V0,
    "vicuna_v1": _VICUNA_V1,
    "llama_2": _LLAMA_2,
    "llava_v0": _VICUNA_V0,
    "llava_v1": _VICUNA_V1,
    "llava_llama_2": _LLAMA_2,
    "mistral_instruct": Format("USER", "ASSISTANT", "", "</s>"),
    "mistral_direct": _CHATML,
    "chatml": _CHATML,
    "chatml_direct": _CHATML,
    "mpt": _CHATML,
    "plain": _PLAIN,
}


def get_task(name: str, inference: bool = False) -> Task:
    """The task of that name. Raises InputError, with the valid names, for one that is unknown or cannot be asked."""
    valid = [task.name for task in TASKS.values() if task.inference or not inference]
    if name not in valid:
        raise InputError(f"unknown task '{name}'; expected one of {', '.join(valid)}")
    return TASKS[name]


def task_of(fields: Collection[str]) -> Task:
    """The task that follows from which images are given.

    Args:
        fields: some of image_ref, image_A, image_B.

    Raises:
        InputError: no task takes that set of images.
    """
    if task := _BY_IMAGES.get(frozenset(fields)):
        return task
    found = " and ".join(label for field, label in LABELS.items() if field in fields) or "none"
    raise InputError(f"images: expected Image A, or Images A and B, each with or without a reference; found {found}")


@dataclass(frozen=True)
class Prompt:
    """`pieces` of text with an image between each two; the last piece ends where the first answer begins."""

    pieces: tuple[str, ...]
    sep2: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The pieces in front of an image: the same for every question about the same images."""
        return self.pieces[:-1]


def render(task: Task, question: str, format: Format, unique_tag: bool) -> Prompt:
    """Render the prompt of a first question.

    Args:
        unique_tag: tags name the image's role (`<Img-A>`); without, every image is in `<Img>`.

    Returns:
        len(task.slots) + 1 pieces of text.
    """
    pieces, text = [], task.system
    for slot in task.slots:
        tag = slot.tag if unique_tag else "Img"
        label = slot.label if slot.label is not None else format.user
        pieces.append(f"{text}\n\n {format.sep2} {label}: <{tag}>")
        text = f"</{tag}>"
    if task.slots[-1].label is None:  # a scene: the question follows the image in the same turn
        pieces.append(f"{text} {without_placeholder(question)} {format.sep1} {format.assistant}: ")
    else:
        pieces.append(f"{text}\n\n {format.sep2} {render_question(question, format)}")
    return Prompt(tuple(pieces), format.sep2)


def render_question(question: str, format: Format) -> str:
    """A question and the start of its answer: what follows an earlier answer in a longer conversation."""
    return f"{format.user}: {question}\n {format.sep1} {format.assistant}: "


def render_answer(answer: str, format: Format) -> str:
    """An answer and its end: every token of it is a training target."""
    return f"{answer}\n {format.sep2}"


def without_placeholder(question: str) -> str:
    """Remove the `<image>` line of published description data (`<image>\\nDescribe ...`)."""
    return question.replace(f"{IMAGE_PLACEHOLDER}\n", "").replace(f"\n{IMAGE_PLACEHOLDER}", "")
