"""Exact crossing sequences along segments: where, and through which neuron's boundary, a straight path changes region.

A segment is a slice of one dimension, so the engine of slices applies: values at the two ends of a piece are linear in
between, a gate of opposite signs has one zero there, and only then does the next layer run. No step size, no bisection;
crossings are exact up to rounding for any piecewise-affine network, pooling and residuals included.

Runs on any device: the values do not depend on it beyond rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError, InputError
from cutaway.geometry.program import KinkSite, StagedProgram, Values
from cutaway.network import Network
from cutaway.network.graph import Graph, trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crossings:
    """Crossings of R segments, sorted along each: `segment` (M), `at` (M) in [0, 1], `gate` (M) numbers of `sites`;
    `length` (R) Euclidean. A path through a point where several neurons bend gives several crossings at one place.

    Shapes (M,) and, of `length`, (R,).
    """

    segment: Tensor
    at: Tensor
    gate: Tensor
    length: Tensor
    sites: tuple[KinkSite, ...]

    @property
    def counts(self) -> Tensor:
        """(R,): crossings of each segment; regions visited are one more (where no two crossings coincide)."""
        return torch.bincount(self.segment, minlength=len(self.length))

    @property
    def density(self) -> Tensor:
        """(R,): crossings per unit of length."""
        return self.counts / self.length

    def by_site(self) -> Tensor:
        """(R, sites): crossings of each segment by the site that bends."""
        bounds = torch.tensor([s.first for s in self.sites], device=self.gate.device)
        site = torch.searchsorted(bounds, self.gate, right=True) - 1
        flat = self.segment * len(self.sites) + site
        return torch.bincount(flat, minlength=len(self.length) * len(self.sites)).reshape(-1, len(self.sites))


def crossings(
    model: nn.Module | Graph | StagedProgram,
    starts: Tensor,
    ends: Tensor,
    *,
    budget: int = 1 << 30,
    device: torch.device | str | None = None,
) -> Crossings:
    """Every crossing on the segments from `starts` to `ends`, both (R, *input_shape).

    Exact up to rounding, float64. Cost: one forward pass for every end and crossing. Memory: live values times rows,
    segments in chunks within `budget` bytes. Raises BudgetError where the crossings of one segment do not fit,
    InputError for NaN, empty or unequal inputs and segments of no length, `NotPiecewiseAffine` naming the operator.
    Source: ours, as slices.
    """
    if starts.shape != ends.shape or starts.ndim < 2 or len(starts) == 0:
        raise InputError(
            "segments",
            found=f"{tuple(starts.shape)} and {tuple(ends.shape)}",
            expected="two of (R, *input_shape), R > 0",
            remedy="give starts and ends of the same shape",
        )
    if not (torch.isfinite(starts).all() and torch.isfinite(ends).all()):
        raise InputError(
            "segments", found="NaN or infinite ends", expected="finite inputs", remedy="remove or mend these values"
        )
    length = (ends - starts).to(torch.float64).flatten(1).norm(dim=1)
    if not bool((length > 0).all()):
        row = int((length <= 0).nonzero()[0])
        raise InputError(
            f"segment {row}",
            found="no length",
            expected="two different points",
            remedy="give ends that differ from the starts",
        )
    program = as_program(model, starts[:1])
    where = torch.device(device) if device is not None else torch.device("cpu")
    if where.type != "cpu":
        program = StagedProgram(program.graph.to(device=where))
    live = max((n.numel for n in program.graph.nodes), default=1)
    size = int(max(1, min(len(starts), budget // (8 * live * 32))))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        begin = 0
        while begin < len(starts):
            some = slice(begin, begin + size)
            try:
                segment, at, gate = _walk(program, starts[some].to(where), ends[some].to(where), budget)
            except BudgetError:
                if size == 1:
                    raise
                size = max(1, size // 4)
                continue
            found.append((segment + begin, at, gate))
            begin += size
    segment, at, gate = (torch.cat(parts) for parts in zip(*found))
    return Crossings(segment=segment, at=at, gate=gate, length=length.to(where), sites=program.sites)


def as_program(model: nn.Module | Graph | StagedProgram | Network, example: Tensor) -> StagedProgram:
    """The staged program of a module (traced at `example`), a graph, a network (whose passes it counts), or itself."""
    if isinstance(model, StagedProgram):
        if not model.jumps:
            return model
        program = StagedProgram(model.graph)
        program.passes = model.passes
        return program
    if isinstance(model, Network):
        program = StagedProgram(trace(model.on_cpu(), example.detach().cpu().double()))
        program.passes = model.passes
        return program
    return StagedProgram(model if isinstance(model, Graph) else trace(model, example))


class _Path:
    """Rows along all segments: `segment`, `at`, `event` (number of the crossing that made the row, -1 at the ends)."""

    def __init__(self, values: Values, segment: Tensor, at: Tensor) -> None:
        self.values, self.segment, self.at = values, segment, at
        self.event = torch.full_like(segment, -1)

    def reorder(self, order: Tensor) -> None:
        self.segment, self.at, self.event = self.segment[order], self.at[order], self.event[order]
        self.values = {i: v[order] for i, v in self.values.items()}


def _walk(program: StagedProgram, starts: Tensor, ends: Tensor, budget: int) -> tuple[Tensor, Tensor, Tensor]:
    count, device = len(starts), starts.device
    both = torch.stack([starts, ends], dim=1).flatten(0, 1).to(torch.float64)
    path = _Path(
        program.begin(both),
        torch.arange(count, device=device).repeat_interleave(2),
        torch.tensor([0.0, 1.0], dtype=torch.float64, device=device).repeat(count),
    )
    events: list[tuple[Tensor, Tensor, Tensor]] = []
    made, at = 0, 0
    for index, site in enumerate(program.sites):
        path.values = program.advance(path.values, at, program.stop_of(index))
        at = program.stop_of(index)
        first_of_site = made
        for part in range(site.parts):
            segment, where, gate = _cut(program, site, part, path, made, budget)
            events.append((segment, where, gate))
            made += len(gate)
        if site.window is not None and site.parts > 1:
            _drop_beaten(program, site, path, events, first_of_site)
    program.passes.count(2 * count + made)
    segment, where, gate = (torch.cat([e[k] for e in events]) for k in range(3)) if events else (torch.zeros(0),) * 3
    keep = gate >= 0
    segment, where, gate = segment[keep].long(), where[keep], gate[keep].long()
    order = torch.argsort(where, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]
    return segment[order], where[order], gate[order]


LEAST = 1 << 26
"""Bytes that one segment may take whatever the budget."""


def _fits(path: _Path, new: int, site: KinkSite, budget: int) -> None:
    """Raises BudgetError before `new` rows are made whose values, with a copy in their order, are beyond the budget."""
    row = 8 * sum(value[0].numel() for value in path.values.values())
    needed = 2 * row * (len(path.at) + new)
    budget = max(budget, LEAST)
    if new and needed > budget:
        raise BudgetError(
            f"crossings at site {site.name!r}",
            found=f"{new} on {int(path.segment[-1]) + 1} segments, {format_bytes(needed)} of values",
            expected=f"at most {format_bytes(budget)}",
            remedy="give a larger --budget, or ask of a smaller network: every crossing is a row of its values",
        )


def _cut(program: StagedProgram, site: KinkSite, part: int, path: _Path, made: int, budget: int):
    """Insert the zeros of one part's gates; returns (segment, at, gate) of the new rows, in row order of creation."""
    gates = program.gates(path.values, site, part)
    on = gates > 0
    same = path.segment[1:] == path.segment[:-1]
    piece, column = ((on[1:] != on[:-1]) & same[:, None]).nonzero(as_tuple=True)
    _fits(path, len(piece), site, budget)
    a, b = gates[piece, column], gates[piece + 1, column]
    step = a / (a - b)
    where = path.at[piece] + step * (path.at[piece + 1] - path.at[piece])
    segment, gate = path.segment[piece], site.first + part * site.width + column
    if not len(piece):
        return segment, where, gate
    for node, value in path.values.items():
        share = step.reshape(-1, *[1] * (value.ndim - 1))
        path.values[node] = torch.cat([value, value[piece] + share * (value[piece + 1] - value[piece])])
    path.segment = torch.cat([path.segment, segment])
    path.at = torch.cat([path.at, where])
    path.event = torch.cat([path.event, made + torch.arange(len(piece), device=piece.device)])
    order = torch.argsort(path.at, stable=True)
    order = order[torch.argsort(path.segment[order], stable=True)]
    path.reorder(order)
    return segment, where, gate


def _drop_beaten(program: StagedProgram, site: KinkSite, path: _Path, events: list, first: int) -> None:
    """Take back comparisons that another entry of the window wins."""
    rows = (path.event >= first).nonzero().flatten()
    if not len(rows):
        return
    gate = torch.cat([e[2] for e in events])[path.event[rows]]
    part, output = (gate - site.first) // site.width, (gate - site.first) % site.width
    read = path.values[program.graph.nodes[site.node].inputs[0]]
    assert site.window is not None
    window = site.window.to(read.device)[output]
    entries = read[rows].reshape(len(rows), -1).gather(1, window.clamp(min=0)).masked_fill(window < 0, -torch.inf)
    largest = entries.amax(dim=1)
    gap = largest - entries.gather(1, (part + 1)[:, None])[:, 0]
    beaten = gap > 1e-11 * (1 + largest.abs())
    drop = path.event[rows[beaten]]
    start = 0
    for position, (segment, where, gates) in enumerate(events):
        mine = drop[(drop >= start) & (drop < start + len(gates))] - start
        start += len(gates)
        if len(mine):
            gates = gates.clone()
            gates[mine] = -1
            events[position] = (segment, where, gates)
    stays = torch.ones(len(path.at), dtype=torch.bool, device=path.at.device)
    stays[rows[beaten]] = False
    path.reorder(stays.nonzero().flatten())
