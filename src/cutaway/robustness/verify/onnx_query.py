"""A network ready for a VNN-LIB question: an ONNX file is bounded as we import it and replayed by onnxruntime, any
other model is bounded as `torch.export` traces it and replayed by the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from cutaway.errors import InputError
from cutaway.network.onnx import load_onnx
from cutaway.network.sources import load_model
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.verify.problem import Replay
from cutaway.robustness.verify.replay import file_hash, module_hash, module_replay, onnx_replay
from cutaway.robustness.verify.verdict import Verdict, VerifySettings, verify
from cutaway.robustness.vnnlib import read_vnnlib


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNetwork:
    """`net` bounds what the model computes, `replay` is the model itself, `model_hash` the sha256 of the file, or of
    the module's parameters and buffers."""

    net: BoundNetwork
    replay: Replay
    model_hash: str


def open_onnx(path: str | Path) -> OpenedNetwork:
    """Raises FileError for a file that is none, UnsupportedOperator for an operator without a rule."""
    model = load_onnx(path)
    net = bound_network(model, model.example(), batched=model.batched)
    return OpenedNetwork(net=net, replay=onnx_replay(path), model_hash=file_hash(path))


def open_module(text: str, num_inputs: int, *, weights: str | None = None, trust_pickle: bool = False) -> OpenedNetwork:
    """Any model that `load_model` takes. One that brings no example is asked for `num_inputs` numbers in a row."""
    loaded = load_model(text, weights=weights, trust_pickle=trust_pickle)
    example = torch.zeros(1, num_inputs) if loaded.example is None else loaded.example[:1]
    if example[0].numel() != num_inputs:
        raise InputError(
            f"property for {text}",
            found=f"{num_inputs} inputs",
            expected=f"{example[0].numel()}, as in the model's example {tuple(example.shape[1:])}",
        )
    return OpenedNetwork(
        net=bound_network(loaded.model, example),
        replay=module_replay(loaded.model, tuple(example.shape[1:])),
        model_hash=module_hash(loaded.model),
    )


def verify_vnnlib(
    network: str | Path,
    specification: str | Path,
    settings: VerifySettings,
    progress=lambda text: None,
    *,
    weights: str | None = None,
    trust_pickle: bool = False,
) -> tuple[Verdict, str]:
    """The verdict on a VNN-LIB file and the network's hash."""
    query = read_vnnlib(specification)
    if str(network).endswith((".onnx", ".onnx.gz")):
        problem = open_onnx(network)
    else:
        problem = open_module(str(network), query.num_inputs, weights=weights, trust_pickle=trust_pickle)
    return verify(problem.net, query, problem.replay, settings, progress), problem.model_hash
