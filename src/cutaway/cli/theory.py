"""`cutaway theory exponent|ode|simulate|phase`: two-layer networks on multi-index targets; `goldilocks` is in a file
of its own.

Every form prints, with `--json`, `series` (name to list of [x, value]), `exponent`, `leap` and `generative_exponent`
(null where the form does not compute them).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import check_picture
from cutaway.cli.theory_networks import goldilocks
from cutaway.cli.theory_robust import robust_linear

_PICTURES = (".png", ".pdf", ".svg")
app = new_app(
    "theory", "Two-layer networks: exponents, overlap equations, simulations, phase boundaries; initial scales."
)
app.command(goldilocks)
app.command(robust_linear)


@app.command
def exponent(target: str, *, samples: int = 1_000_000, noise: float = 0.0, seed: int = 0) -> Outcome:
    """Information exponent, leap and generative exponent of a target, with what decides them.

    Parameters
    ----------
    target
        Expression in z, or z1, z2, ... (He2 .. He8, relu, sign, tanh, exp, cos, sin, abs, erf), or a known name.
    samples
        Draws for the generative exponent.
    noise
        Variance of label noise in the generative exponent.
    seed
        Seed of the draws.
    """
    from cutaway.dynamics.exponents import generative_exponent, information_exponent, leap, sample_complexity

    information = information_exponent(target)
    generative = generative_exponent(target, num_samples=samples, noise=noise, seed=seed)
    steps = leap(target)
    costs = sample_complexity(information.value, generative.value, steps.value)
    payload = _payload(
        {
            "information": _pairs(range(1, information.max_degree + 1), information.sizes),
            "generative": [p for p in _pairs(range(1, generative.max_degree + 1), generative.sizes) if p[1] == p[1]],
        },
        exponent=information.value,
        leap=steps.value,
        generative_exponent=generative.value,
    )
    payload["samples"] = costs
    strong = sample_complexity(information.strong, generative.value, steps.strong)
    payload["strong"] = {"exponent": information.strong, "leap": steps.strong, "samples": strong}
    payload["errors"] = {"information": information.errors, "generative": generative.errors, "leap": steps.errors}
    payload["leap_steps"] = {"legs": steps.legs, "sizes": steps.sizes, "unseen": steps.unseen}
    several = costs["one_pass_sgd"] != costs["one_pass_first"]  # directions that are not learned together
    first = " to the first direction" if several else ""
    passes = f"{costs['one_pass_sgd']} ({costs['one_pass_first']}{first})" if several else costs["one_pass_sgd"]
    words = (
        f"target                {target}\n"
        f"information exponent  {information.words}\n"
        f"leap                  {steps.words}\n"
        f"generative exponent   {generative.words}\n"
        f"samples, one-pass SGD {passes}"
        + (
            ""
            if strong == costs
            else f"\n  by what is strong   {strong['one_pass_sgd']} (weak steps cost 1/size^2 more)"
        )
        + f"\nsamples, reused data  {costs['data_repetition']}{first}\n"
        f"lower bound           {costs['low_degree_bound']}"
    )
    return Outcome(payload=payload, words=words)


@app.command
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

    check_picture("--out", out, _PICTURES)
    _check_dimension(dimension)
    problem = OverlapProblem(
        activation=activation,
        second_layer=(1.0,) * width,
        rate=width / dimension if rate is None else rate,
        dimension=dimension,
        num_directions=directions,
        link=target,
        batch=batch,
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
    series = {"risk": _pairs(path.steps, path.risks)}
    for r in range(count):
        series[f"overlap_{r + 1}"] = _pairs(path.steps, path.overlaps[:, :, r].mean(axis=1))
    if out is not None:
        from cutaway.dynamics.pictures import path_figure

        overlaps = {f"direction {r + 1}": _columns(series[f"overlap_{r + 1}"]) for r in range(count)}
        _save(path_figure(_columns(series["risk"]), overlaps), out)
    words = f"risk {path.risks[0]:.4g} -> {path.risks[-1]:.4g} in {steps} steps; mean overlap " + ", ".join(
        f"{v:+.4f}" for v in path.overlaps[-1].mean(axis=0)
    )
    return Outcome(payload=_payload(series, **_exponents(problem.target, seed)), words=words)


@app.command
def simulate(
    target: str,
    *,
    activation: str = "relu",
    width: int = 1,
    second_layer: str = "ones",
    dimension: int = 256,
    rate: float | None = None,
    displacement: float | None = None,
    steps: int = 20_000,
    method: str = "sgd",
    batch: int = 1,
    noise: float = 0.0,
    spherical: bool = False,
    start: str = "random",
    seeds: int = 16,
    seed: int = 0,
    device: str = "cpu",
    theory: bool = False,
    out: Path | None = None,
) -> Outcome:
    """Simulate training, many seeds at once: mean and spread of the cosine with every target direction.

    Parameters
    ----------
    target
        Expression or known name.
    activation
        Student's activation.
    width
        Student neurons.
    second_layer
        ones, signs or gaussian.
    dimension
        Input dimension.
    rate
        Step size for weights of unit length; 0.01 * batch * width / dimension when not given.
    displacement
        Of method repetition; 0.1 * width / dimension when not given.
    steps
        Number of steps.
    method
        sgd, correlation, repetition, two-steps or reuse (batch is then the whole data set).
    batch
        Samples a step.
    noise
        Label noise variance.
    spherical
        Renormalise the weights.
    start
        random, orthogonal, or a number.
    seeds
        Independent runs.
    seed
        Seed of them all.
    device
        Torch device.
    theory
        Overlay the overlap equations (methods sgd and correlation, second layer ones).
    out
        File (.png, .pdf, .svg) for the picture.
    """
    import numpy as np

    from cutaway.dynamics.simulation import Simulation
    from cutaway.dynamics.simulation import simulate as run
    from cutaway.errors import InputError

    check_picture("--out", out, _PICTURES)
    _check_dimension(dimension)
    if second_layer not in ("ones", "signs", "gaussian"):
        raise InputError("option --second-layer", found=repr(second_layer), expected="ones, signs or gaussian")
    setting = Simulation(
        link=target,
        activation=activation,
        dimension=dimension,
        num_steps=steps,
        method=method,
        batch=batch,
        rate=0.01 * batch * width / dimension if rate is None else rate,
        displacement=0.1 * width / dimension if displacement is None else displacement,
        second_layer=(1.0,) * width if second_layer == "ones" else second_layer,
        width=width,
        label_noise=noise,
        spherical=spherical,
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
        series[f"direction_{r + 1}"] = _pairs(path.steps, captured[:, :, r].mean(axis=1))
        series[f"direction_{r + 1}_low"] = _pairs(path.steps, np.quantile(captured[:, :, r], 0.1, axis=1))
        series[f"direction_{r + 1}_high"] = _pairs(path.steps, np.quantile(captured[:, :, r], 0.9, axis=1))
    lines = _theory_lines(setting, path) if theory else {}
    series |= {f"{name}_theory": _pairs(*line) for name, line in lines.items()}
    if out is not None:
        from cutaway.dynamics.pictures import overlay_figure

        bands = {f"direction {r + 1}": (path.steps, captured[:, :, r]) for r in range(captured.shape[2])}
        named = {name.replace("_", " "): line for name, line in lines.items()}
        _save(overlay_figure(named, bands, ylabel="captured length"), out)
    words = f"{seeds} seeds, {steps} steps of {method}; captured length of each direction at the end: " + ", ".join(
        f"{v:.3f}" for v in captured[-1].mean(axis=0)
    )
    return Outcome(payload=_payload(series, **_exponents(setting.target, seed)), words=words)


@app.command
def phase(target: str | None = None, *, exponent: int | None = None, out: Path | None = None) -> Outcome:
    """Phase boundary of batch size against time for an information exponent.

    Parameters
    ----------
    target
        Expression whose information exponent is taken.
    exponent
        The information exponent itself.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    from cutaway.dynamics.exponents import information_exponent
    from cutaway.dynamics.phase import phase_boundary
    from cutaway.errors import InputError

    check_picture("--out", out, _PICTURES)
    if (target is None) == (exponent is None):
        raise InputError("command theory phase", found="both or neither", expected="a target or --exponent")
    value = exponent
    if target is not None:
        found = information_exponent(target)
        if found.value is None:
            raise InputError(f"target {target!r}", found=found.words, expected="a significant information exponent")
        value = found.value
    assert value is not None
    lines = {loss: phase_boundary(value, loss=loss) for loss in ("square", "correlation")}
    series = {name: _pairs(line.batch_exponents, line.time_exponents) for name, line in lines.items()}
    if out is not None:
        from cutaway.dynamics.pictures import phase_figure

        _save(phase_figure(value), out)
    words = f"information exponent {value}: batches of d^mu, steps of d^theta\n" + "\n".join(
        f"  mu = {mu:.1f}: square loss {_at(lines['square'], mu):.2f}, correlation {_at(lines['correlation'], mu):.2f}"
        for mu in (0.0, value / 2, value - 1.0, float(value))
    )
    return Outcome(payload=_payload(series, exponent=value), words=words)


def _theory_lines(setting: Any, path: Any) -> dict[str, Any]:
    import numpy as np

    from cutaway.dynamics.ode import OverlapProblem, integrate
    from cutaway.errors import InputError

    if setting.method not in ("sgd", "correlation") or isinstance(setting.second_layer, str):
        raise InputError(
            "option --theory", found=f"method {setting.method}", expected="sgd or correlation, second layer ones"
        )
    problem = OverlapProblem(
        activation=setting.activation,
        second_layer=setting.second_layer,
        rate=setting.rate,
        dimension=setting.dimension,
        link=setting.target,
        batch=setting.batch,
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


def _exponents(target: Any, seed: int) -> dict[str, Any]:
    """Of the target, where it has one or two directions (seconds beyond that: `cutaway theory exponent` takes them)."""
    if target.num_directions > 2:
        return {}
    from cutaway.dynamics.exponents import generative_exponent, information_exponent, leap

    return {
        "exponent": information_exponent(target).value,
        "leap": leap(target).value,
        "generative_exponent": generative_exponent(target, num_samples=200_000, seed=seed).value,
    }


def _payload(series: dict[str, Any], **found: Any) -> dict[str, Any]:
    return {"series": series, "exponent": None, "leap": None, "generative_exponent": None} | found


def _check_dimension(dimension: int) -> None:
    """Before the rates, which are divided by it."""
    from cutaway.errors import InputError

    if dimension < 1:
        raise InputError("option --dimension", found=str(dimension), expected="at least 1")


def _pairs(x: Any, y: Any) -> list[list[float]]:
    return [[float(a), float(b)] for a, b in zip(x, y)]


def _columns(pairs: list[list[float]]) -> tuple[Any, Any]:
    import numpy as np

    table = np.array(pairs)
    return table[:, 0], table[:, 1]


def _start(text: str) -> str | float:
    from cutaway.errors import InputError

    if text in ("random", "orthogonal"):
        return text
    try:
        return float(text)
    except ValueError as error:
        raise InputError("option --start", found=repr(text), expected="random, orthogonal or a number") from error


def _at(line: Any, mu: float) -> float:
    import numpy as np

    return float(np.interp(mu, line.batch_exponents, line.time_exponents))


def _save(figure: Any, path: Path) -> None:
    """Write under a temporary name, then rename: nothing half-written."""
    from cutaway.files import atomic

    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")
