"""How much of a reasoning went into branches that were given up, from a graph that is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from scipy import stats

from cutaway.errors import InputError


def failed_step_fraction(graph: Mapping[str, Any]) -> float:
    """Share of the steps of a reasoning that lie in abandoned branches, 0 to 1.

    `graph`: `steps`, each with `id`, `parents` (ids; none for a start) and `abandoned` (true where it was given up),
    and `answer`, the id of the step that states the answer. A step lies in an abandoned branch where it was given up
    itself, or all its parents do. Exact for the graph; making the graph from prose is not done here. A reasoning
    without an answer gives NaN: in a search with a known outcome every branch of a failed trace was given up, so its
    share is 1 by construction and "predicts" failure trivially. Raises `InputError` for no steps, an id twice or
    unknown, a circle, and an answer in a branch that was given up. Source: after Feng et al. 2025 (arXiv 2509.19284),
    whose graphs a language model extracts.
    """
    steps = [step for step in graph.get("steps", ()) if "id" in step]
    parents = {step["id"]: list(step.get("parents", ())) for step in steps}
    named = [p for own in parents.values() for p in own] + [a for a in [graph.get("answer")] if a is not None]
    unknown = [p for p in named if p not in parents]
    if not steps or len(parents) < len(graph["steps"]) or unknown:
        raise InputError(
            "graph of a reasoning",
            found=f"no step {unknown[0]!r}" if unknown else "a step twice or without id" if steps else "no steps",
            expected="steps with ids of their own, parents and an answer among them",
            remedy="name each step once",
        )
    if graph.get("answer") is None:
        return float("nan")
    failed: dict[Any, bool] = {}
    given_up = {step["id"]: bool(step.get("abandoned", False)) for step in steps}
    for step in _in_order(parents):
        own = parents[step]
        failed[step] = given_up[step] or (bool(own) and all(failed[p] for p in own))
    if failed[graph["answer"]]:
        raise InputError(
            f"answer {graph['answer']!r} of a reasoning",
            found="a step in an abandoned branch",
            expected="one that was kept",
            remedy="mark the branch as kept, or leave the answer out",
        )
    return float(np.mean(list(failed.values())))


def _in_order(parents: Mapping[Any, Sequence[Any]]) -> list[Any]:
    """Steps, parents first. Raises `InputError` for a circle."""
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        raise InputError(
            "graph of a reasoning",
            found=f"a circle through step {error.args[1][0]!r}",
            expected="parents that come before",
            remedy="leave out the link that goes back",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinProblems:
    """Mean over problems of a rank correlation, `correlation`, with its two-sided p-value by permutation within
    problems; `problems` that could be used, `left_out` (all right, all wrong, or all fractions alike)."""

    correlation: float
    p_value: float
    problems: int
    left_out: int


def correlation_within(
    problems: Sequence[Any], fractions: Sequence[float], right: Sequence[bool], *, draws: int = 999, seed: int = 0
) -> WithinProblems:
    """Spearman's correlation of failed-step fractions with being right, within each problem, averaged over problems.

    `problems`, `fractions`, `right` (n,), a row an answer; rows whose fraction is NaN are left out. Within problems, so
    that hard problems, whose answers are long and wrong, do not make it. Compare answers of like length: length is not
    held fixed here. An estimate. Raises `InputError` where no problem has right and wrong answers of different
    fractions.
    """
    rng, rows = np.random.default_rng(seed), defaultdict(list)
    for problem, fraction, good in zip(problems, fractions, right, strict=True):
        if not np.isnan(fraction):
            rows[problem].append((float(fraction), float(good)))
    tables = [np.array(found) for found in rows.values()]
    usable = [t for t in tables if np.ptp(t[:, 0]) > 0 and np.ptp(t[:, 1]) > 0]
    if not usable:
        raise InputError(
            "answers by problem",
            found="no problem with right and wrong answers of different fractions",
            expected="one at least",
            remedy="draw several answers to each problem",
        )
    ranked = [np.apply_along_axis(stats.rankdata, 0, t) for t in usable]
    found = _mean_correlation(ranked)
    chance = [_mean_correlation([np.c_[r[:, 0], rng.permutation(r[:, 1])] for r in ranked]) for _ in range(draws)]
    beyond = 1 + sum(abs(c) >= abs(found) - 1e-12 for c in chance)
    left_out = len(tables) - len(usable)
    return WithinProblems(correlation=found, p_value=beyond / (draws + 1), problems=len(usable), left_out=left_out)


def _mean_correlation(ranked: Sequence[np.ndarray]) -> float:
    return float(np.mean([np.corrcoef(r.T)[0, 1] for r in ranked]))
