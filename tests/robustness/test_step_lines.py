"""Lines around floor, round and ceil: below and above the function on any interval, at every slope."""

from __future__ import annotations

import pytest
import torch

from cutaway.network.graph import Node
from cutaway.network.graph.facts import CURVES
from cutaway.network.graph.operators import apply_node
from cutaway.robustness.bounds.steps import step_lines
from cutaway.robustness.bounds.unary import is_stable


def node(op: str) -> Node:
    return Node(index=1, op=op, inputs=(0,), shape=(1,), name=op)


def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    lower = 4 * torch.rand(count, generator=draw, dtype=torch.float64) - 2
    width = 3 * torch.rand(count, generator=draw, dtype=torch.float64) ** 3
    return lower, lower + width, torch.rand(count, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("op", sorted(word for word, curve in CURVES.items() if curve.kind == "steps"))
@pytest.mark.parametrize("free", [True, False])
def test_lines_enclose_every_step(op, free):
    lower, upper, alpha = drawn(400)
    below, low, above, high = step_lines(node(op), lower, upper, alpha if free else None)
    inside = lower + torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None] * (upper - lower)
    edges = torch.arange(-3, 6, 0.5, dtype=torch.float64)[:, None] + torch.tensor(
        [-1e-9, 0.0, 1e-9], dtype=torch.float64
    )
    edges = edges.reshape(-1, 1).expand(-1, len(lower))
    points = torch.cat([inside, edges.clamp(lower, upper)])
    value = apply_node(node(op), [points])
    assert bool((below * points + low <= value + 1e-12).all())
    assert bool((value <= above * points + high + 1e-12).all())


@pytest.mark.parametrize("op", sorted(word for word, curve in CURVES.items() if curve.kind == "steps"))
def test_lines_touch_a_step_and_one_step_is_stable(op):
    lower, upper, alpha = drawn(400)
    below, low, above, high = step_lines(node(op), lower, upper, alpha)
    one = apply_node(node(op), [lower]) == apply_node(node(op), [upper])
    assert 0 < int(one.sum()) < len(one)
    assert bool((is_stable(node(op), lower, upper) == one).all())
    assert bool((below[one] == 0).all()) and bool((low[one] == high[one]).all())
    gap = (above - below) * lower + high - low  # one step, and what a slope adds to it over the interval
    assert bool((gap[~one] <= 1 + alpha[~one] * (upper - lower)[~one] + 1e-9 + (upper - lower)[~one]).all())
