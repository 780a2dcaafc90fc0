"""When a direction emerges from the noise of the label-weighted moment operator, and when the next one will.

With features z (n, D) and real labels y, C = (1/n) sum y z z^T carries population eigenvalues lambda_j against a
noise of half-width 2 s (semicircle), s^2 ~ |Sigma| tr(Sigma) E[y^2] / n. A direction detaches once |lambda| > s, that
is from

    n_c = |Sigma|^2 r_eff E[y^2] / lambda^2,     r_eff = tr(Sigma) / |Sigma|,

and its squared overlap with the truth is then 1 - n_c / n; its sample eigenvalue is lambda + s^2 / lambda. Derived here
(the criterion of arXiv 2605.13612 rests on the residual effective dimension; its formula was not available to us) and
exact for isotropic Gaussian features at large D; for others an estimate, which is why a permutation edge and p-value
stand beside it. n_c is inf where nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.parameters import whole

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergence:
    """Per direction, by falling |eigenvalue|; arrays (k,).

    `eigenvalues` of the sample operator; `strengths` de-biased population values (0 below the edge); `critical_samples`
    n_c; `overlaps` predicted squared overlap 1 - n_c/n in [0, 1]; `p_values` of the permutation maximum;
    `analytic_edge` = 2 s from the residual covariance, `permuted_edge` = 95 % quantile of the permuted maximum;
    `effective_dimension` r_eff; `directions` (D, k); `hidden_energy` unbiased sum of lambda^2 not yet emerged,
    with its standard error; `next_critical_samples` n_c of the next feature, inf while the hidden energy is within two
    standard errors of zero (not significant: no guess); `next_low` a lower bound on it, as if all the hidden energy
    (plus two errors) were one direction; `emerged` mask (p below `level`; without permutations
    |eigenvalue| beyond the analytic edge, and p is nan).
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
    """Predicted squared overlaps (len(samples), k + 1) of the emerged directions and, last, of the next one."""

    samples: Array
    overlaps: Array
    critical_samples: Array
    now: Emergence


def moment_operator(features: Array, labels: Array) -> LinearOperator:
    """v -> (1/n) Z^T (y * (Z v)) without forming the D x D matrix."""
    num, width = features.shape

    def multiply(vector: Array) -> Array:
        return features.T @ (labels * (features @ vector.ravel())) / num

    return LinearOperator((width, width), matvec=multiply, dtype=np.float64)  # type: ignore[call-arg]


def top_eigenvalues(features: Array, labels: Array, count: int, start: Array) -> tuple[Array, Array]:
    """`count` eigenpairs of largest magnitude; dense where the operator is small or most of it is wanted."""
    width = features.shape[1]
    if width <= 600 or count >= width // 4:
        values, vectors = np.linalg.eigh(features.T @ (labels[:, None] * features) / features.shape[0])
    else:
        values, vectors = eigsh(moment_operator(features, labels), k=count, which="LM", v0=start, tol=1e-6)  # type: ignore[arg-type]
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
    `EstimatorInputError` for constant labels, NaN, or fewer than four rows.
    """
    whole("num_directions", num_directions, 1)
    whole("num_permutations", num_permutations, 0)
    features, labels = _checked(features, labels)
    generator = np.random.default_rng(seed)
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
        emerged = np.abs(values) > _noise(features, labels, vectors[:, :0])[0]
    emerged = np.logical_and.accumulate(emerged)
    edge, trace, operator_norm, frobenius = _noise(features, labels, vectors[:, emerged])
    half = 0.5 * edge
    strengths = np.where(
        np.abs(values) > edge, 0.5 * (np.abs(values) + np.sqrt(np.maximum(values**2 - edge**2, 0.0))), 0.0
    )
    critical = np.full(count, np.inf)
    critical[strengths > 0] = num * half**2 / strengths[strengths > 0] ** 2
    overlaps = np.clip(1.0 - critical / num, 0.0, 1.0)
    kept = vectors[:, emerged]
    moments = spectral_moments(features - (features @ kept) @ kept.T, labels, generator)
    hidden = moments.second
    significant = hidden > 2.0 * moments.second_error
    largest = min(max(moments.fourth / hidden, 0.0), hidden) if significant else 0.0
    noise = num * half**2
    return Emergence(
        eigenvalues=values,
        strengths=strengths,
        critical_samples=critical,
        overlaps=overlaps,
        p_values=p_values,
        emerged=emerged,
        directions=vectors,
        analytic_edge=edge,
        permuted_edge=float(np.quantile(peaks, 0.95)) if num_permutations else float("nan"),
        effective_dimension=trace / operator_norm,
        participation_dimension=trace**2 / frobenius,
        hidden_energy=hidden,
        hidden_energy_error=moments.second_error,
        next_critical_samples=noise / largest if largest > 0 else np.inf,
        next_low=noise / max(hidden + 2.0 * moments.second_error, 1e-300),
        num_samples=num,
        level=level,
    )


def emergence_curve(features: Array, labels: Array, samples: Array | None = None, **options: object) -> EmergenceCurve:
    """Overlap of every direction at other sample sizes, 1 - n_c / n', and of the first one not yet out of the noise.

    The hidden direction's strength comes from unbiased sums of squares and of fourth powers of the spectrum
    (`spectral_moments`), which see a direction before its eigenvalue detaches: exact in the limit when what is hidden
    is one strength, an average weighted towards the largest otherwise. An estimate: read it with `next_low`.
    """
    now = emergence(features, labels, **options)  # type: ignore[arg-type]
    grid = now.num_samples * 2.0 ** np.arange(-2, 5) if samples is None else np.asarray(samples, dtype=float)
    if grid.ndim != 1 or not (grid > 0).all():
        raise EstimatorInputError("samples", found=str(np.ravel(grid)[:5]), expected="a row of numbers above 0")
    critical = np.append(now.critical_samples[now.emerged], now.next_critical_samples)
    overlaps = np.clip(1.0 - critical[None, :] / grid[:, None], 0.0, 1.0)
    return EmergenceCurve(samples=grid, overlaps=overlaps, critical_samples=critical, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralMoments:
    """tr(C^2) with the standard error it has when there is nothing to see, and tr(C^4)."""

    second: float
    second_error: float
    fourth: float


def spectral_moments(
    features: Array, labels: Array, generator: np.random.Generator, limit: int = 4000
) -> SpectralMoments:
    """Unbiased tr(C^2) and tr(C^4) of the population operator: U-statistics over distinct samples.

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
    return SpectralMoments(
        second=second,
        second_error=float(np.sqrt(2.0 * both) / (num * (num - 1.0))),
        fourth=distinct / (num * (num - 1.0) * (num - 2.0) * (num - 3.0)),
    )


def _noise(features: Array, labels: Array, kept: Array) -> tuple[float, float, float, float]:
    """Edge 2 s of the operator under independent labels, trace, norm and squared Frobenius norm of Sigma_res.

    s^2 = E[y^2] |E[(z.z') z z'^T ...]| is bounded by |Sigma| tr(Sigma) E[y^2] / n; the sum tr(Sigma)/D |Sigma|_F-like
    refinement is not used: the bound is what 1.6 of the specification states.
    """
    rest = features - (features @ kept) @ kept.T
    num, width = rest.shape
    covariance = rest.T @ rest / num if width <= num else rest @ rest.T / num
    values = np.linalg.eigvalsh(covariance)
    trace, norm, frobenius = float(values.sum()), float(values[-1]), float(np.sum(values**2))
    # rest @ rest.T / n has the spectrum of the sample covariance, whose top exceeds the population's by the
    # Marchenko-Pastur factor (1 + sqrt(D/n))^2 when the spectrum is flat; take that factor out
    flat = norm / (1.0 + np.sqrt(trace**2 / frobenius / num)) ** 2
    norm = max(flat, trace / width)
    edge = 2.0 * np.sqrt(norm * trace * float(np.mean(labels**2)) / num)
    return float(edge), trace, norm, frobenius


def _checked(features: Array, labels: Array) -> tuple[Array, Array]:
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise EstimatorInputError(
            "features and labels", found=f"shapes {features.shape} and {labels.shape}", expected="(n, D) and (n,)"
        )
    if features.shape[0] < 4:
        raise EstimatorInputError("features", found=f"{features.shape[0]} rows", expected="at least 4")
    if not (np.isfinite(features).all() and np.isfinite(labels).all()):
        raise EstimatorInputError("features or labels", found="NaN or infinity", expected="finite numbers")
    if labels.std() == 0:
        raise EstimatorInputError("labels", found="one constant value", expected="labels that vary")
    return features, labels
