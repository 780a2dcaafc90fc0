"""Whether the import computes what the file says: its values beside those of another program (`runtime.py`).

Outputs must agree to `TOLERANCE` of the largest output. Where they do not, every node is run alone on the other
program's own inputs to it. A node that still differs was imported wrongly, and is named. If none does, the operators
are the same and rounding has grown on the way (the import in float64, the other in float32, or a jump between them).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.errors import CutawayError, FileError, ModelError
from cutaway.network.onnx.host import is_host
from cutaway.network.onnx.model import OnnxModel
from cutaway.network.onnx.runtime import Runtime, open_runtime

POINTS = 16
TOLERANCE = 1e-5
INPUT_ROUNDING = 2.0**-22  # of a node's largest input, where its output is small by cancellation
OF_ONE = ("ELU", "CELU", "SELU", "Elu", "Celu", "Selu", "Sigmoid")  # exp(x) - 1 and onnxruntime's sigmoid: to 2**-22
HALF_TOLERANCE = 1e-2  # where the other program computes in float16: 2**-11 an operation


def check_import(path: Path, model: OnnxModel, points: Tensor | None = None) -> str:
    """Compare the import with the file run by another program at `points` (default: 16 round the example, rows of
    `example`'s shape), and name that program; "" where none can run it. Raises ModelError with the first node that
    differs. Cost: a forward pass of both for each point."""
    runtime = open_runtime(path)
    if runtime is None:
        return ""
    points = model.example(POINTS, seed=3) if points is None else points
    if points.is_floating_point():
        points = torch.cat([points[:1], points[1:] * 2 - 0.5])
    rows = points if model.batched else points[None]
    for row in rows:
        with torch.no_grad():
            ours = model(row[None] if model.batched else row)
        if differs(ours, runtime, row):
            refuse_difference(path, model, row)
    return runtime.name


def differs(ours: Tensor, runtime: Runtime, point: Tensor) -> bool:
    """Whether the output at a point is not the runtime's to `TOLERANCE`."""
    try:
        theirs = runtime.output(point)
    except Exception as error:
        raise FileError(
            "the ONNX file",
            found=f"{runtime.name} cannot run it: {str(error)[:200]}",
            expected="a graph that runs",
            remedy="export the model again and check it with onnx.checker",
        ) from error
    return not close(ours.double().flatten(), theirs)


def close(ours: Any, theirs: Any, tolerance: float = TOLERANCE, rounding: float = 0.0, least: float = 0.0) -> bool:
    """Same shape, same infinities and NaNs, and a difference of at most `tolerance` times the largest finite value (or
    `rounding`, an absolute number, but no more than a hundred times that), or of at most `least`."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape:
        return False
    if b.dtype == np.float16:
        tolerance = max(tolerance, HALF_TOLERANCE)
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(b)
    scale = np.abs(b[finite]).max(initial=0.0)
    most = max(least, tolerance * scale, min(rounding, 100 * tolerance * scale))
    return bool(np.allclose(a, b, rtol=0.0, atol=most, equal_nan=True))


def refuse_difference(path: Path, model: OnnxModel, point: Tensor) -> None:
    """Raise ModelError with the first node that differs on the runtime's own inputs to it; nothing if none does."""
    names = tuple(dict.fromkeys(name for _, _, gives, _ in model.steps for name in gives if name))
    runtime = open_runtime(path, also=names)
    if runtime is None:
        return
    found = first_difference(model, point, dict(zip(names, runtime.run(point)[1:])))
    if found is None:
        return
    node, difference = found
    plain = open_runtime(path, also=names, optimised=False)
    fused = plain is not None and first_difference(model, point, dict(zip(names, plain.run(point)[1:]))) is None
    raise ModelError(
        f"node {node!r} of {path}",
        found=f"a value that differs from {runtime.name}'s ({difference})",
        expected=f"agreement to {TOLERANCE:g} of its largest value",
        remedy=f"{runtime.name} runs other operators in place of the file's (without its optimisations it agrees), so "
        "nothing is said of what it runs: export the network in floating point"
        if fused
        else "the import of this operator is wrong, so nothing is said of this network: please report the file",
    )


def first_difference(model: OnnxModel, point: Tensor, theirs: dict[str, Any]) -> tuple[str, str] | None:
    """The first node that, given another program's inputs to it, gives another value in the model's precision as well
    as in float64, and how far off it is."""
    single, double = model, copy.deepcopy(model).double()
    start = point[None] if model.batched and point.ndim == len(model.input_shape) else point
    hosts: dict[str, Any] = {}
    for name, takes, gives, _ in model.steps:
        given = [hosts[v] if v in hosts else start if v == model.input_name else theirs[v] for v in takes]
        worst = None
        for version, dtype in ((single, model.input_dtype), (double, torch.float64)):
            worst = _differs_alone(version, name, given, dtype, gives, theirs, hosts)
            if worst is None:
                break
        if worst is not None:
            return model.node_names[name], worst
    return None


def _differs_alone(
    model: OnnxModel,
    name: str,
    given: list,
    dtype: torch.dtype,
    gives: Sequence[str],
    theirs: dict[str, Any],
    hosts: dict[str, Any],
) -> str | None:
    numbers = [v if is_host(v) else _tensor(v, dtype) for v in given]
    try:
        with torch.no_grad():
            result = getattr(model, name)(*numbers)
    except (CutawayError, RuntimeError, ValueError, TypeError, IndexError) as error:
        return f"it cannot take it: {str(error)[:100]}"
    for value, key in zip(result if isinstance(result, list) else (result,), gives):
        if is_host(value):
            hosts[key] = value
            value = np.asarray(value)
        mine, other = np.asarray(value), np.asarray(theirs[key])
        if mine.shape != other.shape and mine.size == other.size and key in hosts:
            mine = mine.reshape(other.shape)
        step = getattr(model, name)
        least = INPUT_ROUNDING * _terms(step, numbers)
        rounding = INPUT_ROUNDING * _largest(numbers) * (step.gain(*numbers) if hasattr(step, "gain") else 1.0)
        if not close(mine, other, rounding=rounding, least=least):
            if mine.shape != other.shape:
                return f"shape {mine.shape} instead of {other.shape}"
            gap = np.abs(mine.astype(float) - other.astype(float))
            return f"{np.nanmax(gap):.3g} beside values up to {np.nanmax(np.abs(other.astype(float))):.3g}"
    return None


def _terms(step: Any, numbers: list[Any]) -> float:
    """The largest sum of the sizes of what the operator adds up, which may cancel: |W| |x| + |b| of a linear layer,
    (|x| + |mean|) |scale| + |b| of a batch norm, 1 for exp(x) - 1 and a sigmoid; 0 for others."""
    if type(step).__name__ in OF_ONE or getattr(step, "op_type", "") in OF_ONE:
        return 1.0
    if not isinstance(step, nn.Linear | nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm):
        return 0.0
    absolute = copy.deepcopy(step)
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
        if isinstance(absolute, nn.modules.batchnorm._BatchNorm) and absolute.running_mean is not None:
            absolute.running_mean.abs_().neg_()
        return _largest([absolute(*(v.abs() for v in numbers))])


def _largest(values: list[Any]) -> float:
    """The largest finite absolute value among the tensors."""
    sizes = [v.double().abs().nan_to_num(0.0, 0.0, 0.0).max() for v in values if isinstance(v, Tensor) and v.numel()]
    return float(max(sizes, default=0.0))


def _tensor(value: Any, dtype: torch.dtype) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return tensor.to(dtype) if tensor.is_floating_point() and dtype.is_floating_point else tensor
