"""`cutaway theory ode`: the overlap equations of a two-layer network, integrated."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import check_picture
from cutaway.cli.theory._series import PICTURES, axes_of, check_dimension, exponents, save, series_of, theory_payload

app = new_app("theory ode")


@app.default
def ode(
    activation: str = "erf",
    *,
    target: str | None = None,
    directions: int = 1,
    width: int = 2,
    dimension: int = 1000,
    rate: float | None = None,
    batch: int = 1,
    noise: float = 0.0,
    loss: str = "square",
    spherical: bool = False,
    start: float | None = None,
    steps: int = 1000,
    samples: int = 0,
    seed: int = 0,
    out: Path | None = None,
) -> Outcome:
    """Integrate the overlap equations.

    Parameters
    ----------
    activation
        Student's: erf, relu, tanh, square, He2 .. He8, he2 .. he8.
    target
        Expression; without it a committee of the same activation.
    directions
        Teacher neurons of that committee.
    width
        Student neurons, second layer all ones.
    dimension
        Input dimension.
    rate
        Step size, weights of unit length; width / dimension when not given.
    batch
        Samples a step.
    noise
        Label noise variance.
    loss
        square or correlation.
    spherical
        Renormalise the student's weights.
    start
        Overlap of every neuron with the first direction; 1/sqrt(dimension) when not given.
    steps
        Number of steps.
    samples
        Monte Carlo samples; 0 takes the closed form where there is one.
    seed
        Seed of the Monte Carlo.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    import numpy as np

    from cutaway.dynamics.ode import OverlapProblem, integrate

    check_picture("--out", out, PICTURES)
    check_dimension(dimension)
    problem = OverlapProblem(
        activation=activation,
        second_layer=(1.0,) * width,
        rate=width / dimension if rate is None else rate,
        dimension=dimension,
        num_directions=directions,
        link=target,
        batch_size=batch,
        label_noise=noise,
        loss=loss,
        projected=spherical,
        samples=samples,
        seed=seed,
    )
    count = problem.target.num_directions
    overlaps = np.zeros((width, count))
    overlaps[:, 0] = dimension**-0.5 if start is None else start
    record = max(1, steps // 200)
    path = integrate(problem, overlaps, np.eye(width), steps, record=record)
    series = {"risk": series_of(path.steps, path.risks)}
    for r in range(count):
        series[f"overlap_{r + 1}"] = series_of(path.steps, path.overlaps[:, :, r].mean(axis=1))
    if out is not None:
        from cutaway.dynamics.pictures import path_figure

        overlaps = {f"direction {r + 1}": axes_of(series[f"overlap_{r + 1}"]) for r in range(count)}
        save(path_figure(axes_of(series["risk"]), overlaps), out)
    words = f"risk {path.risks[0]:.4g} -> {path.risks[-1]:.4g} in {steps} steps; mean overlap " + ", ".join(
        f"{v:+.4f}" for v in path.overlaps[-1].mean(axis=0)
    )
    return Outcome(payload=theory_payload(series, **exponents(problem.target, seed)), words=words)
