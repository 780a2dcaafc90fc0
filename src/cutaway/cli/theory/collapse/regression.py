"""`cutaway theory collapse regression`: regression on its own labels, generation by generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed, Several, check_picture
from cutaway.cli.theory._options import Noise
from cutaway.cli.theory._series import PICTURES, save

app = new_app("theory collapse regression")


@app.default
def regression(
    *,
    generations: Annotated[list[int] | None, Several] = None,
    dimension: Annotated[int, Parameter(help="Input dimension.")] = 100,
    fit_rows: int = 1000,
    generator_rows: int = 1000,
    noise: Noise = 1.0,
    beta: Annotated[
        float, Parameter(help="Exponent of the power law: of a spectrum, or of probabilities (above 1).")
    ] = 0.0,
    signal: float = 1.0,
    draws: Annotated[int, Parameter(help="Data sets of the minimisation; 0 for none.")] = 10,
    seed: Seed = 0,
    out: Path | None = None,
) -> Outcome:
    """Test error of linear regression that learns from its own labels: closed form, simulation, best last penalty.

    Generators are least squares without a penalty; the last fit is least squares (series theory and simulation) and
    ridge regression of the best of several penalties (series ridge, best_lambda).

    Parameters
    ----------
    generations
        Generations of generated labels, one or several (0 1 3 10 when not given).
    fit_rows
        Rows of the last fit.
    generator_rows
        Rows of each fit before the last one.
    signal
        Variance of the truth's coefficients.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    import numpy as np

    from cutaway.dynamics.collapse_regression import LAMBDAS, RegressionChain, interpolating_error, simulated_chain
    from cutaway.errors import InputError
    from cutaway.seeds import check_seed

    check_seed(seed)
    check_picture("--out", out, PICTURES)
    if draws < 0:
        raise InputError("option --draws", found=f"{draws}", expected="at least 0", remedy="0 leaves simulations out")
    which = sorted(set(generations or [0, 1, 3, 10]))
    chain = RegressionChain(
        dimension=dimension,
        rows=fit_rows,
        generator_rows=generator_rows,
        noise=noise,
        generator_noise=noise,
        beta=beta,
        signal=signal,
    )
    ratio = generator_rows / dimension
    lost = noise == 0 and ratio < 1 and fit_rows == generator_rows and beta == 0
    scale = signal * dimension
    known = [interpolating_error(n, ratio) * scale if lost else chain.error(n) for n in which]
    theory = [[n, v if np.isfinite(v) else None] for n, v in zip(which, known)]
    series: dict[str, list] = {"theory": theory}
    figures = [{"name": f"theory_{n}", "value": v} for n, v in theory]
    lines = [f"generation {n}: theory {'none' if v is None else f'{v:.4g}'}" for n, v in theory]
    if draws:
        found = simulated_chain(chain, which, lambdas=(1e-12, *LAMBDAS), draws=draws, seed=seed)
        mean = found.mean(axis=0)
        best = mean[:, 1:].argmin(axis=1)
        series["simulation"] = [[n, float(v)] for n, v in zip(which, mean[:, 0])]
        spread = found[:, :, 0].std(axis=0, ddof=1) / np.sqrt(draws) if draws > 1 else [None] * len(which)
        series["standard_error"] = [[n, None if v is None else float(v)] for n, v in zip(which, spread)]
        series["ridge"] = [[n, float(v)] for n, v in zip(which, mean[:, 1:].min(axis=1))]
        series["best_lambda"] = [[n, LAMBDAS[k]] for n, k in zip(which, best)]
        figures += [{"name": f"best_lambda_{n}", "value": LAMBDAS[k]} for n, k in zip(which, best)]
        lines = [
            f"{line}, simulation {m[0]:.4g}; best last penalty {LAMBDAS[k]:g} gives {m[1:].min():.4g}"
            for line, m, k in zip(lines, mean, best)
        ]
    if out is not None:
        from cutaway.dynamics.pictures import collapse_figure

        save(collapse_figure(series, "generation", logs=False), out)
    return Outcome(payload={"series": series, "figures": figures}, words="test error, noise aside\n" + "\n".join(lines))
