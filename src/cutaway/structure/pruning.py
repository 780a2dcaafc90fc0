"""Pruning that counts live connections: to an effective target by scores, and SynFlow.

`prune_to_effective` drops the weights of least score, as many as it takes for the *effective* compression to reach its
target (Vysogorets and Kempe, arXiv 2107.02306, section 4: bisection on the number dropped, scores fixed). SynFlow
(Tanaka et al., arXiv 2006.05467) scores a weight by |w| dR/d|w|, R the sum of the outputs of the network with weights
|w|, no biases and no kinks at an input of ones, that is by the total weight of the paths through it, and prunes in
rounds; what a round cuts loose scores zero in the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, WorkError
from cutaway.network.gradient import derivatives
from cutaway.structure.live import live_connections
from cutaway.structure.spread import WEIGHTS, spread
from cutaway.structure.wiring import Wiring

Scores = Mapping[str, Tensor]


def magnitude(wiring: Wiring) -> dict[str, Tensor]:
    """|w| of every weight: the scores of magnitude pruning. Scores have their weight's shape."""
    return {name: weight.values.abs() for name, weight in wiring.weights.items()}


def keep_best(scores: Scores, count: int) -> dict[str, Tensor]:
    """Boolean masks that keep the `count` highest scores over all layers; of equal ones the first.

    Masks have their scores' shape.
    """
    flat = torch.cat([score.flatten().double().cpu() for score in scores.values()])
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[torch.argsort(flat, descending=True, stable=True)[:count]] = True
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def prune_to_effective(wiring: Wiring, scores: Scores, target: float) -> dict[str, Tensor]:
    """Masks, Boolean by weight name, that keep the most weights by `scores` for which the effective compression is at
    least `target`.

    scores: one a weight, of the weights' shapes, higher is kept; -inf for what is gone already. target: >= 1. Nested
    masks have nested live connections, so bisection is exact. Cost: about log2(N) readings of the connections. Raises
    `InputError` for a target below 1, or scores that are NaN or of other names or shapes.
    """
    _check(wiring, scores, target)
    low, high = (
        0,
        sum(int((score > -math.inf).sum()) for score in scores.values()),
    )  # the effective count is within budget at `low` kept, and not beyond `high`
    wanted = wiring.total / target
    while low < high:
        middle = (low + high + 1) // 2
        if live_connections(wiring, keep_best(scores, middle)).num_active <= wanted:
            low = middle
        else:
            high = middle - 1
    return keep_best(scores, low)


def synflow(wiring: Wiring, compression: float, *, rounds: int = 100) -> dict[str, Tensor]:
    """Masks that keep N / `compression` weights by SynFlow: N compression^(-k / rounds) of them in round k.

    Cost: one forward and one backward pass of one sample a round, in float64. Raises `InputError` for a compression
    below 1, `WorkError` where the sums over paths leave float64.
    Masks have their weight's shape.
    """
    _check(wiring, magnitude(wiring), compression)
    masks = {name: weight.values != 0 for name, weight in wiring.weights.items()}
    for k in range(1, rounds + 1):
        scores = path_scores(wiring, masks)
        gone = {name: score.masked_fill(~masks[name], -math.inf) for name, score in scores.items()}
        masks = keep_best(gone, round(wiring.total * compression ** (-k / rounds)))
        masks = {name: mask & (gone[name] > -math.inf).cpu() for name, mask in masks.items()}
    return masks


def path_scores(wiring: Wiring, masks: Scores) -> dict[str, Tensor]:
    """|w| dR/d|w| of every weight under `masks`, float64: the total weight of the paths through it, exact up to
    rounding. Positive exactly for active weights (up to underflow).

    Scores have their weight's shape. Raises `WorkError` where the sums over paths leave float64.
    """
    sizes = {
        name: (weight.values.double().abs() * masks[name].to(weight.values.device)).requires_grad_()
        for name, weight in wiring.weights.items()
    }
    uses = wiring.uses
    with derivatives(), torch.enable_grad():
        values: list[Tensor] = []
        for node in wiring.graph.nodes:
            if node.op == "input":
                values.append(torch.ones(node.shape, dtype=torch.float64, device=wiring.point.device))
                continue
            if node.index in uses:
                name, turned = uses[node.index]
                weight = sizes[name].mT if turned else sizes[name]
            else:
                weight = node.constants[WEIGHTS[node.op]].double().abs() if node.op in WEIGHTS else None
            nonzero = [z.double() for z in wiring.nonzero(node, [v > 0 for v in values]) or ()]
            values.append(spread(node, [values[i] for i in node.inputs], weight, nonzero))
        total = sum(values[i].double().sum() for i in wiring.graph.outputs)
        assert isinstance(total, Tensor)
        if not bool(torch.isfinite(total)):
            raise WorkError(
                "sums over paths",
                found=str(float(total)),
                expected="numbers that float64 holds",
                remedy="use fewer layers at once, or rescale the weights",
            )
        slopes = torch.autograd.grad(total, list(sizes.values()), allow_unused=True) if total.requires_grad else None
    if slopes is None:
        return {name: torch.zeros_like(size) for name, size in sizes.items()}
    pairs = zip(sizes.items(), slopes, strict=True)
    return {name: torch.zeros_like(s) if g is None else (s * g).detach() for (name, s), g in pairs}


def apply_masks(model: nn.Module, masks: Scores) -> None:
    """Put zeros into `model` in place where the masks say False; names as in the wiring. Raises `InputError` for a name
    that is no plain parameter."""
    named = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in named:
            raise InputError(
                f"mask {name!r}",
                found="no parameter of this name",
                expected=", ".join(list(named)[:6]),
                remedy="make masks permanent first (torch.nn.utils.prune.remove)",
            )
        with torch.no_grad():
            named[name].masked_fill_(~mask.to(named[name].device), 0.0)


def _check(wiring: Wiring, scores: Scores, target: float) -> None:
    if not (math.isfinite(target) and target >= 1):
        raise InputError(
            "compression",
            found=str(target),
            expected="a finite number, at least 1",
            remedy="give how many times smaller the network is to be, such as 10",
        )
    if {name: tuple(s.shape) for name, s in scores.items()} != wiring.shapes:
        raise InputError(
            "scores",
            found=", ".join(f"{name} {tuple(s.shape)}" for name, s in list(scores.items())[:4]) or "none",
            expected=", ".join(f"{name} {shape}" for name, shape in list(wiring.shapes.items())[:4]),
            remedy="give one tensor of scores for every wired layer, of its weight's shape",
        )
    if any(bool(score.isnan().any()) for score in scores.values()):
        raise InputError(
            "scores", found="NaN", expected="numbers", remedy="check the data and the loss that the scores come from"
        )
