"""`trace`: from a module to its graph, by `torch.export` or a recorded run, checked against the module's own output."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.network.graph.build import build_nodes, decompositions, spell_out, tidy
from cutaway.network.graph.evaluation import evaluate_graph
from cutaway.network.graph.node import Graph
from cutaway.network.graph.recording import NotRecorded, record_graph
from cutaway.network.refusals import refuse_unreadable

TRIED_POINTS = 16
"""Where graph and model are compared."""


def trace(
    model: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    *,
    dtype: torch.dtype | None = torch.float64,
    batched: bool = True,
    check: bool = True,
) -> Graph:
    """The operators of `model` in evaluation mode, for one sample.

    A copy of the model is traced, in `dtype` (None: as it is); the model itself is not touched. Casts between floating
    dtypes inside the model are dropped: the graph means real arithmetic in one dtype. With `check`, the graph is
    evaluated at the first example and at 15 points round it, and must give the model's own output to 1e-9 relative
    (1e-4 below float64), else ModelError. Cost: one export and 32 forward passes of one sample. Raises ModelError when
    the model cannot be exported, or is refused by name (`cutaway.network.refusals`). A module whose attribute
    `runs_straight` is true (every call does the same operators, none in place, as ONNX files do) is run once instead
    of exported.
    """
    refuse_unreadable(model)
    examples = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    samples = tuple(_first_sample(x, dtype, batched) for x in examples)
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    if dtype is not None:
        twin = twin.to(dtype)
    nodes, inputs, outputs, values = _recorded(twin, samples) or build_nodes(_export(twin, samples), samples)
    graph = Graph(nodes=nodes, inputs=inputs, outputs=outputs, dtype=dtype or _floating(samples), batched=batched)
    ours = [value for i in outputs if (value := values[i]) is not None]
    del values  # of all nodes
    if check:
        _check_outputs(model, _results(twin, model, samples), ours)
        _check_around(twin, model, samples, graph)
    return graph


def _recorded(model: nn.Module, samples: tuple[Tensor, ...]):
    """What `build` gives, from one run of a module that says it `runs_straight`; None where it has to be exported."""
    if not getattr(model, "runs_straight", False):
        return None
    try:
        return tidy(*record_graph(model, samples))
    except (NotRecorded, RuntimeError):
        return None


def _check_around(twin: nn.Module, model: nn.Module, samples: tuple[Tensor, ...], graph: Graph) -> None:
    """The same at 15 more points round the example: up to its largest entry away, and integers in another order."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(TRIED_POINTS - 1):
        moved = tuple(_moved(x, generator) for x in samples)
        given = tuple(x if graph.batched else x[None] for x in moved)
        values = evaluate_graph(graph, given, keep=lambda n: n.index in graph.outputs)
        _check_outputs(model, _results(twin, model, moved), [values[i][0] for i in graph.outputs])


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x.flatten()[torch.randperm(x.numel(), generator=generator)].reshape(x.shape)
    width = x.abs().max().nan_to_num(1.0) if x.numel() else 1.0
    return x + (2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1).to(x) * (width or 1.0)


def _first_sample(x: Tensor, dtype: torch.dtype | None, batched: bool) -> Tensor:
    if batched and (x.ndim == 0 or x.shape[0] == 0):
        raise ModelError(
            "example inputs hold no sample",
            found=f"shape {tuple(x.shape)}",
            expected="(batch, ...)",
            remedy="give at least one sample",
        )
    sample = (x[:1] if batched else x).detach().clone()
    return sample.to(dtype) if dtype is not None and sample.is_floating_point() else sample


def _floating(samples: tuple[Tensor, ...]) -> torch.dtype:
    return next((x.dtype for x in samples if x.is_floating_point()), torch.get_default_dtype())


def _export(model: nn.Module, samples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.export warns about its own copyreg and pytree internals
            program = torch.export.export(model, samples, strict=False)
            spell_out(program)
            return program.run_decompositions(decompositions())
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {type(model).__name__} cannot be exported",
            found=f"{type(error).__name__}: {reason[:300]}",
            expected="a forward without data-dependent control flow, called with shapes "
            + ", ".join(str(tuple(x.shape)) for x in samples),
            remedy="check the input shape, or wrap the part of the model that the question is about",
        ) from error


def _results(twin: nn.Module, model: nn.Module, samples: tuple[Tensor, ...]) -> list[Tensor]:
    """The model's own tensors; from its own dtype where its casts do not let it run in another."""
    with torch.no_grad():
        try:
            return _tensors(twin(*samples))
        except RuntimeError:
            own = copy.deepcopy(model).eval()
            first = next((p for p in own.parameters() if p.is_floating_point()), samples[0])
            return _tensors(own(*(x.to(first) if x.is_floating_point() else x for x in samples)))


def _check_outputs(model: nn.Module, theirs: list[Tensor], ours: list[Tensor]) -> None:
    for mine, want in zip(ours, theirs, strict=True):
        rtol = 1e-9 if want.dtype == torch.float64 else 1e-4
        want = want.to(mine.dtype)
        scale = float(want.double().nan_to_num(0.0, 0.0, 0.0).abs().max()) if want.numel() else 0.0
        if not torch.allclose(mine, want, rtol=rtol, atol=rtol * scale, equal_nan=True):
            raise ModelError(
                f"graph of {type(model).__name__} differs from the model",
                found=f"largest difference {float((mine - want).abs().max()):.3g}",
                expected="the same output",
                remedy="look for randomness or state inside forward, which a graph cannot hold",
            )


def _tensors(result: Any) -> list[Tensor]:
    """The tensors of a model's result in order (tuples, lists and mappings opened)."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Mapping):
        result = tuple(result.values())
    return [t for item in result for t in _tensors(item)] if isinstance(result, tuple | list) else []
