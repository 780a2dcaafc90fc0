"""Another program that runs an ONNX file: onnxruntime on the CPU, or onnx's own reference evaluator without it.

Both serve as judges of the import and replay witnesses. Which one ran is in `Runtime.name`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway.errors import FileError
from cutaway.network.onnx.read import read_proto

INSTALL = "install onnxruntime: pip install 'cutaway[onnx]'"
TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
NEWER_OPSET = "ValidateOpsetForDomain"
"""In what onnxruntime says of a file in order whose opset it does not have yet."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """`run` takes one input as the file wants it (the batch of 1 included where the file has one), in any dtype, and
    gives the named outputs. A dimension that the file leaves open is 1."""

    name: str
    call: Callable[[np.ndarray], list[Any]]
    shape: tuple[int, ...]
    type: Any

    def run(self, point: Tensor) -> list[Any]:
        """Raises whatever the runtime raises."""
        return self.call(point.detach().reshape(self.shape).cpu().numpy().astype(self.type))

    def output(self, point: Tensor) -> Tensor:
        """The first output, flat, in float64."""
        return torch.from_numpy(np.array(self.run(point)[0])).double().flatten()


def open_runtime(path: str | Path, also: tuple[str, ...] = (), *, optimised: bool = True) -> Runtime | None:
    """The first of the two that can open the file, giving its output and the values named in `also`; None where
    neither is installed or knows its operators. `optimised`: as onnxruntime runs it by default, operators fused.
    Raises FileError for a file that onnxruntime calls broken."""
    proto = read_proto(Path(path))
    import onnx

    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in also)
    constants = {t.name for t in proto.graph.initializer}
    value = next(v for v in proto.graph.input if v.name not in constants)
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else 1 for d in kind.shape.dim)
    for name, opened in (("onnxruntime", _onnxruntime), ("onnx's reference evaluator", _reference)):
        call = opened(proto, value.name, path, optimised)
        if call is not None:
            return Runtime(name, call, shape, TYPES.get(kind.elem_type, np.float32))
    return None


def _onnxruntime(proto: Any, name: str, path: str | Path, optimised: bool) -> Callable | None:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = proto.SerializeToString() if proto.ByteSize() < 2**31 - 1 else str(path)
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if type(error).__name__ == "NotImplemented" or NEWER_OPSET in str(error):
            return None
        raise FileError(
            str(path),
            found=f"onnxruntime refuses it: {str(error)[:200]}",
            expected="an ONNX file",
            remedy="export the model again and check it with onnx.checker",
        ) from error
    return lambda point: session.run(None, {name: point})


def _reference(proto: Any, name: str, _path: str | Path, _optimised: bool) -> Callable | None:
    try:
        evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(proto)
    except Exception:  # whatever it does not know, it cannot judge
        return None
    return lambda point: evaluator.run(None, {name: point})
