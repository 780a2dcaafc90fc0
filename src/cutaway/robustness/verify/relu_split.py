"""Complete search by splitting ReLUs, with multipliers for the split constraints (beta-CROWN, arXiv 2103.06624).

A subproblem is a set of decided neurons (value >= 0 or <= 0). Its bound: the parent's limits cut by the decisions, the
output's backward pass with line positions alpha and one multiplier beta for each decided neuron, improved by Adam in
float32; the reported bound is one float64 pass with the best parameters found. Which neuron is split next: `branching`.
Also used for neural activation patterns, whose decisions are given from outside.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from cutaway.robustness.bounds.alpha import narrow
from cutaway.robustness.bounds.intervals import Limits, flat_values
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows
from cutaway.robustness.bounds.unary import initial_alpha, tunable
from cutaway.robustness.verify.branching import Bounding, choose_splits
from cutaway.robustness.verify.input_split import SearchOutcome, safe_difference, smallest_proved
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.relu_limits import cut_limits, optimise, output_cuts
from cutaway.robustness.verify.relu_parts import (
    Parts,
    SplitSettings,
    choices_of,
    in_float32,
    split_nodes,
    take_batch,
    unstable,
)
from cutaway.robustness.verify.search import try_points

LEVEL = 1e-3
"""Cuts by the output keep the points with g <= level, LEVEL times the least root bound that is open in size: what is
proved by them is missed by at least that level."""


def split_relus(
    problem: Problem,
    clauses: Tensor,
    limits: Limits,
    *,
    deadline: float,
    settings: SplitSettings = SplitSettings(),  # noqa: B008 (frozen)
    fixed: dict[int, Tensor] | None = None,
    progress=lambda text: None,
) -> SearchOutcome:
    """Decide clauses (indices, N of them) whose CROWN limits are `limits` (leading size N), until `deadline`.

    `fixed` gives decisions that hold from the start (N, *shape), by node: a pattern specification.
    """
    search = narrow(problem.bounded, torch.float32)
    start = _start(problem, clauses, limits, fixed)
    stack: list[Parts] = []
    proved: list[float] = []
    found = _improve(problem, search, start, replace(settings, steps=settings.root_steps), stack, proved)
    level = _level(stack)
    for _ in range(settings.cut_rounds):
        if found is None and stack and time.monotonic() < deadline:
            start = stack.pop()
            root = replace(settings, steps=settings.root_steps, cut_work=float("inf"))
            found = _improve(problem, search, start, root, stack, proved, output_cuts(problem, start, level))
    count, told = len(clauses), time.monotonic()
    while found is None and stack:
        if time.monotonic() > deadline or sum(map(len, stack)) > settings.max_open:
            break
        batch = take_batch(stack, settings.batch_size)
        ended = _ended(problem, batch)
        if bool(ended.any()):
            dead: list[Parts] = []
            last = batch.take(ended.nonzero().squeeze(1))
            found = _improve(problem, search, last, replace(settings, steps=settings.last_steps), dead, proved)
            batch = batch.take((~ended).nonzero().squeeze(1))
            if found is None and dead:
                return _given_up([*stack, *dead, *([batch] if len(batch) else [])], count)
            if found is not None or len(batch) == 0:
                continue
        cuts = tuple(v.repeat(2, *(1,) * (v.ndim - 1)) for v in output_cuts(problem, batch, level))
        children = _branch(problem, search, batch, settings)
        count += len(children)
        found = _improve(problem, search, children, settings, stack, proved, cuts)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            progress(f"{count} subproblems bounded, {sum(map(len, stack))} open")
    if found is not None:
        return SearchOutcome(witness=found, parts=count)
    if stack:
        outcome = _given_up(stack, count)
        outcome.full = outcome.open_parts > settings.max_open
        return outcome
    return SearchOutcome(proved=True, bound=min([*proved, level]), parts=count)


def _level(open_: list[Parts]) -> float:
    """Infinite where nothing is left to be cut."""
    values = torch.cat([p.value for p in open_]) if open_ else torch.zeros(0)
    values = values[torch.isfinite(values)].abs()
    return LEVEL * float(values.min().clamp(min=1e-6)) if len(values) else LEVEL * 1e-6 if open_ else float("inf")


def _given_up(stack: list[Parts], count: int) -> SearchOutcome:
    worst = min(float(p.value.min()) for p in stack)
    return SearchOutcome(bound=worst, parts=count, open_parts=sum(map(len, stack)))


def _start(problem: Problem, clauses: Tensor, limits: Limits, fixed: dict[int, Tensor] | None) -> Parts:
    nodes = split_nodes(problem.bounded)
    signs = {k: torch.zeros(limits.lower[k].shape, dtype=torch.int8) for k in nodes}
    signs |= {k: v.to(torch.int8) for k, v in (fixed or {}).items()}
    alphas = {}
    for node in problem.bounded.nonlinear:
        if node.op != "mul" and tunable(node):
            source = node.inputs[0]
            alphas[node.index] = initial_alpha(node, limits.lower[source], limits.upper[source]).unsqueeze(1).float()
    betas = {k: torch.zeros(v.shape, dtype=torch.float32).unsqueeze(1) for k, v in signs.items()}
    value = torch.full((len(clauses),), -torch.inf, dtype=torch.float64)
    return Parts(
        clause=clauses,
        signs=signs,
        limits=Limits(lower=dict(limits.lower), upper=dict(limits.upper)),
        alphas=alphas,
        betas=betas,
        value=value,
    )


def _improve(
    problem: Problem,
    search: BoundNetwork,
    parts: Parts,
    settings: SplitSettings,
    stack: list[Parts],
    proved: list[float],
    cuts: tuple[Tensor, ...] | None = None,
) -> Tensor | None:
    """Bound the parts, put those still open on the stack (worst last), note the smallest bound of those that are done,
    try the minimisers of the others; gives a witness or None."""
    bounded = problem.bounded
    region = problem.region(problem.lower[parts.clause], problem.upper[parts.clause])
    signs = {k: v for k, v in parts.signs.items() if bool((v != 0).any())}
    with torch.no_grad():
        limits = cut_limits(problem, parts, settings, region, signs, cuts)
    parts.limits = limits
    optimise(problem, search, parts, settings)
    choices = choices_of(parts, torch.float64)
    choices.record = {}
    with torch.no_grad():
        rows = bound_rows(bounded, limits, region, problem.rows(parts.clause), SweepSettings(), choices)
    rows = safe_difference(rows, problem.limits[parts.clause])
    value, best = torch.where(torch.isnan(rows), -torch.inf, rows).max(1)
    parts.value = torch.maximum(parts.value, value)
    done = parts.value > 0
    proved.append(smallest_proved(parts.value, limits.empty))
    if limits.empty is not None:
        done = done | limits.empty
    left = (~done).nonzero().squeeze(1)
    if len(left) == 0:
        return None
    seen = choices.record.get(bounded.graph.inputs[0])
    if seen is not None:
        functional = seen.flatten(2)[torch.arange(len(best)), best][left]
        low, high = problem.lower[parts.clause[left]], problem.upper[parts.clause[left]]
        witness = try_points(problem, torch.where(functional > 0, low, high), parts.clause[left])
        if witness is not None:
            return witness
    order = left[parts.value[left].argsort(descending=True)]
    stack.append(parts.take(order))
    return None


def _ended(problem: Problem, parts: Parts) -> Tensor:
    """Which parts have no neuron left to split."""
    candidates = [
        (unstable(parts.limits, k) & (flat_values(parts.signs[k], 1) == 0)).any(1) for k in split_nodes(problem.bounded)
    ]
    return ~torch.stack(candidates).any(0)


def _branch(problem: Problem, search: BoundNetwork, parts: Parts, settings: SplitSettings) -> Parts:
    """Both children of every part; each must have a neuron left to split."""
    nodes = split_nodes(problem.bounded)
    undecided = {k: unstable(parts.limits, k) & (flat_values(parts.signs[k], 1) == 0) for k in nodes}
    bounding = Bounding(
        search=search,
        region=problem.region(problem.lower[parts.clause], problem.upper[parts.clause]).to(torch.float32),
        limits=in_float32(parts.limits),
        rows=problem.rows(parts.clause).float(),
        thresholds=problem.limits[parts.clause].float(),
        choices=choices_of(parts, torch.float32),
        undecided=undecided,
    )
    at = choose_splits(bounding, nodes, tried=settings.tried)
    child = parts.take(torch.arange(len(parts)).repeat(2))
    direction = torch.cat([torch.ones(len(parts)), -torch.ones(len(parts))]).to(torch.int8)
    start = 0
    for source, candidates in undecided.items():
        inside = (at >= start) & (at < start + candidates.shape[1])
        rows = inside.repeat(2).nonzero().squeeze(1)
        columns = (at - start).repeat(2)[rows]
        signs = flat_values(child.signs[source], 1).clone()
        signs[rows, columns] = direction[rows]
        child.signs[source] = signs.reshape(child.signs[source].shape)
        start += candidates.shape[1]
    return child
