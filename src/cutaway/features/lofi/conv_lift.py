"""Convolutional lift: every spatial position of an image is a sample that inherits the image's label.

z at a position = pool(sigma(W * h / c)), W i.i.d. standard normal over (channels, k, k), no bias; the moment operator
sums over images and positions, C = (1/(n S)) sum_{i,s} y_i z_is z_is^T, and its directions act as a 1 x 1
convolution. The public code pools in some layers and divides by no scale here; we divide by c (root mean square patch
norm), which for ReLU only changes units, and pool every lift by `pool`. Shapes: in (b, C H W) flat rows, out (b S,
P), S = (H // pool)(W // pool).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cutaway.arrays import Array
from cutaway.features.lofi.activations import torch_activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLift:
    """`weights` (P, C, k, k), `shape` (C, H, W) of the incoming maps, `pool` side of the max pooling."""

    weights: torch.Tensor
    scale: float
    activation: str
    shape: tuple[int, int, int]
    pool: int

    @property
    def width(self) -> int:
        return self.weights.shape[0]

    @property
    def out_size(self) -> tuple[int, int]:
        return self.shape[1] // self.pool, self.shape[2] // self.pool

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = inputs.to(self.weights.dtype).reshape(-1, *self.shape) / self.scale
        lifted = torch_activation(self.activation)(functional.conv2d(maps, self.weights, padding="same"))
        if self.pool > 1:
            lifted = functional.max_pool2d(lifted, self.pool)
        return lifted.permute(0, 2, 3, 1).reshape(-1, self.width) / self.width**0.5


def conv_lift(
    inputs: Array,
    shape: tuple[int, int, int],
    width: int,
    kernel_size: int,
    pool: int,
    activation: str,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: str,
) -> ConvLift:
    """A fresh frozen convolution of `width` channels; pooling is dropped where the maps are smaller than it."""
    weights = torch.randn(width, shape[0], kernel_size, kernel_size, generator=generator, dtype=torch.float64)
    power = float(np.mean(np.square(inputs[:4096], dtype=np.float64)))
    scale = float(np.sqrt(max(power, 1e-300) * shape[0] * kernel_size**2))
    side = pool if min(shape[1:]) >= 2 * pool else 1
    return ConvLift(
        weights=weights.to(device=device, dtype=dtype), scale=scale, activation=activation, shape=shape, pool=side
    )


def patch_filters(
    images: Array, signal: Array, kernel_size: int, count: int, *, rows: int = 512
) -> tuple[Array, Array]:
    """Leading eigenvectors of the label-weighted patch covariance on raw pixels, one colour channel at a time.

    `images` (n, C, H, W), `signal` (n,) real. Returns filters (C, count, k, k), unit norm, and eigenvalues (C, count)
    by falling magnitude. The picture of what a first convolution should look for (arXiv 2605.13612, filter figure).
    Exact up to rounding, for these images.
    """
    channels, size = images.shape[1], kernel_size**2
    filters, values = np.empty((channels, count, kernel_size, kernel_size)), np.empty((channels, count))
    for channel in range(channels):
        total, number = np.zeros((size, size)), 0
        for start in range(0, images.shape[0], rows):
            block = torch.from_numpy(np.asarray(images[start : start + rows, channel : channel + 1], dtype=np.float64))
            patches = functional.unfold(block, kernel_size)  # (b, k k, positions)
            weight = torch.from_numpy(np.asarray(signal[start : start + rows], dtype=np.float64))
            total += torch.einsum("b,bps,bqs->pq", weight, patches, patches).numpy()
            number += patches.shape[0] * patches.shape[2]
        eigenvalues, vectors = np.linalg.eigh(total / number)
        order = np.argsort(-np.abs(eigenvalues))[:count]
        values[channel] = eigenvalues[order]
        filters[channel] = vectors[:, order].T.reshape(count, kernel_size, kernel_size)
    return filters, values
