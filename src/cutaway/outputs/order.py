"""Is more than the order of a score worth anything? Log losses after maps of more and more freedom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.outputs.probability import SMALLEST, checked_forecast, log_loss_terms


def losses_of_maps(probability: Floats, happened: Floats, *, seed: int = 0) -> dict[str, Floats]:
    """Log losses (n,) in nats of an event after three maps of its `probability` (n,), each fitted on the other half.

    temperature : p -> sigmoid(logit(p) / T), uses the size of the score.
    isotonic    : the rising step map nearest to the outcomes, mixed with its half's base rate (weight 1 in rows + 1)
                  so that no outcome is impossible.
    rank        : logistic regression on the logit of the mid-rank, uses the order alone.

    Halves by `seed`, with equal shares of events. Estimates. Cost: six small fits. Raises `InputError` as
    `calibration_errors`. Own definition, in place of a transform between utilities and probabilities.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    p, y = checked_forecast(probability, happened)
    halves = _halves(y, seed)
    losses = {name: np.empty(len(p)) for name in ("temperature", "isotonic", "rank")}
    score = special.logit(np.clip(p, SMALLEST, 1 - SMALLEST))
    for fitted, judged in (halves, halves[::-1]):
        scale = _scale(score[fitted], y[fitted])
        losses["temperature"][judged] = log_loss_terms(special.expit(scale * score[judged]), y[judged])
        rising = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[fitted], y[fitted])
        weight = len(fitted) / (len(fitted) + 1)
        mixed = weight * rising.predict(p[judged]) + (1 - weight) * y[fitted].mean()
        losses["isotonic"][judged] = log_loss_terms(mixed, y[judged])
        ranks = [special.logit(stats.rankdata(p[half]) / (len(half) + 1))[:, None] for half in (fitted, judged)]
        logistic = LogisticRegression().fit(ranks[0], y[fitted])
        losses["rank"][judged] = log_loss_terms(logistic.predict_proba(ranks[1])[:, 1], y[judged])
    return losses


def _scale(score: Floats, y: Floats) -> float:
    """The factor 1 / T of least log loss, between exp(-7) and exp(7)."""
    from scipy.optimize import minimize_scalar

    sign = 2 * y - 1

    def loss(log: float) -> float:
        return float(np.logaddexp(0, -sign * score * np.exp(log)).mean())

    found: Any = minimize_scalar(loss, bounds=(-7, 7), method="bounded")
    return float(np.exp(found.x))


def _halves(y: Floats, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two halves of the rows, at random, with equal numbers of each outcome."""
    order = np.random.default_rng(seeds.stream(seed, "halves")).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    return order[::2], order[1::2]
