"""Finite lifts: maps of a block of inputs (b, q) to features (b, P), as torch modules without parameters to train.

`RandomLift` is z = sigma(W^T h / c) / sqrt(P) with W standard normal and frozen (arXiv 2605.13612, one layer).
`NystroemLift` is z = R^T k(landmarks, h / c), the exact kernel projected on m landmarks: z.z' is the Nystroem
approximation of the kernel, and `nystroem_error` states what share of the trace it misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cutaway.arrays import Array
from cutaway.features.lofi.activations import torch_activation
from cutaway.features.lofi.dual_kernels import cross_kernel, diagonal_kernel, gram_kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomLift:
    """`weights` (q, P), `scale` c, activation name."""

    weights: torch.Tensor
    scale: float
    activation: str

    @property
    def width(self) -> int:
        return self.weights.shape[1]

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = (inputs / self.scale).to(self.weights.dtype) @ self.weights
        return torch_activation(self.activation)(hidden) / self.width**0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NystroemLift:
    """`landmarks` (m, q) already scaled, `root` (m, r) with root root^T the inverse of their Gram matrix."""

    landmarks: Array
    root: torch.Tensor
    scale: float
    activation: str

    @property
    def width(self) -> int:
        return self.root.shape[1]

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        points = inputs.detach().cpu().numpy().astype(np.float64) / self.scale
        kernel = cross_kernel(points, self.landmarks, self.activation)
        return torch.from_numpy(kernel).to(self.root) @ self.root


def random_lift(
    width_in: int,
    width: int,
    scale: float,
    activation: str,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: str,
) -> RandomLift:
    """A fresh frozen lift; drawn on the CPU so that the same seed gives the same weights on every device."""
    weights = torch.randn(width_in, width, generator=generator, dtype=torch.float64)
    return RandomLift(weights=weights.to(device=device, dtype=dtype), scale=scale, activation=activation)


def nystroem_lift(
    inputs: Array, count: int, scale: float, activation: str, generator: np.random.Generator, dtype: torch.dtype
) -> NystroemLift:
    """Landmarks drawn uniformly without replacement; eigenvalues of their Gram below 1e-10 of the top are cut."""
    index = np.sort(generator.permutation(inputs.shape[0])[:count])
    landmarks = inputs[index] / scale
    values, vectors = np.linalg.eigh(gram_kernel(landmarks, activation))
    keep = values > 1e-10 * values[-1]
    keep[-1] = True  # inputs that are all zero leave a kernel of zeros
    root = torch.from_numpy(vectors[:, keep] / np.sqrt(np.maximum(values[keep], 1e-300))).to(dtype)
    return NystroemLift(landmarks=landmarks, root=root, scale=scale, activation=activation)


def nystroem_error(lift: NystroemLift, inputs: Array) -> float:
    """Share of the kernel's trace over `inputs` that the landmarks miss: 1 - sum |z|^2 / sum k(x, x), in [0, 1]."""
    exact = float(diagonal_kernel(inputs / lift.scale, lift.activation).sum())
    kept = float((lift(torch.from_numpy(inputs)).double() ** 2).sum())
    return max(0.0, 1.0 - kept / exact) if exact > 0 else 0.0
