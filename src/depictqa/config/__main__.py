"""Show what a config.yaml comes to, or list every key that there is.

python -m depictqa.config config.yaml [KEY]      its base and the defaults included
python -m depictqa.config --keys                 docs/config.md
"""

import argparse
from collections.abc import Mapping

import yaml

from depictqa.config import Config, ServeConfig, load_config
from depictqa.config.loading import expected, keys_of
from depictqa.config.schema import Section
from depictqa.errors import InputError, exit_cleanly

INTRODUCTION = """# Keys of config.yaml and serve.yaml

Made from the models in `src/depictqa/config/schema.py` by `python -m depictqa.config --keys > docs/config.md`.
Relative paths are relative to the folder of the file. `base:` names another file that this one is merged over: sections
merge, everything else is replaced. A section that is absent or empty has its defaults. All mistakes of a file are
reported at once, in one line; numbers must be finite, and a key may be given only once."""


def key_table(schema: type[Section]) -> str:
    """A Markdown table of every key."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in keys_of(schema):
        if field.description is None:  # a section
            continue
        default = "(required)" if field.is_required() else f"`{_shown(field.default)}`"
        kind = expected(field.annotation, field.metadata)
        rows.append(f"| `{key}` | {_escape(kind)} | {default} | {_escape(field.description)} |")
    return "\n".join(rows)


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")


def _shown(value) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def key_reference() -> str:
    """The whole of docs/config.md."""
    files = {"config.yaml": Config, "serve.yaml": ServeConfig}
    tables = [f"## {name}\n\n{key_table(schema)}" for name, schema in files.items()]
    return "\n\n".join([INTRODUCTION, *tables]) + "\n"


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m depictqa.config", description="Show what a config.yaml comes to, or list every key."
    )
    parser.add_argument("config", nargs="?", help="config.yaml of an experiment")
    parser.add_argument("key", nargs="?", help="dotted key: print its value alone")
    parser.add_argument("--keys", action="store_true", help="list all keys with types, defaults and meanings")
    args = parser.parse_args()
    if args.keys:
        print(key_reference(), end="")
        return
    if args.config is None:
        parser.error("expected a config.yaml, or --keys")
    value = load_config(args.config).model_dump()
    if args.key is None:
        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
        return
    for part in args.key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError(f"{args.config}: no key '{args.key}'")
        value = value[part]
    print(value)


if __name__ == "__main__":
    main()
