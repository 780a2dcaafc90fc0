"""Class means that one may publish: sums of bounded features with Gaussian noise, (epsilon, delta)-private in each row.

    found = private_class_means(features, labels, 10, epsilon=1.0)
    answers = found.most_similar(other_features)

Features phi(x) of bounded norm stand for the similarity k(x, y) = phi(x) . phi(y); `fourier_features` gives those of a
Gaussian kernel. Adding or taking away one row changes the sum and the count of its class alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrivateMeans:
    """`means` (classes, d), to publish, and `noise`, the standard deviation in every number of the sums and counts that
    they come from."""

    means: Floats
    noise: float

    def most_similar(self, features: Floats) -> NDArray[np.int64]:
        """Class (n,) whose rows are most similar on average, phi . mean, to each row of `features` (n, d). Distances
        would be worse: noise in a mean's norm moves a class as a whole. Exact. Source: definition."""
        return (features @ self.means.T).argmax(axis=1)


def gaussian_noise(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The least standard deviation with which Gaussian noise on a vector that one row changes by `sensitivity` (l2) at
    most is (`epsilon`, `delta`)-differentially private; 0 for an infinite epsilon.

    Exact to 1e-9 relative, rounded up: the root of Phi(s/2t - et/s) - e^e Phi(-s/2t - et/s) = delta. Raises
    `InputError` for an epsilon not above 0 or a delta outside (0, 1). Source: Balle and Wang 2018 (arXiv 1805.06530),
    theorem 8.

    >>> gaussian_noise(1.0, 1e-5) < math.sqrt(2 * math.log(1.25e5))  # the classical noise is larger
    True
    """
    if not (epsilon > 0 and 0 < delta < 1 and sensitivity > 0):
        raise InputError(
            "privacy",
            found=f"epsilon {epsilon:g}, delta {delta:g}, sensitivity {sensitivity:g}",
            expected="epsilon and sensitivity above 0, delta between 0 and 1",
            remedy="give the privacy that is asked for, such as epsilon 1 and delta 1e-5",
        )
    if math.isinf(epsilon):
        return 0.0

    def above(log_noise: float) -> float:
        noise = math.exp(log_noise)
        a, b = 1 / (2 * noise), epsilon * noise
        return special.ndtr(a - b) - math.exp(epsilon + special.log_ndtr(-a - b)) - delta

    root: Any = optimize.brentq(above, -30.0, 30.0, xtol=1e-12)
    return sensitivity * math.exp(float(root) + 1e-9)


def private_class_means(
    features: Floats, labels: NDArray, classes: int, *, epsilon: float, delta: float = 1e-5, seed: int | None = None
) -> PrivateMeans:
    """Means (classes, d) of `features` (n, d) by `labels` (n,), with noise that hides whether any one row was there.

    Sums and counts get Gaussian noise for a sensitivity of sqrt(B^2 + 1), B = sqrt(2) the largest norm of a row that is
    allowed, whatever the data; a count is taken as at least one. Not for a reproducible `seed` where it matters: who
    knows the seed knows the noise; None draws it from the operating system. It promises for exact normal numbers:
    those of floating point leak some bits (Mironov 2012). Raises `InputError` for longer rows and as
    `gaussian_noise`. Source: Dwork and Roth 2014, with the noise of Balle and Wang 2018.
    """
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels)
    largest = float(np.sqrt((features**2).sum(axis=1)).max(initial=0.0))
    if largest > math.sqrt(2) * (1 + 1e-9) or not np.isfinite(features).all():
        raise InputError(
            "features of private means",
            found=f"a row of norm {largest:.4g}",
            expected="finite rows of norm sqrt(2) at most: the noise rests on it",
            remedy="take fourier_features, or divide by a bound that does not depend on the data",
        )
    noise = gaussian_noise(epsilon, delta, math.sqrt(3))
    rng = np.random.default_rng(None if seed is None else seeds.stream(seed, "private means"))
    sums = np.stack([features[labels == c].sum(axis=0) for c in range(classes)])
    counts = np.array([(labels == c).sum() for c in range(classes)], dtype=np.float64)
    sums += noise * rng.standard_normal(sums.shape)
    counts += noise * rng.standard_normal(counts.shape)
    return PrivateMeans(means=sums / np.maximum(counts, 1.0)[:, None], noise=noise)


def fourier_features(inputs: Floats, count: int, *, width: float, seed: int = 0) -> Floats:
    """Random features (n, count) whose products estimate exp(-|x - y|^2 / 2 width^2) of `inputs` (n, d): sqrt(2 /
    count) cos(w . x / width + b), of norm sqrt(2) at most. The draw depends on the seed alone, not on the data.

    Unbiased, with an error of about 1 / sqrt(count). Source: Rahimi and Recht 2007.
    """
    inputs = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
    rng = np.random.default_rng(seeds.stream(seed, "fourier"))
    directions, shift = rng.standard_normal((inputs.shape[1], count)) / width, rng.uniform(0, 2 * np.pi, count)
    return np.sqrt(2 / count) * np.cos(inputs @ directions + shift)
