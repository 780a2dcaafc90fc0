"""A page for every instrument, made from its class: nothing about an instrument is written here."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paper_page
from tables import cell, table

from cutaway import registry
from cutaway.evidence import NULLS
from cutaway.instrument import Instrument
from cutaway.settings import described
from cutaway.wording import null_words, title

NEEDS = {
    "labels": "labels",
    "inputs": "inputs of floating-point numbers",
    "tokens": "token ids of a language model",
    "classifier": "a network whose output is one score a class",
}


def write(source: Path, drawn: Mapping[str, Any]) -> None:
    """`instruments/NAME.md` for each, and `instruments/index.md`."""
    folder = source / "instruments"
    folder.mkdir()
    kinds = {name: registry.instrument(name) for name in registry.homes()}
    for name, kind in kinds.items():
        (folder / f"{name}.md").write_text(page(kind, drawn.get(name)), encoding="utf-8")
    (folder / "index.md").write_text(_index(kinds), encoding="utf-8")


def _index(kinds: Mapping[str, type[Instrument]]) -> str:
    rows = [(f"[{title(n)}]({n}.md)", k.question, k.expense, _null(k.null, short=True)) for n, k in kinds.items()]
    listed = "\n".join(kinds)
    return (
        "# Instruments\n\nAn instrument is one question about a network. `cutaway instruments` lists them, those of "
        "other packages included; each answers with a reading: values, figures with intervals, and what the null "
        "says.\n\n"
        + table(("instrument", "question", "cost", "null"), rows)
        + f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def page(kind: type[Instrument], shown: Any = None) -> str:
    """The page of one instrument; `shown` is what it gave on the example network, where it was run."""
    parts = [f"# {title(kind.name)}", f"*{kind.question}*"]
    if kind.formula:
        parts.append(f"$$\n{kind.formula}\n$$")
    parts += ["## What is measured", text_of(kind), f"Source: {kind.source}."]
    more = text_of(sys.modules[kind.__module__]).split("\n\n", 1)
    if len(more) == 2:
        parts.append(more[1])
    parts += ["## Asking", _asking(kind)]
    if shown is not None:
        parts += [f"## On {shown.subject}", shown.markdown("../"), shown.figures]
    parts += ["## Settings", _settings(kind)]
    needs = ", ".join(NEEDS.get(n, n) for n in sorted(kind.needs)) or "any network"
    parts += ["## Cost, needs, limits", f"Cost: {kind.expense or 'not said'}.", f"Needs: {needs}."]
    scan = "is part of `cutaway scan`" if kind.in_scan else "is left out of `cutaway scan` unless it is asked for"
    parts += [f"It {scan}.", kind.limits or "No limits are named."]
    parts += ["## Null", _null(kind.null), "## Reproductions", _reproductions(kind)]
    return "\n\n".join(parts) + "\n"


def _asking(kind: type[Instrument]) -> str:
    named = kind.__name__
    return (
        f"```console\n$ cutaway instruments {kind.name}\n"
        f"$ cutaway measure {kind.name} nets.py:make --weights net.safetensors --data mnist --nulls 39\n```\n\n"
        f"```python\nfrom cutaway.instruments import {named}\n\n"
        f'reading = {named}().measure(model, data)\nprint(reading.summary())\nreading.plot("{kind.name}.svg")\n```'
    )


def _settings(kind: type[Instrument]) -> str:
    found = described(kind)
    if not found:
        return "It has none."
    rows = [(f"`{s['name']}`", f"`{s['default']!r}`", s["type"], s["range"], s["meaning"]) for s in found]
    told = table(("setting", "default", "type", "range", "what it is"), rows)
    return told + f"\nOn the command line: `--set {found[0]['name']}={found[0]['default']}`."


def _null(name: str, *, short: bool = False) -> str:
    if not name:
        return "none" if short else "It has none: its figures are facts of this one network, not findings."
    words = null_words(name)
    if short:
        return words.short
    null = NULLS.get(name)
    how = "" if null is None else " " + cell(text_of(type(null)))
    return (
        f"`{name}`: {words.long}.{how} A figure that the null gives as well is no finding. "
        f"`cutaway.evidence.replicates` draws it; `reading.against(...)` puts the network beside it."
    )


def _reproductions(kind: type[Instrument]) -> str:
    numbers = set(re.findall(r"\d{4}\.\d{4,5}", kind.source))
    found = [n for n, r in paper_page.results().items() if numbers & set(re.findall(r"\d{4}\.\d{4,5}", r["source"]))]
    if not found:
        return "No published result that rests on it is reproduced."
    lines = []
    for name in found:
        result = paper_page.results()[name]
        lines.append(f"- [{result['title']}](../papers.md#{name}): {paper_page.outcome_words(result)}")
    return "Of the same sources:\n\n" + "\n".join(lines)


def text_of(thing: Any) -> str:
    """The docstring of a class or module as Markdown."""
    import inspect

    return inspect.cleandoc(thing.__doc__ or "").strip()
