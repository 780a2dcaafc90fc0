"""What an importer of ONNX nodes works with: the node, its operands, and `Apply`, a layer around one function of
functions.py.

Constant operands are built into the layer (weights as parameters, other numbers as buffers, sizes and axes as plain
integers); the others are the inputs of its `forward`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import UnsupportedOperator
from cutaway.network.onnx.functions import FUNCTIONS
from cutaway.network.onnx.host import as_tuple, is_host, to_host
from cutaway.network.onnx.normalisations import gain

# operands that are sizes, axes or positions: plain integers, never data
INTEGER_OPERANDS = {
    "Reshape": {1},
    "Squeeze": {1},
    "Unsqueeze": {1},
    "Slice": {1, 2, 3, 4},
    "Pad": {1, 3},
    "Expand": {1},
    "Tile": {1},
    "Split": {1},
    "ConstantOfShape": {0},
    **{name: {1} for name in FUNCTIONS if name.startswith("Reduce")},
}
LARGEST = 3.4e38  # of float32, about
WEIGHTED = {"MatMul", "Gemm", "PRelu", "Einsum", "Gather"}
WEIGHTED |= {f"{kind}Normalization" for kind in ("Layer", "Group", "Instance", "RMS")}


@functools.cache
def _float_defaults(op_type: str, opset: int) -> tuple[tuple[str, float], ...]:
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:  # no operator of that opset: the importer says so where it is used
        return ()
    kind = onnx.AttributeProto.FLOAT
    given = [(name, a.default_value.f) for name, a in schema.attributes.items() if a.default_value.type == kind]
    return tuple((name, value) for name, value in given if abs(value) < LARGEST)  # the limits of Clip are none


def float_defaults(op_type: str, opset: int) -> dict[str, float]:
    """What numbers an operator takes where the file gives none: float32 in ONNX, so .01 is 0.00999999977648."""
    return dict(_float_defaults(op_type, opset))


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node of the file with its attributes as Python values and torch tensors."""

    index: int
    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)
    opset: int
    path: str

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def refuse(self, found: str, remedy: str = "") -> UnsupportedOperator:
        return UnsupportedOperator(
            f"operator {self.op_type} at node {self.name!r} of {self.path} (opset {self.opset})",
            found=found,
            expected="an operator that Cutaway's importer knows",
            remedy=remedy
            or "simplify the file (onnxsim), export it without this operator, or load the model from its Python code",
        )


@dataclass(frozen=True, slots=True)
class Operand:
    """A value on the example, and whether it is the same for every input."""

    value: Any
    constant: bool


class Apply(nn.Module):
    """A function of functions.py with its constant operands built in; the other operands are the inputs of `forward`,
    in order."""

    def __init__(
        self, op_type: str, attributes: dict[str, Any], operands: list[Operand | None], known_op: str = ""
    ) -> None:
        super().__init__()
        self.op_type, self.attributes = op_type, dict(attributes)
        self.slots: list[tuple[str, Any]] = []
        on_shapes = any(o is not None and not o.constant and is_host(o.value) for o in operands)
        for k, operand in enumerate(operands):
            self.slots.append(self._slot(k, operand, on_shapes, known_op or op_type))
        if isinstance(self.attributes.get("to"), torch.dtype) and self.attributes["to"] == torch.float32:
            self.register_buffer("precision", torch.empty(0), persistent=False)  # follows .double()
        for name, value in self.attributes.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                self.register_buffer(f"attribute_{name}", value, persistent=False)

    def _slot(self, k: int, operand: Operand | None, on_shapes: bool, op_type: str) -> tuple[str, Any]:
        if operand is None:
            return "fixed", None
        if not operand.constant:
            return "input", None
        value = operand.value
        if k in INTEGER_OPERANDS.get(op_type, ()):
            return "fixed", as_tuple(value)
        if not value.is_floating_point() and on_shapes and value.ndim <= 1:
            return "fixed", to_host(value)
        if value.numel() == 1 and op_type in ("Pow", "Clip", "Pad") and k > 0:
            return "fixed", value.item()
        name = f"constant_{k}"
        if value.is_floating_point() and op_type in WEIGHTED:
            self.register_parameter(name, nn.Parameter(value.clone()))
        else:
            self.register_buffer(name, value.clone())
        return "tensor", name

    def operands(self, *inputs: Any) -> list[Any]:
        """All operands of the function, in order."""
        given, found = iter(inputs), []
        for kind, what in self.slots:
            found.append(next(given) if kind == "input" else what if kind == "fixed" else getattr(self, what))
        return found

    def gain(self, *inputs: Any) -> float:
        """By how much the operator may enlarge a rounding of its inputs at these inputs, where that is known; else
        1."""
        return gain(self.op_type, self.attributes, *self.operands(*inputs)[:2])

    def forward(self, *inputs: Any) -> Any:
        attributes = self.attributes
        if "precision" in self._buffers:
            attributes = {**attributes, "to": self.precision.dtype}
        if "attribute_value" in self._buffers:
            attributes = {**attributes, "value": self.attribute_value}
        return FUNCTIONS[self.op_type](attributes, *self.operands(*inputs))

    def extra_repr(self) -> str:
        return self.op_type
