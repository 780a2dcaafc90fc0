"""Routed experts whose weights are stacked in one module, as transformers keeps them: (E, 2F, D) or (E, D, 2F).

The module is called with token states (N, D), the experts chosen for each (N, k) and the router's weights for them. A
layout is believed only after the module's output has been computed from it, and the gate is told from the up
projection by what shuts the output. Of a token, s and d are the means over its chosen experts' s and d, weighted by the
router (weights normalised to sum 1): the mixture that the model itself makes of their outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.language.pooling import token_features


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLayout:
    """E experts, D features in, F gates: columns first, first + step, ... of what the first weight gives."""

    number: int
    hidden: int
    width: int
    first: int
    step: int


def holds_experts(module: nn.Module) -> bool:
    """Whether the module itself keeps at least two stacks of matrices, (E, ., .) with the same E > 1."""
    held = [p for _, p in module.named_parameters(recurse=False)]
    held += [getattr(module, name) for name in getattr(module, "parametrizations", {})]
    leading = [p.shape[0] for p in held if isinstance(p, Tensor) and p.ndim == 3 and p.shape[0] > 1]
    return len(leading) != len(set(leading))


def takes_choices(args: tuple, kwargs: dict) -> bool:
    """Whether a call is given integers, the chosen experts of every token."""
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    return any(not a.is_floating_point() and a.dtype != torch.bool and a.ndim == 2 for a in given)


def layout_of(module: nn.Module, path: str, args: tuple, kwargs: dict, output: Any) -> ExpertLayout:
    """The layout of one call's experts. Raises ModelError where the output is not computed as that layout says."""
    try:
        states, index, scores = _operands(args, kwargs)
        layout = _layout(module, states)
        again = torch.zeros_like(states, dtype=torch.float32)
        for tokens, gates, weight, expert in _routed(module, states, index, scores):
            again.index_add_(0, tokens, (_back(module, gates, expert) * weight[:, None]).float())
        error, scale = (again - output.reshape(again.shape).float()).abs().max(), output.float().abs().max()
        slack = max(2e-3, 16 * torch.finfo(states.dtype).eps)
        if bool(error <= slack * scale + 1e-6):
            return layout
    except (AttributeError, RuntimeError, ValueError, TypeError, IndexError, StopIteration):
        pass
    raise ModelError(
        f"experts {path} ({type(module).__name__})",
        found="another layout, or another way through them",
        expected="states (N, D), chosen experts (N, k) and router weights (N, k), each expert gate, up and down",
        remedy="the other blocks alone would be a part of the model: read a model whose experts are of this kind",
    )


def routed_features(module: nn.Module, layout: ExpertLayout, args: tuple, kwargs: dict) -> Tensor:
    """s and d of every token, float32 (2, N); the gates of the chosen experts are computed once more."""
    states, index, scores = _operands(args, kwargs)
    scores = scores.float() / scores.float().sum(1, keepdim=True)
    made = torch.zeros(2, len(states), device=states.device)
    for tokens, gates, weight, expert in _routed(module, states, index, scores):
        rows = _gate_rows(module, expert)[layout.first :: layout.step][: layout.width]
        inverse = rows.float().norm(dim=1).clamp(min=1e-30).reciprocal()
        pair = token_features(gates[:, layout.first :: layout.step][:, : layout.width], inverse)
        made.index_add_(1, tokens, torch.stack(pair) * weight)
    return made


def _operands(args: tuple, kwargs: dict) -> tuple[Tensor, Tensor, Tensor]:
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    states, scores = (a for a in given if a.is_floating_point())
    index = next(a for a in given if not a.is_floating_point())
    if states.ndim != 2 or index.shape[0] != states.shape[0]:
        raise ValueError("not (N, D) and (N, k)")
    return states, index, scores if scores.shape == index.shape else scores.gather(1, index)


def _layout(module: Any, states: Tensor) -> ExpertLayout:
    number = len(_stack(module, "in"))
    wide, hidden = _gate_rows(module, 0).shape
    if not module.has_gate:
        return ExpertLayout(number=number, hidden=int(hidden), width=int(wide), first=0, step=1)
    half = int(wide) // 2
    for first, step in ((0, 1), (half, 1), (0, 2), (1, 2)):
        shut = torch.ones(2, wide, dtype=states.dtype, device=states.device)
        shut[0, first::step][:half] = -80.0
        shut[1] = 1 - 81 * (shut[0] > 0).to(shut.dtype)
        closed, other = module._apply_gate(shut).abs().amax(1)
        if closed < 1e-3 < other:
            return ExpertLayout(number=number, hidden=int(hidden), width=half, first=first, step=step)
    raise ValueError("no gate")


def _stack(module: Any, which: str) -> Tensor:
    if which == "in":
        return module.gate_up_proj if module.has_gate else module.up_proj
    return module.down_proj


def _gate_rows(module: Any, expert: int) -> Tensor:
    """The first weight of an expert, (2F, D)."""
    weight = _stack(module, "in")[expert].detach()
    return weight.T if module.is_transposed else weight


def _routed(module: Any, states: Tensor, index: Tensor, scores: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
    """For every chosen expert: its tokens (m,), what its first weight gives (m, 2F), its weights (m,), its number."""
    for expert in index.unique().tolist():
        if expert >= len(_stack(module, "in")):  # transformers' mark for an expert on another device
            continue
        tokens, place = (index == expert).nonzero(as_tuple=True)
        gates = states[tokens] @ _gate_rows(module, expert).T
        if module.has_bias:
            gates = gates + (module.gate_up_proj_bias if module.has_gate else module.up_proj_bias)[expert]
        yield tokens, gates, scores[tokens, place], expert


def _back(module: Any, gates: Tensor, expert: int) -> Tensor:
    weight = module.down_proj[expert]
    inner = module._apply_gate(gates) if module.has_gate else module.act_fn(gates)
    out = inner @ (weight if module.is_transposed else weight.T)
    return out + module.down_proj_bias[expert] if module.has_bias else out
