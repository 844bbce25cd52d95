"""DepictQA as native classes of transformers. Importing this module registers them with the Auto classes.

    import depictqa.hf
    from transformers import pipeline

    pipe = pipeline("image-text-to-text", model="FOLDER")  # written by `depictqa export --format hf`

transformers 5 loads no plugins by itself, so the import cannot be left out; no remote code is involved.
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from depictqa.hf.configuration import DepictQAConfig
from depictqa.hf.modeling import DepictQAForConditionalGeneration
from depictqa.hf.processing import DepictQAProcessor

AutoConfig.register(DepictQAConfig.model_type, DepictQAConfig, exist_ok=True)
AutoModelForImageTextToText.register(DepictQAConfig, DepictQAForConditionalGeneration, exist_ok=True)
AutoProcessor.register(DepictQAConfig, DepictQAProcessor, exist_ok=True)

__all__ = ["DepictQAConfig", "DepictQAForConditionalGeneration", "DepictQAProcessor"]
