"""A message that tells the user to pass a flag names one that the program in question has."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for folder in ("src", "build_datasets", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))
]
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9_]+)")
OTHER_PROGRAM = re.compile(r"\b(infer|train)(?:\.py)? with --([a-z_]+)")


def texts(tree: ast.AST) -> list[str]:
    """The texts of a module, docstrings and comments left out."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def flags_of(tree: ast.AST) -> set[str]:
    return {
        argument.value[2:]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")
    }


TREES = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def flags_under(*prefixes: str) -> set[str]:
    found = [flags_of(tree) for path, tree in TREES.items() if str(path).startswith(prefixes)]
    return set().union(*found)


def test_messages_name_flags_of_the_program_they_speak_of():
    commands = {
        node.name: node for node in TREES[Path("src/depictqa/commands.py")].body if isinstance(node, ast.FunctionDef)
    }
    both = flags_of(commands["_add_config"])
    programs = {name: both | flags_of(commands[f"{name}_command"]) for name in ("infer", "train")}
    wrong = [
        f"{path}: {name} has no --{flag}"
        for path, tree in TREES.items()
        for text in texts(tree)
        for name, flag in OTHER_PROGRAM.findall(text)
        if flag not in programs[name]
    ]
    assert wrong == []


def test_messages_name_flags_that_exist():
    everywhere = flags_under("")
    foreign = {"config-settings", "nproc_per_node"}  # of pip, of torchrun
    wrong = [
        f"{path}: no program has --{flag}"
        for path, tree in TREES.items()
        if path.parts[0] != "experiments" and "page" not in path.parts
        for text in texts(tree)
        if " " in text
        for flag in FLAG.findall(text)
        if flag not in everywhere | foreign
    ]
    assert wrong == []
