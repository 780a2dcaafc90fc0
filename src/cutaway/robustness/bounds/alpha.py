"""Optimised slopes (alpha-CROWN, Xu et al., arXiv 2011.13824): gradient ascent on the free lines of the relaxation.

Every value of the parameters gives a sound bound, so the best over all steps is kept and nothing depends on
convergence. Two depths: `last` moves only the lines used by the output's own backward pass; `all` gives every tightened
node its own set of lines as well and recomputes the inner limits at each step. Slopes are shared by all rows of a
sample by default (`shared`), which costs a factor S less memory than one slope per row.

How we differ: samples whose rows are all positive leave the batch (`drop_solved`); gradients may be taken in float32
(`search_dtype`) because only the final float64 pass with the found slopes is reported; inner rows are limited to
neurons that plain CROWN left unstable.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import Splits, SweepSettings, bound_rows, sweep
from cutaway.robustness.bounds.transpose import absolute
from cutaway.robustness.bounds.unary import UNARY, initial_alpha, tunable
from cutaway.robustness.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaSettings:
    """`steps` of Adam with rate `learning_rate` (times `decay` each step).

    Raises `InputError` for another depth and steps below 0.
    """

    depth: str = "last"
    steps: int = 20
    learning_rate: float = 0.25
    decay: float = 0.97
    shared: bool = True
    drop_solved: bool = True
    search_dtype: torch.dtype = torch.float32
    sweep: SweepSettings = field(default_factory=SweepSettings)

    def __post_init__(self) -> None:
        if self.depth not in ("last", "all"):
            raise InputError(
                "depth of slope optimisation",
                found=repr(self.depth),
                expected="'last' or 'all'",
                remedy="give one of the two",
            )
        if self.steps < 0:
            raise InputError(
                "steps of slope optimisation",
                found=str(self.steps),
                expected="0 or more",
                remedy="give a whole number of at least 0",
            )


Plan = dict[int, Choices]
"""Node whose limits are computed (or the output) -> the lines its backward pass uses."""


def optimised_rows(
    bounded: BoundNetwork,
    region: Region,
    rows: Tensor,
    limits: Limits,
    settings: AlphaSettings = AlphaSettings(),
    *,
    splits: Splits | None = None,
) -> Tensor:
    """Lower bounds (B, S) of the output functionals `rows` (S, *output shape) or (B, S, *output shape).

    `limits` are those of a CROWN sweep over the same region. Never below plain CROWN. Cost: `steps` times a backward
    pass of the output (`last`) or of every tightened node (`all`), and as much again for gradients; then one more of
    each. Source: Xu et al. (arXiv 2011.13824).
    """
    return optimised(bounded, region, rows, limits, settings, splits=splits)[0]


def optimised(
    bounded: BoundNetwork,
    region: Region,
    rows: Tensor,
    limits: Limits,
    settings: AlphaSettings = AlphaSettings(),
    *,
    splits: Splits | None = None,
) -> tuple[Tensor, Limits]:
    """As `optimised_rows`, and the limits: with depth `all`, those of the samples that were worked on are tighter."""
    output = bounded.graph.output
    batch = len(limits.lower[output.index])
    if rows.ndim == len(output.shape) + 1:
        rows = rows.unsqueeze(0).expand(batch, *rows.shape)
    best = bound_rows(bounded, limits, region, rows, settings.sweep)
    open_ = ~(best > 0).all(1) if settings.drop_solved else torch.ones(batch, dtype=torch.bool)
    index = open_.nonzero().squeeze(1)
    if settings.steps == 0 or len(index) == 0:
        return best, limits
    part_limits, part_region, part_rows = limits.select(index), region.select(index), rows[index]
    part_splits = {k: v[index] for k, v in splits.items()} if splits else None
    plan = _search(bounded, part_region, part_rows, part_limits, settings, part_splits)
    with torch.no_grad():
        if settings.depth == "all":
            part_limits = sweep(
                bounded, part_region, settings.sweep, splits=part_splits, known=part_limits, choices=plan
            )
        found = bound_rows(bounded, part_limits, part_region, part_rows, settings.sweep, plan[output.index])
    best[index] = torch.where(found > best[index], found, best[index])
    return best, _replaced(limits, part_limits, index)


def _replaced(limits: Limits, part: Limits, index: Tensor) -> Limits:
    def put(whole: dict[int, Tensor], piece: dict[int, Tensor]) -> dict[int, Tensor]:
        return {k: v.index_copy(0, index, piece[k]) for k, v in whole.items()}

    return Limits(
        lower=put(limits.lower, part.lower), upper=put(limits.upper, part.upper), slack=put(limits.slack, part.slack)
    )


def narrow(bounded: BoundNetwork, dtype: torch.dtype) -> BoundNetwork:
    """The network in another dtype and without rounding slack, for searching only."""
    graph = bounded.graph.to(dtype)
    move = {k: absolute(graph.nodes[k]) for k in bounded.absolute}
    offsets = {k: v.to(dtype) for k, v in bounded.offset.items()}
    return replace(bounded, graph=graph, absolute=move, offset=offsets, rounding=False)


def _cast(limits: Limits, dtype: torch.dtype) -> Limits:
    return Limits(
        lower={k: v.to(dtype) for k, v in limits.lower.items()},
        upper={k: v.to(dtype) for k, v in limits.upper.items()},
    )


def start_plan(bounded: BoundNetwork, limits: Limits, depth: str, count: int = 1) -> Plan:
    """Default lines for the output, and for every tightened node when `depth` is `all`."""
    targets = [bounded.graph.output.index] + (list(bounded.tighten) if depth == "all" else [])
    plan: Plan = {}
    for target in targets:
        alphas = {}
        for node in bounded.nonlinear:
            if node.index in bounded.before[target] and node.op in UNARY and tunable(node):
                source = node.inputs[0]
                value = initial_alpha(node, limits.lower[source], limits.upper[source]).unsqueeze(1)
                wide = count if target == bounded.graph.output.index else 1
                alphas[node.index] = value.expand(len(value), wide, *node.shape).clone()
        plan[target] = Choices(alphas=alphas)
    return plan


def _search(
    bounded: BoundNetwork, region: Region, rows: Tensor, limits: Limits, settings: AlphaSettings, splits: Splits | None
) -> Plan:
    small = narrow(bounded, settings.search_dtype)
    dtype = small.dtype
    near, place, functionals = _cast(limits, dtype), region.to(dtype), rows.to(dtype)
    count = 1 if settings.shared else rows.shape[1]
    plan = start_plan(small, near, settings.depth, count)
    parameters = [a.requires_grad_() for choices in plan.values() for a in choices.alphas.values()]
    kept = {t: {k: a.detach().clone() for k, a in c.alphas.items()} for t, c in plan.items()}
    if not parameters:
        return plan
    adam = torch.optim.Adam(parameters, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, settings.decay)
    record = torch.full((len(rows),), -torch.inf, dtype=dtype)
    output = small.graph.output.index
    for _ in range(settings.steps + 1):
        with torch.enable_grad():
            now = near
            if settings.depth == "all":
                now = sweep(small, place, settings.sweep, splits=splits, known=near, choices=plan)
            found = bound_rows(small, now, place, functionals, settings.sweep, plan[output])
            score = found.amin(1)
            _keep_better(plan, kept, score.detach(), record)
            goal = torch.where(torch.isfinite(found), found, 0.0)
            if settings.drop_solved:
                goal = goal.clamp(max=0.0)
            (-goal.sum()).backward() if goal.requires_grad else None
        adam.step()
        schedule.step()
        adam.zero_grad()
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(0, 1)
        if (settings.drop_solved and bool((record > 0).all())) or time.monotonic() > settings.sweep.deadline:
            break
    return {t: replace(c, alphas={k: a.to(bounded.dtype) for k, a in kept[t].items()}) for t, c in plan.items()}


def _keep_better(plan: Plan, kept: dict[int, dict[int, Tensor]], score: Tensor, record: Tensor) -> None:
    better = score > record
    record[better] = score[better]
    for target, choices in plan.items():
        for key, alpha in choices.alphas.items():
            kept[target][key][better] = alpha.detach()[better]
