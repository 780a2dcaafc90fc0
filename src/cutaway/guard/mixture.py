"""What a Gaussian mixture says of a linear head, and what can be said without believing it.

Push a mixture sum_k pi_k N(mu_k, S_k) through w . z + b: P(logit > t) = sum_k pi_k Phi((w . mu_k + b - t) / sqrt(w'S_k
w)). This "coverage" (arXiv 2605.10901, section on probabilistic certificates) is a fit, not a bound: the paper's own
result files hold .980 predicted against .943 held out. So beside it stand the share of held-out rows above t with its
exact one-sided lower limit (Clopper-Pearson) and the band of Dvoretzky, Kiefer, Wolfowitz and Massart,
sqrt(ln(2/delta)/2m), which holds for all thresholds at once.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureReport:
    """`coverage`: what the mixture predicts; `recall` = hits/rows held out, `recall_low` its one-sided lower limit at
    `level`, `band` the DKW half-width; `conservative`: coverage <= recall_low, `consistent`: |coverage - recall| <=
    band; `inside`: share of held-out rows whose density is above the construction rows' 5th percentile."""

    components: int
    covariance: str
    coverage: float
    recall: float
    recall_low: float
    band: float
    level: float
    rows: int
    inside: float
    conservative: bool
    consistent: bool


def coverage(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, bias: float, limit: float) -> float:
    """sum_k pi_k Phi((m_k + b - t) / s_k) for projected means m_k = w . mu_k and variances s_k^2 = w'S_k w, all
    (K,)."""
    spread = np.sqrt(np.maximum(variances, 1e-300))
    return float(weights @ stats.norm.sf((limit - means - bias) / spread))


def lower_limit(hits: int, rows: int, level: float = 0.95) -> float:
    """One-sided Clopper-Pearson: Beta^-1(1 - level; hits, rows - hits + 1), 0 for no hit.

    >>> round(lower_limit(537, 1000), 3)
    0.511
    """
    return float(stats.beta.ppf(1 - level, hits, rows - hits + 1)) if hits else 0.0


def dkw_band(rows: int, level: float = 0.95) -> float:
    """Half-width sqrt(ln(2/(1 - level)) / (2 rows)) of the band round the empirical distribution.

    >>> round(dkw_band(1000), 3)
    0.043
    """
    return math.sqrt(math.log(2 / (1 - level)) / (2 * rows))


def mixture_report(
    points: np.ndarray,
    held_out: np.ndarray,
    weight: np.ndarray,
    bias: float,
    limit: float,
    *,
    components: int = 1,
    covariance: Literal["full", "diag"] = "full",
    level: float = 0.95,
    seed: int = 0,
) -> MixtureReport:
    """Fit scikit-learn's mixture to points (n, d) and judge it on held_out (m, d)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if covariance not in ("full", "diag"):
        raise InputError("covariance", found=repr(covariance), expected="full or diag", remedy="give one of the two")
    if len(points) <= components or not len(held_out):
        raise InputError(
            "the mixture's rows",
            found=f"{len(points)} and {len(held_out)}",
            expected="more than components",
            remedy="give more rows, or fewer components",
        )
    points, held_out = np.asarray(points, dtype=np.float64), np.asarray(held_out, dtype=np.float64)
    floor = 1e-6 * max(1.0, float(points.var()))
    model: Any = GaussianMixture(components, covariance_type=covariance, reg_covar=floor, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points)
    if covariance == "full":
        variances = np.einsum("d,kde,e->k", weight, model.covariances_, weight)
    else:
        variances = model.covariances_ @ weight**2
    predicted = coverage(model.weights_, model.means_ @ weight, variances, bias, limit)
    hits, rows = int((held_out @ weight + bias > limit).sum()), len(held_out)
    low, band = lower_limit(hits, rows, level), dkw_band(rows, level)
    edge = np.quantile(model.score_samples(points), 0.05)
    return MixtureReport(
        components=components,
        covariance=covariance,
        coverage=predicted,
        recall=hits / rows,
        recall_low=low,
        band=band,
        level=level,
        rows=rows,
        inside=float((model.score_samples(held_out) >= edge).mean()),
        conservative=predicted <= low,
        consistent=abs(predicted - hits / rows) <= band,
    )


def normal_report(logits: np.ndarray, held_out: np.ndarray, limit: float, *, level: float = 0.95) -> MixtureReport:
    """The report of one full-covariance component, from the logits alone: pushed through a linear head, that mixture is
    the normal distribution with the logits' mean and variance. `inside` would need the density and is NaN."""
    predicted = float(stats.norm.sf(limit, logits.mean(), logits.std()))
    hits, rows = int((held_out > limit).sum()), len(held_out)
    low, band = lower_limit(hits, rows, level), dkw_band(rows, level)
    return MixtureReport(
        components=1,
        covariance="full",
        coverage=predicted,
        recall=hits / rows,
        recall_low=low,
        band=band,
        level=level,
        rows=rows,
        inside=math.nan,
        conservative=predicted <= low,
        consistent=abs(predicted - hits / rows) <= band,
    )
