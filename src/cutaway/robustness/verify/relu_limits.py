"""Limits of a search's subproblems: the parents' cut by decisions and half-spaces, and multipliers improved by Adam
(`relu_split`)."""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import Splits, SweepSettings, bound_rows, open_rows, sweep
from cutaway.robustness.regions import Box
from cutaway.robustness.verify.cuts import STEPS, CutBox, decision_planes, plane_below
from cutaway.robustness.verify.input_split import safe_difference
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.relu_parts import Parts, SplitSettings, choices_of, in_float32, split_nodes, unstable


def output_cuts(problem: Problem, parts: Parts, level: float) -> tuple[Tensor, Tensor]:
    """Half-spaces (N, 1, n), (N, 1) that hold every point of the parts with g <= level, for each part's best row g."""
    rows, limits = problem.rows(parts.clause), problem.limits[parts.clause]
    box = problem.region(problem.lower[parts.clause], problem.upper[parts.clause])
    with torch.no_grad():
        choices = choices_of(parts, torch.float64)
        normals, offsets = plane_below(
            problem.bounded, parts.limits, box, problem.bounded.graph.output.index, rows, choices
        )
        value = offsets + box.minimum(normals) - limits
        best = torch.where(torch.isnan(value), -torch.inf, value).argmax(1, keepdim=True)
        normals = normals.gather(1, best.unsqueeze(-1).expand(-1, -1, normals.shape[2]))
        offsets, above = offsets.gather(1, best), limits.gather(1, best) + level
    known = torch.isfinite(offsets) & torch.isfinite(normals).all(-1)
    offsets = safe_difference(offsets, above)
    return torch.where(known.unsqueeze(-1), normals, 0.0), torch.where(known, offsets, -1.0)


def cut_limits(
    problem: Problem, parts: Parts, settings: SplitSettings, region: Box, signs: Splits, cuts: tuple[Tensor, ...] | None
) -> Limits:
    """The parents' limits cut by the decisions; over the cut box where that is worth its cost."""
    bounded = problem.bounded
    method = "crown" if _cheap(bounded, parts, settings) else "ibp"
    if cuts is None:
        return sweep(bounded, region, SweepSettings(method=method), splits=signs, known=parts.limits)
    only = _affordable(bounded, parts, settings)
    if not only:
        return sweep(bounded, region, SweepSettings(method=method), splits=signs, known=parts.limits)
    planes = [
        cuts,
        *(decision_planes(bounded, parts.limits, region, k, signs[k]) for k in signs if k in bounded.box_exact),
    ]
    normals, offsets = (torch.cat([p[i] for p in planes], 1) for i in range(2))
    cut = CutBox(box=region, normals=normals, offsets=offsets)
    limits = sweep(bounded, cut, SweepSettings(only=only), splits=signs, known=parts.limits)
    if method == "crown":
        empty = limits.empty
        limits = sweep(bounded, region, splits=signs, known=limits)
        limits.empty = empty if limits.empty is None else limits.empty if empty is None else empty | limits.empty
    return limits


def _affordable(bounded: BoundNetwork, parts: Parts, settings: SplitSettings) -> frozenset[int]:
    """Nodes whose limits over the cut box cost little enough: rows times the numbers that each touches."""
    inputs = bounded.graph.input.numel
    found = set()
    for node in bounded.tighten:
        rows = float(open_rows(bounded, parts.limits, node).sum())
        work = rows * (sum(bounded.graph.nodes[i].numel for i in bounded.before[node]) + 2 * STEPS * inputs)
        if work <= settings.cut_work * len(parts) or work <= settings.cut_total:
            found.add(node)
    return frozenset(found)


def _cheap(bounded: BoundNetwork, parts: Parts, settings: SplitSettings) -> bool:
    nodes = [k for k in split_nodes(bounded) if k not in bounded.box_exact]
    count = sum(int(unstable(parts.limits, k).sum()) for k in nodes)
    return count <= settings.refresh * len(parts)


def optimise(problem: Problem, search: BoundNetwork, parts: Parts, settings: SplitSettings) -> None:
    """Adam on alphas and betas in float32; keeps each subproblem's best."""
    if settings.steps == 0:
        return
    region = problem.region(problem.lower[parts.clause], problem.upper[parts.clause]).to(torch.float32)
    near = in_float32(parts.limits)
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
