"""Counts of the neurons whose boundary passes near a point: the published cross-polytope count and the linearised one.

Published (Humayun et al., arXiv 2402.15555, section 3): for P orthonormal directions v_p the 2P vertices x +- r v_p go
through the network, and LC_l(x) counts the neurons of layer l whose pre-activation's sign (0 as a third value) is not
the same at all of them. Computed here with one row a point and a direction up to the first nonlinearity (see
`cross_polytope`), images with the channels last in memory, and, where the network is single precision and a `referee`
is given, every sign within rounding decided in double precision.

Linearised: #{i : |h_i(x)| / |V_i|_2 < r} with V_i the gradient of h_i in the region of x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.errors import InputError, ModelError
from cutaway.geometry import linearisation
from cutaway.geometry.cross_polytope import CrossPolytope
from cutaway.network import Network, Site
from cutaway.network.capture import record
from cutaway.network.network import _mha_fastpath_off
from cutaway.network.sites import Interceptor, flatten_operands

EXACT_DIMS = 128  # up to this input dimension every gradient norm is computed
_CACHED = 5 << 20  # bytes of the widest layer that go through at once: what the processor's caches hold


def frame(dims: int, num_directions: int, generator: torch.Generator) -> torch.Tensor:
    """`(P, D)` orthonormal rows, Haar distributed, float64."""
    if not 1 <= num_directions <= dims:
        raise InputError("num_directions", found=str(num_directions), expected=f"1 to {dims}, the input's dimension")
    q, r = torch.linalg.qr(torch.randn(dims, num_directions, generator=generator, dtype=torch.float64))
    return (q * torch.sign(torch.diagonal(r))).T.contiguous()


def local_complexity(
    network: Network,
    inputs: Tensor,
    directions: Tensor,
    radius: float,
    sites: Sequence[Site],
    *,
    rows: int = 2048,
    referee: Network | None = None,
) -> Tensor:
    """LC_l(x) for every input and site: `(n, sites)`, counts as float64.

    `inputs` `(n, ...)` on the network's device and dtype, `directions` `(P, D)` orthonormal. Exact as a count in the
    network's arithmetic; with `referee` (the network in float64), signs that single precision may have wrong are
    decided by it, so that the counts are those of float64 (what single precision may have wrong is measured on a few
    vertices: an estimate with a safety factor of 2). As a measure of the neighbourhood it sees about a share E max_p
    |N(0, 1)| / sqrt(D) of the radius (see `effective_radius`). Cost: 2P forward passes a point, at most about `rows`
    vertices at once; with a referee one float64 pass for every doubtful vertex. Raises InputError for directions that
    do not fit the inputs.
    """
    if directions.ndim != 2 or directions.shape[1] != inputs[0].numel():
        raise InputError(
            "directions", found=f"shape {tuple(directions.shape)}", expected=f"(P, {inputs[0].numel()}), the input's"
        )
    steps = (radius * directions).to(inputs).reshape(-1, *inputs.shape[1:])
    count = _Counter(network, inputs, radius * directions.to(torch.float64), sites, referee)
    widest = max((s.width for s in network.sites), default=1) * inputs.element_size()
    per = max(1, min(rows, max(2 * len(steps), _CACHED // widest)) // (2 * len(steps)))
    channels_last = inputs.dim() == 4 and _takes_channels_last(network, inputs[:1], steps[:1], sites)
    for start in range(0, len(inputs), per):
        points = inputs[start : start + per]
        vertices = CrossPolytope.of(points, steps, channels_last=channels_last)
        with torch.no_grad(), _mha_fastpath_off(), _Visitor(sites, count, start, len(points)):
            network.forward(vertices)
    return count.finish()


class _Visitor(Interceptor):
    """Hands each site's pre-activation to the counter as it comes, so that none is kept: fresh memory costs more than
    the arithmetic."""

    def __init__(self, sites: Sequence[Site], counter: _Counter, start: int, points: int) -> None:
        super().__init__()
        self.wanted = {site.ordinal: (k, site) for k, site in enumerate(sites)}
        self.counter, self.start, self.points = counter, start, points

    def candidate(self, ordinal, kind, name, func, args, kwargs):
        if ordinal in self.wanted:
            k, site = self.wanted[ordinal]
            if site.function != name:
                raise ModelError(
                    "the order of the network's operations",
                    found=repr(name),
                    expected=f"{site.function!r}, as on the example input",
                    remedy="the path through this model depends on its data; it cannot be read",
                )
            value = flatten_operands((*args, *kwargs.values()))[site.argument]
            self.counter.add(self.start, k, value, self.points)
        return func(*args, **kwargs)


def _pre_activations(network: Network, inputs: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
    with _mha_fastpath_off():
        return record(network.forward, inputs, sites)[1]


def _takes_channels_last(network: Network, point: Tensor, step: Tensor, sites: Sequence[Site]) -> bool:
    try:
        _pre_activations(network, CrossPolytope.of(point, step, channels_last=True), sites)
    except RuntimeError:  # `view` of an image whose channels lie last
        return False
    return True


def neurons_within(
    network: Network,
    inputs: Tensor,
    radius: float,
    sites: Sequence[Site],
    *,
    generator: torch.Generator,
    rows: int = 2048,
    probes: int = 20,
    exact: bool | None = None,
) -> Tensor:
    """#{i : |h_i(x)| / |V_i|_2 < radius} for every input and site, `(n, sites)`: boundaries within `radius` in the
    linearisation of the point's own region.

    `exact` True: every |V_i| by forward mode, D tangents a point; None: the same up to 128 input dimensions D. Else an
    estimate: |V_i| from `probes` orthonormal random directions (relative error 1 / sqrt(2 probes), mean corrected),
    which blurs the radius neuron by neuron; where |h_i| / |V_i| has an even density about the radius, as it has for
    small radii, the count is unbiased. Cost: one pass and `probes` (or D) tangents a point, at most about `rows` at
    once.
    """
    dims = inputs[0].numel()
    if exact is True or (exact is None and dims <= EXACT_DIMS):
        parts = [_exactly_within(network, part, radius, sites, rows) for part in inputs.split(max(1, rows))]
        return torch.cat(parts)
    count = min(probes, dims)
    directions = frame(dims, count, generator).to(inputs).reshape(count, *inputs.shape[1:])
    scale = (1 / mean_share(dims, count)) * radius
    found = torch.zeros(len(inputs), len(sites), dtype=torch.float64)
    widest = max((s.width for s in network.sites), default=1) * inputs.element_size()
    per = max(1, min(rows, max(2 * count, _CACHED // widest)) // (count + 1))
    for start in range(0, len(inputs), per):
        values, slopes = linearisation.shared_tangents(network, inputs[start : start + per], directions, sites)
        for k, site in enumerate(sites):
            length = slopes[site.name].square().sum(dim=0).sqrt()
            near = values[site.name].abs() < scale * length
            found[start : start + per, k] = near.sum(dim=1).double().cpu()
    return found


def _exactly_within(network: Network, inputs: Tensor, radius: float, sites: Sequence[Site], rows: int) -> Tensor:
    values, _ = linearisation.tangents(network, inputs, torch.zeros_like(inputs), sites)
    norms = linearisation.gradient_norms(network, inputs, sites, rows=rows)
    near = [values[s.name].abs() < radius * norms[s.name] for s in sites]
    return torch.stack([n.sum(dim=1) for n in near], dim=1).double().cpu()


def mean_share(dims: int, count: int) -> float:
    """E of the length of a random unit vector's projection onto `count` of `dims` dimensions, about sqrt(count/dims).

    Closed form: its square is Beta(count / 2, (dims - count) / 2).
    """
    from scipy.special import gammaln

    half, all_ = count / 2, dims / 2
    return float(torch.tensor(gammaln(half + 0.5) - gammaln(half) + gammaln(all_) - gammaln(all_ + 0.5)).exp())


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
class _Counter:
    """Counts crossings site by site, keeps the signs that are within rounding and has them decided at the end."""

    network: Network
    inputs: Tensor
    steps: Tensor
    sites: Sequence[Site]
    referee: Network | None
    counts: Tensor = field(init=False)
    noise: list[float] = field(init=False)
    doubts: list[tuple[Tensor, ...]] = field(default_factory=list)

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
        fine = _pre_activations(self.referee, sample, self.sites)
        rough = _pre_activations(self.network, sample.to(self.inputs.dtype), self.sites)
        return [2 * float((fine[s.name] - rough[s.name].to(torch.float64)).abs().max()) for s in self.sites]

    def add(self, start: int, k: int, value: Tensor, points: int) -> None:
        """Count site `k` at points `start` .. from its values at all vertices."""
        parts = value.parts() if isinstance(value, CrossPolytope) else None
        if parts is not None:
            centre, step = parts
            reach = step.abs().amax(dim=0)
            low, high = centre - reach, centre + reach
        else:
            real = value.spell_out() if isinstance(value, CrossPolytope) else value
            low, high = _range_over(real, points)
            real = real.unflatten(0, (points, 2 * len(self.steps)))
        noise = self.noise[k]
        crossed = low.sign() != high.sign()
        if noise > 0:
            doubtful = (torch.minimum(low.abs(), high.abs()) <= noise) & ((low >= -noise) | (high <= noise))
            doubtful &= low != high
            crossed &= ~doubtful
            if bool(doubtful.any()):
                if parts is not None:
                    real = torch.cat([centre[:, None] + step, centre[:, None] - step], dim=1)  # pyright: ignore[reportPossiblyUnboundVariable]
                self._keep_doubts(start, k, real, doubtful)  # pyright: ignore[reportPossiblyUnboundVariable]
        self.counts[start : start + points, k] = crossed.flatten(1).sum(dim=1).double().cpu()

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
        for begin in range(0, len(keys), 32):
            some = keys[begin : begin + 32]
            inputs = self._vertices(some // (2 * len(self.steps)), some % (2 * len(self.steps)))
            pre = _pre_activations(self.referee, inputs, self.sites)
            mine = ((which >= begin) & (which < begin + 32)).nonzero().flatten()
            for k, s in enumerate(self.sites):
                here = mine[site[mine] == k]
                signs[here] = pre[s.name].flatten(1)[which[here] - begin, neuron[here]].sign().to(signs)
        return signs


def effective_radius(radius: float, num_directions: int, dims: int) -> float:
    """The distance at which a neuron is seen about half the time: radius x E max_{p<=P} |N(0,1)| / sqrt(D).

    Derived from |<w, v>| / |w| ~ N(0, 1/D) for a random unit v; the expectation is integrated numerically.
    """
    from scipy import integrate, stats

    top, _ = integrate.quad(lambda t: 1 - (2 * stats.norm.cdf(t) - 1) ** num_directions, 0, 12)
    return radius * float(top) / math.sqrt(dims)
