"""An ONNX file as a checked graph: sizes are compared before anything is made of them, nodes are put in order.

Weights in files of their own are looked for beside the file, and nowhere else. Every fault of a file is a FileError
that says what is wrong with it.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

from cutaway.engines.budget import default_budget, format_bytes
from cutaway.errors import BudgetError, FileError, MissingExtra
from cutaway.files import given_room


def read_proto(path: Path) -> Any:
    """The `onnx.ModelProto` of an .onnx or .onnx.gz file, with external weights loaded and nodes sorted.

    Raises FileError (missing, damaged), BudgetError (more than the memory budget), MissingExtra.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra.of("onnx", "onnx") from error
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise FileError(f"ONNX file {path}", found="no such file", remedy="check the path")
    try:
        proto = onnx.load_model_from_string(file_bytes(path))
        external = [t for t in tensors_of(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
        for tensor in external:
            _check_external(path, tensor)
        if external:
            onnx.load_external_data_for_model(proto, str(path.parent))
    except (DecodeError, OSError, EOFError, zlib.error, ValueError, onnx.checker.ValidationError) as error:
        raise damaged(path, str(error).splitlines()[0][:160] if str(error) else type(error).__name__) from error
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise damaged(path, "no complete graph in it")
    for tensor in tensors_of(proto):
        _check_size(path, tensor)
    _sort_nodes(path, proto.graph)
    return proto


def file_bytes(path: str | Path) -> bytes:
    """The file's content, unpacked where it ends in .gz. Raises BudgetError beyond the memory budget."""
    path = Path(path)
    if not path.name.endswith(".gz"):
        check_bytes(path.stat().st_size, f"ONNX file {path}", "its size")
        return path.read_bytes()
    parts, total = [], 0
    with gzip.open(path) as file:
        while part := file.read(1 << 24):
            parts.append(part)
            total += len(part)
            check_bytes(total, f"ONNX file {path}", "the unpacked size so far")
    return b"".join(parts)


def weight_files(path: str | Path) -> list[Path]:
    """The files beside an ONNX file that hold its external weights, in order of their names. Raises as `read_proto`
    does where one is missing or elsewhere."""
    import onnx

    path, names = Path(path), set()
    proto = onnx.load_model_from_string(file_bytes(path))
    for tensor in tensors_of(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path, tensor)
            names.update(e.value for e in tensor.external_data if e.key == "location")
    return [path.parent / name for name in sorted(names)]


def memory_limit() -> int:
    """Bytes that a model file may take in memory: the budget that was given, else the default one."""
    return given_room() or default_budget()


def check_bytes(size: int, offender: str, what: str) -> None:
    """Raise BudgetError for more bytes than `memory_limit`."""
    budget = memory_limit()
    if size > budget:
        raise BudgetError(
            offender,
            found=f"{what}: {size:.3g} bytes",
            expected=f"at most {format_bytes(budget)}, the memory budget",
            remedy="give a larger --budget if the file is what it should be: sizes in it may be damaged",
        )


def damaged(path: Path | str, reason: str) -> FileError:
    return FileError(
        f"ONNX file {path}",
        found=f"not a complete ONNX file ({reason})",
        expected="a readable .onnx or .onnx.gz file",
        remedy="it may be truncated: copy or export it again",
    )


def tensors_of(proto: Any) -> list[Any]:
    """Every constant tensor of a model: initialisers and attributes of the main graph's nodes."""
    import onnx

    kind = onnx.AttributeProto.TENSOR
    attributes = (a for node in proto.graph.node for a in node.attribute if a.type == kind)
    return [*proto.graph.initializer, *(a.t for a in attributes)]


def _check_external(path: Path, tensor: Any) -> None:
    """The file that a tensor names lies beside the model and holds the bytes it declares."""
    entry = {e.key: e.value for e in tensor.external_data}
    location = entry.get("location", "")
    file = path.parent / location
    if not location or not file.resolve().is_relative_to(path.parent.resolve()):
        raise damaged(path, f"tensor {tensor.name!r} lies in {location!r}, outside the file's folder")
    if not file.is_file():
        raise damaged(path, f"its weights are in {location!r}, which is not beside it")
    offset = int(entry.get("offset", 0))
    length = int(entry.get("length", max(0, file.stat().st_size - offset)))
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        raise damaged(path, f"tensor {tensor.name!r} ends at byte {offset + length}, {location!r} before it")
    check_bytes(length, f"tensor {tensor.name!r} of {path}", "its size")


def _check_size(path: Path, tensor: Any) -> None:
    """The declared shape fits the content, before an array of that shape is made."""
    import onnx

    if any(size < 0 for size in tensor.dims):
        raise damaged(path, f"tensor {tensor.name!r} of negative size {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        return  # refused by name where it is used
    check_bytes(count * width, f"tensor {tensor.name!r} of {path}", f"declared shape {list(tensor.dims)}")
    if tensor.HasField("raw_data") and width and tensor.data_type != onnx.TensorProto.STRING:
        bits = {onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4}.get(tensor.data_type, 8 * width)
        expected = -(-count * bits // 8)
        if len(tensor.raw_data) != expected:
            raise damaged(path, f"tensor {tensor.name!r} declares {expected} bytes and holds {len(tensor.raw_data)}")


def _sort_nodes(path: Path, graph: Any) -> None:
    """Nodes after what they need; the order of the file is kept where it already is one."""
    known = {"", *(t.name for t in graph.initializer), *(v.name for v in graph.input)}
    waiting, ordered = list(graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if all(name in known for name in node.input):
                known.update(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            missing = next(name for name in later[0].input if name not in known)
            name = later[0].name or later[0].op_type
            raise damaged(path, f"node {name!r} needs {missing!r}, which no node before it computes")
        waiting = later
    if ordered != list(graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)
