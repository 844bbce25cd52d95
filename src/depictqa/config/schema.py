"""The keys of config.yaml and serve.yaml: types, defaults, ranges and meanings, each stated here and nowhere else.

A new key is one line in its section: name, type, default, range, meaning. Everything else follows from that line:
checks, messages, `python -m depictqa.config --keys`. The template in `experiments/_base_` names every key, and a test
compares the two, so add the line there as well.

    epochs: int = Field(1, ge=1, description="passes over the training mixture")

Types are strict: text is no number, true is no 1, 2.0 is no whole number; a whole number is a valid `float`.
A check across keys is a `model_validator(mode="after")` of the section that holds them; it raises ValueError.
"""

import importlib.util
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from easydict import EasyDict
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from depictqa.prompts import FORMATS

PACKAGE = "package:"
BUNDLED = Path(__file__).parents[1] / "bundled"
InFolder = ValidationInfo[dict[str, Path]]  # its context: {"folder": where the file lies}


def resolve_path(value: str, folder: Path) -> str:
    """An absolute path; `package:NAME/FILE` is found in the installed package NAME, without importing it, or in the wheel
    of depictqa, which brings the files of a package that it cannot depend on (setup.py).

    Raises:
        ValueError: the value cannot be a path (a NUL character, an unknown `~user`).
    """
    if value.startswith(PACKAGE):
        name, _, rest = value.removeprefix(PACKAGE).partition("/")
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return value
        if spec and spec.origin:
            return str(Path(spec.origin).parent / rest)
        return str(BUNDLED / name / rest) if (BUNDLED / name / rest).exists() else value
    try:
        return str((folder / Path(value).expanduser()).resolve())
    except (RuntimeError, OSError) as error:
        raise ValueError(str(error)) from None


class Expected(str):
    """In an annotation: what a value must be, where type and range do not say it."""


def _one_of(*choices: str) -> tuple[AfterValidator, Expected]:
    """For choices that are rows of a table; others are a Literal."""

    def check(value: str) -> str:
        if value not in choices:
            raise ValueError("not one of the choices")
        return value

    return AfterValidator(check), Expected(" | ".join(choices))


def _given_path(value: str, info: InFolder) -> str:
    if not value:
        raise ValueError("a path is empty")
    return resolve_path(value, info.context["folder"])


def _optional_path(value: str | None, info: InFolder) -> str | None:
    return resolve_path(value, info.context["folder"]) if value else None


def _meta_and_weight(entry: list) -> list:
    match entry:
        case [str(), int(weight)] if weight >= 1 and weight is not True:
            return entry
    raise ValueError("not a meta file and a weight")


def _increasing_shares(values: list[float]) -> list[float]:
    low, high = values
    if not 0 < low <= high <= 1:
        raise ValueError("not increasing shares")
    return values


PathTo = Annotated[str, AfterValidator(_given_path), Expected("a path")]
PathOrNull = Annotated[str | None, AfterValidator(_optional_path), Expected("a path or null")]
MetaWeight = Annotated[list, AfterValidator(_meta_and_weight), Expected("[meta file, whole number >= 1]")]
CropRatio = Annotated[
    list[float],
    Field(min_length=2, max_length=2),
    AfterValidator(_increasing_shares),
    Expected("two numbers [low, high], 0 < low <= high <= 1"),
]
ConversationFormat = Annotated[str, *_one_of(*FORMATS)]
PassedOn = Annotated[dict[str, Any], AfterValidator(EasyDict)]
Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), Expected("text or null")]


class Section(BaseModel):
    """Some keys that belong together. A section that is absent has its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, strict=True)

    @classmethod
    def subsections(cls) -> dict[str, type["Section"]]:
        """Those that are always there; one that may be null, such as `model.abstractor`, is a value."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}

    @model_validator(mode="before")
    @classmethod
    def _absent_sections(cls, raw: Any) -> Any:
        return {name: {} for name in cls.subsections()} | raw if isinstance(raw, dict) else raw


class File(Section):
    """All sections of one YAML file."""

    _config_path: str = PrivateAttr("")

    @property
    def config_path(self) -> str:
        """The file that was loaded, for messages."""
        return self._config_path


# ---------------------------------------------------------------- config.yaml


class TrainingData(Section):
    meta_paths_weights: list[MetaWeight] = Field([], description="[[meta file, times it is repeated in an epoch], ...]")


class InferenceData(Section):
    """What infer.py answers; its command line wins."""

    meta_path: PathOrNull = Field(None, description="meta file to answer")
    dataset_name: str | None = Field(None, description="used in the name of the answer file")
    task_name: str | None = Field(None, description="task of the meta file")
    batch_size: int | None = Field(1, ge=1, description="questions answered at a time; null: the command line says")


class Data(Section):
    root_dir: PathTo = Field(".", description="folder that meta files and their pictures are relative to")
    num_workers: int = Field(2, ge=0, description="processes that load pictures; 0: none beside the main one")
    train: TrainingData
    infer: InferenceData


class Lora(Section):
    lora_r: int = Field(16, ge=1, description="LoRA rank")
    lora_alpha: float = Field(16.0, gt=0, description="the update is scaled by lora_alpha / lora_r")
    lora_dropout: float = Field(0.1, ge=0, lt=1, description="share of LoRA inputs dropped in training")
    lora_target_modules: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1, description="adapted projections of the LLM"
    )


class AbstractorSizes(Section):
    dim_feedforward: int = Field(2048, ge=1, description="width of the MLPs")
    nhead: int = Field(8, ge=1, description="attention heads; divides the width of the patch features")
    num_layers: int = Field(4, ge=1, description="decoder layers")
    num_query: int = Field(64, ge=1, description="tokens that a picture becomes")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in training")
    add_pos_emd: bool = Field(False, description="add a sine position code to the patches")


class ModelParts(Section):
    vision_encoder_path: PathTo = Field(description="CLIP: TorchScript archive, state dict, or folder")
    vision_feature_type: Literal["local", "global"] = Field("local", description="patch tokens, or one class token")
    llm_path: PathTo = Field(description="Llama: Hugging Face folder or GGUF file")
    llm_conv_type: ConversationFormat = Field("vicuna_v1", description="conversation format")
    lora: Lora
    delta_path: PathOrNull = Field(None, description="trained delta: .pt or .safetensors")
    unique_tag: bool = Field(True, description="tags name the picture's role, such as <Img-A>")
    abstractor: AbstractorSizes | None = Field(None, description="an abstractor before the projector; null: none")

    @model_validator(mode="after")
    def _abstractor_reads_patches(self):
        if self.abstractor is not None and self.vision_feature_type == "global":
            raise ValueError("abstractor reads patch tokens: expected vision_feature_type local, found global")
        return self


class Train(Section):
    epochs: int = Field(1, ge=1, description="passes over the training mixture")
    warmup_rate: float = Field(0.1, ge=0, le=1, description="share of the optimizer steps that warm up")
    log_step: int = Field(5, ge=1, description="micro steps between two log lines")
    save_freq_step: int | None = Field(5000, ge=1, description="micro steps between two checkpoints; null: none")
    save_freq_epoch: int | None = Field(1, ge=1, description="epochs between two checkpoints; null: none")
    max_broken: float = Field(
        0.01, ge=0, le=1, description="share of unreadable samples at which training stops; 0: at the first"
    )
    keep_last: int = Field(2, ge=1, description="number of newest states kept for resuming")
    tune_llm: bool = Field(
        True, description="false: only projector and abstractor train, the LLM's LoRA stays as it is"
    )
    gradient_checkpointing: bool = Field(False, description="compute the LLM's layers twice instead of storing them")
    val_meta_paths: list[str] = Field([], description="validation meta files, in the form of the training ones")
    val_freq_step: int = Field(1000, ge=1, description="micro steps between two validations")
    val_metric: Literal["single_distortion", "multi_distortion", "rating"] | None = Field(
        None,
        description="validation also answers each first question and scores it as the evaluation does; null: no answers",
    )
    save_dir: PathTo = Field("./ckpt/", description="folder for deltas and states")
    log_dir: PathTo = Field("./log/", description="folder for logs and curves")
    max_tokens: int = Field(512, ge=1, description="a conversation is cut from the right at this many tokens")
    length_window: int = Field(
        1,
        ge=1,
        description="updates whose samples are cut into micro batches by length together; 1: each keeps its own",
    )
    mask_answer_ends: bool = Field(
        True, description="hide every end-of-answer token from attention, as the published checkpoints were trained"
    )


class Infer(Section):
    output_prob_id: bool = Field(False, description="write output_id and prob")
    output_confidence: bool = Field(False, description="write confidence")
    output_score: bool = Field(
        False, description="write score, score_std and levels of tasks about one image; a second question where needed"
    )
    sentence_model: PathOrNull = Field(None, description="MiniLM folder, for confidences of long answers")
    answer_dir: PathTo = Field("./answers/", description="folder for answers")
    temperature: float = Field(0.0, ge=0, description="sampling temperature; 0: greedy")
    top_p: float = Field(0.9, gt=0, le=1, description="probability mass that sampling draws from")
    max_new_tokens: int = Field(400, ge=1, description="longest answer, in tokens")
    max_broken: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of items with broken pictures above which a run fails, once all others are answered",
    )


class VisionPreprocess(Section):
    """All sizes in pixels."""

    patch_size: int = Field(14, ge=1, description="edge of a patch, pixels")
    resize: int = Field(224, ge=1, description="larger pictures are scaled down to this short side, pixels")
    min_size: int = Field(70, ge=1, description="smaller sides are padded to this, pixels")
    max_size: int = Field(672, ge=1, description="longer pictures are scaled down to this long side, pixels")
    crop_ratio: CropRatio = Field([0.7, 1.0], description="share of each side that a training crop keeps")
    keep_ratio: bool = Field(True, description="keep the aspect ratio when scaling")
    color_profiles: bool = Field(True, description="convert embedded colour profiles to sRGB; false: numbers as stored")

    @model_validator(mode="after")
    def _sizes_are_in_order(self):
        if self.min_size > self.max_size:
            raise ValueError(f"expected min_size <= max_size, found {self.min_size} > {self.max_size}")
        return self


class Config(File):
    """config.yaml of an experiment."""

    seed: int = Field(131, ge=0, lt=2**32, description="seed of every random draw")
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="where the model runs; auto: the first of cuda, mps, cpu that is available"
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="number format of the model; auto: on cuda that of fp16 weights, bf16 for others (fp16 on an older GPU); fp32 elsewhere",
    )
    data: Data
    model: ModelParts
    train: Train
    infer: Infer
    vision_preprocess: VisionPreprocess
    deepspeed: PassedOn = Field({}, description="DeepSpeed's own configuration, passed on")


# ---------------------------------------------------------------- serve.yaml


class ControllerSettings(Section):
    host: str = Field("127.0.0.1", description="address the controller listens on")
    port: Port = Field(10000, description="port the controller listens on")
    dispatch_method: Literal["lottery", "shortest_queue"] = Field(
        "shortest_queue", description="how a worker is chosen"
    )
    expiry_seconds: float = Field(15.0, gt=0, description="a worker not heard of for this many seconds is forgotten")
    keys_file: PathOrNull = Field(None, description="keys of those who may ask, one a line; null: everyone may")
    worker_hosts: list[str] = Field(["127.0.0.1", "localhost", "::1"], description="hosts that workers may run on")
    cors_origins: list[str] = Field([], description="other sites whose pages may ask from a browser: https://my.org")
    parent: str | None = Field(None, description="address of another controller that this one is a worker of")
    url: Address = Field("", description="where the parent reaches this one; empty: at host and port")
    heartbeat_seconds: float = Field(3.0, gt=0, description="seconds between two messages to the parent")


class GradioSettings(Section):
    host: str = Field("127.0.0.1", description="address the page listens on")
    port: Port = Field(12345, description="port the page listens on")
    controller_url: Address = Field("", description="controller that the page asks; empty: this file's")
    key_file: PathOrNull = Field(None, description="file with the page's own key, where the controller asks for one")
    concurrency_count: int = Field(10, ge=1, description="questions in flight from the page")
    model_list_mode: Literal["once", "reload"] = Field(
        "reload", description="read the list of models at the start, or at every visit"
    )
    share: bool = Field(False, description="open a public tunnel")
    moderate: bool = Field(False, description="check questions by the moderation hook")
    embed: bool = Field(False, description="the page is embedded in another")


class WorkerSettings(Section):
    host: str = Field("127.0.0.1", description="address the worker listens on")
    port: Port = Field(22222, description="port the worker listens on")
    worker_url: Address = Field("", description="where the controller reaches it; empty: at host and port")
    controller: Address = Field("", description="controller it registers with; empty: this file's")
    model_name: str = Field("DepictQA", min_length=1, description="name shown to users")
    limit_model_concurrency: int = Field(5, ge=1, description="questions in work at a time")
    limit_waiting: int = Field(32, ge=0, description="questions that may wait; more are refused with HTTP 429")
    heartbeat_seconds: float = Field(3.0, gt=0, description="seconds between two messages to the controller")
    stream_interval: int = Field(1, ge=1, description="tokens between two updates of a streamed answer")
    no_register: bool = Field(False, description="do not register with a controller")


class ServeConfig(File):
    """serve.yaml of the demo. An address that is empty is of this machine: host and port of the part it names."""

    log_dir: PathTo = Field("./log/serve/", description="folder for logs and votes")
    secret_file: PathOrNull = Field(
        None, description="file with the secret between controllers and workers; null: none is asked for"
    )
    controller: ControllerSettings
    gradio: GradioSettings
    worker: WorkerSettings

    ADDRESSES: ClassVar = (  # section and key -> the part whose address it is, where it is empty
        ("controller", "url", "controller"),
        ("gradio", "controller_url", "controller"),
        ("worker", "worker_url", "worker"),
        ("worker", "controller", "controller"),
    )

    def with_addresses(self) -> "ServeConfig":
        """A copy in which no address is empty."""
        sections = {name: getattr(self, name) for name in self.subsections()}
        for section, key, part in self.ADDRESSES:
            if not getattr(sections[section], key):
                host, port = sections[part].host, sections[part].port
                address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
                sections[section] = sections[section].model_copy(update={key: address})
        return self.model_copy(update=sections)
