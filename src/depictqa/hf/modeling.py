"""The network as a `PreTrainedModel` with `generate`: the same encoder, abstractor and projector, LoRA merged.

Ids, masks and pixels come from `processing`. `generate` embeds the images once, then decodes as any causal LM does.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel, SiglipVisionModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from depictqa.hf.configuration import DepictQAConfig
from depictqa.model.abstractor import Abstractor
from depictqa.model.clip import CLIPEncoder
from depictqa.model.depictqa import LEAST_SHARE, DepictQA
from depictqa.model.siglip import SiglipEncoder
from depictqa.model.vision import VisionEncoder

ENCODERS: dict[str, Callable[[Any, str], VisionEncoder]] = {  # `model_type` -> encoder without weights
    "clip_vision_model": lambda config, feature_type: CLIPEncoder(config, feature_type),
    "siglip_vision_model": lambda config, _: SiglipEncoder(SiglipVisionModel(config)),
}


class DepictQAForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Answers questions about images; see `DepictQAProcessor` for its inputs."""

    config_class = DepictQAConfig
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]
    _supports_sdpa = True
    least_share = LEAST_SHARE
    embed_images = DepictQA.embed_images  # the same images give the same embeddings

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        self.vision_encoder = ENCODERS[config.vision_config.model_type](
            config.vision_config, config.vision_feature_type
        )
        size = self.vision_encoder.feature_size
        self.abstractor = None if config.abstractor is None else Abstractor(size, **config.abstractor)
        self.vision_proj = nn.Linear(size, config.text_config.hidden_size)
        self.llm = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.get_output_embeddings()

    def embed(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Text and images as one sequence [B, T, D].

        Args:
            input_ids: [B, T]; any id where an image is.
            pixel_values: [patches of all images, 3, p, p], uint8; images in the order of their places.
            image_sizes: [images, 2], height and width in pixels.
            mm_token_type_ids: [B, T], 1 where an image is.
        """
        inputs_embeds = self.get_input_embeddings()(input_ids)  # [B, T, D]
        if pixel_values is None or image_sizes is None:
            return inputs_embeds
        images = unpatchify(pixel_values, image_sizes.tolist())
        image_embeds = torch.cat(self.embed_images(images)).to(inputs_embeds)  # [image tokens, D]
        return inputs_embeds.masked_scatter((mm_token_type_ids == 1)[..., None], image_embeds)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token, and the loss where `labels` are given.

        Args:
            inputs_embeds: [B, T, D], what `embed` returns, in place of the arguments before it.
            kwargs: of the language model: attention_mask, position_ids, past_key_values, labels, logits_to_keep, ...
        """
        if inputs_embeds is None:
            assert input_ids is not None, "neither input_ids nor inputs_embeds"
            inputs_embeds = self.embed(input_ids, pixel_values, image_sizes, mm_token_type_ids)
        return self.llm(inputs_embeds=inputs_embeds, **kwargs)

    @torch.no_grad()
    def generate(self, inputs=None, generation_config=None, **kwargs):
        """As every transformers model. Images are embedded here, once, whatever beams or samples are drawn from them."""
        names = ("pixel_values", "image_sizes", "mm_token_type_ids")
        vision = {name: kwargs.pop(name, None) for name in names}
        if vision["pixel_values"] is not None:
            kwargs["inputs_embeds"] = self.embed(kwargs["input_ids"] if inputs is None else inputs, **vision)
        return cast(Any, super()).generate(inputs, generation_config, **kwargs)


def unpatchify(patches: torch.Tensor, sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    """[patches of all images, 3, p, p] -> each image [3, H, W]."""
    size = patches.shape[-1]
    grids = [(height // size, width // size) for height, width in sizes]
    parts = patches.split([rows * columns for rows, columns in grids])
    return [
        part.unflatten(0, grid).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)  # [h, w, 3, p, p] -> [3, H, W]
        for part, grid in zip(parts, grids, strict=True)
    ]
