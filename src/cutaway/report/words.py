"""What a run found, in words for a reader in a hurry: findings, what the null shows as well, what nulls were too few
for, what could not be read.

Every sentence is made of the same figures as the tables and of the null's own words (`cutaway.wording`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cutaway import registry
from cutaway.evidence.decision import Decision, decide, wanting
from cutaway.reading import Figure, Reading
from cutaway.running import Run
from cutaway.wording import null_words, said, title

Decisions = Mapping[tuple[str, str], Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The first screen. verdict: one sentence for all. network: a sentence on the network. warnings: what to know
    first. findings: a sentence an instrument, the most surprising first. alike: figures not told apart from their null.
    open: figures with too few nulls to tell. wanting: how many would do. unread: what was not measured or not read,
    each with the reason."""

    verdict: str
    network: str
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    alike: tuple[str, ...]
    open: tuple[str, ...]
    wanting: str
    unread: tuple[str, ...]


def digest(run: Run) -> Digest:
    """The digest of a run."""
    decisions = decisions_of(run)
    few = not any(d.word == "apart" for d in decisions.values())  # then the verdict says it, once for all
    findings: list[str] = []
    told: dict[str, list[str]] = {"alike": [], "open": []}
    for reading in ranked(run, decisions):
        mine = {f.name: decisions[reading.instrument, f.name] for f in reading.figures if f.p_value is not None}
        text = sentence(reading) if reading.figures else ""
        if text:
            findings.append(text + _against(reading, mine, few=few))
        for figure in reading.figures:
            if figure.name in mine and mine[figure.name].word != "apart":
                told[mine[figure.name].word].append(_beside(reading, figure, mine[figure.name]))
    return Digest(
        verdict=run_verdict(run, decisions),
        network=describe(run),
        warnings=tuple(run.record.get("warnings", ())),
        findings=tuple(findings),
        alike=tuple(told["alike"]),
        open=tuple(told["open"]),
        wanting=wanting(_figures_of(run)),
        unread=tuple(_unread(run)),
    )


def decisions_of(run: Run) -> Decisions:
    """What may be said of every figure of a run that has a null, by instrument and figure."""
    return decide(_figures_of(run))


def _figures_of(run: Run) -> dict[tuple[str, str], Figure]:
    return {(r.instrument, f.name): f for r in run.readings for f in r.figures}


def ranked(run: Run, decisions: Decisions) -> list[Reading]:
    """The readings by what is surprising: first those with figures told apart from their null, the farthest from it
    (in spreads of the null) before the others; then those that cannot be told; then the rest."""
    order = {"apart": 0, "open": 1, "alike": 2}

    def key(reading: Reading) -> tuple[int, float]:
        found = [
            (order[d.word], -_spreads(f)) for f in reading.figures if (d := decisions.get((reading.instrument, f.name)))
        ]
        return min(found, default=(3, 0.0))

    return sorted(run.readings, key=key)


def _spreads(figure: Figure) -> float:
    """Distance of a figure from its null's median, in the null's interquartile ranges."""
    if figure.null_median is None or len(figure.null_draws) < 4 or not math.isfinite(figure.null_median):
        return 0.0
    low, high = np.percentile(figure.null_draws, [25, 75])
    return abs(figure.value - figure.null_median) / max(float(high - low), 1e-12 * abs(figure.value), 1e-300)


def run_verdict(run: Run, decisions: Decisions) -> str:
    """The run in one sentence: what the first instruments say in brief, and how much of it is learned."""
    briefs = [text for _, text in sorted(_briefs(run)) if text][:3]
    told = [d.word for d in decisions.values()]
    if told:
        apart = told.count("apart")
        nulls = sorted({null_words(r.null).long for r in run.readings if r.null})
        whose = nulls[0] if len(nulls) == 1 else "their nulls"
        if apart:
            briefs.append(f"{apart} of {len(told)} figures are told apart from {whose}")
        elif "open" in told:
            briefs.append(f"too few nulls to tell any of {len(told)} figures from {whose}")
        else:
            briefs.append(f"none of {len(told)} figures is told apart from {whose}")
    text = "; ".join(briefs)
    return text[:1].upper() + text[1:] + "." if text else ""


def _briefs(run: Run) -> list[tuple[int, str]]:
    found = []
    for reading in run.readings:
        if reading.instrument in registry.names() and reading.figures:
            kind = registry.instrument(reading.instrument)
            rank = min((tile.rank for tile in kind.tiles), default=1000)
            try:
                found.append((rank, kind(**reading.provenance.parameters).brief(reading)))
            except Exception:  # another package's code: the report goes on
                continue
    return found


def _unread(run: Run) -> list[str]:
    """What was not run, does not apply, failed, or could not be read, with reasons; one line a reason."""
    lines = [f"{title(lost.what)}: {lost.reason}" for lost in run.unread]
    lines += [f"{title(r.instrument)}: {r.reason}" for r in run.readings if r.reason]
    left = [row for row in run.record.get("not_run", ()) if row.get("why") != "not asked"]
    lines += [f"{title(row['instrument'])}: {row['reason']}" for row in left]
    places: dict[str, set[str]] = {}
    for reading in run.readings:
        for skipped in reading.coverage.skipped:
            places.setdefault(skipped.reason, set()).add(skipped.what)
    for reason, where in places.items():
        names = sorted(where)
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"{some}: {reason}")
    return lines


def describe(run: Run) -> str:
    """What the network is, in a sentence."""
    network = run.network
    if not {"kinds", "piecewise_affine", "input_shape", "output_shape", "parameters", "sites"} <= set(network):
        return f"{network['name']}; its record says no more of it."
    kinds = (
        ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in network["kinds"].items()) or "no nonlinearity"
    )
    affine = _affinity(network["piecewise_affine"], network.get("continuous", True))
    shape = " x ".join(str(s) for s in network["input_shape"]) or "scalar"
    output = " x ".join(str(s) for s in network["output_shape"]) or "scalar"
    return (
        f"{network['name']}: {network['parameters']:,} parameters, inputs {shape}, outputs {output}, "
        f"{network['sites']} sites ({kinds}). {affine}"
    )


def _affinity(piecewise_affine: bool, continuous: bool) -> str:
    if not piecewise_affine:
        return "It is not known to be piecewise affine, so nothing here speaks of affine regions."
    if not continuous:
        return "It is piecewise affine, but may jump between its regions; statements inside a region are exact."
    return "It is continuous piecewise affine, so statements about regions are exact."


def sentence(reading: Reading) -> str:
    """The instrument's own words on its reading (empty where it has none, or where its code fails)."""
    if reading.instrument not in registry.names():
        return ""
    try:
        return registry.instrument(reading.instrument)(**reading.provenance.parameters).describe(reading)
    except Exception as error:  # another package's code: the report goes on
        return f"Its own words failed ({type(error).__name__})."


def _against(reading: Reading, decisions: dict[str, Decision], *, few: bool) -> str:
    """How the figures of one instrument stand to their null, in a sentence."""
    if not decisions:
        return ""
    long = null_words(reading.null).long
    apart = [f for f in reading.figures if f.name in decisions and decisions[f.name].word == "apart"]
    if apart:
        parts = [f"{f.called} {said(f.null_median)}" for f in apart[:3]]
        return f" For {long}: " + ", ".join(parts) + "."
    if any(d.word == "open" for d in decisions.values()):
        return "" if few else f" Too few nulls to tell this from {long}."
    return f" Not told apart from {long}."


def _beside(reading: Reading, figure: Figure, decision: Decision) -> str:
    text = f"{title(reading.instrument)}: {figure.called} is {said(figure.value)}, "
    text += f"and {said(figure.null_median)} for "
    text += null_words(reading.null).long
    return text if decision.word == "open" else f"{text} (q = {figure.q_value:.2g})"
