"""An ONNX model in the making, for random models: nodes one after another, shapes by onnx's shape inference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Unfit(Exception):
    """The operator does not fit the data that are there."""


@dataclass
class Draft:
    """A model in the making: `value` is the newest tensor's name, `shape` its shape for one row."""

    rng: np.random.Generator
    opset: int
    shape: tuple[int, ...]
    value: str = "x"
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    first: tuple[int, ...] = ()
    known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = self.shape

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype=dtype)
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape))

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node, and the name of its first output."""
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **given))
        return names[0]

    def like_data(self, name: str) -> str:
        """The same name; its shape is that of `value`, which onnx's inference does not tell of every operator."""
        self.known[name] = self.shape
        return name

    def take(self, name: str) -> None:
        self.value = name
        self.shape = self._shape_of(name)

    def model(self, batch: int | None) -> Any:
        last = self.node("Cast", self.value, to=TensorProto.FLOAT)
        self.take(last)
        sizes = [batch, *self.first[1:]] if batch is None else list(self.first)
        return self._build(last, sizes)

    def _build(self, output: str, sizes: list) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
            [helper.make_empty_tensor_value_info(output)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
            value_info=[helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in self._known_here()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def _known_here(self) -> list[tuple[str, tuple[int, ...]]]:
        made = {name for node in self.nodes for name in node.output}
        return [(k, v) for k, v in self.known.items() if k in made]

    def _shape_of(self, name: str) -> tuple[int, ...]:
        if name in self.known:
            return self.known[name]
        known = onnx.shape_inference.infer_shapes(self._build(name, list(self.first)), data_prop=True)
        for value in known.graph.output:
            dims = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
                return self._positive(tuple(d.dim_value for d in dims))
        raise Unfit

    def _positive(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape inference gives negative sizes where no window fits; nothing follows upon emptiness."""
        if any(size < 1 for size in shape):
            raise Unfit
        return shape

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def axis(self, rank: int | None = None) -> int:
        rank = len(self.shape) if rank is None else rank
        if rank == 0:
            raise Unfit
        return int(self.rng.integers(-rank, rank))

    def axes(self) -> list[int]:
        rank = len(self.shape)
        if rank == 0:
            raise Unfit
        chosen = self.rng.permutation(rank)[: int(self.rng.integers(1, rank + 1))]
        return [int(a) - self.pick(0, rank) for a in chosen]
