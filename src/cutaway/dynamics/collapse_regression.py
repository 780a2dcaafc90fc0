"""What happens when a linear model is trained again and again on its own labels: closed forms and a simulator.

Source: Dohmatob, Feng and Kempe 2024 (arXiv 2402.07712).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError

LAMBDAS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Ridge penalties of the last fit, in the covariance's units, that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionChain:
    """Generation 0 learns from labels of the truth, each later one from labels of the one before it, on fresh inputs.

    dimension : d of the inputs.
    rows : T, rows of the last fit.
    generator_rows : T_0, rows of every fit before it.
    noise : variance of the label noise of the last fit.
    generator_noise : that of every fit before it.
    beta : eigenvalues of the inputs' covariance fall as k^-beta; 0 for isotropic inputs.
    signal : variance of each coefficient of the truth; least squares do not depend on it, the best penalty does.

    Raises `InputError` for sizes below 1 and for negative or infinite noise, beta or signal.
    """

    dimension: int = 100
    rows: int = 1000
    generator_rows: int = 1000
    noise: float = 1.0
    generator_noise: float = 1.0
    beta: float = 0.0
    signal: float = 1.0

    def __post_init__(self) -> None:
        sizes = (self.dimension, self.rows, self.generator_rows)
        levels = (self.noise, self.generator_noise, self.beta, self.signal)
        if not (min(sizes) >= 1 and all(math.isfinite(v) and v >= 0 for v in levels)):
            raise InputError(
                "chain of regressions",
                found=f"sizes {sizes}, noise, beta and signal {', '.join(f'{v:g}' for v in levels)}",
                expected="sizes at least 1, the others finite and not negative",
                remedy="give such numbers",
            )

    def error(self, generations: int) -> float:
        """Test error, noise aside, of least squares after `generations` n of generated labels: sigma^2 phi / (1 - phi)
        + n sigma_0^2 phi_0 / (1 - phi_0), phi = d / T and phi_0 = d / T_0.

        A number, in units of the label's variance. Exact in the limit of large d at fixed phi, whatever the covariance;
        at finite d up to 1 / T. Infinite where the last fit or a generator has no more rows than dimensions: see
        `interpolating_error` for a generator without noise. Raises `InputError` for a negative number of generations.
        Source: Dohmatob, Feng and Kempe 2024 (arXiv 2402.07712), Theorem 1.
        """
        check_generations(generations)
        last = _least_squares(self.noise, self.dimension / self.rows)
        each = _least_squares(self.generator_noise, self.dimension / self.generator_rows)
        return last + generations * each if generations else last


def _least_squares(noise: float, ratio: float) -> float:
    return 0.0 if noise == 0 and ratio < 1 else math.inf if ratio >= 1 else noise * ratio / (1 - ratio)


def check_generations(*generations: int) -> None:
    """Raise `InputError` unless these are whole numbers of at least 0."""
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in generations):
        raise InputError(
            "generations",
            found=", ".join(map(str, generations)),
            expected="whole numbers of at least 0",
            remedy="0 is a fit to the truth's own labels",
        )


def interpolating_error(generations: int, ratio: float) -> float:
    """Share of the truth that is lost after `generations` n of minimum-norm fits without noise on fewer rows than
    dimensions: 1 - ratio^(n + 1), ratio = T_0 / d below 1.

    A number in [0, 1]; exact in the mean over isotropic inputs (each fit keeps a random subspace of that share).
    Raises `InputError` for a ratio outside [0, 1] and a negative n. Source: ours; Dohmatob, Feng and Kempe 2024
    (arXiv 2402.07712) state that it is exponentially fast.
    """
    check_generations(generations)
    if not 0 <= ratio <= 1:
        raise InputError(
            "rows a dimension",
            found=f"{ratio:g}",
            expected="between 0 and 1: the closed form is for fewer rows than dimensions",
            remedy="use RegressionChain.error for more rows",
        )
    return 1 - ratio ** (generations + 1)


def simulated_chain(
    chain: RegressionChain,
    generations: Sequence[int],
    *,
    lambdas: Sequence[float] = LAMBDAS,
    draws: int = 5,
    seed: int = 0,
) -> Floats:
    """Test errors (draws, generations, lambdas), noise aside, of chains whose generators are least squares (of least
    norm) and whose last fit is a ridge of penalty lambda.

    The truth is drawn from N(0, signal I); errors are (w - w*)^T Sigma (w - w*). Monte Carlo. Cost: the largest of
    `generations` least-squares problems of T_0 x d a draw. Raises `InputError` for no generation, a negative one, no
    draw, and penalties that are not positive. Source: the setting of Dohmatob, Feng and Kempe 2024 (arXiv 2402.07712):
    generators are not regularised, only the last fit is.
    """
    check_generations(*generations)
    if not generations or draws < 1 or not lambdas or not all(0 < v < math.inf for v in lambdas):
        raise InputError(
            "simulation of a chain",
            found=f"{len(generations)} generations, {draws} draws, penalties {list(lambdas)}",
            expected="at least one of each, penalties above 0",
            remedy="give such numbers",
        )
    spectrum = np.arange(1.0, chain.dimension + 1) ** -chain.beta
    errors = np.empty((draws, len(generations), len(lambdas)))
    for draw in range(draws):
        rng = np.random.default_rng(seeds.stream(seed, "regression chain", draw))
        truth: Floats = math.sqrt(chain.signal) * rng.standard_normal(chain.dimension)
        teacher: Floats = truth
        place = {n: k for k, n in enumerate(generations)}
        for n in range(max(generations) + 1):
            if n in place:
                inputs, labels = _labelled(teacher, spectrum, chain.rows, chain.noise, rng)
                found = _ridges(inputs, labels, lambdas) - truth
                errors[draw, place[n]] = (found**2) @ spectrum
            inputs, labels = _labelled(teacher, spectrum, chain.generator_rows, chain.generator_noise, rng)
            teacher = np.asarray(np.linalg.lstsq(inputs, labels, rcond=None)[0], dtype=np.float64)
    return errors


def _labelled(
    teacher: Floats, spectrum: Floats, rows: int, noise: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    inputs = rng.standard_normal((rows, len(teacher))) * np.sqrt(spectrum)
    return inputs, inputs @ teacher + math.sqrt(noise) * rng.standard_normal(rows)


def _ridges(inputs: Floats, labels: Floats, lambdas: Sequence[float]) -> Floats:
    """Ridge solutions (lambdas, d), all from one decomposition."""
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    parts = left.T @ labels
    shrunk = values / (values**2 + len(inputs) * np.asarray(lambdas)[:, None])
    return (shrunk * parts) @ right
