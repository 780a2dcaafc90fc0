"""Slice a small digit classifier through a 3, a 5 and an 8: pieces, decision boundary, picture and explorer.

    python examples/slice_a_classifier.py

Writes slice_a_classifier.png, .svg and .html here.
"""

from __future__ import annotations

import numpy as np
import torch

from cutaway.geometry.plane import plane_through
from cutaway.geometry.rays import crossings
from cutaway.geometry.slice import slice_network
from cutaway.report.explorer import write_explorer, write_picture
from cutaway.reproductions.splinecam import trained_digits


def main() -> None:
    model, inputs, labels, _ = trained_digits(short=True, seed=0)
    rows = [int((labels == digit).nonzero()[0]) for digit in (3, 5, 8)]
    plane = plane_through(inputs[rows].numpy())
    result = slice_network(model, plane)  # the square that holds all three
    print(f"{result.num_faces:,} affine regions, {len(result.decision.segments)} segments of decision boundary")
    site, channel, _, _ = result.neuron(int(result.edge_gates[result.edge_gates >= 0][0]))
    print(f"the first edge was made by neuron {channel} of site {site}")
    weight, _ = result.affine_map(int(result.measures.area.argmax()))
    print(f"the largest region's map has spectral norm {np.linalg.norm(weight, 2):.2f}")
    path = crossings(model, inputs[rows[:1]].double(), inputs[rows[1:2]].double())
    print(f"between the 3 and the 5 lie {int(path.counts[0])} region boundaries")
    names = tuple(str(k) for k in range(10))
    print("files:", *write_picture(result, "slice_a_classifier", class_names=names))
    print("page:", write_explorer([result], "slice_a_classifier.html", title="digits", class_names=names))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
