"""Complete search by splitting ReLUs, with multipliers for the split constraints (beta-CROWN, arXiv 2103.06624).

A subproblem is a set of decided neurons (value >= 0 or <= 0). Its bound: the parent's limits cut by the decisions, the
output's backward pass with line positions alpha and one multiplier beta for each decided neuron, improved by Adam in
float32; the reported bound is one float64 pass with the best parameters found. Which neuron is split next: `branching`.
Also used for neural activation patterns, whose decisions are given from outside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cutaway.robustness.bounds.alpha import narrow
from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits, flat
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import Splits, SweepSettings, bound_rows, open_rows, sweep
from cutaway.robustness.bounds.unary import initial_alpha, tunable
from cutaway.robustness.regions import Box
from cutaway.robustness.verify.branching import Bounding, choose
from cutaway.robustness.verify.cuts import STEPS, CutBox, decision_planes, plane_below
from cutaway.robustness.verify.input_split import Outcome, safe_difference, smallest_proved
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.search import try_points

LEVEL = 1e-3
"""Cuts by the output keep the points with g <= level, LEVEL times the least root bound that is open in size: what is
proved by them is missed by at least that level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """`batch` subproblems at a time; `steps` of Adam each (`root_steps` for the first,
    `last_steps` where no neuron is left to split); `refresh`: inner limits are recomputed by CROWN
    where at most this many neurons are open on average, else only cut by the decisions and IBP; `tried`: neurons whose
    children are bounded before one is split. Limits over the cut box (see `cuts`): `cut_rounds` times at the root for
    all neurons, later for nodes where it costs at most `cut_work` numbers a subproblem or `cut_total` for all."""

    batch: int = 256
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


def split_nodes(net: BoundNetwork) -> dict[int, int]:
    """Nodes whose sign may be decided, each with the ReLU that reads it."""
    return {node.inputs[0]: node.index for node in net.graph.nodes if node.op == "relu"}


def _unstable(limits: Limits, index: int) -> Tensor:
    """Neurons (B, n) of a node that may have either sign."""
    return flat((limits.lower[index] < 0) & (limits.upper[index] > 0), 1)


def split_relus(
    problem: Problem,
    clauses: Tensor,
    limits: Limits,
    *,
    deadline: float,
    settings: SplitSettings = SplitSettings(),
    fixed: dict[int, Tensor] | None = None,
    progress=lambda text: None,
) -> Outcome:
    """Decide clauses (indices, N of them) whose CROWN limits are `limits` (leading size N), until `deadline`.

    `fixed` gives decisions that hold from the start (N, *shape), by node: a pattern specification.
    """
    search = narrow(problem.net, torch.float32)
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
        batch = _pop(stack, settings.batch)
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
        return Outcome(witness=found, parts=count)
    if stack:
        outcome = _given_up(stack, count)
        outcome.full = outcome.open_parts > settings.max_open
        return outcome
    return Outcome(proved=True, bound=min([*proved, level]), parts=count)


def _level(open_: list[Parts]) -> float:
    """Infinite where nothing is left to be cut."""
    values = torch.cat([p.value for p in open_]) if open_ else torch.zeros(0)
    values = values[torch.isfinite(values)].abs()
    return LEVEL * float(values.min().clamp(min=1e-6)) if len(values) else LEVEL * 1e-6 if open_ else float("inf")


def _given_up(stack: list[Parts], count: int) -> Outcome:
    worst = min(float(p.value.min()) for p in stack)
    return Outcome(bound=worst, parts=count, open_parts=sum(map(len, stack)))


def _start(problem: Problem, clauses: Tensor, limits: Limits, fixed: dict[int, Tensor] | None) -> Parts:
    nodes = split_nodes(problem.net)
    signs = {k: torch.zeros(limits.lower[k].shape, dtype=torch.int8) for k in nodes}
    signs |= {k: v.to(torch.int8) for k, v in (fixed or {}).items()}
    alphas = {}
    for node in problem.net.nonlinear:
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


def _pop(stack: list[Parts], size: int) -> Parts:
    batch = stack.pop()
    while stack and len(batch) < size:
        batch = _join([stack.pop(), batch])
    if len(batch) > size:
        cut = len(batch) - size
        stack.append(batch.take(torch.arange(cut)))
        batch = batch.take(torch.arange(cut, len(batch)))
    return batch


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
    net = problem.net
    region = problem.region(problem.lower[parts.clause], problem.upper[parts.clause])
    signs = {k: v for k, v in parts.signs.items() if bool((v != 0).any())}
    with torch.no_grad():
        limits = _limits(problem, parts, settings, region, signs, cuts)
    parts.limits = limits
    _optimise(problem, search, parts, settings)
    choices = _choices(parts, torch.float64)
    choices.record = {}
    with torch.no_grad():
        rows = bound_rows(net, limits, region, problem.rows(parts.clause), SweepSettings(), choices)
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
    seen = choices.record.get(net.graph.inputs[0])
    if seen is not None:
        functional = seen.flatten(2)[torch.arange(len(best)), best][left]
        low, high = problem.lower[parts.clause[left]], problem.upper[parts.clause[left]]
        witness = try_points(problem, torch.where(functional > 0, low, high), parts.clause[left])
        if witness is not None:
            return witness
    order = left[parts.value[left].argsort(descending=True)]
    stack.append(parts.take(order))
    return None


def output_cuts(problem: Problem, parts: Parts, level: float) -> tuple[Tensor, Tensor]:
    """Half-spaces (N, 1, n), (N, 1) that hold every point of the parts with g <= level, for each part's best row g."""
    rows, limits = problem.rows(parts.clause), problem.limits[parts.clause]
    box = problem.region(problem.lower[parts.clause], problem.upper[parts.clause])
    with torch.no_grad():
        choices = _choices(parts, torch.float64)
        normals, offsets = plane_below(problem.net, parts.limits, box, problem.net.graph.output.index, rows, choices)
        value = offsets + box.minimum(normals) - limits
        best = torch.where(torch.isnan(value), -torch.inf, value).argmax(1, keepdim=True)
        normals = normals.gather(1, best.unsqueeze(-1).expand(-1, -1, normals.shape[2]))
        offsets, above = offsets.gather(1, best), limits.gather(1, best) + level
    known = torch.isfinite(offsets) & torch.isfinite(normals).all(-1)
    offsets = safe_difference(offsets, above)
    return torch.where(known.unsqueeze(-1), normals, 0.0), torch.where(known, offsets, -1.0)


def _limits(
    problem: Problem, parts: Parts, settings: SplitSettings, region: Box, signs: Splits, cuts: tuple[Tensor, ...] | None
) -> Limits:
    """The parents' limits cut by the decisions; over the cut box where that is worth its cost."""
    net = problem.net
    method = "crown" if _cheap(net, parts, settings) else "ibp"
    if cuts is None:
        return sweep(net, region, SweepSettings(method=method), splits=signs, known=parts.limits)
    only = _affordable(net, parts, settings)
    if not only:
        return sweep(net, region, SweepSettings(method=method), splits=signs, known=parts.limits)
    planes = [cuts, *(decision_planes(net, parts.limits, region, k, signs[k]) for k in signs if k in net.box_exact)]
    normals, offsets = (torch.cat([p[i] for p in planes], 1) for i in range(2))
    cut = CutBox(box=region, normals=normals, offsets=offsets)
    limits = sweep(net, cut, SweepSettings(only=only), splits=signs, known=parts.limits)
    if method == "crown":
        empty = limits.empty
        limits = sweep(net, region, splits=signs, known=limits)
        limits.empty = empty if limits.empty is None else limits.empty if empty is None else empty | limits.empty
    return limits


def _affordable(net: BoundNetwork, parts: Parts, settings: SplitSettings) -> frozenset[int]:
    """Nodes whose limits over the cut box cost little enough: rows times the numbers that each touches."""
    inputs = net.graph.input.numel
    found = set()
    for node in net.tighten:
        rows = float(open_rows(net, parts.limits, node).sum())
        work = rows * (sum(net.graph.nodes[i].numel for i in net.before[node]) + 2 * STEPS * inputs)
        if work <= settings.cut_work * len(parts) or work <= settings.cut_total:
            found.add(node)
    return frozenset(found)


def _cheap(net: BoundNetwork, parts: Parts, settings: SplitSettings) -> bool:
    nodes = [k for k in split_nodes(net) if k not in net.box_exact]
    count = sum(int(_unstable(parts.limits, k).sum()) for k in nodes)
    return count <= settings.refresh * len(parts)


def _choices(parts: Parts, dtype: torch.dtype) -> Choices:
    betas = {
        k: (parts.betas[k].clamp(min=0) * parts.signs[k].unsqueeze(1)).to(dtype)
        for k in parts.signs
        if bool((parts.signs[k] != 0).any())
    }
    return Choices(alphas={k: v.to(dtype) for k, v in parts.alphas.items()}, betas=betas)


def _optimise(problem: Problem, search: BoundNetwork, parts: Parts, settings: SplitSettings) -> None:
    """Adam on alphas and betas in float32; keeps each subproblem's best."""
    if settings.steps == 0:
        return
    region = problem.region(problem.lower[parts.clause], problem.upper[parts.clause]).to(torch.float32)
    near = _in_float32(parts.limits)
    rows, limits = problem.rows(parts.clause).float(), problem.limits[parts.clause].float()
    alphas = {k: v.clone().requires_grad_() for k, v in parts.alphas.items()}
    betas = {k: v.clone().requires_grad_() for k, v in parts.betas.items() if bool((parts.signs[k] != 0).any())}
    groups = [{"params": list(alphas.values()), "lr": settings.learning_rate}]
    if betas:
        groups.append({"params": list(betas.values()), "lr": settings.beta_rate})
    adam = torch.optim.Adam(groups)
    record = torch.full((len(parts),), -torch.inf)
    for step in range(settings.steps + 1):
        with torch.enable_grad():
            signed = {k: v * parts.signs[k].unsqueeze(1) for k, v in betas.items()}
            found = bound_rows(search, near, region, rows, SweepSettings(), Choices(alphas=alphas, betas=signed))
            score = (found - limits).amax(1)
            better = score.detach() > record
            record = torch.where(better, score.detach(), record)
            for table, kept in ((alphas, parts.alphas), (betas, parts.betas)):
                for k, v in table.items():
                    kept[k] = torch.where(better.reshape(-1, *(1,) * (v.ndim - 1)), v.detach(), kept[k])
            if step == settings.steps or bool((record > 1e-4).all()):
                break
            loss = -torch.where(torch.isfinite(score), score, 0.0).clamp(max=1e-3).sum()
            if not loss.requires_grad:
                break
            adam.zero_grad()
            loss.backward()
        adam.step()
        with torch.no_grad():
            for value in alphas.values():
                value.clamp_(0, 1)
            for value in betas.values():
                value.clamp_(min=0)


def _ended(problem: Problem, parts: Parts) -> Tensor:
    """Which parts have no neuron left to split."""
    candidates = [
        (_unstable(parts.limits, k) & (flat(parts.signs[k], 1) == 0)).any(1) for k in split_nodes(problem.net)
    ]
    return ~torch.stack(candidates).any(0)


def _branch(problem: Problem, search: BoundNetwork, parts: Parts, settings: SplitSettings) -> Parts:
    """Both children of every part; each must have a neuron left to split."""
    nodes = split_nodes(problem.net)
    undecided = {k: _unstable(parts.limits, k) & (flat(parts.signs[k], 1) == 0) for k in nodes}
    bounding = Bounding(
        search=search,
        region=problem.region(problem.lower[parts.clause], problem.upper[parts.clause]).to(torch.float32),
        limits=_in_float32(parts.limits),
        rows=problem.rows(parts.clause).float(),
        thresholds=problem.limits[parts.clause].float(),
        choices=_choices(parts, torch.float32),
        undecided=undecided,
    )
    at = choose(bounding, nodes, tried=settings.tried)
    child = parts.take(torch.arange(len(parts)).repeat(2))
    direction = torch.cat([torch.ones(len(parts)), -torch.ones(len(parts))]).to(torch.int8)
    start = 0
    for source, candidates in undecided.items():
        inside = (at >= start) & (at < start + candidates.shape[1])
        rows = inside.repeat(2).nonzero().squeeze(1)
        columns = (at - start).repeat(2)[rows]
        signs = flat(child.signs[source], 1).clone()
        signs[rows, columns] = direction[rows]
        child.signs[source] = signs.reshape(child.signs[source].shape)
        start += candidates.shape[1]
    return child


def _in_float32(limits: Limits) -> Limits:
    return Limits(
        lower={k: v.float() for k, v in limits.lower.items()}, upper={k: v.float() for k, v in limits.upper.items()}
    )
