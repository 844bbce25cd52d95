"""The config.json of an exported model: what its parts are, without their weights.

Everything about text and images before the model is the processor's (`processing`).
"""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


class DepictQAConfig(PreTrainedConfig):
    """Vision encoder, abstractor and language model.

    Args:
        vision_config: a transformers config of one of `modeling.ENCODERS`.
        text_config: the config of a causal LM of transformers.
        vision_feature_type: "local" (a token per patch) or "global" (CLIP's class token).
        abstractor: keyword arguments of `model.abstractor.Abstractor`; None feeds every patch token to the LLM.
    """

    model_type = "depictqa"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: Any = None  # a dict becomes a config
    text_config: Any = None
    vision_feature_type: str = "local"
    abstractor: dict[str, Any] | None = None
    tie_word_embeddings: bool = False  # of this level; `text_config` has the LLM's
