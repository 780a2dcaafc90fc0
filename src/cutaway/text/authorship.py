"""Did this model write this text? Tests that hold for every model and every length, since A's probabilities are known.

For any lambda, E_t(lambda) = prod_(s <= t) p(y_s | past)^(-lambda) / sum_y p(y | past)^(1 - lambda) has conditional
expectation 1 under the model: it is the likelihood ratio of the model at temperature 1 / (1 - lambda) against itself.
The mean over several lambda is an e-process, so by Ville's inequality P(E_t >= 1 / alpha for any t) <= alpha. A
lambda < 0 finds text that is too typical (greedy, low temperature), one above 0 text that is too surprising.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.text.scoring import TokenScores

LAMBDAS = (-1.0, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5)
POWERS = tuple(1 - value for value in LAMBDAS)


def e_values(scores: TokenScores, lambdas: tuple[float, ...] = LAMBDAS) -> Floats:
    """log E_t of every row after every token (n, tokens), for scores with `powers` 1 - lambda.

    Infinite from a token on that the decoding would never draw. 1 / max_t E_t is an exact p-value at any stopping time.
    Raises `InputError` where the scores lack the powers. Derived here; no floor on probabilities and no variance is
    needed, unlike the bounds of Radvand et al. 2025 (arXiv 2501.02406).
    """
    if scores.log_power.shape[-1] != len(lambdas):
        raise InputError(
            "scores for e-values",
            found=f"{scores.log_power.shape[-1]} powers",
            expected=f"{len(lambdas)}, 1 - lambda each",
            remedy="call score_tokens with powers=POWERS",
        )
    steps = np.where(np.isinf(scores.log_probability), -np.inf, scores.log_probability)[..., None]
    with np.errstate(invalid="ignore"):
        grown = np.cumsum(-np.asarray(lambdas) * steps - scores.log_power, axis=1)  # (n, tokens, lambdas)
    impossible = np.isinf(scores.log_probability).cumsum(axis=1) > 0
    grown = np.where(np.isnan(grown), -np.inf, grown)
    found = logsumexp(grown, axis=-1) - np.log(len(lambdas))
    return np.where(impossible, np.inf, found)


def any_time_p_values(log_e: Floats) -> Floats:
    """min(1, 1 / max_t E_t) per row, of `log_e` (n, tokens); valid whenever one stops. Exact. Source: Ville 1939."""
    return np.exp(-np.maximum(log_e.max(axis=1), 0.0))


def monte_carlo_p_values(deviation: Floats, drawn: Floats) -> Floats:
    """Rank of |deviation| (n,) among that of own texts of the same length (m,): (1 + #{as large}) / (m + 1).

    Exact for every m, for one length that was fixed before. More power than the e-process against small changes of
    temperature, at the price of m texts. Source: Barnard 1963.
    """
    own = np.sort(np.abs(drawn))
    return (1 + len(own) - np.searchsorted(own, np.abs(deviation) * (1 - 1e-12), side="left")) / (len(own) + 1)
