"""The original model as a function of one flat point: onnxruntime for ONNX files, the module itself for all else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway.errors import MissingExtra
from cutaway.network.onnx.read import file_bytes, weight_files
from cutaway.network.onnx.runtime import open_runtime
from cutaway.network.preserve import evaluated
from cutaway.robustness.verify.problem import Replay


def onnx_replay(path: str | Path) -> Replay:
    """The file run by onnxruntime on the CPU (by onnx's reference evaluator where it is not installed), one sample at a
    time. Raises MissingExtra where neither can, FileError for a file that onnxruntime refuses."""
    runtime = open_runtime(path)
    if runtime is None:
        raise MissingExtra.of("onnxruntime", "onnx")
    return runtime.output


def module_replay(
    model: nn.Module, sample_shape: tuple[int, ...], *, batched: bool = True, dtype: torch.dtype | None = None
) -> Replay:
    """The module on one sample of `sample_shape` (without batch), given in `dtype`: by default that of its parameters,
    else of its buffers, else float32.

    Exact: what the module computes in `dtype`. Cost: one forward pass a call. Source: definition.
    """
    own = (t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
    dtype = dtype or next(own, torch.float32)

    def run(point: Tensor) -> Tensor:
        shaped = point.to(dtype).reshape(1, *sample_shape) if batched else point.to(dtype).reshape(sample_shape)
        with evaluated(model), torch.no_grad():
            return model(shaped).double().flatten()

    return run


def file_hash(path: str | Path) -> str:
    """sha256 of the content, unpacked; of an ONNX file that of its external weights too (a damaged one has none)."""
    digest = hashlib.sha256(file_bytes(path))
    if str(path).endswith((".onnx", ".onnx.gz")):
        try:
            files = weight_files(path)
        except Exception:  # whatever protobuf has against it: opening the file will say so
            files = ()
        for file in files:
            with file.open("rb") as content:
                while part := content.read(1 << 24):
                    digest.update(part)
    return digest.hexdigest()


def module_hash(model: nn.Module) -> str:
    """sha256 over names and numbers of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(value.dtype).encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
