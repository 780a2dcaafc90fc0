"""A page for every family of errors, made from the classes and from every place of the library that raises one.

What a reader searches for is the message: its offender, what was expected and the next step stand on the page with the
file that raises it; a part in braces is filled in when it happens.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kept import LIBRARY
from tables import table

from cutaway import errors


@dataclass(frozen=True)
class Raised:
    """One place: which class, in which file, and its message's parts."""

    kind: str
    file: str
    offender: str
    expected: str
    remedy: str


def families() -> list[type[errors.CutawayError]]:
    """Every class of errors, the root first."""
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.CutawayError)]
    return sorted(kinds, key=lambda k: len(k.__mro__))


def raised() -> list[Raised]:
    """Every place of the library that makes one of these errors, by file."""
    names = {kind.__name__ for kind in families()}
    return [one for path in sorted(LIBRARY.rglob("*.py")) for one in _in(path, names)]


def _in(path: Path, names: set[str]) -> Iterator[Raised]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
            words = {k.arg: _text(k.value) for k in node.keywords}
            yield Raised(
                kind=node.func.id,
                file=str(path.relative_to(LIBRARY)),
                offender=_text(node.args[0]),
                expected=words.get("expected", ""),
                remedy=words.get("remedy", ""),
            )


def _text(node: ast.expr) -> str:
    """A text as it is written, what is filled in as `{...}`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(v) if isinstance(v, ast.Constant) else "{...}" for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, (_text(node.body), _text(node.orelse))))
    return "{...}"


def write(source: Path) -> None:
    """`errors/NAME.md` for each, and `errors/index.md`."""
    folder = source / "errors"
    folder.mkdir()
    places, kinds = raised(), families()
    for kind in kinds:
        (folder / f"{kind.__name__}.md").write_text(page(kind, places), encoding="utf-8")
    rows = [
        (f"[{k.__name__}]({k.__name__}.md)", _first(k), k.exit_code, sum(p.kind == k.__name__ for p in places))
        for k in kinds
    ]
    listed = "\n".join(k.__name__ for k in kinds)
    (folder / "index.md").write_text(
        "# Errors\n\nEvery message names the offender, what was found, what was expected and the next step. On the "
        "command line it is printed without a traceback and the command ends with the exit code; in Python all are "
        "`cutaway.errors.CutawayError`.\n\n"
        + table(("family", "what it says", "exit code", "places"), rows)
        + f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
        encoding="utf-8",
    )


def page(kind: type[errors.CutawayError], places: list[Raised]) -> str:
    """The page of one family."""
    parents = [k.__name__ for k in kind.__mro__[1:] if issubclass(k, errors.CutawayError)]
    above = "".join(f" It is a kind of [{name}]({name}.md)." for name in parents[:1])
    children = [k.__name__ for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    below = "" if not children else "\n\nKinds of it: " + ", ".join(f"[{c}]({c}.md)" for c in children) + "."
    mine = [p for p in places if p.kind == kind.__name__]
    rows = [(f"`{_plain(p.offender)}`", _plain(p.expected), _plain(p.remedy), f"`{p.file}`") for p in mine]
    heads = ("offender", "expected", "next step", "raised in")
    said = table(heads, rows) if rows else "The library raises only its kinds.\n"
    catch = (
        f"```python\nfrom cutaway.errors import {kind.__name__}\n\ntry:\n    ...\nexcept {kind.__name__} as error:\n"
    )
    return (
        f"# {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}{above}{below}\n\nExit code of a command: "
        f"{kind.exit_code}.\n\n{catch}    print(error.offender, error.found, error.expected, error.remedy)\n```\n\n"
        f"## Every message\n\nWhat stands in braces is filled in when it happens.\n\n{said}"
    )


def _plain(text: str) -> str:
    return text.replace("`", "").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _first(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
