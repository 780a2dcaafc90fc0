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

import math
from dataclasses import dataclass

import torch

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.kernels.checked import checked_kernel, checked_rows
from cutaway.kernels.duals import CLEAR, DUALS, relu_of_roots, root
from cutaway.network.network import DEFAULT_BUDGET

NEAR = 1 - 1e-6  # cosines beyond it are taken with care
FAST = 512 * 1024  # bytes of one block's field: what stays in a processor's cache goes through quickest


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """Of each row, what its variances before one activation are, (n,) or (n, h, w): `root` their roots, `inverse` 1
    over these (1 where there is none), `alive` 1 where there is one, None where there is everywhere."""

    variance: torch.Tensor
    root: torch.Tensor
    inverse: torch.Tensor
    alive: torch.Tensor | None

    @classmethod
    def of(cls, variance: torch.Tensor) -> Own:
        """From variances of any shape. Exact. Source: definition."""
        alive = variance > 0
        inverse = torch.where(alive, variance, torch.ones_like(variance)).rsqrt()
        return cls(variance, root(variance), inverse, None if bool(alive.all()) else alive.to(variance))


@dataclass(frozen=True, slots=True, kw_only=True)
class InfiniteNetwork:
    """An architecture of infinite width with a linear output.

    depth : hidden layers, at least 1.
    activation : relu, erf or gelu.
    weight_variance, output_variance, bias_variance : v, the output's v, b.
    kernel_size : side of the convolutions (odd), or 0 for a fully connected network on flattened inputs.
    pooling : of convolutions, mean over all pixels before the output; without it pixels are flattened. Raises
    `InputError` for other values.
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
        variances = (self.weight_variance, self.output_variance, self.bias_variance)
        if not (all(0 <= v < math.inf for v in variances) and self.weight_variance > 0):
            raise InputError(
                "infinite network",
                found="variances " + ", ".join(f"{v:g}" for v in variances),
                expected="finite variances of 0 or more, that of weights above 0",
                remedy="2, 1 and 0 are those of He's initialisation",
            )

    def kernels(
        self, left: torch.Tensor, right: torch.Tensor | None = None, *, budget: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """NNGP and NTK, each (n, m), between the rows of `left` and `right` (`left` itself where None: half the work).

        Exact up to rounding, in the inputs' type (fully connected ones worked out in float64) and on their device;
        differentiable in the inputs. A row of zeros has kernel 0 (b and more with biases). Cost: depth n m operations
        of a dual, times the pixels of an image (their square with pooling). Raises `InputError` for images that are
        none, rows of two shapes or not finite, and a kernel that the inputs' type does not hold, `BudgetError` where
        one pair does not fit. Source: Jacot, Gabriel and Hongler 2018; Arora et al. 2019 for convolutions.
        """
        left = checked_rows("inputs", left)
        right = None if right is None else checked_rows("inputs, right", right, left)
        self._check(left)
        kept = left.dtype
        if not self.kernel_size:  # of a row with itself, rounding in float32 would take 4e-4 of the kernel
            left, right = left.double(), None if right is None else right.double()
        other = left if right is None else right
        mine, theirs = self._diagonals(left), self._diagonals(other)
        field = self._field(left)
        memory = budget or DEFAULT_BUDGET
        side = int(min(chunk_size(12 * field, memory // 2), max(1, FAST // field)) ** 0.5) or 1
        step = max(1, min(side, len(left)))
        made = [
            torch.zeros(len(left), len(other), dtype=kept, device=left.device) for _ in range(2)
        ]  # one may be freed
        width = max(1, min(chunk_size(12 * field, memory // 2), max(1, FAST // field)) // step)
        for start in range(0, len(left), step):
            rows, first = slice(start, start + step), start if right is None else 0
            for begin in range(first, len(other), width):
                columns = slice(begin, begin + width)
                found = self._block(left[rows], other[columns], (mine, rows), (theirs, columns))
                for whole, part in zip(made, found, strict=True):
                    whole[rows, columns] = part.to(kept)
                    if right is None:  # what lies right of the square on the diagonal, and the square's upper half
                        whole[columns, rows] = part.T.to(kept)
                        whole[rows, rows] = whole[rows, rows].tril() + whole[rows, rows].tril(-1).T
        doubled = "give the inputs as inputs.double()"
        return checked_kernel(made[0], doubled=doubled), checked_kernel(made[1], doubled=doubled)

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
            raise InputError(
                "inputs", found=str(inputs.dtype), expected="float32 or float64", remedy="give inputs.double()"
            )

    def _field(self, inputs: torch.Tensor) -> int:
        pixels = inputs.shape[2] * inputs.shape[3] if self.kernel_size else 1
        return inputs.element_size() * (pixels**2 if self.pooling else pixels)

    def _start(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """<x, x'> / d by pair of rows: (n, m), (n, m, h, w), or (n, m, h, w, h, w) with pooling."""
        if not self.kernel_size:
            return left.flatten(1) @ right.flatten(1).T / left[0].numel()
        if self.pooling:
            return _mean_product(left[:, None, ..., None, None], right[None, :, :, None, None])
        return _mean_product(left[:, None], right[None])

    def _diagonals(self, inputs: torch.Tensor) -> list[Own]:
        """The rows' own variances before each activation, one a hidden layer."""
        if self.kernel_size:
            here = _mean_product(inputs[None], inputs[None])[0]
        else:
            here = inputs.flatten(1).square().mean(dim=1)
        found = []
        for layer in range(self.depth):
            here = self._spread(here, own=True) + self.bias_variance
            found.append(Own.of(here))
            if layer + 1 < self.depth:
                here = DUALS[self.activation](here, here, torch.ones_like(here))[0]
        return found

    def _block(
        self, left: torch.Tensor, right: torch.Tensor, mine: tuple[list[Own], slice], theirs: tuple[list[Own], slice]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        here = self._start(left, right)
        tangent, scale = torch.zeros_like(here), 1.0
        for layer in range(self.depth):
            here = self._spread(here) + self.bias_variance if self.bias_variance else self._spread(here)
            tangent = here + self._spread(tangent, scale=scale) if layer else here
            here, slope, scale = self._activated(here, mine[0][layer], mine[1], theirs[0][layer], theirs[1])
            tangent = tangent * slope
        spatial = tuple(range(2, here.dim()))
        if spatial:
            here, tangent = here.mean(dim=spatial), tangent.mean(dim=spatial)
        out = self.output_variance * here + self.bias_variance
        return out, out + self.output_variance * scale * tangent

    def _activated(
        self, here: torch.Tensor, mine: Own, rows: slice, theirs: Own, columns: slice
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """The covariance behind an activation, its derivative over a number, and that number."""
        a, b = self._pairs(mine.variance[rows], theirs.variance[columns])
        one, other = self._pairs(mine.inverse[rows], theirs.inverse[columns])
        cosine = here * one * other
        if bool(cosine.detach().amax() > NEAR):  # roots by themselves are off by a last bit: of a row with itself, 1
            cosine = here / (_positive(a) * _positive(b)).sqrt()
        edge = 1 - CLEAR if here.requires_grad else 1.0
        cosine = cosine.clamp(-edge, edge)
        if self.activation != "relu":
            return *DUALS[self.activation](a, b, cosine), 1.0
        one, other = self._pairs(mine.root[rows] / (2 * math.pi), theirs.root[columns])
        value, slope = relu_of_roots(one, other, cosine)
        for alive, part, k in ((mine.alive, rows, 0), (theirs.alive, columns, 1)):
            if alive is not None:
                slope = slope * self._pairs(alive[part], alive[part])[k]
        return value, slope, 1 / (2 * math.pi)

    def _pairs(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.pooling and self.kernel_size:
            return a[:, None, :, :, None, None], b[None, :, None, None]
        return a[:, None], b[None]

    def _spread(self, field: torch.Tensor, *, own: bool = False, scale: float = 1.0) -> torch.Tensor:
        """v `scale` times the means over patches around each pixel (pair of pixels, moved together), zeros beyond the
        border."""
        if not self.kernel_size:
            return field * (scale * self.weight_variance)
        reach, paired = self.kernel_size // 2, self.pooling and not own
        for dims in ((-1, -3), (-2, -4)) if paired else ((-1,), (-2,)):
            field = _summed(field, dims, reach)
        return field * (scale * self.weight_variance / self.kernel_size**2)


def _mean_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The mean over channels, dimension 2, of left * right, broadcast together; always in the same order, so that a
    row's with itself are its variances to the last bit."""
    total = left.select(2, 0) * right.select(2, 0)
    for channel in range(1, left.shape[2]):
        total = total + left.select(2, channel) * right.select(2, channel)
    return total / left.shape[2]


def _summed(field: torch.Tensor, dims: tuple[int, ...], reach: int) -> torch.Tensor:
    """The sum of `field` moved by -reach .. reach along all of `dims` together, zeros moving in."""
    total = field.clone()
    for step in range(1, min(reach, min(field.shape[dim] for dim in dims) - 1) + 1):
        early, late = total, total
        first, last = field, field
        for dim in dims:
            kept = field.shape[dim] - step
            early, late = early.narrow(dim, 0, kept), late.narrow(dim, step, kept)
            first, last = first.narrow(dim, 0, kept), last.narrow(dim, step, kept)
        early += last
        late += first
    return total


def _positive(variance: torch.Tensor) -> torch.Tensor:
    """`variance`, 1 where it is 0: a row of zeros has covariance 0 with every other."""
    return torch.where(variance > 0, variance, torch.ones_like(variance))
