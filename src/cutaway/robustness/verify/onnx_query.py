"""An ONNX file ready for verification: bounds on our import of it, witnesses replayed by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cutaway.network.onnx import load_onnx
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.verify.problem import Replay
from cutaway.robustness.verify.replay import file_hash, onnx_replay
from cutaway.robustness.verify.verdict import Verdict, VerifySettings, verify
from cutaway.robustness.vnnlib import read_vnnlib


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxProblem:
    """`net` bounds what the file computes, `replay` is the file itself, `model_hash` its sha256."""

    net: BoundNetwork
    replay: Replay
    model_hash: str


def open_onnx(path: str | Path) -> OnnxProblem:
    """Raises FileError for a file that is none, UnsupportedOperator for an operator without a rule."""
    model = load_onnx(path)
    net = bound_network(model, model.example(), batched=model.batched)
    return OnnxProblem(net=net, replay=onnx_replay(path), model_hash=file_hash(path))


def verify_vnnlib(
    network: str | Path, specification: str | Path, settings: VerifySettings, progress=lambda text: None
) -> tuple[Verdict, str]:
    """The verdict on a VNN-LIB file and the network's hash."""
    query = read_vnnlib(specification)
    problem = open_onnx(network)
    return verify(problem.net, query, problem.replay, settings, progress), problem.model_hash
