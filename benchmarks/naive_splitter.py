"""The yardstick: convex polygons split neuron by neuron, 40 lines of NumPy, for plain ReLU networks on a plane.

Every region carries its affine map from the plane to the current layer; each neuron that changes sign on a region's
corners cuts the pieces of that region one after the other. No shared vertices, no tags, no checks, no degenerate cases.
"""

from __future__ import annotations

import numpy as np


def split_polygon(polygon, values):
    """The parts of a convex polygon where values (at its corners, linear inside) are positive and negative."""
    after, ahead = np.roll(values, -1), np.roll(polygon, -1, axis=0)
    positive, negative = [], []
    for p, q, a, b in zip(polygon, ahead, values, after):
        (positive if a >= 0 else negative).append(p)
        if (a >= 0) != (b >= 0):
            cut = p + (q - p) * (a / (a - b))
            positive.append(cut)
            negative.append(cut)
    return np.array(positive), np.array(negative)


def naive_slice(weights, biases, polygon, origin, directions):
    """Regions (list of polygons) of the ReLU network x -> ... W_l relu(W_{l-1} ...) on the plane; last layer left out.

    `weights`, `biases`: hidden layers; `origin` (D,), `directions` (2, D); `polygon` (m, 2) in the plane.
    """
    regions = [(np.asarray(polygon), np.vstack([directions, origin]).T)]
    for number, (weight, bias) in enumerate(zip(weights, biases)):
        done = []
        for corners, affine in regions:
            lines = weight @ affine
            lines[:, 2] += bias
            sign = corners @ lines[:, :2].T + lines[:, 2] >= 0
            pieces = [corners]
            for neuron in np.flatnonzero(sign.any(axis=0) & ~sign.all(axis=0)):
                cut = []
                for piece in pieces:
                    values = piece @ lines[neuron, :2] + lines[neuron, 2]
                    inside = values >= 0
                    cut.extend([piece] if inside.all() or not inside.any() else split_polygon(piece, values))
                pieces = cut
            for piece in pieces:
                if number + 1 == len(weights):
                    done.append((piece, lines))
                    continue
                on = piece.mean(axis=0) @ lines[:, :2].T + lines[:, 2] > 0
                done.append((piece, lines * on[:, None]))
        regions = done
    return [corners for corners, _ in regions]
