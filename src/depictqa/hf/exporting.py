"""A trained model as a folder that transformers loads: `depictqa export --format hf --cfg config.yaml --out FOLDER`.

LoRA is merged in float32. What was written is loaded again and compared with the trained model, images included.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from depictqa.config import Config, require_file
from depictqa.errors import InputError
from depictqa.hf.configuration import DepictQAConfig
from depictqa.hf.modeling import ENCODERS, DepictQAForConditionalGeneration
from depictqa.hf.processing import DepictQAProcessor
from depictqa.inference.sampling import StopCriteria
from depictqa.model.build import build_model, build_preprocessor
from depictqa.model.depictqa import DepictQA
from depictqa.model.exporting import compare, new_folder, writing_weights
from depictqa.model.fusion import collate
from depictqa.model.llm import as_folder
from depictqa.prompts import QUESTIONS, TASKS

PROBES = {"quality_single_A_noref": "describe", "quality_compare": "compare"}  # task -> its question
CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [depictqa, image-quality-assessment]
---

# DepictQA

Image quality assessment in words, exported by `depictqa export --format hf`.

```python
import depictqa.hf  # pip install depictqa; registers the classes, no remote code
from transformers import pipeline

pipe = pipeline("image-text-to-text", model="THIS REPOSITORY")
image = {"type": "image", "url": "photo.jpg"}
question = {"type": "text", "text": "Describe the quality of this image and give your reasons."}
print(pipe(text=[{"role": "user", "content": [image, question]}], return_full_text=False)[0]["generated_text"])
```
"""


def export_hf(config: Config, out: Path, dtype: torch.dtype) -> tuple[float, float]:
    """Write the model to `out`: whole or not at all.

    Args:
        dtype: of the file; merging is done in float32.

    Returns:
        the largest difference of a logit between the trained model and what was written, and the share of positions
        whose likeliest token is the same, over prompts with images.

    Raises:
        InputError: a file of the config is absent, `out` exists, a part has no transformers form, or logits differ.
    """
    with new_folder(out) as unfinished:
        model = build_model(config, torch.device("cpu"), torch.float32).eval()
        probe = Image.linear_gradient("L").resize((224, 196)).convert("RGB")
        expected = _expected_logits(model, build_preprocessor(config)(probe))
        with writing_weights(out):
            _write(model, config, unfinished, dtype)
        del model
        return compare(out, _written_logits(unfinished, probe), expected)


@torch.inference_mode()
def _expected_logits(model: DepictQA, image: torch.Tensor) -> torch.Tensor:
    """[tokens of all probes, V]."""
    logits = []
    for name, question in PROBES.items():
        task = TASKS[name]
        fused = model.fuse_question(task, model.embed_images([image] * len(task.slots)), QUESTIONS[question])
        inputs_embeds = collate([fused], model.embed_tokens, padding_side="left").inputs_embeds  # [1, T, D]
        logits.append(model.llm(inputs_embeds=inputs_embeds).logits[0])
    return torch.cat(logits)


@torch.inference_mode()
def _written_logits(folder: Path, image: Image.Image) -> torch.Tensor:
    """[tokens of all probes, V]."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    logits = []
    for name, question in PROBES.items():
        inputs = processor([image] * len(TASKS[name].slots), QUESTIONS[question], name)
        logits.append(model(**inputs).logits[0])
    return torch.cat(logits)


def _write(model: DepictQA, config: Config, folder: Path, dtype: torch.dtype) -> None:
    vision_config = getattr(getattr(model.vision_encoder, "vit", None), "config", None)
    if vision_config is None or vision_config.model_type not in ENCODERS:
        found = type(model.vision_encoder).__name__
        raise InputError(f"--format hf: expected a vision encoder of type {', '.join(ENCODERS)}; found {found}")
    ends = StopCriteria(model.tokenizer, model.format.sep2)
    if ends.text is not None:
        where = f"{config.config_path}: model.llm_conv_type"
        raise InputError(f"--format hf: {where}: answers end with {ends.text!r}, which is not one token of this LLM")
    abstractor = config.model.abstractor
    model.llm.merge_adapter(safe_merge=True)
    hf_config = DepictQAConfig(
        vision_config=vision_config.to_dict(),
        text_config=model.llm.config.to_dict(),
        vision_feature_type=config.model.vision_feature_type,
        abstractor=None if abstractor is None else abstractor.model_dump(),
    )
    with torch.device("meta"):
        exported = DepictQAForConditionalGeneration(hf_config)
    exported.vision_encoder, exported.abstractor = model.vision_encoder, model.abstractor  # the parts themselves
    exported.vision_proj, exported.llm = model.vision_proj, model.llm.unload()
    exported.generation_config = GenerationConfig(
        max_new_tokens=config.infer.max_new_tokens,
        do_sample=config.infer.temperature > 0,
        **({"temperature": config.infer.temperature, "top_p": config.infer.top_p} if config.infer.temperature else {}),
        bos_token_id=model.tokenizer.bos_token_id,
        eos_token_id=sorted(ends.ids),
        pad_token_id=model.tokenizer.eos_token_id,
    )
    nn.Module.to(exported, dtype)
    exported.save_pretrained(folder)
    is_global = config.model.vision_feature_type == "global"
    DepictQAProcessor(
        as_folder(require_file(config, "model.llm_path")),
        preprocess=config.vision_preprocess.model_dump(),
        conv_type=config.model.llm_conv_type,
        unique_tag=config.model.unique_tag,
        image_tokens=abstractor.num_query if abstractor else 1 if is_global else None,
    ).save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
