"""config.yaml and serve.yaml: `schema` has the keys, `tree` reads YAML, `loading` checks one by the other.

config = load_config("config.yaml", {"train.epochs": 2})
config.model.lora.lora_r
"""

from depictqa.config.loading import load_config, load_serve_config, require_file, value_at
from depictqa.config.schema import (
    Config,
    ControllerSettings,
    GradioSettings,
    ServeConfig,
    WorkerSettings,
    resolve_path,
)
from depictqa.config.tree import parse_overrides

__all__ = [
    "Config",
    "ControllerSettings",
    "GradioSettings",
    "ServeConfig",
    "WorkerSettings",
    "load_config",
    "load_serve_config",
    "parse_overrides",
    "require_file",
    "resolve_path",
    "value_at",
]
