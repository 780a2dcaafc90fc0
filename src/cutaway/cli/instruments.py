"""`cutaway instruments [NAME]`: what can be asked of a network, or all there is to know of one question."""

from __future__ import annotations

import inspect
import shlex
from typing import TYPE_CHECKING, Any

from cutaway.cli.command import Outcome, new_app

if TYPE_CHECKING:
    from cutaway.instrument import Instrument

app = new_app("instruments")


@app.default
def instruments(name: str | None = None) -> Outcome:
    """List the instruments: name, question, source, needs, cost; with NAME, its settings too.

    Those of other packages are among them.

    Parameters
    ----------
    name
        An instrument: question, formula, source, cost, null, needs, every setting with its range, and an example.
    """
    from cutaway import registry

    if name is not None:
        row = _whole(registry.instrument(name))
        return Outcome(payload=row, words=_page(row))
    rows = [_short(registry.instrument(name)) for name in registry.names()]
    return Outcome(payload={"instruments": rows}, words="\n".join(map(_entry, rows)))


def _short(kind: type[Instrument]) -> dict[str, Any]:
    return {
        "name": kind.name,
        "question": kind.question,
        "source": kind.source,
        "needs": sorted(kind.needs),
        "cost": kind.expense,
        "null": kind.null,
        "in_scan": kind.in_scan,
        "left_out": "" if kind.in_scan else kind.left_out or kind.expense,
    }


def _whole(kind: type[Instrument]) -> dict[str, Any]:
    from cutaway.settings import described

    about, settings = inspect.getdoc(kind) or "", described(kind)
    return _short(kind) | {
        "about": about,
        "formula": kind.formula,
        "limits": kind.limits,
        "settings": settings,
        "example": _example(kind, settings),
    }


def _entry(row: dict[str, Any]) -> str:
    lines = [row["name"], f"  {row['question']}", f"  source: {row['source']}"]
    lines.append(f"  needs: {', '.join(row['needs']) or 'any network'}; cost: {row['cost']}")
    return "\n".join(lines + [f"  not in a scan: {row['left_out']}"] * (not row["in_scan"]))


def _page(row: dict[str, Any]) -> str:
    lines = [_entry(row), f"  null: {row['null'] or 'none'}"]
    lines += [f"  limits: {row['limits']}"] * bool(row["limits"])
    lines += ["", *(f"  {line}".rstrip() for line in row["about"].splitlines()), "", "  settings:"]
    for setting in row["settings"]:
        lines.append(f"    {setting['name']} = {setting['default']!r}  ({setting['type']}; {setting['range']})")
        lines += [f"      {setting['meaning']}"] * bool(setting["meaning"])
    if not row["settings"]:
        lines[-1] += " none"
    return "\n".join([*lines, "", f"  example: {row['example']}"])


def _example(kind: type[Instrument], settings: list[dict[str, Any]]) -> str:
    """A line that runs as it stands, on the small network trained on digits, where that fits what is needed; else with
    names of the user's own files."""
    words = ["cutaway", "measure", kind.name]
    if "tokens" in kind.needs:
        words += ["./my-language-model", "--data", "prompts.parquet"]
    elif kind.needs & OWN_DATA:
        words += ["nets.py:make", "--data", "data.npz"]
    else:
        words += ["--num", "100"]
    words += [part for need in ("labels2", "groups") if need in kind.needs for part in (f"--{need}", need)]
    words += [part for s in settings[:1] if s["default"] != "" for part in ("--set", f"{s['name']}={s['default']}")]
    return shlex.join(words)


OWN_DATA = frozenset({"labels2", "groups", "generator"})
"""Needs that no named data set meets."""
