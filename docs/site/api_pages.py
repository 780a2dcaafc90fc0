"""The reference: a page for every package that says what is public (`__all__`), made from its docstrings.

Docstrings of this library are Markdown with some sections in NumPy's manner; they are read as that. Every name has an
anchor of its full name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cutaway
from cutaway import registry

ALONE = ("cutaway.instrument", "cutaway.status", "cutaway.errors", "cutaway.registry")


def write(source: Path) -> None:
    """`api/MODULE.md` for each, and `api/index.md`."""
    folder = source / "api"
    folder.mkdir()
    modules = list(facades())
    for module in modules:
        (folder / f"{module.__name__}.md").write_text(page(module), encoding="utf-8")
    listed = "\n".join(m.__name__ for m in modules)
    lines = [f"- [`{m.__name__}`]({m.__name__}.md): {_first(m)}" for m in modules]
    (folder / "index.md").write_text(
        "# Reference\n\nThe public names, package by package.\n\n" + "\n".join(lines) + "\n"
        f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
        encoding="utf-8",
    )


def facades() -> Iterator[ModuleType]:
    """The library itself, its packages that name what is public, and the modules that authors of instruments use."""
    yield cutaway
    for found in pkgutil.iter_modules(cutaway.__path__, "cutaway."):
        if found.name.startswith("cutaway._") or found.name in ("cutaway.cli", "cutaway.reproductions"):
            continue
        if found.ispkg or found.name in ALONE:
            module = importlib.import_module(found.name)
            if names(module):
                yield module


def names(module: ModuleType) -> list[str]:
    """Its public names: those it lists, or, of a plain module, those it defines."""
    if module.__name__ == "cutaway.instruments":
        return sorted(registry.instrument(n).__name__ for n in registry.homes())
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    if hasattr(module, "__path__"):
        return []
    mine = {
        n: v
        for n, v in vars(module).items()
        if not n.startswith("_") and getattr(v, "__module__", "") == module.__name__
    }
    return list(mine)


def page(module: ModuleType) -> str:
    """All of a module."""
    parts = [f"# `{module.__name__}`", f"```{{py:module}} {module.__name__}\n```", markdown(module.__doc__)]
    for name in names(module):
        thing = getattr(module, name)
        home = ".".join(getattr(thing, "__module__", "").split(".")[:2])
        if module is cutaway and home != "cutaway":  # told where it lives
            listed = (
                f"- [`{name}`]({home}.md)" if home in {m.__name__ for m in facades()} else f"- `{name}`, of `{home}`"
            )
            parts.append(f"{listed}: {_first(thing)}")
        else:
            parts.append(entry(name, thing))
    return "\n\n".join(parts) + "\n"


def entry(full: str, thing: Any) -> str:
    """One public name."""
    if inspect.isclass(thing):
        body = [markdown(_own_doc(thing)), *_members(full, thing)]
        return _directive("class", f"{full}{signature(thing)}", "\n\n".join(filter(None, body)), fence=5)
    if (callable(thing) and hasattr(thing, "__code__")) or inspect.isbuiltin(thing):
        return _directive("function", f"{full}{signature(thing)}", markdown(thing.__doc__))
    shown = f"A dictionary of {', '.join(f'`{k}`' for k in thing)}." if isinstance(thing, dict) and thing else ""
    return _directive("data", full, shown or f"`{re.sub(r'[`]', '', str(thing))[:200]}`")


def _members(full: str, kind: type) -> Iterator[str]:
    for name, member in vars(kind).items():
        plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if name.startswith("_") or not getattr(plain, "__doc__", None):
            continue
        if isinstance(plain, property):
            yield _directive("property", f"{full}.{name}", markdown(plain.__doc__))
        elif inspect.isfunction(plain):
            yield _directive("method", f"{full}.{name}{signature(getattr(kind, name))}", markdown(plain.__doc__))


def _directive(kind: str, head: str, body: str, *, fence: int = 4) -> str:
    return f"{'`' * fence}{{py:{kind}}} {head}\n\n{body}\n{'`' * fence}"


def signature(thing: Any) -> str:
    """Names and annotations as they are written; `()` where there is none to be had."""
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "()"
    text = re.sub(r"<factory>|<object object at [^>]*>|<(?:function|class) ([^ >]*)[^>]*>", r"\1...", text)
    text = re.sub(r"<([\w.]+): [^>]*>", r"\1", text)
    return text.replace("cutaway.", "") if "'" not in text else text.replace("'", "").replace("cutaway.", "")


def _own_doc(kind: type) -> str | None:
    doc = vars(kind).get("__doc__")
    return None if doc and doc.startswith(f"{kind.__name__}(") else doc  # what dataclasses write themselves


def markdown(doc: str | None) -> str:
    """A docstring as Markdown that means what it says: sections in bold, examples as code, signs as they stand."""
    lines, out, code = inspect.cleandoc(doc or "").splitlines(), [], False
    for number, line in enumerate(lines):
        after = lines[number + 1] if number + 1 < len(lines) else ""
        example = line.lstrip().startswith((">>>", "...")) or (code and bool(line.strip()))
        if example != code:
            out.append("```pycon" if example else "```")
            code = example
        if code:
            out.append(line)
        elif re.fullmatch(r"\s*[-=]{3,}", line):
            out.append("")
        elif re.fullmatch(r"\s*[-=]{3,}", after):
            out += ["", f"**{line.strip()}**"]
        elif re.match(r"\w[\w, ]* : ", line):
            name, _, rest = line.partition(" : ")
            out.append(f"- `{name}`: {_escaped(rest)}")
        else:
            out.append(line if line.startswith("    ") else _escaped(line))
    return "\n".join([*out, "```"] if code else out)


def _escaped(line: str) -> str:
    """Signs that Markdown would take, outside code."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"([<$\[\]*])", r"\\\1", p) for p in parts)


def _first(thing: Any) -> str:
    return _escaped(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].replace("\n", " "))
