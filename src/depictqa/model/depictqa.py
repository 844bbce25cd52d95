"""DepictQA: frozen encoder -> [abstractor] -> projector -> LLM with LoRA. The whole forward is on this page.

Parts are passed in; `build_model` wires them from a config. Attribute names (`vision_proj`, `abstractor`, `llm`)
are the file format of released deltas: see `model.delta`.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import nn

from depictqa.data.training import Conversation
from depictqa.model.abstractor import Abstractor
from depictqa.model.fusion import Fused, collate, for_training
from depictqa.model.tokenizer import Tokenizer, first_ids
from depictqa.model.vision import VisionEncoder
from depictqa.prompts import FORMATS, LEVELS, Task, render, render_answer, render_question

LEAST_SHARE = 0.75  # pictures share a pass through the ViT if the smaller has this share of the larger's pixels


class Predictions(NamedTuple):
    """What a batch's answers are predicted from: T target tokens, sample by sample, of B samples."""

    logits: torch.Tensor  # [T, V], fp32
    targets: torch.Tensor  # [T]: token ids
    rows: torch.Tensor  # [T]: the sample of each target, ascending
    counts: torch.Tensor  # [B]: targets of each sample; 0 for one that was cut before its answer


class DepictQA(nn.Module):
    """The model, ready to train (`forward`) or to be asked (`fuse_question`, then `inference.generation`).

    Args:
        vision_encoder: frozen; its parameters are not part of a delta.
        abstractor: None feeds every patch token to the LLM.
        llm: a causal LM with LoRA.
        conv_type: a key of `prompts.FORMATS`.
        unique_tag: image tags name the image's role.
        max_tokens: training conversations are cut from the right at this many tokens.
        mask_answer_ends: training hides every end-of-sequence token of the conversation from attention.
    """

    def __init__(
        self,
        vision_encoder: VisionEncoder,
        abstractor: Abstractor | None,
        llm: PeftModel,
        tokenizer: Tokenizer,
        conv_type: str,
        unique_tag: bool,
        max_tokens: int = 512,
        mask_answer_ends: bool = True,
    ):
        super().__init__()
        self.vision_encoder = vision_encoder
        self.abstractor = abstractor
        self.vision_proj = nn.Linear(vision_encoder.feature_size, llm.config.hidden_size)
        self.llm = llm
        self.tokenizer = tokenizer
        self.format = FORMATS[conv_type]
        self.unique_tag = unique_tag
        self.max_tokens = max_tokens
        self.hidden_id = tokenizer.eos_token_id if mask_answer_ends else None
        self.least_share = LEAST_SHARE  # 0: one pass through the ViT, whatever the sizes, as ZeRO 3 needs it

    @property
    def device(self) -> torch.device:
        return self.vision_proj.weight.device

    @functools.cached_property
    def level_ids(self) -> list[int]:
        """The first token of each word of LEVELS, as an answer. Raises InputError where two words begin alike."""
        return first_ids(self.tokenizer, [render_answer(level, self.format) for level in LEVELS])

    @property
    def embed_tokens(self) -> nn.Embedding:
        return self.llm.get_input_embeddings()

    def train(self, mode: bool = True) -> "DepictQA":
        super().train(mode)
        self.vision_encoder.eval()  # frozen
        return self

    def embed_images(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Pictures, uint8 [3, H, W] of any sizes, to what stands between the text: a list of [N_i, D]."""
        embeds: list[torch.Tensor] = [torch.empty(0)] * len(images)
        for group in _similar_sizes(images, self.least_share):
            sizes = [images[i].shape[1:] for i in group]
            pixels = [self.vision_encoder.normalize(images[i].to(self.device)) for i in group]
            with torch.no_grad():
                features, padding_mask = self.vision_encoder(pixels)  # [B, N, C], [B, N]
            if self.abstractor is None:
                lengths = [self.vision_encoder.num_tokens(*size) for size in sizes]
            else:
                grids = [self.vision_encoder.grid(*size) for size in sizes]
                features = self.abstractor(features, padding_mask, grids)  # [B, Q, C]
                lengths = [features.shape[1]] * len(group)
            projected = self.vision_proj(features)  # [B, N, D]
            for i, row, length in zip(group, projected, lengths, strict=True):
                embeds[i] = row[:length]
        return embeds

    def fuse_question(self, task: Task, image_embeds: Sequence[torch.Tensor], question: str) -> Fused:
        """The prompt of one question about embedded images, in the order of the task's slots."""
        return self._fuse(task, image_embeds, question)

    def fuse_conversation(self, conversation: Conversation, image_embeds: Sequence[torch.Tensor]) -> Fused:
        """The prompt with its answers, labelled: exactly the answers' tokens (end included) are targets."""
        (question, answer), *rest = conversation.turns
        turns: list[tuple[str, bool]] = [(render_answer(answer, self.format), True)]
        for question_, answer in rest:
            turns += [(render_question(question_, self.format), False), (render_answer(answer, self.format), True)]
        return self._fuse(conversation.task, image_embeds, question, turns)

    def _fuse(self, task, image_embeds, question, turns: Sequence[tuple[str, bool]] = ()) -> Fused:
        prompt = render(task, question, self.format, self.unique_tag)
        fused = Fused()
        if self.tokenizer.bos_token_id is not None:
            fused.add_text([self.tokenizer.bos_token_id])
        for piece, embeds in zip(prompt.prefix, image_embeds, strict=True):
            fused.add_text(self.tokenizer.encode(piece))
            fused.add_image(embeds)
        room = self.max_tokens if turns else None
        for text, is_target in ((prompt.pieces[-1], False), *turns):
            ids = self.tokenizer.encode(text)[:room]
            fused.add_text(ids, is_target, self.hidden_id if turns else None)
            room = None if room is None else room - len(ids)
        return fused

    def forward(self, conversations: Sequence[Conversation]) -> Predictions:
        """Predict the answers of a batch of conversations with any mix of tasks, numbers of images and sizes."""
        images = [image for conversation in conversations for image in conversation.images]
        embeds: Iterator[torch.Tensor] = iter(self.embed_images(images))
        fused = [self.fuse_conversation(c, [next(embeds) for _ in c.images]) for c in conversations]
        batch = for_training(fused, collate(fused, self.embed_tokens, padding_side="right"))
        llama: Any = self.llm.get_base_model()  # or a relative: all of `llm.FAMILIES` have `model` and `lm_head`
        hidden = llama.model(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=batch.mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state[batch.rows, batch.places]  # [T, D]
        targets, rows, counts = (
            values.to(hidden.device, non_blocking=True)
            for values in (batch.targets, batch.rows, batch.rows.bincount(minlength=len(fused)))
        )
        return Predictions(llama.lm_head(hidden).float(), targets, rows, counts)


def _similar_sizes(images: Sequence[torch.Tensor], least_share: float = LEAST_SHARE) -> list[list[int]]:
    """Group indices of pictures so that little is lost on padding, largest first."""
    groups: list[list[int]] = []
    largest = 0
    for i in sorted(range(len(images)), key=lambda i: -images[i][0].numel()):
        size = images[i][0].numel()
        if not groups or size < least_share * largest:
            groups.append([])
            largest = size
        groups[-1].append(i)
    return groups
