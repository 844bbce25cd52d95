"""Answers the way the original program makes them: the baseline of `infer.py`.

transformers' own `generate` with its cache, LoRA beside the weights, eager attention, no picture or prompt shared: every
item decodes and encodes its own. Items whose pictures have one size form batches; others are answered one at a time. A
second question for the confidence is asked from scratch. Questions are fused by the package, so that ids are the same.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from depictqa.data.meta import Item
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.inference.confidence import asks_for_a_word, is_brief
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import collate
from depictqa.prompts import SINGLE_WORD_REQUEST, Task


def batches(items: Sequence[Item], loaded, size: int) -> Iterator[tuple[list[Item], list[tuple[torch.Tensor, ...]]]]:
    """Up to `size` items at a time where all their pictures can be stacked, else one at a time."""
    for first in range(0, len(items), size):
        some = list(items[first : first + size])
        images = [loaded(item) for item in some]
        if len({tuple(image.shape for image in row) for row in images}) == 1:
            yield some, images
        else:
            yield from (([item], [row]) for item, row in zip(some, images, strict=True))


@torch.inference_mode()
def generate(
    model: DepictQA, task: Task, images: Sequence[tuple], queries: Sequence[str], tokens: int
) -> list[list[int]]:
    """Ids of the answers to a batch whose pictures have the same sizes."""
    slots = []
    for pictures in zip(*images, strict=True):  # one slot of the task at a time, as a stack
        pixels = [model.vision_encoder.normalize(picture.to(model.device)) for picture in pictures]
        features, _ = model.vision_encoder(pixels)  # [B, N, C]
        if model.abstractor is not None:
            features = model.abstractor(features, None, [model.vision_encoder.grid(*one.shape[1:]) for one in pixels])
        slots.append(model.vision_proj(features))  # [B, N, D]
    fused = [model.fuse_question(task, list(row), query) for *row, query in zip(*slots, queries, strict=True)]
    batch = collate(fused, model.embed_tokens, padding_side="left")
    llm = model.llm
    answer = llm.generate(
        inputs_embeds=batch.inputs_embeds,
        attention_mask=batch.attention_mask,
        max_new_tokens=tokens,
        do_sample=False,
        use_cache=True,
        pad_token_id=model.tokenizer.eos_token_id,
        eos_token_id=model.tokenizer.eos_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    nn.functional.softmax(torch.stack(answer.logits), dim=-1).gather(2, answer.sequences.T[:, :, None])  # probabilities
    return [row[: _length(row, model.tokenizer.eos_token_id)] for row in answer.sequences.tolist()]


def _length(ids: list[int], end: int) -> int:
    return ids.index(end) + 1 if end in ids else len(ids)


def answer(
    model: DepictQA,
    preprocess: ImagePreprocessor,
    task: Task,
    items: Sequence[Item],
    batch_size: int,
    tokens: int,
    confidence: bool,
) -> list[list[int]]:
    """The ids of each item's answer."""
    rows = []
    for some, images in batches(items, lambda item: tuple(map(preprocess.load, item.image_paths)), batch_size):
        found = generate(model, task, images, [item.query for item in some], tokens)
        rows += found
        again = [
            index
            for index, (item, ids) in enumerate(zip(some, found, strict=True))
            if confidence and not asks_for_a_word(item.query) and is_brief(model.tokenizer.decode(ids))
        ]
        if again:
            queries = [some[index].query + SINGLE_WORD_REQUEST for index in again]
            generate(model, task, [images[index] for index in again], queries, tokens)
    return rows
