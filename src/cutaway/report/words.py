"""What a run found, in words for a reader in a hurry: findings, what the null shows as well, what nulls were too few
for, what could not be read.

Every sentence is made of the same figures as the tables and of the null's own words (`cutaway.wording`).
"""

from __future__ import annotations

from dataclasses import dataclass

from cutaway import registry
from cutaway.evidence.decision import Decision, decide
from cutaway.reading import Figure, Reading
from cutaway.running import Run
from cutaway.wording import null_words, said


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The first screen. network: a sentence on the network. warnings: what to know before reading on. findings: a
    sentence an instrument. alike: figures not told apart from their null. open: figures with too few nulls to tell.
    unread: what was not measured or not read, each with the reason."""

    network: str
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    alike: tuple[str, ...]
    open: tuple[str, ...]
    unread: tuple[str, ...]


def digest(run: Run) -> Digest:
    """The digest of a run."""
    decisions = decide({(r.instrument, f.name): f for r in run.readings for f in r.figures})
    findings: list[str] = []
    told: dict[str, list[str]] = {"alike": [], "open": []}
    for reading in run.readings:
        mine = {f.name: decisions[reading.instrument, f.name] for f in reading.figures if f.p_value is not None}
        text = sentence(reading) if reading.figures else ""
        if text:
            findings.append(text + _against(reading, mine))
        for figure in reading.figures:
            if figure.name in mine and mine[figure.name].word != "apart":
                told[mine[figure.name].word].append(_beside(reading, figure, mine[figure.name]))
    return Digest(
        network=describe(run),
        warnings=tuple(run.record.get("warnings", ())),
        findings=tuple(findings),
        alike=tuple(told["alike"]),
        open=tuple(told["open"]),
        unread=tuple(_unread(run)),
    )


def _unread(run: Run) -> list[str]:
    """What was not run, does not apply, failed, or could not be read, with reasons; one line a reason."""
    lines = [f"{r.instrument}: {r.reason}" for r in run.readings if r.reason]
    lines += [f"{row['instrument']}: {row['reason']}" for row in run.record.get("not_run", ())]
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
    net = run.network
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in net["kinds"].items()) or "no nonlinearity"
    affine = _affinity(net["piecewise_affine"], net.get("continuous", True))
    shape = " x ".join(str(s) for s in net["input_shape"]) or "scalar"
    output = " x ".join(str(s) for s in net["output_shape"]) or "scalar"
    return (
        f"{net['name']}: {net['parameters']:,} parameters, inputs {shape}, outputs {output}, "
        f"{net['sites']} sites ({kinds}). {affine}"
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


def plain(figure: Figure) -> str:
    """What a figure is called in a sentence."""
    return figure.long_name or figure.name.replace("_", " ")


def _against(reading: Reading, decisions: dict[str, Decision]) -> str:
    """How the figures of one instrument stand to their null, in a sentence."""
    if not decisions:
        return ""
    long = null_words(reading.null).long
    apart = [f for f in reading.figures if f.name in decisions and decisions[f.name].word == "apart"]
    if apart:
        parts = [f"{plain(f)} {said(f.null_median)}" for f in apart[:3]]
        return f" For {long}: " + ", ".join(parts) + "."
    needed = [d.needed for d in decisions.values() if d.word == "open"]
    if needed:
        return f" Too few nulls to tell this from {long} ({min(needed):,} needed)."
    return f" Not told apart from {long}."


def _beside(reading: Reading, figure: Figure, decision: Decision) -> str:
    text = f"{reading.instrument}: {plain(figure)} is {said(figure.value)}, and {said(figure.null_median)} for "
    text += null_words(reading.null).long
    worth = f"{decision.needed:,} nulls needed" if decision.word == "open" else f"q = {figure.q_value:.2g}"
    return f"{text} ({worth})"
