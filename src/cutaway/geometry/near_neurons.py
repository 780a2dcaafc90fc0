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
from functools import partial

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.geometry import linearisation
from cutaway.geometry.cross_polytope import CrossPolytope
from cutaway.geometry.near_counter import Counter, visit
from cutaway.network import Network, Site

EXACT_DIMS = 128  # up to this input dimension every gradient norm is computed
_CACHED = 5 << 20  # bytes of the widest layer that go through at once: what the processor's caches hold


def frame(dims: int, num_directions: int, generator: torch.Generator) -> torch.Tensor:
    """`(P, D)` orthonormal rows, Haar distributed, float64.

    Raises `InputError` for fewer directions than 1 or more than `dims`.
    """
    if not 1 <= num_directions <= dims:
        raise InputError(
            "num_directions",
            found=str(num_directions),
            expected=f"1 to {dims}, the input's dimension",
            remedy="give a number in this range",
        )
    q, r = torch.linalg.qr(torch.randn(dims, num_directions, generator=generator, dtype=torch.float64))
    return (q * torch.sign(torch.diagonal(r))).T.contiguous()


def local_complexity(
    network: Network,
    inputs: Tensor,
    directions: Tensor,
    radius: float,
    sites: Sequence[Site],
    *,
    batch_size: int = 2048,
    referee: Network | None = None,
    kept: int = 32,
    room: int = 1 << 30,
) -> Tensor:
    """LC_l(x) for every input and site: `(n, sites)`, counts as float64.

    `inputs` `(n, ...)` on the network's device and dtype, `directions` `(P, D)` orthonormal. Exact as a count in the
    network's arithmetic; with `referee` (the network in float64), signs that single precision may have wrong are
    decided by it, so that the counts are those of float64 (what single precision may have wrong is measured on a few
    vertices: an estimate with a safety factor of 2). As a measure of the neighbourhood it sees about a share E max_p
    |N(0, 1)| / sqrt(D) of the radius (see `effective_radius`). Cost: 2P forward passes a point, at most about
    `batch_size` vertices at once (those of one point in parts where that is fewer than 2P); with a referee one float64
    pass for every doubtful vertex, `kept` at a time; doubtful signs take at most about `room` bytes. Raises
    InputError for directions that do not fit the inputs.
    """
    if directions.ndim != 2 or directions.shape[1] != inputs[0].numel():
        raise InputError(
            "directions",
            found=f"shape {tuple(directions.shape)}",
            expected=f"(P, {inputs[0].numel()}), the input's",
            remedy="give directions of the input's dimension",
        )
    steps = (radius * directions).to(inputs).reshape(-1, *inputs.shape[1:])
    count = Counter(network, inputs, radius * directions.to(torch.float64), sites, referee, kept, room)
    widest = max((s.width for s in network.sites), default=1) * inputs.element_size()
    per = max(1, min(batch_size, max(2 * len(steps), _CACHED // widest)) // (2 * len(steps)))
    channels_last = inputs.dim() == 4 and _takes_channels_last(network, inputs[:1], steps[:1])
    for start in range(0, len(inputs), per):
        points = inputs[start : start + per]
        for some in _split(len(steps), max(1, batch_size // 2) if len(points) == 1 else len(steps)):
            vertices = CrossPolytope.of(points, steps[some], channels_last=channels_last)
            visit(network, vertices, sites, partial(count.take, start, len(points), some))
        count.end_of_points(start)
    return count.finish()


def _split(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _takes_channels_last(network: Network, point: Tensor, step: Tensor) -> bool:
    try:
        visit(network, CrossPolytope.of(point, step, channels_last=True), (), lambda k, value: None)
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
    batch_size: int = 2048,
    probes: int = 20,
    exact: bool | None = None,
) -> Tensor:
    """#{i : |h_i(x)| / |V_i|_2 < radius} for every input and site, `(n, sites)`: boundaries within `radius` in the
    linearisation of the point's own region.

    `exact` True: every |V_i| by forward mode, D tangents a point; None: the same up to 128 input dimensions D. Else an
    estimate: |V_i| from `probes` orthonormal random directions (relative error 1 / sqrt(2 probes), mean corrected),
    which blurs the radius neuron by neuron; where |h_i| / |V_i| has an even density about the radius, as it has for
    small radii, the count is unbiased. Cost: one pass and `probes` (or D) tangents a point, at most about `batch_size`
    at once; a point's tangents in parts, each with a pass of its own, where that is fewer than it has. Source:
    definition.
    """
    dims = inputs[0].numel()
    if exact is True or (exact is None and dims <= EXACT_DIMS):
        parts = [_exactly_within(network, part, radius, sites, batch_size) for part in inputs.split(max(1, batch_size))]
        return torch.cat(parts)
    count = min(probes, dims)
    directions = frame(dims, count, generator).to(inputs).reshape(count, *inputs.shape[1:])
    scale = (1 / mean_share(dims, count)) * radius
    found = torch.zeros(len(inputs), len(sites), dtype=torch.float64)
    widest = max((s.width for s in network.sites), default=1) * inputs.element_size()
    per = max(1, min(batch_size, max(2 * count, _CACHED // widest)) // (count + 1))
    for start in range(0, len(inputs), per):
        part, values, squares = inputs[start : start + per], {}, {}
        for some in _split(count, max(1, batch_size - 1) if len(part) == 1 else count):
            values, slopes = linearisation.shared_tangents(network, part, directions[some], sites)
            for site in sites:
                square = slopes.pop(site.name).square().sum(dim=0)
                squares[site.name] = squares[site.name] + square if site.name in squares else square
        for k, site in enumerate(sites):
            near = values[site.name].abs() < scale * squares[site.name].sqrt()
            found[start : start + per, k] = near.sum(dim=1).double().cpu()
    return found


def _exactly_within(network: Network, inputs: Tensor, radius: float, sites: Sequence[Site], batch_size: int) -> Tensor:
    values, _ = linearisation.tangents(network, inputs, torch.zeros_like(inputs), sites)
    norms = linearisation.gradient_norms(network, inputs, sites, batch_size=batch_size)
    near = [values[s.name].abs() < radius * norms[s.name] for s in sites]
    return torch.stack([n.sum(dim=1) for n in near], dim=1).double().cpu()


def mean_share(dims: int, count: int) -> float:
    """E of the length of a random unit vector's projection onto `count` of `dims` dimensions, about sqrt(count/dims).

    Closed form: its square is Beta(count / 2, (dims - count) / 2).
    """
    from scipy.special import gammaln

    half, all_ = count / 2, dims / 2
    return float(torch.tensor(gammaln(half + 0.5) - gammaln(half) + gammaln(all_) - gammaln(all_ + 0.5)).exp())


def effective_radius(radius: float, num_directions: int, dims: int) -> float:
    """The distance at which a neuron is seen about half the time: radius x E max_{p<=P} |N(0,1)| / sqrt(D).

    Derived from |<w, v>| / |w| ~ N(0, 1/D) for a random unit v; the expectation is integrated numerically.
    """
    from scipy import integrate, stats

    top, _ = integrate.quad(lambda t: 1 - (2 * stats.norm.cdf(t) - 1) ** num_directions, 0, 12)
    return radius * float(top) / math.sqrt(dims)
