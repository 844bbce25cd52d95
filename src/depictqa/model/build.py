"""From a config to a model: the one place that wires the parts."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from depictqa.config import Config, require_file
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.model import efficientnet
from depictqa.model.abstractor import Abstractor
from depictqa.model.clip import load_clip
from depictqa.model.delta import load_delta
from depictqa.model.depictqa import DepictQA
from depictqa.model.folder import read_json
from depictqa.model.llm import PROJECTIONS, add_lora, as_folder, empty_llm, load_llm, lora_layers
from depictqa.model.siglip import load_siglip
from depictqa.model.tokenizer import load_tokenizer
from depictqa.model.vision import VisionEncoder
from depictqa.model.weights import stored_dtype

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ENCODERS: dict[str, Callable[[Path, str], VisionEncoder]] = {  # `model_type` of a Hugging Face folder's config.json
    "clip": load_clip,
    "clip_vision_model": load_clip,
    "siglip": load_siglip,
    "siglip_vision_model": load_siglip,
    efficientnet.MODEL_TYPE: efficientnet.load_efficientnet,
}


def pick_device(name: str) -> torch.device:
    """`auto` takes cuda, then mps, then cpu. Raises InputError for a device that torch does not see."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise InputError(
            f"device: PyTorch finds no {name} device; expected one of {[d for d, t in available.items() if t]}"
        )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device, llm_path: str | Path) -> torch.dtype:
    """`auto` is fp32 but on cuda, where fp16 weights stay fp16, and others become bf16 (fp16 on a GPU without it).

    fp16 weights that LoRA is merged into lose more in bf16, which has three bits less: of small updates, a large part.
    """
    if name != "auto":
        return DTYPES[name]
    if device.type != "cuda":
        return torch.float32
    if stored_dtype(as_folder(llm_path)) == torch.float16 or not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def build_preprocessor(config: Config) -> ImagePreprocessor:
    return ImagePreprocessor(**dict(config.vision_preprocess))


def build_model(config: Config, device: torch.device, dtype: torch.dtype, delta: bool = True) -> DepictQA:
    """Load the frozen parts, put the trainable ones on, and fill them from `model.delta_path`.

    Args:
        delta: False leaves the trainable parts freshly initialised.

    Raises:
        InputError: a file is missing, broken, or does not fit the config.
    """
    delta_path = require_file(config, "model.delta_path") if delta else None
    model = _build(config, load_llm, device, dtype)
    if delta_path is not None:
        load_delta(model, delta_path)
    return model.to(device)


def build_skeleton(config: Config) -> DepictQA:
    """The model on the CPU in float32, but for the frozen weights of its language model: they are on the meta device.

    Raises:
        InputError: as of `build_model`.
    """

    def without_weights(path: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
        return empty_llm(as_folder(path), dtype)

    delta_path = require_file(config, "model.delta_path")
    model = _build(config, without_weights, torch.device("cpu"), torch.float32)
    for layer in lora_layers(model.llm.get_base_model()).values():  # made where the weights are
        layer.lora_A.to_empty(device="cpu")
        layer.lora_B.to_empty(device="cpu")
    load_delta(model, delta_path)
    return model.eval()


def _build(config: Config, make_llm: Callable, device: torch.device, dtype: torch.dtype) -> DepictQA:
    check_adaptation(config)
    encoder_path, llm_path = (require_file(config, f"model.{key}") for key in ("vision_encoder_path", "llm_path"))
    vision_encoder = load_vision_encoder(encoder_path, config.model.vision_feature_type)
    if config.vision_preprocess.patch_size != vision_encoder.patch_size:
        raise InputError(
            f"{config.config_path}: vision_preprocess.patch_size is {config.vision_preprocess.patch_size}, "
            f"but {encoder_path} has patches of {vision_encoder.patch_size}"
        )
    llm = make_llm(llm_path, dtype, device)
    return assemble(config, vision_encoder.to(device, dtype), llm, load_tokenizer(as_folder(llm_path)))


def load_vision_encoder(path: Path, feature_type: str) -> VisionEncoder:
    """Load a frozen encoder in float32: OpenAI's CLIP from a file, or what a Hugging Face folder says it is.

    Raises:
        InputError: the file or folder holds no encoder of a known kind.
    """
    if not path.is_dir():
        return load_clip(path, feature_type)
    model_type = read_json(path / "config.json").get("model_type")
    if model_type not in ENCODERS:
        raise InputError(f"{path}: expected a vision encoder of type {', '.join(ENCODERS)}; found {model_type!r}")
    return ENCODERS[model_type](path, feature_type)


def check_adaptation(config: Config) -> None:
    """Raises InputError where LoRA is to adapt modules that there are not: before anything is loaded."""
    strangers = [name for name in config.model.lora.lora_target_modules if name not in PROJECTIONS]
    if strangers:
        where = f"{config.config_path}: model.lora.lora_target_modules"
        raise InputError(f"{where}: expected some of {', '.join(PROJECTIONS)}; found {', '.join(strangers)}")


def assemble(config: Config, vision_encoder: VisionEncoder, llm, tokenizer) -> DepictQA:
    """Put the trainable parts on loaded (or meta-device) frozen ones, in the LLM's dtype."""
    abstractor = None
    if config.model.abstractor is not None:
        nhead, width = config.model.abstractor.nhead, vision_encoder.feature_size
        if width % nhead:
            found = f"{config.config_path}: model.abstractor.nhead is {nhead}"
            raise InputError(f"{found}; expected a divisor of the patches' width, {width}")
        abstractor = Abstractor(vision_encoder.feature_size, **dict(config.model.abstractor))
    lora = config.model.lora
    model = DepictQA(
        vision_encoder=vision_encoder,
        abstractor=abstractor,
        llm=add_lora(llm, lora.lora_r, lora.lora_alpha, lora.lora_dropout, lora.lora_target_modules),
        tokenizer=tokenizer,
        conv_type=config.model.llm_conv_type,
        unique_tag=config.model.unique_tag,
        max_tokens=config.train.max_tokens,
        mask_answer_ends=config.train.mask_answer_ends,
    )
    return model.to(llm.dtype)
