"""The overlap equations of a committee against simulated training, in one picture with bands.

python examples/theory_ode.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import numpy as np

from cutaway.dynamics.ode import OverlapProblem, integrate
from cutaway.dynamics.pictures import overlay_figure
from cutaway.dynamics.simulation import Simulation, simulate


def main(picture: str | None = None, *, dimension: int = 400, num_steps: int = 60, num_seeds: int = 16) -> float:
    """Draw the mean overlap of two neurons with the first target direction; return theory less simulation at the
    end."""
    rate, batch = 1.0, 20
    problem = OverlapProblem(
        activation="erf",
        second_layer=(1.0, 1.0),
        num_directions=2,
        dimension=dimension,
        rate=rate,
        batch_size=batch,
        projected=True,
    )
    theory = integrate(problem, np.zeros((2, 2)), np.eye(2), num_steps)
    path = simulate(
        Simulation(
            link="(erf(z1)+erf(z2))/2",
            activation="erf",
            second_layer=(1.0, 1.0),
            dimension=dimension,
            rate=rate,
            batch_size=batch,
            num_steps=num_steps,
            spherical=True,
            start="orthogonal",
            num_seeds=num_seeds,
        )
    )
    simulated = path.overlaps[:, :, :, 0].mean(axis=2)
    gap = float(theory.overlaps[-1, :, 0].mean() - simulated[-1].mean())
    print(f"overlap after {num_steps} steps: theory {theory.overlaps[-1, :, 0].mean():.3f}, gap {gap:+.4f}")
    figure = overlay_figure(
        {"mean overlap": (theory.steps, theory.overlaps[:, :, 0].mean(axis=1))},
        {"mean overlap": (path.steps, simulated)},
    )
    if picture:
        figure.savefig(picture, dpi=150)
    return gap


if __name__ == "__main__":
    main(*sys.argv[1:2])
