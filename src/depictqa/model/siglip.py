"""SigLIP's ViT (Zhai et al., 2023) from a Hugging Face folder: an encoder beside CLIP, by config alone."""

from pathlib import Path
from typing import Any

import torch
from transformers import SiglipVisionModel

from depictqa.errors import InputError
from depictqa.model.folder import MODEL_FILES, check_complete, check_json, explain
from depictqa.model.vision import VisionEncoder


class SiglipEncoder(VisionEncoder):
    """The patch outputs of SigLIP's last block, without the final norm, as with CLIP."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, vit: SiglipVisionModel):
        super().__init__()
        self.vit = vit
        self.patch_size = vit.embeddings.patch_embedding.kernel_size[0]
        self.feature_size = vit.config.hidden_size

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings = self.vit.embeddings(pixels, interpolate_pos_encoding=True)  # [b, N, C]
        return self.vit.encoder(inputs_embeds=embeddings).last_hidden_state


def load_siglip(path: Path, feature_type: str) -> SiglipEncoder:
    """Load a frozen encoder in float32. Raises InputError: the folder holds no SigLIP, or global features are asked for."""
    if feature_type != "local":
        raise InputError(f"{path}: model.vision_feature_type: SigLIP has local features only, found '{feature_type}'")
    check_json(path, MODEL_FILES)
    try:
        loaded: Any = SiglipVisionModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # a broken file may lead transformers to any
        raise explain(path, "not a SigLIP model folder", error) from error
    vit, found = loaded  # typed as the model alone
    check_complete(path, set(found["missing_keys"]))
    return SiglipEncoder(vit).eval().requires_grad_(False)
