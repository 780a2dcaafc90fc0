"""ONNX files as `nn.Module`s: our own importer for feed-forward, convolutional and residual networks (extra `onnx`).

`load_onnx(path)` runs the graph once on an example and builds, node by node, a torch layer with the same name: Gemm
and MatMul (with the Add that follows) become `nn.Linear`, Conv `nn.Conv2d`, Relu `nn.ReLU`, and so on
(`layers.py`); all else becomes an `Apply` of a function in `functions.py`. Weights keep their precision,
`.double()` works, and `torch.export` can trace the result. A batch dimension that the file fixed to 1 is made free
where that is safe (`rows.py`); otherwise rows are run one by one.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.errors import CutawayError, ModelError, UnsupportedOperator
from cutaway.network.onnx.agreement import POINTS, check_import
from cutaway.network.onnx.host import is_host, to_host
from cutaway.network.onnx.layers import build_layer, fused_bias
from cutaway.network.onnx.model import OnnxModel
from cutaway.network.onnx.narrowing import coarser_type
from cutaway.network.onnx.nodes import INTEGER_OPERANDS, OnnxNode, Operand, float_defaults
from cutaway.network.onnx.read import check_bytes, damaged, memory_limit, read_proto
from cutaway.network.onnx.rows import ROWS, rows_are_independent
from cutaway.network.onnx.sizes import SizeGuard

COPIES = 2
"""Of a constant: itself and the one in its layer. Of a value, `rows_are_independent` holds up to 4 * ROWS."""


def load_onnx(path: str | Path, *, dtype: torch.dtype | None = None, check: bool = True) -> OnnxModel:
    """The network of an .onnx or .onnx.gz file, in evaluation mode.

    dtype: of all floating-point numbers, also of what is computed from constants alone; None keeps the file's.
        torch.float64 gives the network in real arithmetic up to 2**-53 an operation; in float32, folding 1/3 leaves
        another number.
    check: compare with onnxruntime (or onnx's reference evaluator) at 16 inputs round the example, to 1e-5 of the
        largest output; `model.checked_by` says with which, "" if neither can run the file.

    Exact up to the rounding of the operations. Raises FileError (missing, damaged, no ONNX), BudgetError (sizes beyond
    the memory), UnsupportedOperator (which, where), ModelError (several inputs or outputs, open dimensions, a node
    whose value differs from onnxruntime's), MissingExtra. Cost: 9 small forward passes, and 16 for the check.
    """
    path = Path(path)
    model = _Importer(path, read_proto(path), dtype).model()
    if check:
        model.checked_by = check_import(path, model)
    return model


class _Importer:
    """One pass over the graph: values of the example run beside it, constants folded, layers built."""

    def __init__(self, path: Path, proto: Any, dtype: torch.dtype | None) -> None:
        self.path, self.graph, self.dtype = path, proto.graph, dtype
        self.opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.constants: dict[str, Tensor] = {}
        for tensor in proto.graph.initializer:
            self.constants[tensor.name] = self._tensor(tensor)
        self.used = {name for node in proto.graph.node for name in node.input} | {o.name for o in proto.graph.output}
        self.nodes = [self._node(index, node) for index, node in enumerate(proto.graph.node)]
        self.values: dict[str, Any] = {}
        self.held = 0

    def model(self) -> OnnxModel:
        model = self._empty()
        self.values[model.input_name] = model.example()
        with torch.no_grad():
            done: set[int] = set()
            for node in self.nodes:
                if node.index not in done:
                    done |= self._step(model, node, done)
            if self.output not in self.values:
                raise ModelError(
                    f"ONNX file {self.path}",
                    found=f"an output {self.output!r} that "
                    + ("does not depend on the input" if self.output in self.constants else "no node computes"),
                    expected="a network",
                    remedy="export the model again from its input to its output",
                )
            model.eval()
            self._prune_and_drop(model)
            self.values.clear()
            if model.batched:
                with self._rows_guarded():
                    model.batch_free = rows_are_independent(model)
        return model

    def _empty(self) -> OnnxModel:
        inputs = [value for value in self.graph.input if value.name not in self.constants]
        for what, values in (("inputs", inputs), ("outputs", self.graph.output)):
            if len(values) != 1:
                names = ", ".join(value.name for value in values) or "none"
                raise ModelError(
                    f"ONNX file {self.path}",
                    found=f"{len(values)} {what} ({names})",
                    expected=f"one of the {what}",
                    remedy="cut the graph with onnx.utils.extract_model",
                )
        self.output = self.graph.output[0].name
        value = inputs[0]
        if not value.type.HasField("tensor_type"):
            raise ModelError(
                f"input {value.name!r} of {self.path}",
                found="no tensor",
                expected="a tensor",
                remedy="export the model with tensors as inputs",
            )
        kind = value.type.tensor_type
        sizes = [dim.dim_value or None for dim in kind.shape.dim]
        batched = bool(sizes) and sizes[0] in (None, 1)
        shape = sizes[1:] if batched else sizes
        if None in shape or not sizes:
            raise ModelError(
                f"input {value.name!r} of {self.path}",
                found=f"open dimensions {[dim.dim_value or dim.dim_param or '?' for dim in kind.shape.dim]}",
                expected="fixed sizes after the batch",
                remedy="fix them, for instance with onnxruntime.tools.make_dynamic_shape_fixed",
            )
        model = OnnxModel(tuple(int(size) for size in shape if size), batched, self._dtype(kind.elem_type))
        what = f"{POINTS} of its shape {sizes}, as many as the import is checked with"
        check_bytes(8 * POINTS * math.prod(model.input_shape), f"input {value.name!r} of {self.path}", what)
        model.input_name, model.output_name = value.name, self.output
        return model

    def _step(self, model: OnnxModel, node: OnnxNode, done: set[int]) -> set[int]:
        """Fold or build one node; gives the numbers of the nodes it stands for."""
        operands = [self._operand(node, name) for name in node.inputs]
        fold = all(operand.constant for operand in operands if operand is not None)
        outputs, taken = node.outputs, {node.index}
        bias = None if fold else fused_bias(node, operands, self.nodes, self.constants, self.output)
        if bias is not None:
            outputs, taken = bias[0].outputs, {node.index, bias[0].index}
        layer, used, result = self._try(model, node, operands, None if bias is None else bias[1], fold)
        results = result if isinstance(result, list) else (result,)
        if fold:
            type_ = coarser_type([o.value for o in operands if o is not None], results, constant=True)
            if type_ and not model.folded_narrowing:
                model.folded_narrowing = f"node {node.name!r} rounds a constant to {type_}"
            for name, value in zip(outputs, results):
                self.constants[name] = torch.tensor(value) if is_host(value) else value
            return taken
        for name, value in zip(outputs, results):
            self.values[name] = value
            self.held += value.numel() * value.element_size() if isinstance(value, Tensor) else 0
        check_bytes(self.held, f"ONNX file {self.path}", f"values of one row as far as node {node.name!r}")
        name = self._module_name(model, node)
        model.add_module(name, layer)
        model.node_names[name] = node.name
        model.steps.append((name, tuple(node.inputs[k] for k in used), tuple(outputs), ()))
        return taken

    def _try(
        self, model: OnnxModel, node: OnnxNode, operands: list[Operand | None], bias: Tensor | None, fold: bool
    ) -> tuple[nn.Module, list[int], Any]:
        """The layer of a node, which operands it takes, and what it gives; sizes are checked before memory is taken."""
        offender = self._named(f"node {node.name!r} ({node.op_type}) of")
        try:
            with SizeGuard(offender, COPIES):
                if fold and operands and operands[0]:  # a constant as data: a layer like any other, run once, forgotten
                    sizes_only = 0 in INTEGER_OPERANDS.get(node.op_type, ())
                    value = operands[0].value
                    operands[0] = Operand(to_host(value) if sizes_only else value, False)
                layer, used = build_layer(node, operands, model.batched, bias)
            with SizeGuard(offender, COPIES if fold else 4 * ROWS):
                return layer, used, layer(*[operand.value for k in used if (operand := operands[k]) is not None])
        except CutawayError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError, OverflowError) as error:
            raise ModelError(
                f"node {node.name!r} ({node.op_type}) of {self.path}",
                found=f"operands it cannot work on ({str(error).splitlines()[0][:160]})",
                expected="a graph that runs",
                remedy="check the file with onnx.checker.check_model and onnxruntime",
            ) from error

    def _rows_guarded(self) -> contextlib.AbstractContextManager[Any]:
        """Several rows at once fit if all of their values do; else it is watched what is held of them."""
        fits = 4 * ROWS * self.held <= memory_limit()
        return contextlib.nullcontext() if fits else SizeGuard(self._named("several rows of"), 1)

    def _named(self, what: str) -> str:
        """For a guard, in whose words braces mean the operation."""
        return f"{what} {self.path}".replace("{", "(").replace("}", ")")

    def _operand(self, node: OnnxNode, name: str) -> Operand | None:
        if name == "":
            return None
        if name in self.constants:
            return Operand(self.constants[name], True)
        if name in self.values:
            return Operand(self.values[name], False)
        raise damaged(self.path, f"node {node.name!r} needs {name!r}, which nothing before it computes")

    def _prune_and_drop(self, model: OnnxModel) -> None:
        """Leave out what the output does not need, and let every value go after its last use."""
        needed, kept = {self.output}, []
        for name, takes, gives, _ in reversed(model.steps):
            if needed & set(gives):
                drops = tuple(dict.fromkeys(v for v in (*takes, *gives) if v not in needed))
                needed |= set(takes)
                kept.append((name, takes, gives, drops))
            else:
                delattr(model, name)
                del model.node_names[name]
        model.steps = kept[::-1]

    def _module_name(self, model: OnnxModel, node: OnnxNode) -> str:
        name = re.sub(r"\W", "_", node.name.strip("/")) or f"{node.op_type}_{node.index}"
        if hasattr(nn.Module, name) or not name.isidentifier():
            name = f"node_{name}"
        while hasattr(model, name):
            name += "_"
        return name

    def _node(self, index: int, node: Any) -> OnnxNode:
        import onnx

        attributes: dict[str, Any] = float_defaults(node.op_type, self.opset) if node.domain in ("", "ai.onnx") else {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = self._tensor(value)
            elif isinstance(value, bytes):
                value = value.decode()
            attributes[attribute.name] = value
        if "to" in attributes:
            attributes["to"] = self._dtype(attributes["to"])
        name = node.name or f"{node.op_type}_{index}"
        outputs = tuple(node.output)
        droppable = node.op_type != "Split"  # masks, indices, statistics that nobody asks for
        while droppable and len(outputs) > 1 and outputs[-1] not in self.used:
            outputs = outputs[:-1]
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperator(
                f"operator {node.domain}.{node.op_type} at node {name!r} of {self.path}",
                found=f"domain {node.domain!r}",
                expected="operators of the ONNX standard",
                remedy="export the model without custom operators",
            )
        return OnnxNode(index, name, node.op_type, tuple(node.input), outputs, attributes, self.opset, str(self.path))

    def _tensor(self, proto: Any) -> Tensor:
        from onnx import numpy_helper

        try:
            tensor = torch.from_numpy(np.array(numpy_helper.to_array(proto)))
        except TypeError as error:
            raise self._unknown_type(proto.data_type) from error
        except (ValueError, KeyError) as error:
            raise damaged(self.path, f"tensor {proto.name!r}: {str(error)[:120]}") from error
        return tensor.to(self.dtype) if self.dtype and tensor.is_floating_point() else tensor

    def _dtype(self, number: int) -> torch.dtype:
        import onnx

        try:
            dtype = torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(number))).dtype
        except (KeyError, TypeError, ValueError) as error:
            raise self._unknown_type(number) from error
        return self.dtype if self.dtype and dtype.is_floating_point else dtype

    def _unknown_type(self, number: int) -> ModelError:
        return ModelError(
            f"ONNX file {self.path}",
            found=f"tensors of type number {number}",
            expected="numbers that NumPy and torch both have",
            remedy="export it in float32",
        )
