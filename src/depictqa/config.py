"""The keys of config.yaml and serve.yaml: their types, meanings and defaults, once.

A config may name a `base:` file; dictionaries merge, lists replace. Relative paths are relative to the folder of
the experiment's own config.yaml, and `package:NAME/FILE` is a file of an installed Python package. Everything
wrong with a file is reported at once. The result is an EasyDict: `config.model.lora.lora_r`.

    python -m depictqa.config config.yaml [KEY]      shows what a file comes to, its base and the defaults included
"""

import argparse
import copy
import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import FORMATS

REQUIRED = object()  # no default: the file (or the command line) must give it
PACKAGE = "package:"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which 2e-4 is a number, not text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


@dataclass(frozen=True)
class Field:
    """One key: `kind` is bool, int, float, str, list, dict or Path; `choices` limits a string."""

    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    optional: bool = False  # null is allowed


CONFIG_FIELDS: dict[str, Field] = {
    "seed": Field(int, 131, "seed of every random draw"),
    "device": Field(
        str, "auto", "where the model runs; auto takes cuda, then mps, then cpu", ("auto", "cuda", "mps", "cpu")
    ),
    "dtype": Field(
        str, "auto", "numbers of the model; auto: bf16 on cuda, fp32 elsewhere", ("auto", "fp32", "bf16", "fp16")
    ),
    "data.root_dir": Field(Path, ".", "folder that meta files and pictures are relative to"),
    "data.num_workers": Field(int, 2, "processes that load pictures"),
    "data.train.meta_paths_weights": Field(list, [], "[[meta file, times it is repeated], ...]"),
    "data.infer.meta_path": Field(Path, None, "meta file to answer (the command line wins)", optional=True),
    "data.infer.dataset_name": Field(str, None, "name in the answer file's name", optional=True),
    "data.infer.task_name": Field(str, None, "task of the meta file", optional=True),
    "data.infer.batch_size": Field(int, 1, "questions answered at a time; null: the command line says", optional=True),
    "model.vision_encoder_path": Field(Path, REQUIRED, "CLIP: TorchScript archive, state dict, or folder"),
    "model.vision_feature_type": Field(str, "local", "patch tokens or the one class token", ("local", "global")),
    "model.llm_path": Field(Path, REQUIRED, "Llama: Hugging Face folder or GGUF file"),
    "model.llm_conv_type": Field(str, "vicuna_v1", "conversation format", tuple(FORMATS)),
    "model.lora.lora_r": Field(int, 16, "LoRA rank"),
    "model.lora.lora_alpha": Field(float, 16, "LoRA scale is alpha / r"),
    "model.lora.lora_dropout": Field(float, 0.1, "dropout before LoRA, training only"),
    "model.lora.lora_target_modules": Field(list, ["q_proj", "k_proj", "v_proj", "o_proj"], "adapted modules"),
    "model.delta_path": Field(Path, None, "trained delta: .pt or .safetensors", optional=True),
    "model.unique_tag": Field(bool, True, "tags name the image's role (<Img-A>)"),
    "model.abstractor": Field(dict, None, "present: an abstractor before the projector", optional=True),
    "train.epochs": Field(int, 1, "times over the mixture"),
    "train.warmup_rate": Field(float, 0.1, "share of the steps that warm up"),
    "train.log_step": Field(int, 5, "micro steps between two log lines"),
    "train.save_freq_step": Field(int, 5000, "micro steps between two checkpoints; null: none", optional=True),
    "train.save_freq_epoch": Field(int, 1, "epochs between two checkpoints; null: none", optional=True),
    "train.keep_last": Field(int, 2, "states for resuming that are kept: the newest ones"),
    "train.tune_llm": Field(bool, True, "false: the LLM's LoRA stays as it is, projector and abstractor train"),
    "train.gradient_checkpointing": Field(bool, False, "compute the LLM's layers twice instead of storing them"),
    "train.val_meta_paths": Field(list, [], "meta files of validation, in the form of the training ones"),
    "train.val_freq_step": Field(int, 1000, "micro steps between two validations"),
    "train.val_metric": Field(
        str,
        None,
        "validation also answers each first question and scores it as the evaluation does; null: no answers",
        ("single_distortion", "multi_distortion", "rating"),
        optional=True,
    ),
    "train.save_dir": Field(Path, "./ckpt/", "where deltas go"),
    "train.log_dir": Field(Path, "./log/", "where logs go"),
    "train.max_tokens": Field(int, 512, "a conversation is cut from the right at this many tokens"),
    "train.mask_answer_ends": Field(
        bool, True, "hide every end-of-answer token from attention, as the published checkpoints were trained"
    ),
    "infer.output_prob_id": Field(bool, False, "write output_id and prob"),
    "infer.output_confidence": Field(bool, False, "write confidence"),
    "infer.sentence_model": Field(Path, None, "MiniLM folder, for confidences of long answers", optional=True),
    "infer.answer_dir": Field(Path, "./answers/", "where answers go"),
    "infer.temperature": Field(float, 0.0, "0: greedy"),
    "infer.top_p": Field(float, 0.9, "nucleus of sampling"),
    "infer.max_new_tokens": Field(int, 400, "longest answer, tokens"),
    "infer.max_broken": Field(float, 0.01, "share of broken images at which the run stops"),
    "vision_preprocess.patch_size": Field(int, 14, "edge of a patch, pixels"),
    "vision_preprocess.resize": Field(int, 224, "larger pictures are scaled to this short side, pixels"),
    "vision_preprocess.min_size": Field(int, 70, "smaller sides are padded to this, pixels"),
    "vision_preprocess.max_size": Field(int, 672, "longer pictures are scaled to this long side, pixels"),
    "vision_preprocess.crop_ratio": Field(list, [0.7, 1.0], "share of each side a training crop keeps"),
    "vision_preprocess.keep_ratio": Field(bool, True, "keep the aspect ratio when scaling"),
    "vision_preprocess.color_profiles": Field(
        bool, True, "convert pictures with an embedded colour profile to sRGB; false: their numbers as stored"
    ),
    "deepspeed": Field(dict, {}, "DeepSpeed's own configuration, passed on"),
}

ABSTRACTOR_FIELDS: dict[str, Field] = {
    "dim_feedforward": Field(int, 2048, "width of the MLPs"),
    "nhead": Field(int, 8, "attention heads"),
    "num_layers": Field(int, 4, "decoder layers"),
    "num_query": Field(int, 64, "tokens an image becomes"),
    "dropout": Field(float, 0.1, "training only"),
    "add_pos_emd": Field(bool, False, "sine position code on the patches"),
}

SERVE_FIELDS: dict[str, Field] = {
    "log_dir": Field(Path, "./log/", "where logs and votes go"),
    "secret_file": Field(
        Path, None, "file with the secret between controllers and workers; null: none is asked for", optional=True
    ),
    "controller.host": Field(str, "127.0.0.1", "address the controller listens on"),
    "controller.port": Field(int, 10000, "its port"),
    "controller.dispatch_method": Field(str, "shortest_queue", "how a worker is chosen", ("lottery", "shortest_queue")),
    "controller.expiry_seconds": Field(float, 15, "a worker not heard of for this long is forgotten"),
    "controller.keys_file": Field(
        Path, None, "file with the keys of those who may ask, one a line; null: everyone", optional=True
    ),
    "controller.worker_hosts": Field(list, ["127.0.0.1", "localhost", "::1"], "hosts that workers may be on"),
    "controller.cors_origins": Field(list, [], "web pages of others that may ask from a browser, such as https://my.org"),
    "controller.parent": Field(str, None, "another controller that this one is a worker of", optional=True),
    "controller.url": Field(str, None, "address the parent reaches this one at; null: of host and port", optional=True),
    "controller.heartbeat_seconds": Field(float, 3, "how often this one tells its parent that it is there"),
    "gradio.host": Field(str, "127.0.0.1", "address the page listens on"),
    "gradio.port": Field(int, 12345, "its port"),
    "gradio.controller_url": Field(str, None, "the controller the page asks; null: this file's", optional=True),
    "gradio.key_file": Field(Path, None, "file with the page's own key, where the controller asks for one", optional=True),
    "gradio.concurrency_count": Field(int, 10, "questions in flight from the page"),
    "gradio.model_list_mode": Field(str, "once", "read the list of models at start or on every load", ("once", "reload")),
    "gradio.share": Field(bool, False, "open a public tunnel"),
    "gradio.moderate": Field(bool, False, "check questions by the moderation hook"),
    "gradio.embed": Field(bool, False, "page is embedded in another"),
    "worker.host": Field(str, "127.0.0.1", "address the worker listens on"),
    "worker.port": Field(int, 22222, "its port"),
    "worker.worker_url": Field(str, None, "address the controller reaches it at; null: of host and port", optional=True),
    "worker.controller": Field(str, None, "controller it registers with; null: this file's", optional=True),
    "worker.model_name": Field(str, "DepictQA", "name shown to users"),
    "worker.limit_model_concurrency": Field(int, 5, "questions in work at a time"),
    "worker.limit_waiting": Field(int, 32, "questions that may wait; more are refused (HTTP 429)"),
    "worker.heartbeat_seconds": Field(float, 3, "how often the worker tells the controller that it is there"),
    "worker.stream_interval": Field(int, 2, "tokens between two updates of a streamed answer"),
    "worker.no_register": Field(bool, False, "do not register with a controller"),
}
ADDRESSES = (  # section and key of serve.yaml -> the part whose host and port it is, where it is null
    ("controller", "url", "controller"),
    ("gradio", "controller_url", "controller"),
    ("worker", "worker_url", "worker"),
    ("worker", "controller", "controller"),
)


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> EasyDict:
    """Load and check an experiment's config.yaml.

    Args:
        overrides: dotted key -> value (or its YAML text), as from `--set train.epochs=2`.

    Returns:
        every key of CONFIG_FIELDS, nested; paths absolute; `config_path` names the file.

    Raises:
        InputError: the file is absent or not YAML, or lists every unknown key, wrong type and missing key.
    """
    return _load(path, CONFIG_FIELDS, overrides or {})


def load_serve_config(path: str | Path) -> EasyDict:
    """Load and check a serve.yaml; as `load_config`, over SERVE_FIELDS. Addresses that are null are of this machine."""
    config = _load(path, SERVE_FIELDS, {})
    for section, key, part in ADDRESSES:
        if config[section][key] is None:
            host, port = config[part].host, config[part].port
            config[section][key] = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    return config


def require_file(config: EasyDict, key: str) -> Path:
    """The existing file or folder that a key names. Raises InputError with file, key and where to get it."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    if value is None:
        raise InputError(f"{config.config_path}: {key} is empty; expected a path")
    if not Path(value).exists():
        hint = " (README.md, section 'Models', says how to get it)" if key.startswith("model.") else ""
        raise InputError(f"{config.config_path}: {key}: {value} does not exist{hint}")
    return Path(value)


def _load(path: str | Path, fields: dict[str, Field], overrides: Mapping[str, Any]) -> EasyDict:
    path = Path(path).resolve()
    raw = _read_with_base(path)
    for key, value in overrides.items():
        _put(raw, key, yaml.load(value, _Loader) if isinstance(value, str) else value)
    values, errors = _check(raw, fields, path.parent)
    if values.get("model.abstractor") is not None:
        values["model.abstractor"], more = _check(values["model.abstractor"], ABSTRACTOR_FIELDS, path.parent)
        errors += [f"model.abstractor.{error}" for error in more]
    if errors:
        raise InputError(f"{path}: " + "; ".join(errors))
    nested: dict = {}
    for key, value in values.items():
        _put(nested, key, value)
    return EasyDict(nested, config_path=str(path))


def _read_with_base(path: Path) -> dict:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected keys and values, found {type(raw).__name__}")
    base = raw.pop("base", None)
    return raw if base is None else _merge(_read_with_base(path.parent / base), raw)


def _merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _put(nested: dict, dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        nested = nested.setdefault(parent, {})
    nested[last] = value


def _check(raw: dict, fields: dict[str, Field], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Flatten, convert, fill defaults: (dotted key -> value, all errors)."""
    given, errors = {}, []
    for key, value in _flatten(raw, fields):
        if key in fields:
            given[key] = value
        else:
            nearest = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            errors.append(f"unknown key '{key}'" + (f"; did you mean '{nearest[0]}'?" if nearest else ""))
    values = {}
    for key, field in fields.items():
        value = given.get(key, field.default)
        if value is REQUIRED:
            errors.append(f"{key} is missing ({field.help})")
        elif value is None and not field.optional:
            errors.append(f"{key}: expected {field.kind.__name__} ({field.help}), found null")
        else:
            try:
                values[key] = None if value is None else _convert(value, field, folder)
            except (TypeError, ValueError):
                expected = " | ".join(field.choices) or field.kind.__name__
                errors.append(f"{key}: expected {expected} ({field.help}), found {value!r}")
    return values, errors


def _flatten(raw: dict, fields: dict[str, Field], prefix: str = ""):
    for name, value in raw.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in fields:
            yield from _flatten(value, fields, f"{key}.")
        else:
            yield key, value


def _convert(value: Any, field: Field, folder: Path) -> Any:
    if field.kind is Path:
        if not isinstance(value, str):
            raise TypeError
        return resolve_path(value, folder) if value else None
    if field.kind is float:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    if not isinstance(value, field.kind) or (field.kind is int and isinstance(value, bool)):
        raise TypeError
    if field.choices and value not in field.choices:
        raise ValueError
    return copy.deepcopy(value)


def resolve_path(value: str, folder: Path) -> str:
    """An absolute path; `package:NAME/FILE` is found in the installed package NAME, without importing it."""
    if value.startswith(PACKAGE):
        name, _, rest = value.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(name)
        return str(Path(spec.origin).parent / rest) if spec and spec.origin else value
    return str((folder / Path(value).expanduser()).resolve())


def parse_overrides(assignments: list[str]) -> dict[str, str]:
    """`["train.epochs=2", ...]` -> {"train.epochs": "2"}. Raises InputError for one without `=`."""
    overrides = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise InputError(f"--set: expected KEY=VALUE, found '{assignment}'")
        overrides[key] = value
    return overrides


@exit_cleanly
def main() -> None:
    """Print a resolved config as YAML, or one value of it as text."""
    parser = argparse.ArgumentParser(description="What a config.yaml comes to, its base and the defaults included.")
    parser.add_argument("config", help="config.yaml of an experiment")
    parser.add_argument("key", nargs="?", help="dotted key: print its value alone")
    args = parser.parse_args()
    value = dict(load_config(args.config))
    if args.key is None:
        print(yaml.safe_dump(_plain(value), sort_keys=False), end="")
        return
    for part in args.key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError(f"{args.config}: no key '{args.key}'")
        value = value[part]
    print(value)


def _plain(value: Any) -> Any:
    """EasyDicts as dicts, which yaml can write."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
