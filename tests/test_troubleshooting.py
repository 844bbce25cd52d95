"""docs/troubleshooting.md lists every message that a user may see, and no other.

The messages come from the syntax trees of the sources. A message is a template: its literal text, with `…` for what
varies. The page quotes templates in the first column of its tables, so a message that is added or reworded fails here
until the page follows.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
SCRIPTS = [ROOT / "install.sh", ROOT / "quickstart.sh", *sorted((ROOT / "experiments").glob("*/*.sh"))]
PAGE_SCRIPTS = sorted((ROOT / "src" / "depictqa" / "serve" / "page").glob("*.js"))

TELLERS = {  # what is called -> its argument that people read
    "InputError": 0,
    "Unwritable": 0,
    "Refused": 2,
    "Problem": "message",
    "ArgumentTypeError": 0,
    "ValueError": 0,
    "TypeError": 0,
    "gradio.Error": 0,
    "parser.error": 0,
    "log.warning": 0,
    "log.error": 0,
    "_Fault": 0,
    "_Lost": 0,
}
LISTS = ("problems", "errors", "faults", "notes")  # what is appended to them is told later, joined
PHRASES = ("_describe", "_explain", "_message", "_wrong_with", "faults", "notes")  # functions that return messages
WORDING = ("what", "message", "error", "problem")  # a helper's parameter that becomes (part of) its message


def sources() -> list[Path]:
    folders = (ROOT / "src" / "depictqa", ROOT / "build_datasets")
    return [
        *(path for folder in folders for path in sorted(folder.rglob("*.py"))),
        ROOT / "experiments/Nano/quickstart.py",
    ]


def template(node: ast.expr) -> str | None:
    """The text that an expression makes, with … for what varies; None for one that is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return tidy(text.replace("%s", "…"))
        case ast.JoinedStr(values=parts):
            return tidy("".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            left, right = (template(side) or "…" for side in (left, right))
            return tidy(left + right) if {left, right} != {"…"} else None
    return None


def tidy(text: str) -> str:
    """White space as one space; `…` once where two things vary side by side, as in `FILE: KEY: no such file`."""
    return re.sub(r"…(?:[:,.]? ?…)+", "…", " ".join(text.split()))


def says_something(text: str, is_whole: bool) -> bool:
    """False for a text that only passes another one on: nothing or one word beside what varies."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    return len(words) > 1 or (is_whole and bool(words) and "…" not in text)


def name_of(function: ast.expr) -> str:
    """`gradio.Error` of an attribute of a name, else the last name."""
    match function:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(owner), name) if f"{owner}.{name}" in TELLERS:
            return f"{owner}.{name}"
        case ast.Attribute(attr=name):
            return name
    return ""


def argument(call: ast.Call, place: int | str) -> ast.expr | None:
    if isinstance(place, int) and len(call.args) > place:
        return call.args[place]
    return next((one.value for one in call.keywords if one.arg == place), None)


def helpers(trees: list[ast.Module]) -> dict[str, int]:
    """Functions that raise or return a told message made of a parameter: name -> the parameter's place."""
    found: dict[str, int] = {}
    for function in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        names = [one.arg for one in function.args.args if one.arg != "self"]
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            place = TELLERS.get(name_of(call.func))
            told = argument(call, place) if place is not None else None
            used = {node.id for node in ast.walk(told) if isinstance(node, ast.Name)} if told is not None else set()
            for name in used.intersection(names).intersection(WORDING):
                found[function.name] = names.index(name)
    return found


def notes_of(call: ast.Call) -> ast.expr | None:
    """What `print` tells that is no result: on stderr, or with "note:" before it."""
    text = template(call.args[0]) if call.args else None
    on_stderr = any(one.arg == "file" and ast.unparse(one.value) == "sys.stderr" for one in call.keywords)
    return call.args[0] if text and (on_stderr or text.startswith("note:")) else None


def messages(tree: ast.Module, told_by: dict[str, int], only_checks: bool = False) -> Iterator[tuple[int, str]]:
    """(line, template) of every message of a module.

    Args:
        told_by: what `helpers` found.
        only_checks: of ValueErrors take those of model validators; the words of the others are replaced (config/schema.py).
    """
    shown = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any("model_validator" in ast.unparse(one) for one in node.decorator_list)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in PHRASES:
            yield from phrases(node)
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        if only_checks and name == "ValueError" and id(node) not in shown:
            continue
        if name == "append" and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in LISTS:
            told = node.args[0]
        elif name == "print":
            told = notes_of(node)
        else:
            place = TELLERS.get(name, told_by.get(name))
            told = None if place is None else argument(node, place)
        for text in filter(None, map(template, choices(told))):
            if says_something(text, is_whole=True):
                yield node.lineno, text


def choices(told: ast.expr | None) -> list[ast.expr]:
    """Both arms of `a if condition else b`."""
    return [told.body, told.orelse] if isinstance(told, ast.IfExp) else [told] if told is not None else []


def phrases(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """The texts that a function makes, without its docstring and what is inside of another text."""
    waiting: list[ast.AST] = function.body[bool(ast.get_docstring(function)) :]
    while waiting:
        node = waiting.pop()
        text = template(node) if isinstance(node, ast.expr) else None
        if text is None:
            waiting += ast.iter_child_nodes(node)
        elif " " in text and says_something(text, is_whole=False):
            yield node.lineno, text


def all_messages() -> dict[str, str]:
    """template -> where it is first."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    told_by = helpers(list(trees.values()))
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for line, text in messages(tree, told_by, only_checks=path.name == "schema.py"):
            found.setdefault(text, f"{path.relative_to(ROOT)}:{line}")
    return found


def shell_messages(script: str) -> list[str]:
    """What a shell script says by `fail "..."` or `echo "error: ..."`, with … for what it fills in."""
    found = re.findall(r'\bfail "([^"]{8,})"|\becho "(error: [^"$][^"]*)"', script)
    return [tidy(re.sub(r"\$\{[^}]*\}|\$\([^)]*\)?|\$\w+", "…", one or other)) for one, other in found]


def every_text() -> set[str]:
    """The template of every text in the sources: the page may quote more than errors."""
    nodes = (node for path in sources() for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {text for node in nodes if isinstance(node, ast.expr) and (text := template(node))}


def quoted(page: str) -> list[str]:
    """What the tables headed "message" quote in their first column, in order."""
    found, inside = [], False
    for line in page.splitlines():
        inside = line.startswith("| message ") or (inside and line.startswith("|"))
        if inside and (cell := re.match(r"\| (`+) ?(.+?) ?\1 \|", line)):
            found.append(tidy(cell[2].replace(r"\|", "|")))
    return found


def test_every_message_is_on_the_page():
    listed = set(quoted(PAGE.read_text(encoding="utf-8")))
    told = all_messages() | {
        text: path.name for path in SCRIPTS for text in shell_messages(path.read_text(encoding="utf-8"))
    }
    absent = [f"{where}: {text}" for text, where in told.items() if text not in listed]
    assert not absent, "docs/troubleshooting.md lacks:\n" + "\n".join(absent)


def test_the_page_quotes_no_message_that_is_gone():
    known = every_text().union(*(shell_messages(path.read_text(encoding="utf-8")) for path in SCRIPTS))
    scripts = [tidy(path.read_text(encoding="utf-8")) for path in PAGE_SCRIPTS]
    gone = [
        text
        for text in quoted(PAGE.read_text(encoding="utf-8"))
        if text not in known and not any(text in script for script in scripts)
    ]
    assert not gone, "docs/troubleshooting.md quotes what no source says:\n" + "\n".join(gone)


def test_no_message_is_listed_twice():
    listed = quoted(PAGE.read_text(encoding="utf-8"))
    assert sorted(set(listed)) == sorted(listed)


def test_the_page_names_every_code_with_its_status():
    page = PAGE.read_text(encoding="utf-8")
    calls = (
        node
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and name_of(node.func) == "Refused"
    )
    for call in calls:
        match call.args:
            case [ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_]:
                assert re.search(rf"\| `{code}` \| [^|]*\b{status}\b", page), (status, code)
    for status, code in ((503, "generation_failed"), (503, "stopping")):
        assert re.search(rf"\| `{code}` \| [^|]*\b{status}\b", page), (status, code)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('raise InputError(f"{path}: no such file, {hint}")', ["…: no such file, …"]),
        ('raise InputError(f"{path}: {error}")', []),  # passes another message on
        ('raise InputError("one " f"and {two}")', ["one and …"]),
        ('raise Refused(400, "code", "the body is not JSON")', ["the body is not JSON"]),
        ('x = Problem(code="stopping", message="this worker is stopping")', ["this worker is stopping"]),
        ('raise argparse.ArgumentTypeError(f"{text}: expected a number")', ["…: expected a number"]),
        ('def _bad(what): return Refused(400, "x", f"field: {what}")\nraise _bad(f"{n} is missing")', ["… is missing"]),
        ('problems.append(f"{n} keys are missing")', ["… keys are missing"]),
        ('log.warning("open to everyone: %s", host)', ["open to everyone: …"]),
        ('print(f"note: {path}: {n} are left out", file=sys.stderr)', ["note: … are left out"]),
        ('print(f"{n} items: {path}")', []),  # a result
        ('def _wrong_with(x):\n    """Says what."""\n    return f"{x} is not a path"', ["… is not a path"]),
    ],
)
def test_what_counts_as_a_message(source, expected):
    tree = ast.parse(source)
    assert [text for _, text in messages(tree, helpers([tree]))] == expected


def test_what_a_shell_script_says():
    script = """[ -f a ] || fail "HOSTFILE: $HOSTFILE does not exist"\necho "error: no a in $(pwd); go there" >&2\necho "ok"\n"""
    assert shell_messages(script) == ["HOSTFILE: … does not exist", "error: no a in …; go there"]


def test_a_reworded_message_is_missed():
    page = "| message | cause | what to do |\n|---|---|---|\n| `…: no such file` | a | b |\n"
    ((_, text),) = messages(ast.parse('raise InputError(f"{path}: no such folder")'), {})
    assert quoted(page) == ["…: no such file"] and text not in quoted(page)
