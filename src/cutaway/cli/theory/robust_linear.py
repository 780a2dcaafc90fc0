"""`cutaway theory robust-linear`: robust linear classification by state evolution and by minimisation, side by side."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cutaway import seeds
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Budget, Device, Seed, Several, budget_bytes
from cutaway.cli.theory._series import theory_payload

app = new_app("theory robust-linear")


@app.default
def robust_linear(
    *,
    alpha: Annotated[list[float] | None, Several] = None,
    eps: float = 0.3,
    lam: float = 0.1,
    power: float = 2.0,
    dimension: Annotated[int, Parameter(help="Input dimension.")] = 300,
    draws: int = 3,
    seed: Seed = 0,
    device: Device = "cpu",
    budget: Budget = None,
) -> Outcome:
    """Robust error of the penalised linear classifier under an l_inf attack: theory and minimisation side by side.

    The minimisation runs on the device, in float64.

    Parameters
    ----------
    alpha
        Samples a dimension, one or several (0.5 1 2 when not given).
    eps
        Size of the attack, in training and test.
    lam
        Weight of the penalty.
    power
        Power of the penalty: 1, 1.5 or 2.
    draws
        Data sets of the minimisation; 0 for none.
    """
    import numpy as np

    from cutaway.dynamics.robust_linear import RobustProblem, minimised, state_evolution
    from cutaway.errors import InputError
    from cutaway.network.sources import usable_device

    usable_device(device, in_float64=True)
    room = budget_bytes(budget)
    if dimension < 2 or draws < 0:
        wrong = f"dimension {dimension}, draws {draws}"
        raise InputError(
            "the minimisation", found=wrong, expected="dimension at least 2, draws at least 0", remedy="leave both out"
        )
    ratios = alpha or [0.5, 1.0, 2.0]
    problems = [RobustProblem(alpha=ratio, eps=eps, lam=lam, power=power) for ratio in ratios]  # all checked first
    theory, drawn, spread, lines = [], [], [], []
    for ratio, problem in zip(ratios, problems):
        limit = state_evolution(problem)
        value = None if limit is None else limit.error(eps)
        theory.append([ratio, value])
        line = f"alpha {ratio:g}: theory {'unknown (no convergence)' if value is None else f'{value:.4f}'}"
        if draws:
            of_draws = [seeds.number(seed, "minimised", k) for k in range(draws)]
            found = [minimised(problem, dimension=dimension, seed=s, device=device, budget=room) for s in of_draws]
            errors = [each.error(eps) for each in found]
            drawn.append([ratio, float(np.mean(errors))])
            spread.append([ratio, float(np.std(errors, ddof=1) / np.sqrt(draws)) if draws > 1 else None])
            line += f", minimisation {drawn[-1][1]:.4f}"
            line += f" +- {spread[-1][1]:.4f}" if draws > 1 else ""
        known = [each for each in (value, drawn[-1][1] if draws else None) if each is not None]
        lines.append(line + (" (the zero vector would do better: 0.5)" if known and min(known) > 0.5 else ""))
    series = {"theory": theory, "minimisation": drawn, "standard_error": spread}
    words = "share of test points that the attack gets wrong\n" + "\n".join(lines)
    return Outcome(payload=theory_payload(series, figures=[]), words=words)
