"""Which share of units fires, and which units never do.

A unit is one entry of a site's output (for convolutions every channel at every position); a neuron is one channel.
"""

from __future__ import annotations

import numpy as np
import torch

from cutaway._moved import moved_names


def by_neuron(fires: torch.Tensor) -> torch.Tensor:
    """Per neuron, whether it fired anywhere: `(n, C, H, W)` -> `(C,)`, `(n, C)` -> `(C,)`, `(n, T, C)` -> `(C,)`."""
    if fires.dim() <= 2:
        return fires.any(dim=0).flatten().cpu()
    channel = 1 if fires.dim() >= 4 else fires.dim() - 1
    return fires.movedim(channel, 0).flatten(1).any(dim=1).cpu()


def static_dead(network, sites) -> np.ndarray:
    """Per site, the share of neurons whose incoming weights are all zero; NaN where no weighted layer feeds the site
    directly."""
    makers: dict[int, torch.nn.Module] = {}
    alive: list[torch.Tensor] = []
    rates = np.full(len(sites), np.nan)

    def keep(module, _inputs, output):
        if isinstance(output, torch.Tensor):
            makers[output.data_ptr()] = module
            alive.append(output)

    weighted = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    handles = [m.register_forward_hook(keep) for m in network.model.modules() if isinstance(m, weighted)]
    try:
        chunk = next(iter(network.stream(network.example, sites, pre=True)))
    finally:
        for handle in handles:
            handle.remove()
    for i, site in enumerate(sites):
        maker = makers.get(chunk.pre[site.name].data_ptr())
        if maker is not None and not site.in_place:
            rates[i] = float((maker.weight.flatten(1) == 0).all(dim=1).double().mean())  # pyright: ignore[reportCallIssue]
    return rates


__getattr__ = moved_names(__name__)
