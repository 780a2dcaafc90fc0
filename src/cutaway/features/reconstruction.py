"""How well features made to reconstruct the input serve perception: the alignment of two eigen-orders.

Centred data Z (D, N) give encoder directions ordered by the variance that reconstruction explains; one-hot labels Y are
regressed on them one after the other. A(K) = 100 sqrt(sum_{k<=K} c_k / sum_k c_k) with c_k = |Y^T q_k / N|^2 and q_k an
orthonormal basis of the projected samples: at 100 the first K directions carry all that the labels can get linearly.
Masking noise (patches of s x s pixels dropped with probability p, kept pixels unscaled) reorders the directions;
additive Gaussian noise cannot: it adds a multiple of the identity, same eigenvectors, same order.

Source: arXiv 2402.11337 and its released code (alignment and masking second moments). We solve the same generalised
eigenproblem by a Cholesky factor and singular values (theirs squares the moment), and report the mean over K as one
number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cutaway.arrays import Floats
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReconstructionAlignment:
    """`curve` (K): alignment in percent after the first k directions; `directions` (D, K) in input space, first
    first."""

    curve: Floats
    directions: Floats

    def after(self, count: int) -> float:
        """A(count), in percent."""
        return float(self.curve[min(count, len(self.curve)) - 1])

    @property
    def mean(self) -> float:
        """Mean of A over all K: the larger, the earlier the labels' directions come."""
        return float(self.curve.mean())


def masking_moments(images: Floats, drop: float, patch: int) -> tuple[Floats, float]:
    """Second moment of masked data (D, D) and the factor (1 - p) of its cross moment with the clean data.

    `images` (N, C, H, W), standardised. Pixels of one patch share their fate, in all channels.
    """
    count, channels, height, width = images.shape
    if height % patch or width % patch:
        raise InputError(
            "patch of the mask",
            found=f"{patch} on {height} x {width}",
            expected="a divisor of both sides",
            remedy="give a patch that divides both",
        )
    flat = images.reshape(count, -1)
    rows, columns = np.arange(height) // patch, np.arange(width) // patch
    number = (rows[:, None] * (width // patch) + columns[None]).reshape(-1)
    number = np.tile(number, channels)
    keep = 1.0 - drop
    factor = np.where(number[:, None] == number[None], keep, keep**2)
    return flat.T @ flat * factor, keep


def reconstruction_alignment(
    inputs: Floats,
    labels: NDArray,
    *,
    drop: float = 0.0,
    patch: int = 1,
    sigma: float = 0.0,
    jitter: float = 1e-3,
    seed: int = 0,
) -> ReconstructionAlignment:
    """Alignment of reconstruction and perception for N samples (N, C, H, W) or (N, D) with integer labels (N).

    `drop`, `patch`: masking noise; `sigma`: Gaussian noise instead. `jitter`: noise added to the data once (1e-3 of
    their standard deviation, as published) so that dead pixels have a moment. Linear algebra in float64: one D x D
    generalised eigenproblem and one QR of (N, D). Raises InputError for NaN, labels of another length, drop outside [0,
    1).
    An estimate from the samples; exact up to rounding for the empirical moments. Source: Balestriero and LeCun (arXiv
    2402.11337).
    """
    data = np.asarray(inputs, dtype=np.float64)
    if len(data) != len(labels) or len(data) < 2 or not np.isfinite(data).all():
        raise InputError(
            "inputs",
            found=f"{data.shape} with {len(labels)} labels",
            expected="finite, one label a row",
            remedy="give one label an input, without NaN",
        )
    if not 0 <= drop < 1 or (drop and sigma):
        raise InputError(
            "noise",
            found=f"drop {drop}, sigma {sigma}",
            expected="0 <= drop < 1, one kind of noise",
            remedy="give a share below 1, and either drop or sigma",
        )
    if data.ndim == 2:
        data = data[:, None, None, :]
        if drop and patch != 1:
            raise InputError("patch of the mask", found=str(patch), expected="1 for vectors", remedy="give images")
    data = data - data.mean(axis=0)
    data = data / data.std()
    data = data + jitter * np.random.default_rng(seed).standard_normal(data.shape)
    flat = data.reshape(len(data), -1)
    clean = flat.T @ flat
    noisy, factor = (clean, 1.0) if not drop else masking_moments(data, drop, patch)
    if sigma:
        noisy = clean + len(data) * sigma**2 * np.eye(len(clean))
    # (c c^T) v = lambda m v with m = l l^T by the singular values of l^-1 c: squaring c would lose the small directions
    lower = linalg.cholesky(noisy, lower=True)
    left = np.linalg.svd(linalg.solve_triangular(lower, factor * clean, lower=True))[0]
    directions = linalg.solve_triangular(lower.T, left)
    basis = np.linalg.qr(flat @ directions)[0]
    one_hot = (np.asarray(labels)[:, None] == np.unique(labels)[None]).astype(np.float64)
    share = np.square(one_hot.T @ basis / len(data)).sum(axis=0)
    return ReconstructionAlignment(curve=100 * np.sqrt(np.cumsum(share) / share.sum()), directions=directions)
