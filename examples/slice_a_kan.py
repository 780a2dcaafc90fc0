"""Train a small Kolmogorov-Arnold network of linear splines, make it a ReLU network, and cut the plane into its pieces.

python examples/slice_a_kan.py
"""

from __future__ import annotations

from cutaway.geometry import input_plane, rectangle, slice_network
from cutaway.report.explorer import write_picture
from cutaway.reproductions.kan_relu import trained_kan
from cutaway.structure import kan_to_relu


def main(*, steps: int = 150) -> int:
    """Print what is found; returns the number of pieces."""
    model = trained_kan((2, 5, 1), steps, 0)
    made = kan_to_relu(model)
    print(f"{made.units} ReLUs, largest difference from the KAN {made.error:.1e}")
    result = slice_network(made.model, input_plane(), rectangle(-1, 1, -1, 1))
    print(f"{result.num_faces:,} affine pieces, {result.status.value}")
    write_picture(result, "kan")
    return result.num_faces


if __name__ == "__main__":
    main()
