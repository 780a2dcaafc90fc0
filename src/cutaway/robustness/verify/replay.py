"""The original model as a function of one flat point: onnxruntime for ONNX files, the module itself for all else."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway._compat import require
from cutaway.errors import FileError
from cutaway.robustness.verify.problem import Replay


def onnx_replay(path: str | Path) -> Replay:
    """The file run by onnxruntime on the CPU, one sample at a time. Needs the extra `onnx`."""
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(file_bytes(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise FileError(
            str(path), found=f"onnxruntime refuses it: {str(error)[:200]}", expected="an ONNX file"
        ) from error
    entry = session.get_inputs()[0]
    shape = [n if isinstance(n, int) and n > 0 else 1 for n in entry.shape]
    dtype = torch.float64 if "double" in entry.type else torch.float32

    def run(point: Tensor) -> Tensor:
        result = session.run(None, {entry.name: point.to(dtype).reshape(shape).numpy()})[0]
        return torch.from_numpy(result).double().flatten()

    return run


def module_replay(model: nn.Module, sample_shape: tuple[int, ...], *, batched: bool = True) -> Replay:
    """The module in its own dtype, on one sample of `sample_shape` (without batch)."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)

    def run(point: Tensor) -> Tensor:
        shaped = point.to(dtype).reshape(1, *sample_shape) if batched else point.to(dtype).reshape(sample_shape)
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                return model(shaped).double().flatten()
        finally:
            model.train(training)

    return run


def file_bytes(path: str | Path) -> bytes:
    """The file's content, unpacked where it ends in .gz."""
    data = Path(path).read_bytes()
    return gzip.decompress(data) if str(path).endswith(".gz") else data


def file_hash(path: str | Path) -> str:
    """sha256 of the content, unpacked."""
    return hashlib.sha256(file_bytes(path)).hexdigest()


def module_hash(model: nn.Module) -> str:
    """sha256 over names and numbers of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(value.dtype).encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
