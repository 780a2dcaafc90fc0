"""When a direction emerges from the noise of the label-weighted moment operator, and when the next one will.

With features z (n, D) of covariance Sigma and real labels y, C = (1/n) sum y z z^T has population eigenpairs
(lambda, v). Off v the noise of C v is (1/n) sum y (v.z) u.z along every other u, of variance E[y^2 (v.z)^2] / n, so
that the squared overlap of the sample eigenvector with v is 1 - n_c / n for n far above

    n_c = tr(Sigma) E[y^2 (v.z)^2] / lambda^2  >=  r_eff = tr(Sigma) / |Sigma|.

Labels of +-1 give n_c = tr(Sigma) v.Sigma v / lambda^2; y = He2(v.z) in isotropic features gives 2.5 D. At the n in
hand the sample eigenpair (theta, w) itself tells the overlap: with T = tr(Sigma) / n and t the largest root of

    theta = t + |Sigma| (E[y] + T E[y^2 / (t - T y)]),     edge of the noise: the least theta such t can have,

it is 1 - T (1/n) sum y^2 (w.z)^2 / t^2, lambda follows from the projections (1 - T y / t) w.z that leave each row out,
and n_c is given as n (1 - overlap), which goes to the formula as D / n falls. Derived here from the resolvent of C (for
one direction: Lu and Li, arXiv 1702.06435; the criterion of arXiv 2605.13612 rests on the residual effective dimension,
its formula was not available to us), exact for isotropic Gaussian features at large D and n, whether labels depend on
them or not. For others an estimate, which is why a permutation edge and p-value stand beside it. n_c is inf where
nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Array
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.moments import Products, largest_pairs
from cutaway.features.lofi.parameters import checked_integer, checked_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergence:
    """Per direction, by falling |eigenvalue|; arrays (k,).

    `eigenvalues` of the sample operator; `strengths` de-biased |population values| (0 below the edge);
    `critical_samples` n_c; `overlaps` predicted squared overlap 1 - n_c/n in [0, 1]; `p_values` of the permutation
    maximum; `analytic_edge` of the noise left by the emerged directions (the wider of its two sides), `permuted_edge` =
    95 % quantile of the permuted maximum; `effective_dimension` r_eff; `directions` (D, k); `hidden_energy` unbiased
    sum of lambda^2 not yet emerged, with its standard error; `next_critical_samples` n_c of the next feature, inf while
    the hidden energy is within two standard errors of zero (not significant: no guess); `next_low` the same as if all
    the hidden energy (plus two errors) were one direction, with labels taken as independent of it where no guess is
    made; neither is below r_eff. `emerged` mask (p below `level`; without permutations |eigenvalue| beyond the analytic
    edge of its sign, and p is nan).
    """

    eigenvalues: Array
    strengths: Array
    critical_samples: Array
    overlaps: Array
    p_values: Array
    emerged: NDArray[np.bool_]
    directions: Array
    analytic_edge: float
    permuted_edge: float
    effective_dimension: float
    participation_dimension: float
    hidden_energy: float
    hidden_energy_error: float
    next_critical_samples: float
    next_low: float
    num_samples: int
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergenceCurve:
    """Predicted squared overlaps (len(samples), k + 1) of the emerged directions and, last, of the next one.

    `samples` (s,), `critical_samples` (k + 1,).
    """

    samples: Array
    overlaps: Array
    critical_samples: Array
    now: Emergence


def moment_operator(features: Array, labels: Array) -> Products:
    """v -> (1/n) Z^T (y * (Z v)) without forming the D x D matrix."""
    num, width = features.shape

    def multiply(vector: Array) -> Array:
        return features.T @ (labels * (features @ vector.ravel())) / num

    return Products(multiply, width)


def top_eigenvalues(features: Array, labels: Array, count: int, start: Array) -> tuple[Array, Array]:
    """`count` eigenpairs of largest magnitude; dense where the operator is small or most of it is wanted."""
    width = features.shape[1]
    if width <= 600 or count >= width // 4:
        values, vectors = np.linalg.eigh(features.T @ (labels[:, None] * features) / features.shape[0])
    else:
        values, vectors = largest_pairs(moment_operator(features, labels), count, start, tolerance=1e-6)
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    return values[order], vectors[:, order]


def emergence(
    features: Array,
    labels: Array,
    *,
    num_directions: int = 8,
    num_permutations: int = 40,
    center: bool = True,
    level: float = 0.05,
    seed: int = 0,
) -> Emergence:
    """Which label-weighted directions of `features` (n, D) stand out of the noise for real `labels` (n,).

    `center` removes the mean of features and labels first (without it the mean of ReLU features mixes in the first
    moment). The null is exact under exchangeable labels: the features must not have been chosen with these labels
    (score deeper LoFi layers on fresh rows). Cost: (1 + permutations) eigenproblems of D, n D^2 each when dense. Raises
    `EstimatorInputError` for constant labels, features that do not vary, NaN, or fewer than four rows. Source: ours,
    derived in the file's first lines.
    """
    checked_integer("num_directions", num_directions, 1)
    checked_integer("num_permutations", num_permutations, 0)
    features, labels = checked_pairs(features, labels)
    generator = np.random.default_rng(seed)
    if not (np.ptp(features, axis=0) if center else features).any():
        raise EstimatorInputError(
            "features",
            found="columns that are all constant",
            expected="columns that vary",
            remedy="leave out constant columns, or give other rows",
        )
    if center:
        features, labels = features - features.mean(axis=0), labels - labels.mean()
    num, width = features.shape
    count = min(num_directions, width)
    start = generator.standard_normal(width)
    values, vectors = top_eigenvalues(features, labels, count, start)
    peaks = np.empty(num_permutations)
    for draw in range(num_permutations):
        shuffled = labels[generator.permutation(num)]
        peaks[draw] = np.abs(top_eigenvalues(features, shuffled, 1, start)[0][0])
    if num_permutations:
        p_values = (1.0 + (peaks[None, :] >= np.abs(values)[:, None]).sum(axis=1)) / (1.0 + num_permutations)
        emerged = p_values <= max(level, 1.0 / (1.0 + num_permutations))
    else:
        p_values = np.full(count, np.nan)
        emerged = np.abs(values) > _edges(_residual(features, vectors[:, :0]), labels, values)
    emerged = np.logical_and.accumulate(emerged)
    kept = vectors[:, emerged]
    rest = _without(features, kept)
    residual = _residual(features, kept)
    outliers = [_outlier(v, features @ w, labels, residual) for v, w in zip(values, vectors.T, strict=True)]
    strengths, overlaps = np.array(outliers).T
    critical = np.where(strengths > 0, num * (1.0 - overlaps), np.inf)
    moments = spectral_moments(rest, labels, generator)
    hidden, low = moments.second, residual.trace * residual.norm * float(np.mean(labels**2))
    most = max(hidden + 2.0 * moments.second_error, 1e-300)
    following = np.inf
    if hidden > 2.0 * moments.second_error:
        largest = min(max(moments.fourth / hidden, 0.0), hidden)
        low = residual.trace * moments.weighted / hidden
        following = float(max(low / largest, residual.dimension)) if largest > 0 else np.inf
    return Emergence(
        eigenvalues=values,
        strengths=strengths,
        critical_samples=critical,
        overlaps=overlaps,
        p_values=p_values,
        emerged=emerged,
        directions=vectors,
        analytic_edge=float(_edges(residual, labels, np.array([1.0, -1.0])).max()),
        permuted_edge=float(np.quantile(peaks, 0.95)) if num_permutations else float("nan"),
        effective_dimension=residual.dimension,
        participation_dimension=residual.participation,
        hidden_energy=hidden,
        hidden_energy_error=moments.second_error,
        next_critical_samples=following,
        next_low=max(low / most, residual.dimension) if residual.trace > 0 else np.inf,
        num_samples=num,
        level=level,
    )


def emergence_curve(features: Array, labels: Array, samples: Array | None = None, **options: Any) -> EmergenceCurve:
    """Overlap of every direction at other sample sizes, 1 - n_c / n', and of the first one not yet out of the noise.

    The hidden direction's strength comes from unbiased sums of squares and of fourth powers of the spectrum
    (`spectral_moments`), which see a direction before its eigenvalue detaches: exact in the limit when what is hidden
    is one strength, an average weighted towards the largest otherwise. An estimate: read it with `next_low`.
    `features` (n, D), `labels` (n,), `samples` (s,). Raises `EstimatorInputError` for samples that are not above 0 and
    as `emergence`. Source: ours, derived in the file's first lines.
    """
    now = emergence(features, labels, **options)
    grid = now.num_samples * 2.0 ** np.arange(-2, 5) if samples is None else np.asarray(samples, dtype=float)
    if grid.ndim != 1 or not (grid > 0).all():
        raise EstimatorInputError(
            "samples",
            found=str(np.ravel(grid)[:5]),
            expected="a row of numbers above 0",
            remedy="give sample sizes above 0",
        )
    critical = np.append(now.critical_samples[now.emerged], now.next_critical_samples)
    overlaps = np.clip(1.0 - critical[None, :] / grid[:, None], 0.0, 1.0)
    return EmergenceCurve(samples=grid, overlaps=overlaps, critical_samples=critical, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralMoments:
    """tr(C^2) with the standard error it has when there is nothing to see, tr(C^4), and `weighted` tr(C A C) with
    A = E[y^2 z z^T]: over tr(C^2), the mean of E[y^2 (v.z)^2] over the directions."""

    second: float
    second_error: float
    fourth: float
    weighted: float


def spectral_moments(
    features: Array, labels: Array, generator: np.random.Generator, limit: int = 4000
) -> SpectralMoments:
    """Unbiased tr(C^2), tr(C^4) and tr(C A C) of the population operator: U-statistics over distinct samples.

    With B_ij = z_i.z_j off the diagonal, sum over distinct i, j, k, l of y_i y_j y_k y_l B_ij B_jk B_kl B_li is the
    full cyclic sum less the coincidences i = k and j = l. Rows beyond `limit` are dropped at random; cost limit^3.
    """
    num = features.shape[0]
    if num > limit:
        index = np.sort(generator.permutation(num)[:limit])
        features, labels, num = features[index], labels[index], limit
    gram = features @ features.T
    np.fill_diagonal(gram, 0.0)
    squares = gram**2
    second = float(labels @ squares @ labels) / (num * (num - 1.0))
    chain = gram @ (labels[:, None] * gram)
    full = float(labels @ chain**2 @ labels)
    once = float(np.sum(labels**2 * (squares @ labels) ** 2))
    both = float(labels**2 @ squares**2 @ labels**2)
    distinct = full - 2.0 * once + both
    weighted = float(labels @ (gram * (gram @ (labels[:, None] ** 2 * gram))) @ labels)
    return SpectralMoments(
        second=second,
        second_error=float(np.sqrt(2.0 * both) / (num * (num - 1.0))),
        fourth=distinct / (num * (num - 1.0) * (num - 2.0) * (num - 3.0)),
        weighted=weighted / (num * (num - 1.0) * (num - 2.0)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Residual:
    """Sigma of what is left: trace, norm, r_eff = trace / norm and trace^2 / |Sigma|_F^2 (all 0 where nothing is)."""

    trace: float
    norm: float
    dimension: float
    participation: float


def _without(features: Array, kept: Array) -> Array:
    rest = features - (features @ kept) @ kept.T
    return rest if np.linalg.norm(rest) > 1e-10 * np.linalg.norm(features) else np.zeros_like(rest)


def _residual(features: Array, kept: Array) -> _Residual:
    rest = _without(features, kept)
    num, width = rest.shape
    covariance = rest.T @ rest / num if width <= num else rest @ rest.T / num
    values = np.linalg.eigvalsh(covariance)
    trace, norm, frobenius = float(values.sum()), float(values[-1]), float(np.sum(values**2))
    if trace <= 0:
        return _Residual(trace=0.0, norm=0.0, dimension=0.0, participation=0.0)
    # rest @ rest.T / n has the spectrum of the sample covariance, whose top exceeds the population's by the
    # Marchenko-Pastur factor (1 + sqrt(D/n))^2 when the spectrum is flat; take that factor out
    flat = norm / (1.0 + np.sqrt(trace**2 / frobenius / num)) ** 2
    norm = max(flat, trace / width)
    return _Residual(trace=trace, norm=norm, dimension=trace / norm, participation=trace**2 / frobenius)


def _sample_value(t: float, labels: Array, residual: _Residual) -> tuple[float, float]:
    """theta(t) of the module's equation and its derivative, which rises with t; t above T max(y)."""
    pull = residual.trace / labels.size
    gap = t - pull * labels
    value = t + residual.norm * float(np.mean(labels) + pull * np.mean(labels**2 / gap))
    return value, 1.0 - residual.norm * pull * float(np.mean((labels / gap) ** 2))


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Root between `low` (not evaluated: a pole may sit there) and `high`, to rounding."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (low, middle) if rising(middle) >= 0 else (middle, high)
    return high


def _edge(labels: Array, residual: _Residual) -> tuple[float, float]:
    """t and theta at the upper edge of the noise."""
    pull = residual.trace / labels.size
    if pull == 0:
        return 0.0, 0.0
    low = pull * max(float(labels.max()), 0.0)
    high = low + float(np.sqrt(residual.norm * pull * np.mean(labels**2)))
    t = _bisect(lambda t: _sample_value(t, labels, residual)[1], low, high)
    return t, _sample_value(t, labels, residual)[0]


def _edges(residual: _Residual, labels: Array, values: Array) -> Array:
    """Size that an eigenvalue of the sign of each of `values` must exceed."""
    sides = {sign: _edge(sign * labels, residual)[1] for sign in (1.0, -1.0)}
    return np.array([sides[1.0 if value >= 0 else -1.0] for value in values])


def _outlier(value: float, projections: Array, labels: Array, residual: _Residual) -> tuple[float, float]:
    """|lambda| and squared overlap of the direction with sample eigenvalue `value`; zeros within the noise."""
    labels, value = (labels, value) if value >= 0 else (-labels, -value)
    bound, edge = _edge(labels, residual)
    if value <= edge:
        return 0.0, 0.0
    pull, offset = residual.trace / labels.size, residual.norm * float(labels.mean())
    high = bound + value - edge  # theta' is 0 at the bound and below 1 beyond it
    while _sample_value(high, labels, residual)[0] < value:
        high = 2.0 * high
    t = _bisect(lambda t: _sample_value(t, labels, residual)[0] - value, bound, high)
    overlap = float(np.clip(1.0 - pull * np.mean((labels * projections) ** 2) / t**2, 0.0, 1.0))
    left_out = (1.0 - pull * labels / t) * projections
    seen = float(np.mean(labels * left_out**2)) - (1.0 - overlap) * offset
    return (seen / overlap if overlap > 0.2 and seen > 0 else t + offset), overlap
