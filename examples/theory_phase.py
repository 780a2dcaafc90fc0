"""How large a batch pays: the phase boundary of batch size against time, with one measured run on it.

python examples/theory_phase.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import numpy as np

from cutaway.dynamics.exponents import information_exponent
from cutaway.dynamics.phase import steps_needed
from cutaway.dynamics.pictures import phase_figure
from cutaway.dynamics.simulation import Simulation, simulate


def main(picture: str | None = None, *, dimension: int = 64, num_seeds: int = 4) -> tuple[float, float]:
    """(mu, theta) of a correlation-loss run on He3 with n_b = d^1.75: steps until the best neuron's overlap is 0.5."""
    exponent = information_exponent("He3(z)").value
    assert exponent is not None
    batch = round(dimension**1.75)
    path = simulate(
        Simulation(
            link="He3(z)",
            activation="He3",
            dimension=dimension,
            rate=0.032 * batch * 4 * dimension**-1.5,
            num_steps=40,
            batch_size=batch,
            second_layer=(1.0,) * 4,
            spherical=True,
            start=dimension**-0.5,
            method="correlation",
            num_seeds=num_seeds,
        )
    )
    best = np.abs(path.overlaps[..., 0]).max(axis=2).mean(axis=1)
    steps = int(np.argmax(best > 0.5)) if (best > 0.5).any() else 40
    mu, theta = float(np.log(batch) / np.log(dimension)), float(np.log(max(steps, 1)) / np.log(dimension))
    ordered = steps_needed(exponent, dimension, batch, loss="correlation")
    print(f"information exponent {exponent}: {steps} steps measured, of the order of {ordered:.1f} predicted")
    figure = phase_figure(exponent, {"measured, correlation loss": (mu, theta)})
    if picture:
        figure.savefig(picture, dpi=150)
    return mu, theta


if __name__ == "__main__":
    main(*sys.argv[1:2])
