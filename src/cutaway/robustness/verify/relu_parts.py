"""Subproblems of a search over ReLUs, many at once: their decisions, limits and multipliers (`relu_split`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits, flat_values
from cutaway.robustness.bounds.network import BoundNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """`batch_size` subproblems at a time; `steps` of Adam each (`root_steps` for the first,
    `last_steps` where no neuron is left to split); `refresh`: inner limits are recomputed by CROWN
    where at most this many neurons are open on average, else only cut by the decisions and IBP; `tried`: neurons whose
    children are bounded before one is split. Limits over the cut box (see `cuts`): `cut_rounds` times at the root for
    all neurons, later for nodes where it costs at most `cut_work` numbers a subproblem or `cut_total` for all."""

    batch_size: int = 256
    steps: int = 12
    root_steps: int = 20
    last_steps: int = 300
    learning_rate: float = 0.3
    beta_rate: float = 0.1
    refresh: int = 48
    tried: int = 12
    cut_rounds: int = 2
    cut_work: float = 4e6
    cut_total: float = 2e8
    max_open: int = 200_000


@dataclass(slots=True, kw_only=True)
class Parts:
    """Subproblems: clause, decisions and limits by split node, line positions, bound so far. All with leading size
    N."""

    clause: Tensor
    signs: dict[int, Tensor]
    limits: Limits
    alphas: dict[int, Tensor]
    betas: dict[int, Tensor]
    value: Tensor

    def take(self, index: Tensor) -> Parts:
        return Parts(
            clause=self.clause[index],
            value=self.value[index],
            limits=self.limits.select(index),
            signs={k: v[index] for k, v in self.signs.items()},
            alphas={k: v[index] for k, v in self.alphas.items()},
            betas={k: v[index] for k, v in self.betas.items()},
        )

    def __len__(self) -> int:
        return len(self.clause)


def _join(parts: list[Parts]) -> Parts:
    def cat(tables: list[dict[int, Tensor]]) -> dict[int, Tensor]:
        return {k: torch.cat([t[k] for t in tables]) for k in tables[0]}

    limits = Limits(
        lower=cat([p.limits.lower for p in parts]),
        upper=cat([p.limits.upper for p in parts]),
        slack=cat([p.limits.slack for p in parts]),
    )
    return Parts(
        clause=torch.cat([p.clause for p in parts]),
        value=torch.cat([p.value for p in parts]),
        limits=limits,
        signs=cat([p.signs for p in parts]),
        alphas=cat([p.alphas for p in parts]),
        betas=cat([p.betas for p in parts]),
    )


def split_nodes(bounded: BoundNetwork) -> dict[int, int]:
    """Nodes whose sign may be decided, each with the ReLU that reads it."""
    return {node.inputs[0]: node.index for node in bounded.graph.nodes if node.op == "relu"}


def unstable(limits: Limits, index: int) -> Tensor:
    """Neurons (B, n) of a node that may have either sign."""
    return flat_values((limits.lower[index] < 0) & (limits.upper[index] > 0), 1)


def take_batch(stack: list[Parts], size: int) -> Parts:
    """At most `size` subproblems from the end of the stack; what is cut off goes back."""
    batch = stack.pop()
    while stack and len(batch) < size:
        batch = _join([stack.pop(), batch])
    if len(batch) > size:
        cut = len(batch) - size
        stack.append(batch.take(torch.arange(cut)))
        batch = batch.take(torch.arange(cut, len(batch)))
    return batch


def choices_of(parts: Parts, dtype: torch.dtype) -> Choices:
    """Line positions and the signed multipliers of the neurons that are decided."""
    betas = {
        k: (parts.betas[k].clamp(min=0) * parts.signs[k].unsqueeze(1)).to(dtype)
        for k in parts.signs
        if bool((parts.signs[k] != 0).any())
    }
    return Choices(alphas={k: v.to(dtype) for k, v in parts.alphas.items()}, betas=betas)


def in_float32(limits: Limits) -> Limits:
    """Lower and upper limits alone, rounded to nearest: for searching, not for claims."""
    return Limits(
        lower={k: v.float() for k, v in limits.lower.items()}, upper={k: v.float() for k, v in limits.upper.items()}
    )
