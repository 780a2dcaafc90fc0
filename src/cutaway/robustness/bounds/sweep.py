"""All limits of a network in one pass from input to output: IBP, tightened by CROWN where a nonlinearity reads a value.

Methods: `ibp`; `crown-ibp` (IBP inside, CROWN for the output); `crown` (default): every value that a nonlinearity reads
gets the better of IBP and CROWN, and only rows that are not yet affine (unstable ReLUs) cost a backward pass. Work is
cut into pieces of at most `most_numbers` numbers for one functional tensor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.robustness.bounds import maxima
from cutaway.robustness.bounds.backward import Choices, OneHot, lower_bound
from cutaway.robustness.bounds.intervals import Limits, flat_values, step
from cutaway.robustness.bounds.maxima import MAXIMA
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.unary import UNARY, is_stable
from cutaway.robustness.regions import Region

METHODS = ("ibp", "crown-ibp", "crown")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """`method` as above; `most_numbers`: most numbers in one functional tensor (8 bytes each, a few such tensors live
    at once); `only`: the nodes that `crown` spends backward passes on, None for all that are worth it; `deadline`
    (monotonic seconds): what is not tightened by then keeps what intervals say of it.

    Raises `InputError` for an unknown method.
    """

    method: str = "crown"
    most_numbers: int = 1 << 19
    only: frozenset[int] | None = None
    deadline: float = float("inf")

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                "bound method",
                found=repr(self.method),
                expected=" or ".join(map(repr, METHODS)),
                remedy="give one of these",
            )


Splits = dict[int, Tensor]
"""Node -> (B, *shape) of +1 (value >= 0), -1 (value <= 0), 0 (not split)."""


def sweep(
    bounded: BoundNetwork,
    region: Region,
    settings: SweepSettings = SweepSettings(),
    *,
    splits: Splits | None = None,
    known: Limits | None = None,
    choices: dict[int, Choices] | None = None,
) -> Limits:
    """Limits of every node. `known` limits are intersected with (and, being valid, decide which rows are worth a pass);
    `choices` gives the free parameters of the backward pass that starts at a node.

    Sound bounds, rounding included unless the network was made without it. Source: Gowal et al. 2018 (IBP), Zhang et
    al. (arXiv 1811.00866; CROWN); the rounding is ours.
    """
    limits = Limits()
    with torch.set_grad_enabled(choices is not None and torch.is_grad_enabled()):
        for node in bounded.graph.nodes:
            step(bounded, node, limits, region)
            if known is not None:
                _recall(bounded, limits, known, node.index, choices is not None and torch.is_grad_enabled())
            if splits and node.index in splits:
                _clamp(limits, node.index, splits[node.index])
            wanted = settings.only is None or node.index in settings.only
            if settings.method == "crown" and wanted and _worth(bounded, region, node.index):
                _tighten(bounded, limits, region, node.index, settings, (choices or {}).get(node.index), known)
                if splits and node.index in splits:
                    _clamp(limits, node.index, splits[node.index])
    return limits


def bound_rows(
    bounded: BoundNetwork,
    limits: Limits,
    region: Region,
    rows: Tensor,
    settings: SweepSettings = SweepSettings(),
    choices: Choices | None = None,
) -> Tensor:
    """Lower bounds (B, S) of output functionals `rows`, shape (B, S, *output shape) or (S, *output shape).

    Cost: one backward pass over the graph for all B S functionals, in parts of `settings.most_numbers` numbers. Source:
    Zhang et al. (arXiv 1811.00866); the rounding is ours.
    """
    output = bounded.graph.output
    batch = len(limits.lower[output.index])
    if rows.ndim == len(output.shape) + 1:
        rows = rows.unsqueeze(0).expand(batch, *rows.shape)
    rows = rows.to(bounded.dtype)
    coarse = _from_interval(bounded, limits, output.index, rows)
    if settings.method == "ibp":
        return coarse
    fine = lower_bound(bounded, limits, region, output.index, rows, choices)
    return torch.where(fine > coarse, fine, coarse)


def bounds_of_many(
    bounded: BoundNetwork, region: Region, rows: Tensor, settings: SweepSettings = SweepSettings()
) -> Tensor:
    """`bound_rows` (B, S) after a `sweep`, for many regions at once: they are taken in pieces whose values fit the
    processor's cache (`settings.most_numbers` / 4 numbers a node), and the limits of inner nodes are not kept.

    Sound lower bounds. Cost: a `sweep` and one backward pass a piece. Source: as `sweep` (arXiv 1811.00866).
    """
    widest = max(node.numel for node in bounded.graph.nodes)
    size = max(1, settings.most_numbers // (4 * widest))
    found = []
    for start in range(0, len(region.lower), size):
        index = torch.arange(start, min(start + size, len(region.lower)))
        part = region.select(index)
        some = rows if rows.ndim == len(bounded.graph.output.shape) + 1 else rows[index]
        found.append(bound_rows(bounded, sweep(bounded, part, settings), part, some, settings))
    return torch.cat(found)


def _from_interval(bounded: BoundNetwork, limits: Limits, index: int, rows: Tensor) -> Tensor:
    low, high = (side[index].unsqueeze(1) for side in (limits.lower, limits.upper))
    worst = rows * torch.where(rows >= 0, low, high)
    worst = flat_values(torch.where(rows == 0, 0.0, worst), 2)
    return worst.sum(-1) - bounded.gamma[index] * worst.abs().sum(-1)


def _worth(bounded: BoundNetwork, region: Region, index: int) -> bool:
    return index in bounded.tighten and not (region.is_box and index in bounded.box_exact)


def _meet(limits: Limits, index: int, low: Tensor, high: Tensor) -> None:
    """Intersect; a NaN never replaces a number, and a gap is remembered as an empty sample."""
    old_low, old_high = limits.lower[index], limits.upper[index]
    low, high = torch.where(low > old_low, low, old_low), torch.where(high < old_high, high, old_high)
    gap = flat_values(low > high, 1).any(1)
    if bool(gap.any()):
        limits.empty = gap if limits.empty is None else limits.empty | gap
        low, high = torch.minimum(low, high), torch.maximum(low, high)
    limits.lower[index], limits.upper[index] = low, high


def _recall(bounded: BoundNetwork, limits: Limits, known: Limits, index: int, searching: bool) -> None:
    """Intersect with known limits. While slopes are searched, values that a backward pass will tighten keep only what
    follows from this pass, since a known limit that wins would hide the gradient."""
    low, high = known.lower[index], known.upper[index]
    if searching and index in bounded.tighten:
        again = open_rows(bounded, known, index).reshape(low.shape)
        low, high = torch.where(again, -torch.inf, low), torch.where(again, torch.inf, high)
    _meet(limits, index, low, high)


def _clamp(limits: Limits, index: int, sign: Tensor) -> None:
    low = torch.where(sign > 0, 0.0, -torch.inf).to(limits.lower[index].dtype)
    high = torch.where(sign < 0, 0.0, torch.inf).to(low.dtype)
    _meet(limits, index, low, high)


def open_rows(bounded: BoundNetwork, limits: Limits, index: int) -> Tensor:
    """Values (B, n) of a node that some reader cannot treat as affine yet."""
    low, high = limits.lower[index], limits.upper[index]
    wanted = torch.zeros_like(low, dtype=torch.bool)
    for reader in bounded.tighten[index]:
        node = bounded.graph.nodes[reader]
        if node.op in MAXIMA:
            found = maxima.open_values(bounded.windows[reader], low, high).reshape(low.shape)
        else:
            found = ~is_stable(node, low, high) if node.op in UNARY else low < high
        wanted = wanted | found
    return flat_values(wanted, 1)


def _tighten(
    bounded: BoundNetwork,
    limits: Limits,
    region: Region,
    index: int,
    settings: SweepSettings,
    choices: Choices | None,
    reference: Limits | None,
) -> None:
    searching = choices is not None and torch.is_grad_enabled()
    wanted = open_rows(bounded, reference if searching and reference is not None else limits, index)
    counts = wanted.sum(1)
    if not bool((counts > 0).any()):
        return
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for samples in _alike(counts):
        rows = wanted[samples].to(torch.uint8).topk(int(counts[samples].max()), dim=1).indices
        for part, some in _pieces(samples, rows, bounded.widest(index), None if searching else settings.most_numbers):
            if time.monotonic() > settings.deadline:
                break
            part_limits, part_region = limits.select(part), region.select(part)
            part_choices = None if choices is None else choices.select(part)
            low, high = (
                sign
                * lower_bound(bounded, part_limits, part_region, index, OneHot(index=some, sign=sign), part_choices)
                for sign in (1.0, -1.0)
            )
            found.append((part, some, low, high))
    if found:
        _write_rows(limits, index, found)


def _alike(counts: Tensor) -> list[Tensor]:
    """Samples grouped by how many rows they need (to a factor of 1.5), so that little is computed in vain."""
    level = torch.log(counts.clamp(min=1).to(torch.float64)).div(0.405).ceil()
    level = torch.where(counts > 0, level, -1.0)
    return [(level == v).nonzero().squeeze(1) for v in level.unique().tolist() if v >= 0]


def _pieces(samples: Tensor, rows: Tensor, widest: int, most_numbers: int | None):
    """Pairs (samples, their rows) with at most `most_numbers` numbers in a functional tensor."""
    count = rows.shape[1]
    step_batch = len(samples) if most_numbers is None else max(1, most_numbers // (widest * count))
    step_rows = count if most_numbers is None else max(1, most_numbers // (widest * step_batch))
    for b in range(0, len(samples), step_batch):
        for r in range(0, count, step_rows):
            yield samples[b : b + step_batch], rows[b : b + step_batch, r : r + step_rows]


def _write_rows(limits: Limits, index: int, found: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
    shape = limits.lower[index].shape
    width = limits.lower[index][0].numel()
    place = torch.cat([(part.unsqueeze(1) * width + rows).reshape(-1) for part, rows, _, _ in found])
    low = torch.cat([f[2].reshape(-1) for f in found])
    high = torch.cat([f[3].reshape(-1) for f in found])
    all_low = torch.full((shape.numel(),), -torch.inf, dtype=low.dtype).scatter(0, place, low)
    all_high = torch.full_like(all_low, torch.inf).scatter(0, place, high)
    _meet(limits, index, all_low.reshape(shape), all_high.reshape(shape))
