"""What a network is, as plain data: for the first screen of a report and for records."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.network.network import Network


def described_network(network: Network) -> dict[str, Any]:
    """Name, counts, shapes, dtype, device and sites of `network`. Cost: one pass of the example."""
    kinds: dict[str, int] = {}
    for site in network.sites:
        kinds[site.kind] = kinds.get(site.kind, 0) + 1
    return {
        "name": network.name,
        "parameters": network.num_parameters,
        "sites": len(network.sites),
        "kinds": kinds,
        "piecewise_affine": network.piecewise_affine,
        "continuous": network.continuous,
        "input_shape": tuple(network.example.shape[1:]) if network.example is not None else (),
        "output_shape": network.output_shape,
        "dtype": str(network.dtype).removeprefix("torch."),
        "device": str(network.device),
        "sites_list": [
            dataclasses.asdict(s) | {"name": s.name, "piecewise_affine": s.piecewise_affine} for s in network.sites
        ],
    }
