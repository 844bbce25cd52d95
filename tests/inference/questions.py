"""Questions about golden pictures, for tests of what answers them."""

import itertools

import numpy as np
import torch

from conftest import golden, image_path, load_images
from depictqa.data.images import open_image
from depictqa.inference.assessor import Question
from depictqa.inference.sampling import Sampling
from depictqa.model.fusion import Fused
from depictqa.prompts import TASKS

GREEDY = Sampling(max_new_tokens=24)
ASK = "What is the main distortion in this picture? Answer the question using a single word or phrase."
DESCRIBE = "Describe how good the photo looks and give reasons."


class SameMeaning:
    """A sentence model to which only the whole answer means anything: every token weighs the same."""

    def encode(self, sentences, **_):
        return np.eye(len(sentences))


def picture(preprocess, name):
    return preprocess(open_image(image_path(name)))


def mixed_questions(preprocess) -> list[Question]:
    """All tasks, sizes from 33x47 to 2100x75, short and long questions."""
    ref, a, b = (picture(preprocess, name) for name in ("s01_70x70.png", "s10_84x84.png", "s14_gray_2100x75.png"))
    small = picture(preprocess, "s06_33x47.png")
    return [
        Question(TASKS["quality_single_A_noref"], (a,), ASK),
        Question(
            TASKS["quality_compare"], (ref, a, b), "Which is better, Image A or Image B? Use a single word or phrase."
        ),
        Question(TASKS["quality_single_B"], (ref, small), DESCRIBE),
        Question(TASKS["quality_compare_noref"], (small, b), "Which is sharper?"),
        Question(TASKS["quality_single_A_noref"], (small,), "Name the strongest degradation you can see."),
    ]


def fuse(case: dict, model, preprocess, row: int = 0) -> Fused:
    """The prompt of a golden e2e case."""
    task = TASKS[case["task_type"]]
    with torch.no_grad():
        embeds = model.embed_images(load_images(preprocess, task, case, row))
    return model.fuse_question(task, embeds, case["query"][row])


def golden_cases(count: int) -> list[dict]:
    """The first single questions of the golden base model."""
    cases = (case for case in golden("e2e/infer.json") if case["model"] == "base" and len(case["query"]) == 1)
    return list(itertools.islice(cases, count))


def golden_prompts(model, preprocess, count: int) -> list[Fused]:
    return [fuse(case, model, preprocess) for case in golden_cases(count)]
