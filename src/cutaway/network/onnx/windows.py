"""Where the windows of an ONNX pooling lie, in every spatial dimension.

ONNX: https://onnx.ai/onnx/operators/onnx__AveragePool.html; with `ceil_mode` a last window that would begin beyond the
data and the padding before it is left out, as onnxruntime and torch do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """`sizes` of the data, `kernel`, `strides`, `steps` (dilations), padding `before` and `after`: one number for each
    spatial dimension."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    steps: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    ceil: bool

    @property
    def plain(self) -> bool:
        """Whether torch's own padding says the same: even, and at most half a window."""
        return self.before == self.after and all(2 * pad <= size for pad, size in zip(self.before, self.kernel))

    @property
    def fits(self) -> bool:
        """Whether the data alone hold a window, which torch's pooling in three dimensions asks for."""
        return all(self._extent(k) <= size for k, size in enumerate(self.sizes))

    @property
    def outputs(self) -> tuple[int, ...]:
        """How many windows there are."""
        found = []
        for k, size in enumerate(self.sizes):
            room = size + self.before[k] + self.after[k] - self._extent(k)
            stride = self.strides[k]
            number = (-(-room // stride) if self.ceil else room // stride) + 1
            if self.ceil and (number - 1) * stride >= size + self.before[k]:
                number -= 1
            found.append(number)
        return tuple(found)

    @property
    def reach(self) -> tuple[int, ...]:
        """Padding after the data that lets the last window end exactly there (negative: data that no window takes)."""
        return tuple(
            (number - 1) * self.strides[k] + self._extent(k) - self.sizes[k] - self.before[k]
            for k, number in enumerate(self.outputs)
        )

    def counts(self, *, padding: bool) -> list[Tensor]:
        """For every dimension, how many positions of each window are data, or data and declared padding."""
        found = []
        for k, number in enumerate(self.outputs):
            inside = self.before[k] + torch.arange(self.sizes[k])
            if padding:
                inside = torch.arange(self.before[k] + self.sizes[k] + self.after[k])
            start = torch.arange(number)[:, None] * self.strides[k]
            taken = start + torch.arange(self.kernel[k]) * self.steps[k]
            found.append(torch.isin(taken, inside).sum(1))
        return found

    def _extent(self, k: int) -> int:
        return (self.kernel[k] - 1) * self.steps[k] + 1
