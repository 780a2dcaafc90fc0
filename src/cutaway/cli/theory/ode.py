"""`cutaway theory ode`: the overlap equations of a two-layer network, integrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed, check_picture
from cutaway.cli.theory._options import StudentOptions
from cutaway.cli.theory._series import PICTURES, axes_of, exponents, save, series_of, theory_payload

app = new_app("theory ode")


@dataclass(frozen=True, kw_only=True)
class Pair(StudentOptions):
    """Two neurons, by default."""

    width: int = 2
    dimension: int = 1000
    steps: int = 1000


@app.default
def ode(
    activation: str = "erf",
    *,
    target: str | None = None,
    directions: int = 1,
    student: Pair = Pair(),
    loss: str = "square",
    start: float | None = None,
    samples: int = 0,
    seed: Seed = 0,
    out: Path | None = None,
) -> Outcome:
    """Integrate the overlap equations.

    Of a student whose second layer is all ones. Its step size is width / dimension where --rate is not given.

    Parameters
    ----------
    activation
        Student's activation: erf, relu, tanh, square, He2 .. He8, he2 .. he8.
    target
        Expression; without it a committee of the same activation.
    directions
        Teacher neurons of that committee.
    loss
        square or correlation.
    start
        Overlap of every neuron with the first direction; 1/sqrt(dimension) when not given.
    samples
        Monte Carlo samples; 0 takes the closed form where there is one.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    import numpy as np

    from cutaway.dynamics.ode import OverlapProblem, integrate

    check_picture("--out", out, PICTURES)
    student.check()
    width, dimension, steps = student.width, student.dimension, student.steps
    problem = OverlapProblem(
        activation=activation,
        second_layer=(1.0,) * width,
        rate=width / dimension if student.rate is None else student.rate,
        dimension=dimension,
        num_directions=directions,
        link=target,
        batch_size=student.batch,
        label_noise=student.noise,
        loss=loss,
        projected=student.spherical,
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
