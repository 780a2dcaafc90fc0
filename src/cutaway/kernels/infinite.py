"""Kernels of infinitely wide networks in closed form: NNGP (the prior over functions) and NTK (what training sees).

With S the covariance before a layer's activation and T its tangent kernel (Jacot, Gabriel and Hongler 2018; Arora et
al. 2019 for convolutions):

    S_1 = v <x, x'> / d + b,  T_1 = S_1,
    S_{l+1} = v E[s(u) s(u')] + b,  T_{l+1} = S_{l+1} + v T_l E[s'(u) s'(u')],   (u, u') normal of covariance S_l,

v the variance of the weights times the fan-in, b that of the biases, and for the linear output `output_variance` in the
place of v. A convolution does the same on pairs of pixels and takes means over patches (zeros beyond the border); with
flattening only a pixel and itself are needed, with mean pooling all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.kernels.duals import CLEAR, DUALS
from cutaway.network.network import DEFAULT_BUDGET

FAST = 256 * 1024  # bytes of one block's field: what stays in a processor's cache goes through quickest


@dataclass(frozen=True, slots=True, kw_only=True)
class InfiniteNetwork:
    """An architecture of infinite width with a linear output.

    depth : hidden layers, at least 1.
    activation : relu, erf or gelu.
    weight_variance, output_variance, bias_variance : v, the output's v, b.
    kernel_size : side of the convolutions (odd), or 0 for a fully connected network on flattened inputs.
    pooling : of convolutions, mean over all pixels before the output; without it pixels are flattened.
    """

    depth: int = 2
    activation: str = "relu"
    weight_variance: float = 2.0
    output_variance: float = 1.0
    bias_variance: float = 0.0
    kernel_size: int = 0
    pooling: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1 or self.activation not in DUALS or (self.kernel_size and self.kernel_size % 2 == 0):
            raise InputError(
                "infinite network",
                found=f"depth {self.depth}, activation {self.activation!r}, kernel size {self.kernel_size}",
                expected=f"depth 1 or more, one of {', '.join(DUALS)}, an odd kernel size or 0",
                remedy="a kernel size of 0 is a fully connected network",
            )

    def kernels(
        self, left: torch.Tensor, right: torch.Tensor | None = None, *, budget: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """NNGP and NTK, each (n, m), between the rows of `left` and `right` (`left` itself where None: half the work).

        Exact up to rounding (GELU: quadrature, see `duals`), in the inputs' type and on their device; differentiable in
        the inputs. A row of zeros has kernel 0 (b and more with biases). Cost: depth n m operations of a dual, times
        the pixels of an image (their square with pooling). Raises `InputError` for images that are none, `BudgetError`
        where one pair does not fit.
        """
        other = left if right is None else right
        self._check(left)
        mine, theirs = self._diagonals(left), self._diagonals(other)
        field = self._field(left)
        memory = budget or DEFAULT_BUDGET
        side = int(min(chunk_size(12 * field, memory // 2), max(1, FAST // field)) ** 0.5) or 1
        step = max(1, min(side, len(left)))
        blocks = torch.zeros(2, len(left), len(other), dtype=left.dtype, device=left.device)
        width = max(1, min(chunk_size(12 * field, memory // 2), max(1, FAST // field)) // step)
        for start in range(0, len(left), step):
            rows, first = slice(start, start + step), start if right is None else 0
            for begin in range(first, len(other), width):
                columns = slice(begin, begin + width)
                a, b = [d[rows] for d in mine], [d[columns] for d in theirs]
                blocks[:, rows, columns] = self._block(left[rows], other[columns], a, b)
        if right is None:
            upper = blocks.triu()
            blocks = upper + upper.triu(1).transpose(1, 2)
        return blocks[0], blocks[1]

    def _check(self, inputs: torch.Tensor) -> None:
        if self.kernel_size and inputs.dim() != 4:
            shape = tuple(inputs.shape)
            raise InputError(
                "inputs",
                found=f"shape {shape}",
                expected="images (n, channels, height, width)",
                remedy="reshape them, or take a kernel size of 0",
            )
        if not inputs.is_floating_point() or inputs.dtype in (torch.float16, torch.bfloat16):
            raise InputError("inputs", found=str(inputs.dtype), expected="float32 or float64", remedy="inputs.double()")

    def _field(self, inputs: torch.Tensor) -> int:
        pixels = inputs.shape[2] * inputs.shape[3] if self.kernel_size else 1
        return inputs.element_size() * (pixels**2 if self.pooling else pixels)

    def _start(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """<x, x'> / d by pair of rows: (n, m), (n, m, h, w), or (n, m, h, w, h, w) with pooling."""
        if not self.kernel_size:
            return left.flatten(1) @ right.flatten(1).T / left[0].numel()
        letters = "nchw,mcij->nmhwij" if self.pooling else "nchw,mchw->nmhw"
        return torch.einsum(letters, left, right) / left.shape[1]

    def _diagonals(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The variances before each activation: (n,) or (n, h, w), one a hidden layer."""
        if self.kernel_size:
            here = inputs.square().mean(dim=1)
        else:
            here = inputs.flatten(1).square().mean(dim=1)
        found = []
        for layer in range(self.depth):
            here = self.weight_variance * self._mean(here, own=True) + self.bias_variance
            found.append(here)
            if layer + 1 < self.depth:
                here = DUALS[self.activation](here, here, torch.ones_like(here))[0]
        return found

    def _block(self, left, right, mine, theirs) -> torch.Tensor:
        here = self._start(left, right)
        tangent = torch.zeros_like(here)
        for layer in range(self.depth):
            here = self.weight_variance * self._mean(here) + self.bias_variance
            tangent = here + (self.weight_variance * self._mean(tangent) if layer else 0.0)
            a, b = self._pairs(mine[layer], theirs[layer])
            size = (a * b).sqrt()
            cosine = torch.where(size > 0, here / size.clamp(min=torch.finfo(here.dtype).tiny), torch.zeros_like(here))
            edge = 1 - CLEAR if here.requires_grad else 1.0
            here, slope = DUALS[self.activation](a, b, cosine.clamp(-edge, edge))
            tangent = tangent * slope
        spatial = tuple(range(2, here.dim()))
        if spatial:
            here, tangent = here.mean(dim=spatial), tangent.mean(dim=spatial)
        out = self.output_variance * here + self.bias_variance
        return torch.stack([out, out + self.output_variance * tangent])

    def _pairs(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.pooling and self.kernel_size:
            return a[:, None, :, :, None, None], b[None, :, None, None]
        return a[:, None], b[None]

    def _mean(self, field: torch.Tensor, *, own: bool = False) -> torch.Tensor:
        """Means over patches around each pixel (pair of pixels, moved together), zeros beyond the border."""
        if not self.kernel_size:
            return field
        reach = self.kernel_size // 2
        paired = self.pooling and not own
        if not paired:
            for dim in (-1, -2):
                field = _summed(field, (dim,), reach)
        else:
            for dims in ((-1, -3), (-2, -4)):
                field = _summed(field, dims, reach)
        return field / self.kernel_size**2


def _summed(field: torch.Tensor, dims: tuple[int, ...], reach: int) -> torch.Tensor:
    """The sum of `field` moved by -reach .. reach along `dims`."""
    total = field
    for step in range(1, reach + 1):
        total = total + _shifted(field, dims, step) + _shifted(field, dims, -step)
    return total


def _shifted(field: torch.Tensor, dims: tuple[int, ...], step: int) -> torch.Tensor:
    """`field` moved by `step` along each of `dims`, zeros moving in."""
    for dim in dims:
        size = field.shape[dim]
        if abs(step) >= size:
            return torch.zeros_like(field)
        kept = field.narrow(dim, max(step, 0), size - abs(step))
        if step:
            shape = list(field.shape)
            shape[dim] = abs(step)
            nothing = field.new_zeros(shape)
            kept = torch.cat([kept, nothing] if step > 0 else [nothing, kept], dim=dim)
        field = kept
    return field
