"""A verdict on a query: attack first, bounds next, then a complete search until the time is up.

`certified` needs a positive lower bound of every clause after the rounding radius (float64; on request also that of a
float32 deployment); a NaN never counts. `falsified` needs a witness inside the box on which the original model itself
meets the clause. All else is `unknown`, with the worst remaining lower bound of max_k g_k (see `problem`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised, optimised_rows
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import bound_rows, sweep
from cutaway.robustness.query import Query
from cutaway.robustness.verify.input_split import Outcome, safe_difference, smallest_proved, split_inputs
from cutaway.robustness.verify.problem import BestPoints, Problem, Replay
from cutaway.robustness.verify.relu_split import SplitSettings, split_nodes, split_relus
from cutaway.robustness.verify.search import find_witness
from cutaway.status import Status

Progress = Callable[[str], None]

_MORE_TIME = "give a positive number; bounds alone take about a second on small networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """`timeout` seconds from the call; `complete`: branch and bound; `input_split_up_to`: inputs for which boxes are
    cut rather than ReLUs; `deployment`: dtype whose rounding must not undo the certificate, or None (real
    arithmetic)."""

    timeout: float = 60.0
    complete: bool = True
    restarts: int = 5
    attack_steps: int = 40
    root_steps: int = 10
    input_split_up_to: int = 8
    deployment: torch.dtype | None = None
    seed: int = 0
    splits: SplitSettings = field(default_factory=SplitSettings)

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise InputError(
                "time limit", found=f"{self.timeout:g} s", expected="more than 0 seconds", remedy=_MORE_TIME
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`witness` (n,) and the original model's `output` there when falsified.

    `bound`: the smallest lower bound on max_k g_k (see `problem`) over all clauses and all parts of the input set.
    Positive when certified: every clause is missed by at least this everywhere. After a search it is the smallest over
    the search's parts, each of which is left as soon as it is positive, so that more work could raise it; infinite if
    nothing is left of the input set. At most 0, or NaN, otherwise. `decided_by`: attack, bounds, input split, relu
    split or nothing; `parts`: subproblems bounded; `reason` says why an unknown stayed one.
    """

    status: Status
    witness: Tensor | None = None
    output: Tensor | None = None
    bound: float = float("nan")
    seconds: float = 0.0
    decided_by: str = "nothing"
    parts: int = 0
    reason: str = ""
    property_hash: str = ""


def verify(
    net: BoundNetwork,
    query: Query,
    replay: Replay,
    settings: VerifySettings = VerifySettings(),
    progress: Progress = lambda text: None,
    best: BestPoints | None = None,
) -> Verdict:
    """Decide the query; `best` takes note of the points that came nearest to breaking it.

    Raises InputError for shapes that do not fit. Exact up to the time limit."""
    begin = time.monotonic()
    deadline = begin + settings.timeout

    def verdict(status: Status, **more) -> Verdict:
        seconds = time.monotonic() - begin
        return Verdict(status=status, seconds=seconds, property_hash=query.fingerprint, **more)

    if not query.clauses:
        return verdict(Status.CERTIFIED, bound=float("inf"), decided_by="bounds", reason="nothing is asked")
    problem = Problem.of(net, query, replay, best)

    def falsified(witness: Tensor, by: str, parts: int = 0) -> Verdict:
        return verdict(Status.FALSIFIED, witness=witness, output=replay(witness), decided_by=by, parts=parts)

    witness, _ = find_witness(
        problem, restarts=settings.restarts, steps=settings.attack_steps, seed=settings.seed, deadline=deadline
    )
    if witness is not None:
        return falsified(witness, "attack")
    value, parts, outcome = torch.full((len(query.clauses),), -torch.inf, dtype=torch.float64), 0, Outcome()
    for stage in _stages(net, settings):
        part = replace(problem, net=stage)
        limits, found = _root(part, settings)
        value = torch.maximum(value, found)
        left = (~(value > 0)).nonzero().squeeze(1)
        progress(f"bounds leave {len(left)} of {len(value)} clauses open")
        if len(left) == 0:
            return verdict(Status.CERTIFIED, bound=float(value.min()), decided_by="bounds", parts=parts or len(value))
        if not settings.complete:
            return _improved(part, limits, value, left, settings, verdict)
        strict = part if settings.deployment is None else _deployed(part, limits, settings.deployment)
        outcome, by = _search(strict, limits, left, settings, deadline, progress, last=stage is net)
        parts += outcome.parts
        if outcome.witness is not None:
            return falsified(outcome.witness, by, parts)
        if outcome.proved:
            known = min(outcome.bound, *value[value > 0].tolist(), float("inf"))
            return verdict(Status.CERTIFIED, bound=known, decided_by=by, parts=parts)
        if time.monotonic() > deadline:
            break
    reason = f"time limit after {parts} subproblems, {outcome.open_parts} open"
    if time.monotonic() < deadline:
        reason = f"nothing left to split after {parts} subproblems, {outcome.open_parts} open"
    return verdict(Status.UNKNOWN, bound=outcome.bound, decided_by="nothing", parts=parts, reason=reason)


def _stages(net: BoundNetwork, settings: VerifySettings) -> list[BoundNetwork]:
    """With maxima over windows in one step first, then, for a search that has no ReLU left to split, as pairs."""
    if net.coarse is None or net.graph.input.numel <= settings.input_split_up_to:
        return [net]
    return [net.coarse, net] if settings.complete else [net.coarse]


def _root(problem: Problem, settings: VerifySettings) -> tuple[Limits, Tensor]:
    """CROWN limits for every clause (equal boxes are bounded once) and each clause's lower bound."""
    boxes = torch.cat([problem.lower, problem.upper], 1)
    unique, where = torch.unique(boxes, dim=0, return_inverse=True)
    half = problem.lower.shape[1]
    region = problem.region(unique[:, :half], unique[:, half:])
    limits = sweep(problem.net, region).select(where)
    strict = problem if settings.deployment is None else _deployed(problem, limits, settings.deployment)
    clauses = torch.arange(len(where))
    rows = bound_rows(problem.net, limits, region.select(where), problem.rows(clauses))
    rows = safe_difference(rows, strict.limits)
    return limits, torch.where(torch.isnan(rows), -torch.inf, rows).amax(1)


def _deployed(problem: Problem, limits: Limits, dtype: torch.dtype) -> Problem:
    """The problem with every limit raised by twice what rounding may change."""
    radius = deployment_radius(problem.net, limits, dtype).flatten(1)
    extra = 2 * (problem.matrix.abs() @ radius.unsqueeze(-1)).squeeze(-1)
    return replace(problem, limits=problem.limits + torch.where(torch.isnan(extra), torch.inf, extra))


def _improved(problem: Problem, limits: Limits, value: Tensor, left: Tensor, settings, verdict) -> Verdict:
    """Without branching: slopes optimised for what is still open."""
    strict = problem if settings.deployment is None else _deployed(problem, limits, settings.deployment)
    region = problem.region(problem.lower[left], problem.upper[left])
    rows = optimised_rows(
        problem.net, region, problem.rows(left), limits.select(left), AlphaSettings(depth="all", drop_solved=True)
    )
    rows = safe_difference(rows, strict.limits[left])
    better = torch.where(torch.isnan(rows), -torch.inf, rows).amax(1)
    value = value.clone()
    value[left] = torch.maximum(value[left], better)
    status = Status.CERTIFIED if bool((value > 0).all()) else Status.UNKNOWN
    by = "bounds" if status is Status.CERTIFIED else "nothing"
    reason = "" if status is Status.CERTIFIED else f"bounds leave {int((~(value > 0)).sum())} clauses open"
    return verdict(status, bound=float(value.min()), decided_by=by, reason=reason, parts=len(value))


def _search(
    problem: Problem,
    limits: Limits,
    left: Tensor,
    settings: VerifySettings,
    deadline: float,
    progress: Progress,
    *,
    last: bool,
) -> tuple[Outcome, str]:
    few = problem.net.graph.input.numel <= settings.input_split_up_to
    if few or not split_nodes(problem.net):
        return split_inputs(problem, left, deadline=deadline, progress=progress), "input split"
    witness, _ = find_witness(
        problem,
        restarts=3 * settings.restarts,
        steps=settings.attack_steps,
        seed=settings.seed + 1,
        deadline=min(deadline, time.monotonic() + 0.1 * settings.timeout),
    )
    if witness is not None:
        return Outcome(witness=witness), "attack"
    limits, left, closed = _tightened(problem, limits.select(left), left, settings)
    progress(f"optimised slopes leave {len(left)} clauses open")
    if len(left) == 0:
        return Outcome(proved=True, bound=closed), "bounds"
    outcome = split_relus(problem, left, limits, deadline=deadline, settings=settings.splits, progress=progress)
    by = "relu split"
    if last and not (outcome.proved or outcome.witness is not None or time.monotonic() > deadline):
        progress("no ReLU left to split: cutting the input box")
        outcome, by = split_inputs(problem, left, deadline=deadline, progress=progress), "input split"
    if outcome.proved:
        outcome.bound = min(outcome.bound, closed)
    return outcome, by


def _tightened(
    problem: Problem, limits: Limits, left: Tensor, settings: VerifySettings
) -> tuple[Limits, Tensor, float]:
    """Inner limits by slopes optimised for the open clauses together, where these share one box; what is still open;
    the smallest bound of the clauses that were closed."""
    low, high = problem.lower[left], problem.upper[left]
    if not bool((low == low[:1]).all() and (high == high[:1]).all()):
        return limits, left, float("inf")
    region = problem.region(low[:1], high[:1])
    rows = problem.rows(left).flatten(0, 1).unsqueeze(0)
    chosen = AlphaSettings(depth="all", steps=settings.root_steps, shared=False, drop_solved=False)
    found, tighter = optimised(problem.net, region, rows, limits.select(torch.zeros(1, dtype=torch.int64)), chosen)
    found = safe_difference(found.reshape(len(left), -1), problem.limits[left])
    value = torch.where(torch.isnan(found), -torch.inf, found).amax(1)
    still = (~(value > 0)).nonzero().squeeze(1)
    return tighter.select(torch.zeros(len(still), dtype=torch.int64)), left[still], smallest_proved(value, None)
