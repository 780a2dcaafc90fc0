"""How far the nearest region boundary is, in any direction and along the gradient.

In the region of x the boundary of neuron i is the hyperplane h_i(x) + V_i v = 0, at l2 distance d_i = |h_i| / |V_i|
(Croce et al. 2019, arXiv 1810.07481, equation for d_B). The nearest one over all neurons is a boundary of the region
itself, so min_i d_i is exact, not only in the linearisation. Along a direction u the first crossing is at min over
positive t_i = -h_i / (V_i u).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.geometry import linearisation
from cutaway.geometry.near_neurons import EXACT_DIMS
from cutaway.network import Network, Site
from cutaway.network.gradient import gradient_of
from cutaway.network.network import DEFAULT_BUDGET

GROUP_BYTES = 8 * 40
"""Of a neuron: a group has its value, its derivative and what is made of them five times, in float64, and takes an
eighth of the budget; the rest is the network's own copy and the graph of a backward pass."""


def nearest_boundary(
    network: Network,
    inputs: torch.Tensor,
    sites: Sequence[Site],
    *,
    generator: torch.Generator,
    ranking: Network | None = None,
    probes: int = 8,
    candidates: int = 24,
    batch_size: int = 512,
    groups: Sequence[Sequence[int]] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """l2 distance to the nearest boundary and the index of its site, `(n,)` each.

    Neurons are ranked by |h_i| / |V_i|, and the |V_i| of the nearest are computed again by backward passes in the
    network's dtype. Up to 128 input dimensions the ranking uses every |V_i| (by forward mode on `ranking`, which may be
    of lower precision) and the four nearest are computed: exact. Above, it uses estimates from `probes` random
    directions and the `candidates` nearest are computed: an upper bound on the distance, exact unless the nearest
    neuron's estimate was off by more than the candidates' spread. At most `batch_size` copies of inputs go through at
    once, and `groups` of site numbers one after another (None: all at once), with the same result.

    Only boundaries of `sites` count, and only zeros of their pre-activations: where the network also has max pooling,
    hardtanh or clamp, a nearer boundary may be theirs, and the distance is an upper bound in any dimension. Source:
    Croce et al. 2019 (arXiv 1810.07481), d_B.
    """
    exact = inputs[0].numel() <= EXACT_DIMS
    count = min(4 if exact else candidates, sum(s.width for s in sites))
    best, height = (inputs.new_zeros(len(inputs), 0) for _ in range(2))
    picked, which = (torch.zeros(len(inputs), 0, dtype=torch.int64, device=inputs.device) for _ in range(2))
    noise = [] if exact else linearisation.probes_for(inputs, probes, generator)
    for some in groups or [range(len(sites))]:
        mine = [sites[k] for k in some]
        if exact:
            values, _ = linearisation.tangents(network, inputs, torch.zeros_like(inputs), mine)
            ranked = ranking or network
            norms = linearisation.gradient_norms(ranked, ranked.place(inputs), mine, batch_size=batch_size)
        else:
            values, norms = linearisation.sketched_norms(network, inputs, mine, noise=noise)
        for k, site in zip(some, mine):
            guess = _ratio(values[site.name], norms.pop(site.name))
            first = guess.topk(min(count, guess.shape[1]), dim=1, largest=False)
            best, order = torch.cat([best, first.values], dim=1).sort(dim=1, stable=True)
            found = values.pop(site.name).gather(1, first.indices).abs()
            of_site = torch.full_like(first.indices, k)
            joined = [torch.cat(both, dim=1) for both in ((height, found), (picked, first.indices), (which, of_site))]
            height, picked, which = (column.gather(1, order)[:, :count] for column in joined)
            best = best[:, :count]
    norm = linearisation.gradient_norms_of(
        network, inputs.repeat_interleave(count, dim=0), sites, which.flatten(), picked.flatten(), batch_size=batch_size
    ).reshape(len(inputs), count)
    distance, k = _ratio(height, norm).min(dim=1)
    return distance, which.gather(1, k[:, None]).squeeze(1)


def first_crossing(
    network: Network,
    inputs: torch.Tensor,
    directions: torch.Tensor,
    sites: Sequence[Site],
    groups: Sequence[Sequence[int]] | None = None,
) -> torch.Tensor:
    """Distance along unit `directions` to the first boundary, `(n,)`; infinite where none lies ahead in the
    linearisation. Exact. `groups` as in `nearest_boundary`.

    `inputs` and `directions` `(n, *input)`. Cost: one forward pass with tangents for each group. Source: definition, in
    the linearisation of the file's first lines.
    """
    first = torch.full((len(inputs),), torch.inf, dtype=inputs.dtype, device=inputs.device)
    for some in groups or [range(len(sites))]:
        mine = [sites[k] for k in some]
        values, slopes = linearisation.tangents(network, inputs, directions, mine)
        for site in mine:
            time = -values.pop(site.name) / slopes.pop(site.name)
            time = torch.where((time > 0) & torch.isfinite(time), time, torch.inf)
            first = torch.minimum(first, time.min(dim=1).values)
    return first


def _grouped(sites: Sequence[Site], most: float) -> list[list[int]]:
    """Site numbers in groups of at most `most` neurons, or of one site."""
    groups: list[list[int]] = []
    room = 0.0
    for k, site in enumerate(sites):
        if not groups or site.width > room:
            groups.append([])
            room = most
        groups[-1].append(k)
        room -= site.width
    return groups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distances:
    """Per sample (n,): l2 distance to the `nearest` boundary, `site` whose it is (its index), and to the first boundary
    `along_gradient` and `along_random` directions."""

    nearest: NDArray[np.float64]
    site: NDArray[np.int64]
    along_gradient: NDArray[np.float64]
    along_random: NDArray[np.float64]


def boundary_distances(
    network: Network,
    inputs: torch.Tensor,
    sites: Sequence[Site],
    *,
    generator: torch.Generator,
    ranking: Network | None = None,
    probes: int = 8,
    candidates: int = 24,
    budget: int | None = None,
) -> Distances:
    """`nearest_boundary`, and `first_crossing` along `ascent` and along a random direction, in batches that
    fit `budget` bytes."""
    batch_size = network.chunk_size(inputs[:1].expand(2048, *inputs.shape[1:]), sites, budget, factor=3)
    found: list[tuple[torch.Tensor, ...]] = []
    size = min(64, batch_size)
    groups = _grouped(sites, (budget or DEFAULT_BUDGET) / (GROUP_BYTES * size))
    settings = {"probes": probes, "candidates": candidates, "batch_size": batch_size, "groups": groups}
    for part in inputs.split(size):
        nearest, site = nearest_boundary(network, part, sites, generator=generator, ranking=ranking, **settings)
        along = first_crossing(network, part, ascent(network, part), sites, groups)
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
        found.append((nearest, site, along, first_crossing(network, part, unit_vectors(noise), sites, groups)))
    nearest, site, along, across = (torch.cat(column).cpu().numpy() for column in zip(*found))
    return Distances(nearest=nearest, site=site, along_gradient=along, along_random=across)


def ascent(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """Unit directions, of the inputs' shape, in which the largest output falls fastest against the second largest; of a
    single output, in which it rises. Cost: one forward and one backward pass a row."""
    point = inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        scores = network.forward(point).reshape(len(point), -1)  # one number a row counts as one score
        if scores.shape[1] > 1:
            top = scores.topk(2, dim=1).values
            loss = (top[:, 1] - top[:, 0]).sum()
        else:
            loss = scores.sum()
        gradient = gradient_of(loss, point)
    network.passes.count(backward=len(inputs))
    return unit_vectors(gradient)


def unit_vectors(direction: torch.Tensor) -> torch.Tensor:
    size = direction.flatten(1).norm(dim=1).clamp_min(1e-300)
    return direction / size.reshape(-1, *([1] * (direction.dim() - 1)))


def hyperplane_misfit(weight: torch.Tensor, offset: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """(n,): mean squared distance of samples (N, D) from each hyperplane w_i . x = offset_i (n, D), (n,).

    Exact up to rounding. Source: definition.
    """
    projected = inputs.flatten(1) @ weight.T - offset
    return projected.square().mean(dim=0) / weight.square().sum(dim=1)


def _ratio(value: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    return torch.where(norm > 0, value.abs() / norm, torch.inf)
