"""A network ready for a VNN-LIB question: an ONNX file is bounded as we import it and replayed by onnxruntime, any
other model is bounded as `torch.export` traces it and replayed by the module itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.network.graph import output_of
from cutaway.network.onnx import load_onnx
from cutaway.network.onnx.narrowing import first_narrowing
from cutaway.network.onnx.runtime import INSTALL, open_runtime
from cutaway.network.sources import load_model
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.query import Query
from cutaway.robustness.verify.import_check import (
    Compared,
    Explain,
    box_points,
    check_points,
    explain_module,
    explain_onnx,
    narrowing,
)
from cutaway.robustness.verify.problem import BestPoints, Replay
from cutaway.robustness.verify.replay import file_hash, module_hash, module_replay
from cutaway.robustness.verify.verdict import Progress, Verdict, VerifySettings, verify
from cutaway.robustness.vnnlib import read_vnnlib
from cutaway.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNetwork:
    """`bounded` bounds what the model computes, `replay` is the model itself (None where no program can run it),
    `model_hash` the sha256 of the file, or of the module's parameters and buffers; `explain` decides whether a
    difference between the two is rounding; `narrows`: where the model itself rounds to a coarser type, which `bounded`
    leaves out, so that nothing is certified."""

    bounded: BoundNetwork
    replay: Replay | None
    model_hash: str
    explain: Explain
    narrows: str = ""

    def decide(self, query: Query, settings: VerifySettings, progress: Progress = lambda text: None) -> Verdict:
        """The verdict, after graph and model were compared on the query's boxes and, for a certificate, at the best
        points of its search. Raises ModelError where they differ; `unknown` where nothing can run the model."""
        if self.replay is None:
            return Verdict(status=Status.UNKNOWN, reason=NOT_COMPARED, property_hash=query.fingerprint)
        query.check_network(self.bounded.graph.input.numel, self.bounded.graph.output.numel)
        best, compared = BestPoints(), []
        if query.clauses:
            compared.append(check_points(self.bounded, self.replay, box_points(query, settings.seed), self.explain))
        verdict = verify(self.bounded, query, self.replay, settings, progress, best)
        if verdict.status is Status.CERTIFIED:
            compared.append(check_points(self.bounded, self.replay, best.points, self.explain))
        for found in compared:
            verdict = _as_it_runs(verdict, found, query, settings)
        if verdict.status is Status.CERTIFIED and self.narrows:
            reason = f"proved in real arithmetic, but {self.narrows}: have it in float32 throughout"
            return replace(verdict, status=Status.UNKNOWN, decided_by="nothing", bound=float("nan"), reason=reason)
        if verdict.witness is not None:
            return replace(verdict, reason=self._only_as_it_runs(verdict.witness, query))
        return verdict

    def _only_as_it_runs(self, witness: Tensor, query: Query) -> str:
        """That a witness (n,) of the model as it runs is none in real arithmetic (float64); empty where it is one."""
        node = self.bounded.graph.input
        shape = (1, *node.shape[1:]) if self.bounded.graph.batched else node.shape
        with torch.no_grad():
            output = output_of(self.bounded.graph, witness.double().reshape(shape)).flatten()
        if query.meets(witness, output):
            return ""
        told = ", ".join(f"{value:.6g}" for value in output[:6].tolist()) + (", ..." if len(output) > 6 else "")
        return f"only as the model runs: in real arithmetic its output there is [{told}], which is no counterexample"


def _as_it_runs(verdict: Verdict, compared: Compared, query: Query, settings: VerifySettings) -> Verdict:
    """The verdict, unless the model as it runs contradicts a proof at a compared point, or is mostly rounding there (of
    which a deployment has a bound)."""
    if verdict.status is Status.FALSIFIED:
        return verdict
    at = compared.witness(query)
    if at is not None:
        witness, output = compared.points[at], compared.outputs[at]
        found = {"witness": witness, "output": output, "decided_by": "attack", "bound": float("nan"), "reason": ""}
        return replace(verdict, status=Status.FALSIFIED, **found)
    doubtful = compared.mostly_rounding and not compared.within(verdict.bound, query)
    if verdict.status is Status.CERTIFIED and doubtful and settings.deployment is None:
        reason = (
            f"proved in real arithmetic, but rounding changes the model's outputs by {compared.share:.1g} of the "
            "largest at a point of the box: ask with --deployment"
        )
        return replace(verdict, status=Status.UNKNOWN, decided_by="nothing", bound=float("nan"), reason=reason)
    return verdict


NOT_COMPARED = f"no program here can run the file, so that its import cannot be checked: {INSTALL}"


def open_onnx(path: str | Path) -> OpenedNetwork:
    """Constants of the file are folded in float64: the claim is about them to 2**-53 an operation. Raises FileError
    for a file that is none, ModelError for one whose import differs from onnxruntime, UnsupportedOperator for an
    operator without a rule."""
    narrows = first_narrowing(load_onnx(path))  # compared with onnxruntime in the file's own precision, and let go
    model = load_onnx(path, dtype=torch.float64, check=False)
    bounded = bound_network(model, model.example(), batched=model.batched)
    runtime = open_runtime(path)
    return OpenedNetwork(
        bounded=bounded,
        replay=None if runtime is None else runtime.output,
        model_hash=file_hash(path),
        explain=explain_onnx(path),
        narrows=narrows,
    )


def open_module(text: str, num_inputs: int, **loading: Any) -> OpenedNetwork:
    """Any model that `load_model` takes (`loading` goes to it). One that brings no example is asked for `num_inputs`
    numbers in a row."""
    loaded = load_model(text, **loading)
    example = torch.zeros(1, num_inputs) if loaded.example is None else loaded.example[:1]
    if example[0].numel() != num_inputs:
        raise InputError(
            f"property for {text}",
            found=f"{num_inputs} inputs",
            expected=f"{example[0].numel()}, as in the model's example {tuple(example.shape[1:])}",
            remedy="give the property that belongs to this network",
        )
    replay = module_replay(loaded.model, tuple(example.shape[1:]))
    return OpenedNetwork(
        bounded=bound_network(loaded.model, example),
        replay=replay,
        model_hash=module_hash(loaded.model),
        explain=explain_module(loaded.model, tuple(example.shape[1:])),
        narrows=narrowing(loaded.model, replay, example.flatten().double()),
    )


def verify_vnnlib(
    network: str | Path,
    specification: str | Path,
    settings: VerifySettings,
    progress=lambda text: None,
    *,
    opened: Callable[[], None] = lambda: None,
    **loading: Any,
) -> tuple[Verdict, str]:
    """The verdict on a VNN-LIB file and the network's hash; `loading` goes to `load_model`. The time limit counts from
    here, reading included; `opened` is called between the opening of the network and the search."""
    begin = time.monotonic()
    progress(f"reading {specification}")
    query = read_vnnlib(specification, settings.budget)
    progress(f"opening {network}")
    if str(network).endswith((".onnx", ".onnx.gz")):
        problem = open_onnx(network)
    else:
        problem = open_module(str(network), query.num_inputs, **loading)
    opened()
    left = max(settings.timeout - (time.monotonic() - begin), 1e-3)
    return problem.decide(query, replace(settings, timeout=left), progress), problem.model_hash
