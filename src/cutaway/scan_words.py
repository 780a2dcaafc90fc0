"""What a scan says before it measures: cautions on network and data, and which instruments take no part."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cutaway import registry
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.network.origin import fresh_weights, trained_range

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.evidence.looks import LookLog


def cautions(network: Network, data: Dataset, *, trained_anew: bool = False) -> list[str]:
    """Sentences for the top of a report: random weights, unless all that is measured trains them anew; inputs outside
    their range."""
    weights = "" if trained_anew else told_of_weights(network.model)
    return [text for text in (weights, *_outside(network, data)) if text]


def looked_at(log: LookLog | None) -> list[str]:
    """The caution on rows that were looked at before; none where looks are not counted, or there was none."""
    if log is None or not (looks := len(log)):
        return []
    told = f"These rows were looked at {looks} time{'s' if looks > 1 else ''} before this scan ({log.path}): whatever "
    return [told + "those looks chose, this network perhaps, looks better on them than on fresh rows."]


def told_of_weights(model: torch.nn.Module) -> str:
    """The caution on weights that are as a random fill left them; empty where none is known to be."""
    names, total = fresh_weights(model)
    if not names:
        return ""
    if len(names) == total:
        return "Random weights: all are as their initialiser left them (no --weights), so nothing here is learned."
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Random weights in part: {len(names)} of {total} are as their initialiser left them ({some})."


def _outside(network: Network, data: Dataset) -> list[str]:
    """The share of input values outside the range that the data set declares, or that the network was trained on."""
    if not data.inputs.is_floating_point():
        return []
    texts, bounds, trained = [], data.bounds(), trained_range(network.model)
    if data.value_range is not None and bounds is not None:
        texts.append(_share_outside(data, *bounds, data.value_range, f"the data set {data.name!r} declares"))
    if trained is not None and (trained != data.value_range or data.mean is not None):
        low, high = (torch.tensor(value) for value in trained)
        texts.append(_share_outside(data, low, high, trained, "the network was trained on"))
    return texts


def _share_outside(data: Dataset, low: Tensor, high: Tensor, told: tuple[float, float], whose: str) -> str:
    slack = 1e-5 * (high - low)
    share = float(((data.inputs < low - slack) | (data.inputs > high + slack)).double().mean())
    if share == 0:
        return ""
    found = f"{float(data.inputs.min()):.3g} to {float(data.inputs.max()):.3g}"
    return f"{share:.1%} of the input values ({found}) lie outside {told[0]:.3g} to {told[1]:.3g}, which {whose}."


def not_run(chosen: Collection[str]) -> list[dict[str, str]]:
    """Registered instruments that take no part in this scan, each with the reason.

    `why`: `cost` (left out of every scan that does not ask for it), `broken` (another package's code cannot be loaded),
    or `not asked` for, where the user named the instruments to run."""
    kinds = {name: _kind(name) for name in registry.names() if name not in chosen}
    named = any(not isinstance(kind, Exception) and kind.in_scan for kind in kinds.values())
    return [{"instrument": name, **_why(name, kind, named)} for name, kind in kinds.items()]


def _kind(name: str) -> type[Instrument] | Exception:
    try:
        return registry.instrument(name)
    except Exception as error:  # another package's code
        return error


def _why(name: str, kind: type[Instrument] | Exception, named: bool) -> dict[str, str]:
    if isinstance(kind, Exception):
        return {"why": "broken", "reason": f"not run: it cannot be loaded ({type(kind).__name__}: {kind})"}
    if named:
        return {"why": "not asked", "reason": f"not run: not asked for; ask with `cutaway measure {name}`"}
    reason = f"not run: a scan leaves it out for its cost ({kind.left_out or kind.expense})"
    return {"why": "cost", "reason": f"{reason}; ask with `cutaway measure {name}`"}
