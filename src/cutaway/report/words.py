"""What a run found, in words for a reader in a hurry: findings, dead salmons, what could not be read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cutaway import registry
from cutaway.reading import Figure, Reading
from cutaway.run import Run

CALLED = 0.1  # false-discovery rate at which a figure is called different from the null


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The first screen: one sentence on the network, findings, what the null gives as well, what was not read."""

    network: str
    findings: tuple[str, ...]
    salmons: tuple[str, ...]
    unread: tuple[str, ...]


def digest(run: Run) -> Digest:
    """The digest of a run."""
    findings, salmons = [], []
    for reading in run.readings:
        if not reading.figures:
            continue
        told = [f for f in reading.figures if f.q_value is not None and not math.isnan(f.value)]
        called = [f for f in told if f.q_value is not None and f.q_value <= CALLED]
        text = sentence(reading)
        if text:
            findings.append(text + _against(called, told))
        salmons += [f"{reading.instrument}: {_plain(f)}" for f in told if f not in called]
    unread = [f"{r.instrument}: {r.reason}" for r in run.readings if r.reason]
    seen: dict[str, set[str]] = {}
    for reading in run.readings:
        for skipped in reading.coverage.skipped:
            seen.setdefault(skipped.reason, set()).add(skipped.what)
    for reason, places in seen.items():
        names = sorted(places)
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        unread.append(f"{some}: {reason}")
    return Digest(network=describe(run), findings=tuple(findings), salmons=tuple(salmons), unread=tuple(unread))


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
    """The instrument's own words on its reading (empty where it has none)."""
    if reading.instrument not in registry.names():
        return ""
    return registry.instrument(reading.instrument)(**reading.provenance.parameters).describe(reading)


def _against(called: list[Figure], told: list[Figure]) -> str:
    if not told:
        return ""
    if min((1.0 if f.alternative == "two-sided" else 0.5) * 2 / (f.null_count + 1) for f in told) > CALLED:
        return f" Too few nulls ({told[0].null_count}) to tell this from an untrained network."
    if not called:
        return " Not told apart from an untrained network."
    parts = [f"{f.name.replace('_', ' ')} {f.null_median:.3g}" for f in called[:3]]
    return " Untrained: " + ", ".join(parts) + "."


def _plain(figure: Figure) -> str:
    name = figure.long_name or figure.name.replace("_", " ")
    return f"{name} is {figure.value:.3g}; untrained networks give {figure.null_median:.3g} (q = {figure.q_value:.2g})"
