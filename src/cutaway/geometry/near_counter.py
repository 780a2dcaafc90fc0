"""Counting the neurons whose sign changes over the vertices round a point, as values come from the network.

All vertices of a point come at once, or in parts where memory does not hold them: then the smallest and largest value
of every neuron are kept from part to part. Signs that single precision may have wrong are kept and decided at the end
in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.geometry.cross_polytope import CrossPolytope
from cutaway.network import Network, Site
from cutaway.network.capture import record
from cutaway.network.gradient import mha_fastpath_off


def pre_activations(network: Network, inputs: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
    with mha_fastpath_off():
        return record(network.forward, inputs, sites)[1]


def _range_over(values: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest over the vertices of each point, (points * vertices, ...) -> twice (points, ...). Reduced as
    it lies in memory: across the channels-last layout torch takes fifty times as long."""
    last = values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
    laid = values.permute(0, 2, 3, 1) if last else values.contiguous()
    flat = laid.reshape(points, len(values) // points, -1)
    found = [pick.reshape(points, *laid.shape[1:]) for pick in (flat.amin(dim=1), flat.amax(dim=1))]
    low, high = (side.permute(0, 3, 1, 2) for side in found) if last else found
    return low, high


@dataclass(slots=True)
class Counter:
    """Counts crossings site by site, keeps the signs that are within rounding and has them decided at the end.

    kept: rows at a time for that. ranges, near: of a point that comes in parts, smallest and largest values by site,
    and which neurons are within rounding at which vertex.
    """

    network: Network
    inputs: Tensor
    steps: Tensor
    sites: Sequence[Site]
    referee: Network | None
    kept: int
    counts: Tensor = field(init=False)
    noise: list[float] = field(init=False)
    doubts: list[tuple[Tensor, ...]] = field(default_factory=list)
    ranges: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    near: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

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
            fine = pre_activations(self.referee, part, self.sites)
            rough = pre_activations(self.network, part.to(self.inputs.dtype), self.sites)
            for k, s in enumerate(self.sites):
                noise[k] = max(noise[k], 2 * float((fine[s.name] - rough[s.name].to(torch.float64)).abs().max()))
        return noise

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
        if self.noise[k] > 0:
            row, neuron = (real.abs() <= self.noise[k]).flatten(1).nonzero(as_tuple=True)
            half = some.stop - some.start
            vertex = some.start + row % half + (row >= half) * len(self.steps)
            self.near.setdefault(k, []).append((neuron, vertex))

    def end_of_point(self, point: int) -> None:
        """Count what came in parts."""
        for k, (low, high) in self.ranges.items():
            doubtful = self._count(point, k, low, high)
            if doubtful is None or not bool(doubtful.any()):
                continue
            mine = doubtful.flatten().nonzero().flatten()
            neuron, vertex = (torch.cat(column) for column in zip(*self.near[k]))
            wanted = doubtful.flatten()[neuron]
            neuron, vertex = neuron[wanted], vertex[wanted]
            above, below = high.flatten()[mine] > self.noise[k], low.flatten()[mine] < -self.noise[k]
            where, which = torch.full_like(mine, point), torch.full_like(mine, k)
            row = torch.searchsorted(mine, neuron)
            self.doubts.append((where, which, mine, above, below, row, vertex))
        self.ranges, self.near = {}, {}

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
        point, neuron = doubtful.flatten(1).nonzero(as_tuple=True)
        values = real.flatten(2)[point, :, neuron]
        noise = self.noise[k]
        above, below = (values > noise).any(dim=1), (values < -noise).any(dim=1)
        row, vertex = (values.abs() <= noise).nonzero(as_tuple=True)
        self.doubts.append((point + start, torch.full_like(point, k), neuron, above, below, row, vertex))

    def finish(self) -> Tensor:
        """The counts, doubtful signs decided by the referee."""
        if not self.doubts:
            return self.counts
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
        return self.counts

    def _referee_signs(self, point: Tensor, vertex: Tensor, site: Tensor, neuron: Tensor) -> Tensor:
        """Signs of chosen neurons at chosen vertices, in float64."""
        assert self.referee is not None
        key = point * (2 * len(self.steps)) + vertex
        keys, which = torch.unique(key, return_inverse=True)
        signs = torch.zeros(len(key), device=key.device)
        for begin in range(0, len(keys), self.kept):
            some = keys[begin : begin + self.kept]
            inputs = self._vertices(some // (2 * len(self.steps)), some % (2 * len(self.steps)))
            pre = pre_activations(self.referee, inputs, self.sites)
            mine = ((which >= begin) & (which < begin + self.kept)).nonzero().flatten()
            for k, s in enumerate(self.sites):
                here = mine[site[mine] == k]
                signs[here] = pre[s.name].flatten(1)[which[here] - begin, neuron[here]].sign().to(signs)
        return signs
