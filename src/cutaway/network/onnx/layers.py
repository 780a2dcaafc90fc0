"""One ONNX node as one torch layer: `nn.Linear`, `nn.Conv2d`, `nn.ReLU` and so on where torch has the layer, else
`Apply`.

`build_layer` gets the node and its operands with the values they have on the example, so that ranks and shapes are
known. Constant operands are built into the layer (weights as parameters, other numbers as buffers, sizes and axes as
plain integers); the others are its inputs. Differences between opsets are settled here, by bringing every node to the
form of the newest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import nearest_name
from cutaway.network.onnx.functions import FUNCTIONS
from cutaway.network.onnx.host import as_tuple, is_host
from cutaway.network.onnx.nodes import INTEGER_OPERANDS, Apply, OnnxNode, Operand
from cutaway.network.onnx.torch_layers import BUILDERS, linear

# attributes of older opsets that became operands: (name, place)
ATTRIBUTE_TO_OPERAND = {
    "Squeeze": (("axes", 1),),
    "Unsqueeze": (("axes", 1),),
    "Slice": (("starts", 1), ("ends", 2), ("axes", 3)),
    "Pad": (("pads", 1), ("value", 2)),
    "Clip": (("min", 1), ("max", 2)),
    "Reshape": (("shape", 1),),
    "Split": (("split", 1),),
    **dict.fromkeys((name for name in FUNCTIONS if name.startswith("Reduce")), (("axes", 1),)),
}


def build_layer(
    node: OnnxNode, operands: list[Operand | None], batched: bool, bias: Tensor | None = None
) -> tuple[nn.Module, list[int]]:
    """The layer for `node`, and which operands its forward takes. `bias`: of the Add that follows a MatMul. Raises
    UnsupportedOperator."""
    builder = BUILDERS.get(node.op_type)
    if builder is None and node.op_type not in FUNCTIONS:
        near = nearest_name(node.op_type, [*BUILDERS, *FUNCTIONS], likeness=0.8)
        hint = f"; the nearest known is {near}" if near else ""
        raise node.refuse(f"an operator outside the {len(BUILDERS.keys() | FUNCTIONS.keys())} known ones{hint}")
    if node.op_type == "MatMul" and bias is not None:
        weight = operands[1]
        assert weight is not None
        return linear(weight.value, bias), [0]
    layer = builder(node, operands, batched) if builder else None
    if layer is not None:
        return layer, [0]
    return _apply(node, operands, batched)


def fused_bias(
    node: OnnxNode, operands: list[Operand | None], nodes: list[OnnxNode], constants: dict[str, Tensor], output: str
) -> tuple[OnnxNode, Tensor] | None:
    """The Add of a constant row that alone takes the result of this MatMul with a constant matrix, and that row; else
    None."""
    if node.op_type != "MatMul" or len(operands) != 2 or node.outputs[0] == output:
        return None
    data, matrix = operands
    if data is None or matrix is None or data.constant or not matrix.constant or matrix.value.ndim != 2:
        return None
    users = [other for other in nodes if node.outputs[0] in other.inputs]
    if len(users) != 1 or users[0].op_type != "Add" or users[0].get("axis") is not None:
        return None
    other = [name for name in users[0].inputs if name != node.outputs[0]]
    row = constants.get(other[0]) if len(other) == 1 else None
    width = matrix.value.shape[1]
    if row is None or row.numel() != width or row.ndim == 0 or row.ndim > data.value.ndim or row.shape[-1] != width:
        return None
    return users[0], row.reshape(width)


def _apply(node: OnnxNode, operands: list[Operand | None], batched: bool) -> tuple[nn.Module, list[int]]:
    attributes: dict[str, Any] = dict(node.attributes)
    op_type = node.op_type
    for name, place in ATTRIBUTE_TO_OPERAND.get(op_type, ()):
        if name in attributes and (len(operands) <= place or operands[place] is None):
            operands = operands + [None] * (place + 1 - len(operands))
            operands[place] = Operand(torch.as_tensor(attributes.pop(name)), True)
    if any(node.outputs[1:]) and op_type != "Split":
        raise node.refuse(f"{len(node.outputs)} outputs", "export the model in inference mode")
    for place in INTEGER_OPERANDS.get(op_type, ()):
        operand = operands[place] if place < len(operands) else None
        if operand is not None and not operand.constant and not is_host(operand.value):
            raise node.refuse(f"operand {place} (a size, an axis or a position) computed from the data")
    if op_type == "Split" and (len(operands) < 2 or operands[1] is None):
        attributes.setdefault("num_outputs", len(node.outputs))
    if op_type == "Reshape":
        attributes["keep_batch"] = batched and _reshape_keeps_batch(operands)
    if op_type in ("Add", "Sub", "Mul", "Div", "Pow") and "axis" in attributes:
        operands = _legacy_broadcast(attributes, operands)
    if op_type == "Constant":
        attributes = {"value": _constant(node)}
    if op_type == "ConstantOfShape":
        value = attributes.get("value")
        attributes["to"] = torch.float32 if value is None else value.dtype
    if op_type == "LayerNormalization" and len(operands) < 3:
        operands = [*operands, None]
    if op_type == "LRN" and node.get("size") % 2 == 0:
        raise node.refuse("a window of even size, which nothing is there to compare with", "use an odd one")
    if op_type == "GroupNormalization":
        attributes["of_groups"] = node.opset < 21
    used = [k for k, operand in enumerate(operands) if operand is not None and not operand.constant]
    return Apply(op_type, attributes, operands), used


def _constant(node: OnnxNode) -> Tensor:
    for name, dtype in (
        ("value", None),
        ("value_float", torch.float32),
        ("value_floats", torch.float32),
        ("value_int", torch.int64),
        ("value_ints", torch.int64),
    ):
        if node.get(name) is not None:
            return torch.as_tensor(node.get(name), dtype=dtype)
    raise node.refuse(f"a constant given as {', '.join(node.attributes) or 'nothing'}")


def _reshape_keeps_batch(operands: list[Operand | None]) -> bool:
    """A target that begins with the batch size 1 of the example, written down as a constant."""
    data, target = operands[0], operands[1] if len(operands) > 1 else None
    if data is None or target is None or not target.constant or is_host(data.value):
        return False
    sizes = as_tuple(target.value)
    return bool(sizes) and sizes[0] == 1 and data.value.ndim > 0 and data.value.shape[0] == 1


def _legacy_broadcast(attributes: dict[str, Any], operands: list[Operand | None]) -> list[Operand | None]:
    """Before opset 7 the second operand is aligned at `axis` of the first."""
    a, b = operands[0], operands[1]
    axis = attributes.pop("axis")
    if a is not None and b is not None and b.constant:
        trailing = a.value.ndim - axis - b.value.ndim
        return [a, Operand(b.value.reshape(*b.value.shape, *[1] * trailing), True)]
    return operands
