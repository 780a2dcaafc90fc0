"""Exponents of real data: which Hermite degree of the whitened inputs carries the labels.

For degree k <= 3 the squared norm of the tensor E[y He_k(x)] / sqrt(k!) by a U-statistic over pairs (no bias from its
own noise). The p-value flips the signs of the samples' terms y_i He_k(x_i) (a permutation would test independence,
which fails at every degree as soon as one carries the labels); for the generative version the labels are replaced by
their quantile bins. An estimate with a caveat that stands in the result: the definitions want Gaussian inputs and few
directions, real inputs are only whitened, so that a degree can also show the inputs' own non-Gaussian moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array
from cutaway.errors import InputError
from cutaway.seeds import check_seed

CAVEAT = (
    "inputs are whitened, not Gaussian: a degree may show the inputs' own moments, "
    "and degrees above three are not looked at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataExponents:
    """`information` and `generative` (None: not significant), squared sizes and p-values by degree 1 .. 3, the
    caveat.

    The four arrays have shape (3,).
    """

    information: int | None
    generative: int | None
    sizes: Array
    p_values: Array
    generative_sizes: Array
    generative_p_values: Array
    num_samples: int
    num_components: int
    caveat: str = CAVEAT


def exponents_of_data(
    inputs: Array,
    labels: Array,
    *,
    num_components: int = 50,
    num_bins: int = 10,
    num_flips: int = 199,
    max_samples: int = 2000,
    level: float = 0.01,
    seed: int = 0,
) -> DataExponents:
    """Estimate from `inputs` (n, d) and `labels` (n,): whitened to `num_components` principal components, at most
    `max_samples` rows. Cost: n^2 (components + 3 flips). Raises `InputError` for fewer than 20 rows, NaN, constant
    labels. Source: ours, after the information exponents of Ben Arous, Gheissari and Jagannath 2021."""
    inputs, labels = np.asarray(inputs, dtype=float), np.asarray(labels, dtype=float)
    if inputs.ndim != 2 or inputs.shape[0] < 20 or labels.shape != inputs.shape[:1]:
        raise InputError(
            "inputs and labels",
            found=f"shapes {inputs.shape} and {labels.shape}",
            expected="(n, d) and (n,) with at least 20 rows",
            remedy="give more rows, one label for each",
        )
    if not (np.isfinite(inputs).all() and np.isfinite(labels).all()):
        raise InputError(
            "inputs or labels", found="NaN or infinity", expected="finite numbers", remedy="remove or mend these rows"
        )
    if labels.std() == 0:
        raise InputError(
            "labels",
            found="one constant value",
            expected="labels that vary",
            remedy="give labels of at least two values",
        )
    check_seed(seed)
    generator = np.random.default_rng(seed)
    if inputs.shape[0] > max_samples:
        rows = np.sort(generator.permutation(inputs.shape[0])[:max_samples])
        inputs, labels = inputs[rows], labels[rows]
    white = _whiten(inputs, num_components)
    kernels = hermite_pair_kernels(white)
    signal = ((labels - labels.mean()) / labels.std())[:, None]
    sizes, p_values = _scores(kernels, signal, num_flips, generator)
    codes = _bin_codes(labels, num_bins)
    bins = codes - codes.mean(axis=0)
    generative_sizes, generative_p = _scores(kernels, bins / np.sqrt(codes.mean(axis=0)), num_flips, generator)
    return DataExponents(
        information=_lowest(p_values, level),
        generative=_lowest(generative_p, level),
        sizes=sizes,
        p_values=p_values,
        generative_sizes=generative_sizes,
        generative_p_values=generative_p,
        num_samples=inputs.shape[0],
        num_components=white.shape[1],
    )


def hermite_pair_kernels(white: Array) -> list[Array]:
    """<He_k(x), He_k(x')> / k! for k = 1, 2, 3 and every pair, zero on the diagonal; shape (n, n) each.

    With t = x.x', s = |x|^2 + |x'|^2 and d dimensions: t, (t^2 - s + d)/2, (t^3 - 3 t s + (3 d + 6) t)/6.
    """
    products = white @ white.T
    squares = np.diagonal(products)
    total = squares[:, None] + squares[None, :]
    dim = white.shape[1]
    kernels = [
        products.copy(),
        0.5 * (products**2 - total + dim),
        (products**3 - 3.0 * products * total + (3.0 * dim + 6.0) * products) / 6.0,
    ]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0.0)
    return kernels


def _scores(kernels: list[Array], signal: Array, num: int, generator: np.random.Generator) -> tuple[Array, Array]:
    count = signal.shape[0]
    signs = np.where(generator.random((count, num + 1)) < 0.5, -1.0, 1.0)
    signs[:, 0] = 1.0
    values = np.empty((len(kernels), num + 1))
    for row, kernel in enumerate(kernels):
        weighted = kernel * (signal @ signal.T)
        values[row] = np.einsum("ir,ir->r", signs, weighted @ signs) / (count * (count - 1.0))
    return values[:, 0], (values[:, 1:] >= values[:, :1]).sum(axis=1) / (num + 1.0) + 1.0 / (num + 1.0)


def _whiten(inputs: Array, num_components: int) -> Array:
    centred = inputs - inputs.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    keep = min(num_components, int(np.sum(size > 1e-8 * size[0])), inputs.shape[0] // 4)
    return left[:, :keep] * np.sqrt(inputs.shape[0])


def _bin_codes(labels: Array, num_bins: int) -> Array:
    values = np.unique(labels)
    if values.size > num_bins:
        edges = np.unique(np.quantile(labels, np.linspace(0, 1, num_bins + 1)[1:-1]))
        index = np.searchsorted(edges, labels, side="right")
    else:
        index = np.searchsorted(values, labels)
    used = np.unique(index)
    return (index[:, None] == used[None, :]).astype(float)


def _lowest(p_values: Array, level: float) -> int | None:
    above = np.flatnonzero(p_values <= level)
    return int(above[0]) + 1 if above.size else None
