"""The module an ONNX file becomes: its layers, run in the order of the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError


class OnnxModel(nn.Module):
    """The layers of an ONNX graph, run in the order of the file.

    input_shape: of one input without batch. batched: whether the file's first dimension is a batch. batch_free:
    whether rows are computed together (else one by one). node_names: module name -> name in the file. checked_by: the
    program that gave the same values (see `load_onnx`), "" for none. The input is (N, *input_shape); where the file has
    no batch dimension, it is input_shape or (N, *input_shape).
    """

    runs_straight = True
    """Read by `network.graph.trace`: no control flow, nothing in place."""

    def __init__(self, input_shape: tuple[int, ...], batched: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.input_shape, self.batched, self.batch_free = input_shape, batched, batched
        self.input_dtype = dtype
        self.node_names: dict[str, str] = {}
        self.steps: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = []
        self.input_name = self.output_name = self.checked_by = ""
        self.folded_narrowing = ""  # the first constant that the file rounds to a coarser type, in words

    def example(self, num: int = 1, seed: int = 0) -> Tensor:
        """Inputs of the right shape and type: uniform in [0, 1], or zeros and ones for integers."""
        shape = (num, *self.input_shape) if self.batched else self.input_shape
        generator = torch.Generator().manual_seed(seed)
        if self.input_dtype.is_floating_point:
            return torch.rand(shape, generator=generator, dtype=torch.float32).to(self.input_dtype)
        return torch.randint(0, 2, shape, generator=generator).to(self.input_dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs of `inputs` (n, *input shape). Raises `InputError` for another shape."""
        shape = tuple(inputs.shape)
        if not self.batched and shape == self.input_shape:
            return self._run(inputs)
        if len(shape) != len(self.input_shape) + 1 or shape[1:] != self.input_shape:
            raise self._other_shape(shape)
        if self.batch_free:
            return self._run(inputs)
        rows = [self._run(row[None] if self.batched else row) for row in inputs]
        if self.batched and rows[0].ndim > 0 and rows[0].shape[0] == 1:
            return torch.cat(rows)
        return torch.stack(rows)

    def _other_shape(self, shape: tuple[int, ...]) -> InputError:
        fixed = not self.batched and len(shape) == len(self.input_shape) and shape[1:] == self.input_shape[1:]
        if fixed:
            return InputError(
                f"input {self.input_name!r} of the ONNX model",
                found=f"{shape[0]} rows of shape {shape[1:]}",
                expected=f"{self.input_shape[0]}, the size that the file fixes its first dimension to",
                remedy="if that is a batch, export the model with a batch of 1 or an open one (dynamic_shapes)",
            )
        return InputError(
            f"input {self.input_name!r} of the ONNX model",
            found=f"shape {shape}",
            expected=f"(N, {', '.join(str(size) for size in self.input_shape)})",
            remedy="reshape the inputs",
        )

    def _run(self, inputs: Tensor) -> Tensor:
        values: dict[str, Any] = {self.input_name: inputs}
        for name, takes, gives, drops in self.steps:
            result = getattr(self, name)(*[values[value] for value in takes])
            values.update(zip(gives, result if isinstance(result, list) else (result,)))
            for value in drops:
                del values[value]
        return values[self.output_name]
