"""Counting the neurons whose sign changes over the vertices round a point, as values come from the network.

All vertices of a point come at once, or in parts where memory does not hold them: then the smallest and largest value
of every neuron are kept from part to part. Signs that single precision may have wrong are kept and decided at the end
in double precision; where they are too many to keep, all vertices of the point go through in double precision instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cutaway.geometry.cross_polytope import CrossPolytope
from cutaway.network import Network, Site
from cutaway.network.gradient import mha_fastpath_off
from cutaway.network.sites import RowLayout, SiteVisitor

_ENTRY = 32  # bytes of a doubtful sign: neuron and vertex, and the row they are made from


class _Visitor(SiteVisitor):
    """Hands each site's pre-activation on as it comes, so that none is kept: fresh memory costs more than the
    arithmetic."""

    def __init__(self, sites: Sequence[Site], see: Callable[[int, Tensor], None]) -> None:
        super().__init__(sites)
        self.see = see

    def before(self, k: int, site: Site, operand: Any) -> None:
        value = operand
        if site.before != RowLayout():
            value = value.spell_out() if isinstance(value, CrossPolytope) else value
            value = site.before.by_rows(value, site.name)
        self.see(k, value)


def visit(network: Network, inputs: Tensor, sites: Sequence[Site], see: Callable[[int, Tensor], None]) -> None:
    """One pass; `see(k, value)` gets the pre-activations of site `k` of `sites` when they come, and they go on."""
    with torch.no_grad(), mha_fastpath_off(), _Visitor(sites, see):
        network.forward(inputs)


def _range_over(values: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest over the vertices of each point, (points * vertices, ...) -> twice (points, ...). Reduced as
    it lies in memory: across the channels-last layout torch takes fifty times as long."""
    last = values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
    laid = values.permute(0, 2, 3, 1) if last else values.contiguous()
    flat = laid.reshape(points, len(values) // points, -1)
    found = [pick.reshape(points, *laid.shape[1:]) for pick in (flat.amin(dim=1), flat.amax(dim=1))]
    low, high = (side.permute(0, 3, 1, 2) for side in found) if last else found
    return low, high


def _keep(rough: dict[int, Tensor], k: int, value: Tensor) -> None:
    rough[k] = value.clone()  # the model may go on to overwrite it


def _compare(rough: dict[int, Tensor], noise: list[float], k: int, fine: Tensor) -> None:
    noise[k] = max(noise[k], 2 * float(rough.pop(k).to(torch.float64).sub_(fine).abs_().max()))


@dataclass(slots=True)
class Counter:
    """Counts crossings site by site, keeps the signs that are within rounding and has them decided at the end.

    kept: rows at a time for that. room: bytes for doubtful signs. ranges, near: of a point that comes in parts,
    smallest and largest values by site, and which neurons are within rounding at which vertex; full: they are too many
    to keep. crowded: by site, which neurons of the points at work are decided at all vertices instead.
    """

    network: Network
    inputs: Tensor
    steps: Tensor
    sites: Sequence[Site]
    referee: Network | None
    kept: int
    room: int = 1 << 30
    counts: Tensor = field(init=False)
    noise: list[float] = field(init=False)
    doubts: list[tuple[Tensor, ...]] = field(default_factory=list)
    ranges: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    near: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    full: bool = False
    crowded: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = torch.zeros(len(self.inputs), len(self.sites), dtype=torch.float64)
        self.noise = [0.0] * len(self.sites)
        if self.referee is not None and self.inputs.dtype != torch.float64:
            self.noise = self._measure_noise()

    def _vertices(self, point: Tensor, vertex: Tensor) -> Tensor:
        """(m, ...) in float64: vertex numbers 0 .. P-1 are x + r v, P .. 2P-1 are x - r v."""
        half = len(self.steps)
        step = self.steps.to(self.inputs.device)[vertex % half] * torch.where(vertex < half, 1.0, -1.0)[:, None]
        return self.inputs[point].to(torch.float64) + step.reshape(-1, *self.inputs.shape[1:])

    def _measure_noise(self) -> list[float]:
        assert self.referee is not None
        number = torch.arange(8, device=self.inputs.device)
        sample = self._vertices(number * len(self.inputs) // 8, number * (2 * len(self.steps)) // 8)
        noise = [0.0] * len(self.sites)
        for part in sample.split(self.kept):
            rough: dict[int, Tensor] = {}
            visit(self.network, part.to(self.inputs.dtype), self.sites, partial(_keep, rough))
            visit(self.referee, part, self.sites, partial(_compare, rough, noise))
        return noise

    def take(self, start: int, points: int, some: slice, k: int, value: Tensor) -> None:
        """Values of site `k` at the vertices that belong to the directions `some` of points `start` .. ."""
        if some.stop - some.start == len(self.steps):
            self.add(start, k, value, points)
        else:
            self.add_part(k, value, some)

    def add(self, start: int, k: int, value: Tensor, points: int) -> None:
        """Count site `k` at points `start` .. from its values at all vertices."""
        parts = value.parts() if isinstance(value, CrossPolytope) else None
        if parts is not None:
            centre, step = parts
            real = None
            reach = step.abs().amax(dim=0)
            low, high = centre - reach, centre + reach
        else:
            real = value.spell_out() if isinstance(value, CrossPolytope) else value
            low, high = _range_over(real, points)
        doubtful = self._count(start, k, low, high)
        if doubtful is not None and bool(doubtful.any()):
            if parts is not None:
                centre, step = parts
                real = torch.cat([centre[:, None] + step, centre[:, None] - step], dim=1)
            else:
                assert real is not None
                real = real.unflatten(0, (points, 2 * len(self.steps)))
            self._keep_doubts(start, k, real, doubtful)

    def add_part(self, k: int, value: Tensor, some: slice) -> None:
        """Take note of site `k` at the vertices of one point that belong to the directions `some`."""
        real = value.spell_out() if isinstance(value, CrossPolytope) else value
        low, high = _range_over(real, 1)
        if k in self.ranges:
            low, high = torch.minimum(low, self.ranges[k][0]), torch.maximum(high, self.ranges[k][1])
        self.ranges[k] = (low, high)
        if self.noise[k] > 0 and not self.full:
            open_ = (high <= self.noise[k]) | (low >= -self.noise[k])  # others are known to change sign
            near = (real.abs() <= self.noise[k]) & open_
            kept = sum(len(n) for found in self.near.values() for n, _ in found)
            if _ENTRY * (kept + int(near.sum())) > self.room:
                self.full, self.near = True, {}
                return
            row, neuron = near.flatten(1).nonzero(as_tuple=True)
            half = some.stop - some.start
            vertex = some.start + row % half + (row >= half) * len(self.steps)
            self.near.setdefault(k, []).append((neuron, vertex))

    def end_of_points(self, start: int) -> None:
        """Count what came in parts, and decide what there is no room for; points from `start` on are done."""
        for k, (low, high) in self.ranges.items():
            doubtful = self._count(start, k, low, high)
            if doubtful is None or not bool(doubtful.any()):
                continue
            if self.full:
                self.crowded[k] = doubtful.flatten(1)
                continue
            mine = doubtful.flatten().nonzero().flatten()
            neuron, vertex = (torch.cat(column) for column in zip(*self.near[k]))
            wanted = doubtful.flatten()[neuron]
            neuron, vertex = neuron[wanted], vertex[wanted]
            above, below = high.flatten()[mine] > self.noise[k], low.flatten()[mine] < -self.noise[k]
            where, which = torch.full_like(mine, start), torch.full_like(mine, k)
            row = torch.searchsorted(mine, neuron)
            self.doubts.append((where, which, mine, above, below, row, vertex))
        self.ranges, self.near, self.full = {}, {}, False
        for point in range(max((len(mask) for mask in self.crowded.values()), default=0)):
            self._decide_everywhere(start + point, {k: mask[point] for k, mask in self.crowded.items()})
        self.crowded = {}
        if sum(_ENTRY * len(entry[5]) + 26 * len(entry[0]) for entry in self.doubts) > self.room:
            self._settle()

    def _decide_everywhere(self, point: int, doubtful: dict[int, Tensor]) -> None:
        """Count the doubtful neurons (width,) of one point by double precision at all of its vertices."""
        assert self.referee is not None
        place = {k: mask.nonzero().flatten() for k, mask in doubtful.items()}
        seen = {k: torch.zeros(3, len(mine), dtype=torch.bool, device=mine.device) for k, mine in place.items()}

        def fold(k: int, value: Tensor) -> None:
            if k in place:
                mine = value.flatten(1)[:, place[k]]
                seen[k] |= torch.stack([(mine > 0).any(dim=0), (mine < 0).any(dim=0), (mine == 0).any(dim=0)])

        for vertices in torch.arange(2 * len(self.steps), device=self.inputs.device).split(self.kept):
            visit(self.referee, self._vertices(torch.full_like(vertices, point), vertices), self.sites, fold)
        for k, signs in seen.items():
            self.counts[point, k] += int((signs.sum(dim=0) > 1).sum())

    def _count(self, start: int, k: int, low: Tensor, high: Tensor) -> Tensor | None:
        """Count what is certain, from smallest and largest values (points, ...); what is not, if anything can be."""
        noise, doubtful = self.noise[k], None
        crossed = low.sign() != high.sign()
        if noise > 0:
            doubtful = (torch.minimum(low.abs(), high.abs()) <= noise) & ((low >= -noise) | (high <= noise))
            doubtful &= low != high
            crossed &= ~doubtful
        self.counts[start : start + len(low), k] = crossed.flatten(1).sum(dim=1).double().cpu()
        return doubtful

    def _keep_doubts(self, start: int, k: int, real: Tensor, doubtful: Tensor) -> None:
        if 4 * real.shape[1] * int(doubtful.sum()) > self.room:
            self.crowded[k] = doubtful.flatten(1)
            return
        point, neuron = doubtful.flatten(1).nonzero(as_tuple=True)
        values = real.flatten(2)[point, :, neuron]
        noise = self.noise[k]
        above, below = (values > noise).any(dim=1), (values < -noise).any(dim=1)
        row, vertex = (values.abs() <= noise).nonzero(as_tuple=True)
        self.doubts.append((point + start, torch.full_like(point, k), neuron, above, below, row, vertex))

    def finish(self) -> Tensor:
        """The counts, doubtful signs decided by the referee."""
        self._settle()
        return self.counts

    def _settle(self) -> None:
        """Decide the doubtful signs that were kept."""
        if not self.doubts:
            return
        shift, parts = 0, []
        for entry in self.doubts:
            parts.append((*entry[:5], entry[5] + shift, entry[6]))
            shift += len(entry[0])
        point, site, neuron, above, below, row, vertex = (torch.cat(column) for column in zip(*parts))
        signs = self._referee_signs(point[row], vertex, site[row], neuron[row])
        above[row[signs > 0]] = True
        below[row[signs < 0]] = True
        zero = torch.zeros_like(above)
        zero[row[signs == 0]] = True
        crossed = above.long() + below.long() + zero.long() > 1
        for p, k in zip(point[crossed].tolist(), site[crossed].tolist()):
            self.counts[p, k] += 1
        self.doubts = []

    def _referee_signs(self, point: Tensor, vertex: Tensor, site: Tensor, neuron: Tensor) -> Tensor:
        """Signs of chosen neurons at chosen vertices, in float64."""
        assert self.referee is not None
        key = point * (2 * len(self.steps)) + vertex
        keys, which = torch.unique(key, return_inverse=True)
        signs = torch.zeros(len(key), device=key.device)
        for begin in range(0, len(keys), self.kept):
            some = keys[begin : begin + self.kept]
            inputs = self._vertices(some // (2 * len(self.steps)), some % (2 * len(self.steps)))
            mine = ((which >= begin) & (which < begin + self.kept)).nonzero().flatten()

            def decide(k: int, value: Tensor, begin: int = begin, mine: Tensor = mine) -> None:
                here = mine[site[mine] == k]
                signs[here] = value.flatten(1)[which[here] - begin, neuron[here]].sign().to(signs)

            visit(self.referee, inputs, self.sites, decide)
        return signs
