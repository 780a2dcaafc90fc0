"""`cutaway theory simulate TARGET`: training of a two-layer network, many seeds at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Device, Seed, check_picture
from cutaway.cli.theory._options import StudentOptions
from cutaway.cli.theory._series import PICTURES, exponents, save, series_of, theory_payload
from cutaway.errors import InputError

app = new_app("theory simulate")


@app.default
def simulate(
    target: str,
    *,
    activation: str = "relu",
    student: StudentOptions = StudentOptions(),
    second_layer: str = "ones",
    displacement: float | None = None,
    method: str = "sgd",
    start: str = "random",
    seeds: int = 16,
    seed: Seed = 0,
    device: Device = "cpu",
    theory: bool = False,
    out: Path | None = None,
) -> Outcome:
    """Simulate training, many seeds at once: mean and spread of the cosine with every target direction.

    The step size is 0.01 * batch * width / dimension where --rate is not given.

    Parameters
    ----------
    target
        Expression in z, or z1, z2, ..., or a known name.
    activation
        Student's activation.
    second_layer
        ones, signs or gaussian.
    displacement
        Of method repetition; 0.1 * width / dimension when not given.
    method
        sgd, correlation, repetition, two-steps or reuse (batch is then the whole data set).
    start
        random, orthogonal, or a number.
    seeds
        Independent runs.
    theory
        Overlay the overlap equations (methods sgd and correlation, second layer ones).
    out
        File (.png, .pdf, .svg) for the picture.
    """
    import numpy as np

    from cutaway.dynamics.simulation import Simulation
    from cutaway.dynamics.simulation import simulate as run

    check_picture("--out", out, PICTURES)
    student.check()
    width, dimension, steps = student.width, student.dimension, student.steps
    if second_layer not in ("ones", "signs", "gaussian"):
        raise InputError(
            "option --second-layer",
            found=repr(second_layer),
            expected="ones, signs or gaussian",
            remedy="give one of the three",
        )
    if theory and (method not in ("sgd", "correlation") or second_layer != "ones"):
        raise InputError(
            "option --theory",
            found=f"method {method}, second layer {second_layer}",
            expected="sgd or correlation, second layer ones",
            remedy="leave --theory out, or simulate one of these",
        )
    setting = Simulation(
        link=target,
        activation=activation,
        dimension=dimension,
        num_steps=steps,
        method=method,
        batch_size=student.batch,
        rate=0.01 * student.batch * width / dimension if student.rate is None else student.rate,
        displacement=0.1 * width / dimension if displacement is None else displacement,
        second_layer=(1.0,) * width if second_layer == "ones" else second_layer,
        width=width,
        label_noise=student.noise,
        spherical=student.spherical,
        start=_start(start),
        record=max(1, steps // 50),
        num_seeds=seeds,
        seed=seed,
        device=device,
    )
    path = run(setting)
    captured = path.captured
    series: dict[str, Any] = {}
    for r in range(captured.shape[2]):
        series[f"direction_{r + 1}"] = series_of(path.steps, captured[:, :, r].mean(axis=1))
        series[f"direction_{r + 1}_low"] = series_of(path.steps, np.quantile(captured[:, :, r], 0.1, axis=1))
        series[f"direction_{r + 1}_high"] = series_of(path.steps, np.quantile(captured[:, :, r], 0.9, axis=1))
    lines = _theory_lines(setting, path) if theory else {}
    series |= {f"{name}_theory": series_of(*line) for name, line in lines.items()}
    if out is not None:
        from cutaway.dynamics.pictures import overlay_figure

        bands = {f"direction {r + 1}": (path.steps, captured[:, :, r]) for r in range(captured.shape[2])}
        named = {name.replace("_", " "): line for name, line in lines.items()}
        save(overlay_figure(named, bands, ylabel="captured length"), out)
    words = f"{seeds} seeds, {steps} steps of {method}; captured length of each direction at the end: " + ", ".join(
        f"{v:.3f}" for v in captured[-1].mean(axis=0)
    )
    return Outcome(payload=theory_payload(series, **exponents(setting.target, seed)), words=words)


def _theory_lines(setting: Any, path: Any) -> dict[str, Any]:
    import numpy as np

    from cutaway.dynamics.ode import OverlapProblem, integrate

    problem = OverlapProblem(
        activation=setting.activation,
        second_layer=setting.second_layer,
        rate=setting.rate,
        dimension=setting.dimension,
        link=setting.target,
        batch_size=setting.batch_size,
        label_noise=setting.label_noise,
        projected=setting.spherical,
        loss="correlation" if setting.method == "correlation" else "square",
        samples=20_000,
        seed=setting.seed,
    )
    ends, steps = [], np.zeros(0)
    for run in range(min(3, path.overlaps.shape[1])):
        theory = integrate(
            problem, path.overlaps[0, run], path.self_overlaps[0, run], setting.num_steps, record=setting.record
        )
        inverse = np.linalg.pinv(theory.self_overlaps, rcond=1e-6, hermitian=True)
        squared = np.einsum("tpk,tpq,tqk->tk", theory.overlaps, inverse, theory.overlaps)
        ends.append(np.sqrt(np.clip(squared, 0.0, 1.0)))
        steps = theory.steps
    middle = np.mean(ends, axis=0)
    return {f"direction_{r + 1}": (steps, middle[:, r]) for r in range(middle.shape[1])}


def _start(text: str) -> str | float:
    if text in ("random", "orthogonal"):
        return text
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            "option --start", found=repr(text), expected="random, orthogonal or a number", remedy="give one of these"
        ) from error
