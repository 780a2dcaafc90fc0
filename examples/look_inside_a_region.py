"""The affine region of one image: the exact map that holds there, how far its border is, and what lies beyond it.

python examples/look_inside_a_region.py
"""

from __future__ import annotations

import torch

from cutaway.demo import train_digits
from cutaway.geometry.boundary_distance import nearest_boundary
from cutaway.geometry.linearisation import boundary_sites
from cutaway.network import Network


def main(*, epochs: int = 10) -> tuple[float, float]:
    """Print what is found; returns the map's relative error and the distance to the border."""
    model, data = train_digits(epochs=epochs)
    network = Network(model, data.inputs[:2], name="digits CNN")
    image = data.inputs[0]
    piece = network.affine_at(image)
    error = piece.check()
    print(f"the network is affine round this image: slope {tuple(piece.slope.shape)}, relative error {error:.1e}")
    wide = network.double()
    sites = boundary_sites(wide)
    distance, site = nearest_boundary(wide, image.double()[None], sites, generator=torch.Generator().manual_seed(0))
    print(f"the nearest border is at {float(distance):.2e}, made by a neuron of {sites[int(site)].name}")
    return error, float(distance)


if __name__ == "__main__":
    main()
