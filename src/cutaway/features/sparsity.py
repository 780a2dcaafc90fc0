"""Which share of units fires, and which units never do.

A unit is one entry of a site's output (for convolutions every channel at every position); a neuron is one channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.network import Network, Site


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Firing:
    """`share` (n, S): share of a site's units that fire on a sample; `positive` (S,): share of outputs above 0;
    `neurons` (S,) and `silent` (S,): how many neurons (channels) a site has, and how many fire on no sample."""

    share: NDArray[np.float64]
    positive: NDArray[np.float64]
    neurons: NDArray[np.int64]
    silent: NDArray[np.int64]


def firing(
    network: Network, inputs: torch.Tensor, sites: Sequence[Site], threshold: float, *, budget: int | None = None
) -> Firing:
    """Which units are off zero by more than `threshold` on `inputs` (n, ...). Exact; one forward pass a sample.

    Source: definition.
    """
    share, positive = np.zeros((len(inputs), len(sites))), np.zeros(len(sites))
    alive: dict[int, torch.Tensor] = {}
    for chunk in network.stream(inputs, sites, pre=False, post=True, budget=budget):
        for k, site in enumerate(sites):
            value = chunk.post[site.name]
            fires = value.abs() > threshold
            share[chunk.rows, k] = fires.flatten(1).double().mean(dim=1).cpu().numpy()
            positive[k] += float((value > 0).double().mean()) * len(value)
            seen = by_neuron(fires)
            alive[k] = seen if k not in alive else alive[k] | seen
    return Firing(
        share=share,
        positive=positive / len(inputs),
        neurons=np.array([alive[k].numel() for k in range(len(sites))]),
        silent=np.array([int((~alive[k]).sum()) for k in range(len(sites))]),
    )


def by_neuron(fires: torch.Tensor) -> torch.Tensor:
    """Per neuron, whether it fired anywhere: `(n, C, H, W)` -> `(C,)`, `(n, C)` -> `(C,)`, `(n, T, C)` -> `(C,)`."""
    if fires.dim() <= 2:
        return fires.any(dim=0).flatten().cpu()
    channel = 1 if fires.dim() >= 4 else fires.dim() - 1
    return fires.movedim(channel, 0).flatten(1).any(dim=1).cpu()


def static_dead(network: Network, sites: Sequence[Site]) -> np.ndarray:
    """Per site, the share of neurons whose incoming weights are all zero; NaN where no weighted layer feeds the site
    directly.

    Shape (sites,). Exact for what the example reaches. Cost: one forward pass of the example. Source: definition.
    """
    makers: dict[int, torch.Tensor] = {}
    alive: list[torch.Tensor] = []
    rates = np.full(len(sites), np.nan)

    def keep(module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and isinstance(module.weight, torch.Tensor):
            makers[output.data_ptr()] = module.weight
            alive.append(output)

    weighted = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    handles = [m.register_forward_hook(keep) for m in network.model.modules() if isinstance(m, weighted)]
    try:
        example = network.example
        assert example is not None, "sites are known by an example"
        chunk = next(iter(network.stream(example, sites, pre=True)))
    finally:
        for handle in handles:
            handle.remove()
    for i, site in enumerate(sites):
        weight = makers.get(chunk.pre[site.name].data_ptr())
        if weight is not None and not site.in_place:
            rates[i] = float((weight.flatten(1) == 0).all(dim=1).double().mean())
    return rates
