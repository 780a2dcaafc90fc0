"""What a probability is worth when outcomes are random: scores of a forecast p_i of an event y_i in {0, 1}.

Brier = mean (p_i - y_i)^2 = MSE_p + noise, where MSE_p = E (p_i - P_i)^2 is the error against the true probability
P_i, and noise = E P_i (1 - P_i) is the same for every forecaster. Two independent outcomes a row give MSE_p without
knowing P_i, since E (p - y)(p - y') = (p - P)^2. Calibration errors, which look at means of groups, say nothing of it:
a constant at the base rate has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.reading.rank import p_value

SMALLEST = 1e-12  # probabilities are held this far from 0 and 1, for logarithms alone
BETA = 100  # rows in a bin of the published benchmark's calibration error


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationErrors:
    """Errors of calibration of an event's probability, all in [0, 1], 0 for none.

    mean_gap, largest_gap : of |share of events - mean probability| over bins of equal count.
    kolmogorov : max over k of |sum of (p_i - y_i) over the k smallest p_i| / n.
    published, mended : root of the weighted mean square gap over bins of 100 rows, without and with the last bin;
        `published` is NaN below 200 rows, where it judges no row.
    """

    mean_gap: float
    largest_gap: float
    kolmogorov: float
    published: float
    mended: float


def calibration_errors(probability: Floats, happened: Floats, *, bins: int = 10, seed: int = 0) -> CalibrationErrors:
    """Calibration errors of `probability` (n,) in [0, 1] against `happened` (n,), zeros and ones.

    Plug-in estimates, biased upwards by about sqrt(bins / n). Rows of equal probability are put in random order (by
    `seed`), so that the order of the data does not count. Cost: one sort. Raises `InputError` for probabilities that
    are none, lengths that differ, or no rows. Source: Liu et al. (arXiv 2111.10734), their balanced bins; Hendrycks et
    al. (2019) for the published form, whose loop leaves out the most confident bin: `mended` counts it.

    >>> import numpy as np
    >>> round(calibration_errors(np.full(100, 0.3), np.ones(100)).mean_gap, 12)  # 0.3 was said, 1 came
    0.7
    """
    p, y = checked_forecast(probability, happened)
    order = np.lexsort((np.random.default_rng(seeds.stream(seed, "ties")).random(len(p)), p))
    p, y = p[order], y[order]
    gaps = [abs(float(part.mean())) for part in np.array_split(p - y, min(bins, len(p)))]
    published, mended = _benchmark(p, y)
    return CalibrationErrors(
        mean_gap=float(np.mean(gaps)),
        largest_gap=max(gaps),
        kolmogorov=float(np.abs(np.cumsum(p - y)).max() / len(p)),
        published=published,
        mended=mended,
    )


def miscalibration_p(probability: Floats, happened: Floats, *, draws: int = 199, seed: int = 0) -> float:
    """p-value of "P_i = p_i for every row": the rank of the Kolmogorov error among that of outcomes drawn from the
    forecast itself.

    Exact for every n, (1 + exceedances) / (draws + 1). Arguments as `calibration_errors`. Cost: `draws` n numbers. A
    number. Source: ours, a Monte Carlo test (Barnard 1963).
    """
    p, y = checked_forecast(probability, happened)
    rng = np.random.default_rng(seeds.stream(seed, "ties"))
    order = np.lexsort((rng.random(len(p)), p))
    p, y = p[order], y[order]

    def error(outcomes: Floats) -> float:
        return float(np.abs(np.cumsum(p - outcomes)).max() / len(p))

    drawn = np.array([error((rng.random(len(p)) < p).astype(float)) for _ in range(draws)])
    return p_value(error(y), drawn, "greater")


def _benchmark(p: Floats, y: Floats) -> tuple[float, float]:
    """Rows in order of p, in bins of `BETA`, of which the last takes the rest: without it, and with it."""
    count = max(1, len(p) // BETA)
    ends = [BETA * k for k in range(count)] + [len(p)]
    terms = [(high - low) / len(p) * float((p[low:high] - y[low:high]).mean()) ** 2 for low, high in pairwise(ends)]
    return (float(np.sqrt(sum(terms[:-1]))) if count > 1 else float("nan")), float(np.sqrt(sum(terms)))


def brier_terms(probability: NDArray, labels: NDArray) -> Floats:
    """Per row (n,) sum over classes of (p_k - 1[label = k])^2, of `probability` (n, classes); for (n,) and outcomes
    (n,), (p - y)^2. Exact; in [0, 2], or [0, 1]. Their mean is the Brier score. Source: Brier 1950.

    >>> import numpy as np
    >>> brier_terms(np.array([[0.5, 0.5]]), np.array([0])).tolist()
    [0.5]
    """
    off = _off(probability, labels)
    return (off * off).reshape(len(off), -1).sum(axis=1)


def paired_terms(probability: NDArray, first: NDArray, second: NDArray) -> Floats:
    """Per row (n,) sum over classes of (p_k - 1[first = k])(p_k - 1[second = k]); for `probability` (n,), the one
    product.

    Its mean over rows with independent labels is an unbiased estimate of MSE_p, the squared distance between the
    forecast and the true distribution; single terms may be negative. Arguments as `brier_terms`. Derived here, from
    E[(p - y)(p - y') | x] = (p - P)^2. Source: ours, derived in the file's first lines.

    >>> import numpy as np
    >>> paired_terms(np.array([0.25]), np.array([1.0]), np.array([0.0])).tolist()  # (0.25 - 1) (0.25 - 0)
    [-0.1875]
    """
    off, other = _off(probability, first), _off(probability, second)
    return (off * other).reshape(len(off), -1).sum(axis=1)


def log_loss_terms(probability: NDArray, labels: NDArray) -> Floats:
    """Per row (n,) minus the logarithm of the label's probability, in nats, which is held 1e-12 from 0. Arguments as
    `brier_terms`. Exact but for that. Source: Good 1952."""
    p = np.asarray(probability, dtype=np.float64)
    labels = np.asarray(labels)
    given = p[np.arange(len(p)), labels.astype(np.int64)] if p.ndim == 2 else np.where(labels > 0.5, p, 1 - p)
    return -np.log(np.clip(given, SMALLEST, 1.0))


def checked_forecast(probability: NDArray, happened: NDArray) -> tuple[Floats, Floats]:
    """Both as float64, if they are a probability and an outcome a row; `InputError` otherwise."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    wrong = ""
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        wrong = f"shapes {p.shape} and {y.shape}"
    elif np.isnan(p).any():
        wrong = f"NaN in row {int(np.isnan(p).argmax())}"
    elif (outside := (p < 0) | (p > 1)).any():
        wrong = f"{p[outside.argmax()]:.4g} in row {int(outside.argmax())}"
    elif (strange := (y != 0) & (y != 1)).any():
        wrong = f"outcome {y[strange.argmax()]:.4g} in row {int(strange.argmax())}"
    if wrong:
        raise InputError(
            "a forecast",
            found=wrong,
            expected="one probability in [0, 1] and one outcome, 0 or 1, a row",
            remedy="drop or mend these rows",
        )
    return p, y


def refuse_copies(first: NDArray, second: NDArray, what: str = "labels2") -> None:
    """Raise `InputError` where two labels a row never differ: they are copies, or the outcomes are not random."""
    if len(first) and np.array_equal(first, second):
        raise InputError(
            what,
            found=f"the first labels again, in all {len(first)} rows",
            expected="a second outcome a row, drawn independently",
            remedy="leave them out: where outcomes never differ the Brier score is MSE_p",
        )


def _off(probability: NDArray, labels: NDArray) -> Floats:
    p, labels = np.asarray(probability, dtype=np.float64), np.asarray(labels)
    if p.ndim == 1:
        return p - labels
    off = p.copy()
    off[np.arange(len(p)), labels.astype(np.int64)] -= 1
    return off
