"""Using each sample twice learns what one pass does not: He3, extragradient against plain SGD, many seeds at once.

python examples/theory_simulate.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import numpy as np

from cutaway.dynamics.pictures import overlay_figure
from cutaway.dynamics.simulation import Simulation, simulate


def main(picture: str | None = None, *, dimension: int = 32, num_seeds: int = 16) -> dict[str, float]:
    """Mean |cosine| with the target direction after 200 d steps, by method."""
    bands, ends = {}, {}
    for method in ("repetition", "sgd"):
        path = simulate(
            Simulation(
                link="He3(z)",
                activation="relu",
                dimension=dimension,
                rate=0.01 / dimension,
                displacement=0.1 / dimension,
                num_steps=200 * dimension,
                method=method,
                start="orthogonal",
                num_seeds=num_seeds,
                record=10 * dimension,
            )
        )
        cosines = np.abs(path.cosines[:, :, 0, 0])
        bands[method] = (path.steps / dimension, cosines)
        ends[method] = float(cosines[-1].mean())
    print({name: round(value, 3) for name, value in ends.items()})
    figure = overlay_figure({}, bands, xlabel="steps / d", ylabel="|cosine|")
    if picture:
        figure.savefig(picture, dpi=150)
    return ends


if __name__ == "__main__":
    main(*sys.argv[1:2])
