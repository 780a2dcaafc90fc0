"""Runs side by side: which figures differ by more than their own uncertainty, and which of these for the worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from cutaway import registry
from cutaway.reading import Figure, Reading
from cutaway.running import Run
from cutaway.wording import said, title

LEVEL = 0.05
"""Chance that any of the figures of two equal networks is called changed."""

MEANING = f"More than noise: p at most {LEVEL:g} after Holm's correction over all figures."
"""What a change is, for every page and terminal."""


def differences(a: Run, b: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows `{instrument, name, a, b, p_value, paired, change}` and notes on what does not compare.

    `change`: "same" (no more than noise), "different", "better" or "worse" (of b, where the instrument says which way
    is good: `Instrument.better`), "unknown" (no interval). More than noise is p <= 0.05 after Holm's step-down over all
    rows, so that one in twenty comparisons of equal networks shows a change at all. A figure that a user wants high or
    low and that b no longer gives (it failed, or is no number) is "worse", with nan for b.

    Where both readings hold the quantity per sample for the same samples, p is that of a paired permutation test
    (sign flips, scipy.stats); otherwise of a z-test on the two intervals, taken as normal and independent, which is
    conservative for equal samples. None where a figure carries no interval.
    """
    rows, notes = _compared(a, b)
    return _judged(rows), notes


def against_first(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows as of `differences` for every further run against the first, each with its place in `runs` under `run`, and
    notes. Holm's step-down is over the rows of all of them, so that it stays at one in twenty. At least two runs."""
    rows, notes = [], []
    for place, other in enumerate(runs[1:], 1):
        mine, told_of = _compared(runs[0], other)
        rows += [{"run": place, **row} for row in mine]
        notes += [f"{LETTERS[place]}: {text}" if len(runs) > 2 else text for text in told_of]
    return _judged(rows), notes


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What the runs of a comparison are called, in order; there are no more than these."""


def _compared(a: Run, b: Run) -> tuple[list[dict[str, Any]], list[str]]:
    notes = []
    if a.record["data"]["fingerprint"] != b.record["data"]["fingerprint"]:
        same = "scan both with the same data, number of rows and seed"
        notes.append(f"the runs used different data, so differences mix model and data ({same})")
    notes += [f"of {run.folder}, {title(lost.what)}: {lost.reason}" for run in (a, b) for lost in run.unread]
    ours, theirs = ({r.instrument: r for r in run.readings} for run in (a, b))
    if alone := sorted(set(ours) ^ set(theirs)):
        notes.append("only one run has " + ", ".join(title(name) for name in alone))
    rows = []
    for name in [n for n in ours if n in theirs]:
        mine, other = ours[name], theirs[name]
        if mine.provenance.parameters != other.provenance.parameters:
            notes.append(f"{title(name)}: settings differ")
        by_name = {f.name: f for f in other.figures}
        for figure in mine.figures:
            if figure.name in by_name:
                p, paired = _chance(mine, other, figure, by_name[figure.name])
                rows.append(_row(name, figure, by_name[figure.name].value, p, paired))
    rows += [_row(n, f, math.nan, None, False) for n, r in ours.items() for f in r.figures if _lost(n, f, theirs)]
    return rows, notes


def _row(instrument: str, figure: Figure, b: float, p: float | None, paired: bool) -> dict[str, Any]:
    named = {"instrument": instrument, "name": figure.name, "long_name": _called(instrument, figure)}
    return {**named, "a": figure.value, "b": b, "p_value": p, "paired": paired}


def _lost(instrument: str, figure: Figure, theirs: dict[str, Reading]) -> bool:
    """Whether a figure that a user wants high or low was measured in the first run and is missing from the second."""
    reading = theirs.get(instrument)
    given = {f.name for f in reading.figures} if reading else set()
    return figure.name in _better(instrument) and figure.name not in given


def _better(instrument: str) -> Mapping[str, str]:
    return registry.instrument(instrument).better if instrument in registry.names() else {}


def _judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `change`, by Holm (1979)."""
    tested = sorted((row for row in rows if row["p_value"] is not None), key=lambda row: row["p_value"])
    holds = True
    for rank, row in enumerate(tested):
        holds = holds and row["p_value"] <= LEVEL / (len(tested) - rank)
        row["change"] = _direction(row) if holds else "same"
    for row in rows:
        row.setdefault("change", "same" if row["a"] == row["b"] else "unknown")
        if math.isnan(row["b"]) and not math.isnan(row["a"]) and row["name"] in _better(row["instrument"]):
            row["change"] = "worse"
    return rows


def _direction(row: dict[str, Any]) -> str:
    known = _better(row["instrument"])
    if row["name"] not in known:
        return "different"
    return "better" if (row["b"] > row["a"]) == (known[row["name"]] == "higher") else "worse"


def told_of_all(rows: list[dict[str, Any]], notes: list[str], names: Sequence[str]) -> str:
    """The comparison of the first with every other in a sentence each (rows of `against_first`)."""
    texts = [
        told([r for r in rows if r["run"] == place], [], names[0], name) for place, name in enumerate(names[1:], 1)
    ]
    return " ".join(texts) + (f" Mind: {'; '.join(notes)}." if notes else "")


def told(rows: list[dict[str, Any]], notes: list[str], a: str, b: str) -> str:
    """The comparison of two in one sentence."""
    judged = [row for row in rows if row["change"] != "unknown"]
    by_word = {word: [r for r in judged if r["change"] == word] for word in ("worse", "better", "different")}
    parts = [f"{b} is {word} in {_listed(by_word[word])}" for word in ("worse", "better") if by_word[word]]
    moved = sum(map(len, by_word.values()))
    many = f"{moved} of {len(judged)} figures differ by more than noise" if moved else ""
    text = "; ".join([*parts, *([many] if many else [])])
    text = text or f"Nothing here tells {b} from {a}: none of {len(judged)} figures differs by more than noise"
    return text + "." + (f" Mind: {'; '.join(notes)}." if notes else "")


def _called(instrument: str, figure: Figure) -> str:
    """What a figure is called: its tile's title where it has one, else its long name."""
    tiles = registry.instrument(instrument).tiles if instrument in registry.names() else ()
    titles = {tile.figure: tile.title.lower() for tile in tiles}
    return titles.get(figure.name) or figure.called


def _listed(rows: list[dict[str, Any]]) -> str:
    named = [f"{row['long_name']} ({said(row['a'])} to {said(row['b'])})" for row in rows[:3]]
    return ", ".join(named) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")


_PER_SAMPLE = {
    "local_complexity": "per_sample",
    "clean_accuracy": "clean",
    "robust_accuracy": "robust",
    "noise_accuracy": "noised",
}


def _chance(mine: Reading, other: Reading, a: Figure, b: Figure) -> tuple[float | None, bool]:
    column = _PER_SAMPLE.get(a.name)
    same = mine.provenance.data_fingerprint == other.provenance.data_fingerprint
    if (
        column in mine.values
        and column in other.values
        and same
        and mine.values["sample"].equals(other.values["sample"])
    ):
        gap = mine.values[column].values.astype(float) - other.values[column].values.astype(float)
        if not gap.any():
            return 1.0, True
        result = stats.permutation_test(
            (gap,), np.mean, permutation_type="samples", n_resamples=4999, vectorized=True, rng=np.random.default_rng(0)
        )
        return float(result.pvalue), True
    if None in (a.low, a.high, b.low, b.high) or a.sure or b.sure:  # a bound says nothing of other rows
        return None, False
    spread = math.hypot(_deviation(a), _deviation(b))
    if spread == 0 or not math.isfinite(spread):
        return (1.0 if a.value == b.value else None), False
    return float(2 * stats.norm.sf(abs(a.value - b.value) / spread)), False


def _deviation(figure: Figure) -> float:
    assert figure.low is not None and figure.high is not None
    return float((figure.high - figure.low) / (2 * stats.norm.ppf((1 + figure.level) / 2)))
