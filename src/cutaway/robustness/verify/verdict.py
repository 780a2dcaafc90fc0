"""A verdict on a query: attack first, bounds next, then a complete search until the time is up.

`certified` needs a positive lower bound of every clause after the rounding radius (float64; on request also that of a
float32 deployment); a NaN never counts. `falsified` needs a witness inside the box on which the original model itself
meets the clause. All else is `unknown`, with the worst remaining lower bound of max_k g_k (see `problem`). Clauses,
points and subproblems are taken in pieces that fit the memory budget (see `memory`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cutaway import seeds
from cutaway.engines.budget import format_bytes
from cutaway.errors import InputError
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised, optimised_rows
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.intervals import Limits, flat_values
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep
from cutaway.robustness.query import Query
from cutaway.robustness.regions import Box
from cutaway.robustness.verify.input_split import SearchOutcome, safe_difference, smallest_proved, split_inputs
from cutaway.robustness.verify.memory import out_of_memory
from cutaway.robustness.verify.problem import SEARCH_BUDGET, BestPoints, OutOfTime, Problem, Replay
from cutaway.robustness.verify.relu_parts import SplitSettings, split_nodes
from cutaway.robustness.verify.relu_split import split_relus
from cutaway.robustness.verify.search import find_witness
from cutaway.status import Status

Progress = Callable[[str], None]

ATTACK_SHARE = 0.3
"""Of the time limit, for the search for a witness before bounds."""
_MORE_TIME = "give a positive number; bounds alone take about a second on small networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """`timeout` seconds from the call; `complete`: branch and bound; `input_split_up_to`: inputs for which boxes are
    cut rather than ReLUs; `deployment`: dtype whose rounding must not undo the certificate, or None (real
    arithmetic); `budget`: bytes above the network that the work is cut to fit.

    Raises `InputError` for a time limit that is not above 0.
    """

    timeout: float = 60.0
    complete: bool = True
    restarts: int = 5
    attack_steps: int = 40
    root_steps: int = 10
    input_split_up_to: int = 8
    deployment: torch.dtype | None = None
    seed: int = 0
    budget: int = SEARCH_BUDGET
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
    bounded: BoundNetwork,
    query: Query,
    replay: Replay,
    settings: VerifySettings = VerifySettings(),
    progress: Progress = lambda text: None,
    best: BestPoints | None = None,
) -> Verdict:
    """Decide the query; `best` takes note of the points that came nearest to breaking it.

    Raises InputError for shapes that do not fit. Exact up to the time limit and the memory. Source: ours, of bounds
    (arXiv 1811.00866, arXiv 2011.13824) and branch and bound (Bunel et al. 2020)."""
    begin = time.monotonic()
    deadline = begin + settings.timeout

    def verdict(status: Status, **more) -> Verdict:
        seconds = time.monotonic() - begin
        return Verdict(status=status, seconds=seconds, property_hash=query.fingerprint, **more)

    if not query.clauses:
        return verdict(Status.CERTIFIED, bound=float("inf"), decided_by="bounds", reason="nothing is asked")
    problem = Problem.of(bounded, query, replay, best, budget=settings.budget, deadline=deadline)

    def falsified(witness: Tensor, by: str, parts: int = 0) -> Verdict:
        return verdict(Status.FALSIFIED, witness=witness, output=replay(witness), decided_by=by, parts=parts)

    value, parts, outcome = torch.full((len(query.clauses),), -torch.inf, dtype=torch.float64), 0, SearchOutcome()
    try:
        witness, _ = find_witness(
            problem,
            restarts=settings.restarts,
            steps=settings.attack_steps,
            seed=settings.seed,
            deadline=begin + ATTACK_SHARE * settings.timeout,
        )
        if witness is not None:
            return falsified(witness, "attack")
        for stage in _stages(bounded, settings):
            part = replace(problem, bounded=stage)
            limits, strict = _roots(part, value, settings, deadline, progress)
            left = (~(value > 0)).nonzero().squeeze(1)
            progress(f"bounds leave {len(left)} of {len(value)} clauses open")
            if len(left) == 0:
                known = parts or len(value)
                return verdict(Status.CERTIFIED, bound=float(value.min()), decided_by="bounds", parts=known)
            if not settings.complete:
                return _improved(strict, limits, value, left, settings, deadline, verdict)
            outcome, by = _search_all(strict, limits, left, settings, deadline, progress, last=stage is bounded)
            parts += outcome.parts
            if outcome.witness is not None:
                return falsified(outcome.witness, by, parts)
            if outcome.proved:
                known = min(outcome.bound, *value[value > 0].tolist(), float("inf"))
                return verdict(Status.CERTIFIED, bound=known, decided_by=by, parts=parts)
            if time.monotonic() > deadline:
                break
    except OutOfTime:
        reason = f"time limit after {parts} subproblems"
        return verdict(Status.UNKNOWN, bound=float(value.min()), parts=parts, reason=reason)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        reason = f"the memory budget of {format_bytes(settings.budget)} is used up after {parts} subproblems"
        return verdict(Status.UNKNOWN, bound=float(value.min()), parts=parts, reason=reason)
    reason = f"{_why(outcome, deadline)} after {parts} subproblems, {outcome.open_parts} open"
    return verdict(Status.UNKNOWN, bound=outcome.bound, decided_by="nothing", parts=parts, reason=reason)


def _why(outcome: SearchOutcome, deadline: float) -> str:
    if time.monotonic() > deadline:
        return "time limit"
    return "as many subproblems are open as the memory budget holds" if outcome.full else "nothing left to split"


def _stages(bounded: BoundNetwork, settings: VerifySettings) -> list[BoundNetwork]:
    """With maxima over windows in one step first, then, for a search that has no ReLU left to split, as pairs."""
    if bounded.coarse is None or bounded.graph.input.numel <= settings.input_split_up_to:
        return [bounded]
    return [bounded.coarse, bounded] if settings.complete else [bounded.coarse]


def _roots(
    problem: Problem, value: Tensor, settings: VerifySettings, deadline: float, progress: Progress
) -> tuple[Limits | None, Problem]:
    """Raise each clause's lower bound `value` (C,) by CROWN. Gives the limits where all clauses fit into memory at
    once, and the problem as it has to be proved."""
    pieces = problem.clause_pieces(torch.arange(len(value)))
    found, strict, told = None, problem.limits.clone(), time.monotonic()
    for some in pieces:
        if time.monotonic() > deadline:
            break
        found, rows, strict[some] = _root(problem.subset(some), settings, deadline)
        value[some] = torch.maximum(value[some], rows)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            progress(f"bounds of {int(some[-1]) + 1} of {len(value)} clauses")
    return (found if len(pieces) == 1 else None), replace(problem, limits=strict)


def _root(problem: Problem, settings: VerifySettings, deadline: float) -> tuple[Limits, Tensor, Tensor]:
    """CROWN limits for every clause (equal boxes are bounded once), each clause's lower bound, what it must pass."""
    limits, region = _swept(problem, deadline)
    strict = problem if settings.deployment is None else _deployed(problem, limits, settings.deployment)
    rows = bound_rows(problem.bounded, limits, region, problem.rows(torch.arange(len(problem.limits))))
    rows = safe_difference(rows, strict.limits)
    return limits, torch.where(torch.isnan(rows), -torch.inf, rows).amax(1), strict.limits


def _swept(problem: Problem, deadline: float) -> tuple[Limits, Box]:
    boxes = torch.cat([problem.lower, problem.upper], 1)
    unique, where = torch.unique(boxes, dim=0, return_inverse=True)
    half = problem.lower.shape[1]
    region = problem.region(unique[:, :half], unique[:, half:])
    limits = sweep(problem.bounded, region, SweepSettings(deadline=deadline))
    return limits.select(where), region.select(where)


def _deployed(problem: Problem, limits: Limits, dtype: torch.dtype) -> Problem:
    """The problem with every limit raised by twice what rounding may change."""
    radius = flat_values(deployment_radius(problem.bounded, limits, dtype), 1)
    extra = 2 * (problem.matrix.abs() @ radius.unsqueeze(-1)).squeeze(-1)
    return replace(problem, limits=problem.limits + torch.where(torch.isnan(extra), torch.inf, extra))


def _improved(
    strict: Problem, limits: Limits | None, value: Tensor, left: Tensor, settings, deadline: float, verdict
) -> Verdict:
    """Without branching: slopes optimised for what is still open."""
    value = value.clone()
    alphas = AlphaSettings(depth="all", drop_solved=True, sweep=SweepSettings(deadline=deadline))
    for some in strict.clause_pieces(left):
        if time.monotonic() > deadline:
            break
        part = strict.subset(some)
        known = limits.select(some) if limits is not None else _swept(part, deadline)[0]
        region = part.region(part.lower, part.upper)
        rows = optimised_rows(part.bounded, region, part.rows(torch.arange(len(some))), known, alphas)
        rows = safe_difference(rows, part.limits)
        better = torch.where(torch.isnan(rows), -torch.inf, rows).amax(1)
        value[some] = torch.maximum(value[some], better)
    open_ = int((~(value > 0)).sum())
    if open_ == 0:
        return verdict(Status.CERTIFIED, bound=float(value.min()), decided_by="bounds", parts=len(value))
    reason = f"bounds leave {open_} clauses open"
    return verdict(Status.UNKNOWN, bound=float(value.min()), reason=reason, parts=len(value))


def _search_all(
    problem: Problem,
    limits: Limits | None,
    left: Tensor,
    settings: VerifySettings,
    deadline: float,
    progress: Progress,
    *,
    last: bool,
) -> tuple[SearchOutcome, str]:
    """The search for the clauses `left`, in pieces; ends with the first that is not proved."""
    few = problem.bounded.graph.input.numel <= settings.input_split_up_to
    if few or not split_nodes(problem.bounded):
        return _split_inputs(problem, left, deadline, progress), "input split"
    rows = problem.matrix.shape[1]
    size = min(settings.splits.batch_size, problem.costs.subproblems(problem.budget, rows))
    total, ways = SearchOutcome(proved=True, bound=float("inf")), []
    for some in left.split(max(1, size)):
        known = limits.select(some) if limits is not None else _swept(problem.subset(some), deadline)[0]
        found, by = _search(problem, known, some, settings, deadline, progress, last=last)
        found.parts, found.bound = total.parts + found.parts, min(found.bound, total.bound)
        total, ways = found, [*ways, by]
        if not found.proved:
            break
    return total, max(ways, key=("attack", "bounds", "relu split", "input split").index)


def _split_inputs(problem: Problem, left: Tensor, deadline: float, progress: Progress) -> SearchOutcome:
    costs, rows = problem.costs, problem.matrix.shape[1]
    batch = min(512, costs.boxes(problem.budget, rows))
    most = min(400_000, costs.open_parts(problem.budget))
    return split_inputs(problem, left, deadline=deadline, batch_size=batch, max_open=most, progress=progress)


def _search(
    problem: Problem,
    limits: Limits,
    left: Tensor,
    settings: VerifySettings,
    deadline: float,
    progress: Progress,
    *,
    last: bool,
) -> tuple[SearchOutcome, str]:
    part = problem.subset(left)
    witness, _ = find_witness(
        part,
        restarts=3 * settings.restarts,
        steps=settings.attack_steps,
        seed=seeds.number(settings.seed, "last witnesses"),
        deadline=min(deadline, time.monotonic() + 0.1 * settings.timeout),
    )
    if witness is not None:
        return SearchOutcome(witness=witness), "attack"
    limits, left, closed = _tightened(problem, limits, left, settings, deadline)
    progress(f"optimised slopes leave {len(left)} clauses open")
    if len(left) == 0:
        return SearchOutcome(proved=True, bound=closed), "bounds"
    splits = _within(settings.splits, problem)
    outcome = split_relus(problem, left, limits, deadline=deadline, settings=splits, progress=progress)
    by = "relu split"
    if last and not (outcome.proved or outcome.full or outcome.witness is not None or time.monotonic() > deadline):
        progress("no ReLU left to split: cutting the input box")
        outcome, by = _split_inputs(problem, left, deadline, progress), "input split"
    if outcome.proved:
        outcome.bound = min(outcome.bound, closed)
    return outcome, by


def _within(splits: SplitSettings, problem: Problem) -> SplitSettings:
    """Batches and open parts that the memory budget holds."""
    costs = problem.costs
    batch = costs.subproblems(problem.budget, problem.matrix.shape[1])
    most = costs.open_parts(problem.budget)
    return replace(splits, batch_size=min(splits.batch_size, batch), max_open=min(splits.max_open, most))


def _tightened(
    problem: Problem, limits: Limits, left: Tensor, settings: VerifySettings, deadline: float
) -> tuple[Limits, Tensor, float]:
    """Inner limits by slopes optimised for the open clauses together, where these share one box; what is still open;
    the smallest bound of the clauses that were closed."""
    low, high = problem.lower[left], problem.upper[left]
    if not bool((low == low[:1]).all() and (high == high[:1]).all()):
        return limits, left, float("inf")
    region = problem.region(low[:1], high[:1])
    rows = problem.rows(left).flatten(0, 1).unsqueeze(0)
    chosen = AlphaSettings(
        depth="all", steps=settings.root_steps, shared=False, drop_solved=False, sweep=SweepSettings(deadline=deadline)
    )
    try:
        found, tighter = optimised(
            problem.bounded, region, rows, limits.select(torch.zeros(1, dtype=torch.int64)), chosen
        )
    except (MemoryError, RuntimeError) as error:  # gradients of every inner limit at once
        if not out_of_memory(error):
            raise
        return limits, left, float("inf")
    found = safe_difference(found.reshape(len(left), -1), problem.limits[left])
    value = torch.where(torch.isnan(found), -torch.inf, found).amax(1)
    still = (~(value > 0)).nonzero().squeeze(1)
    return tighter.select(torch.zeros(len(still), dtype=torch.int64)), left[still], smallest_proved(value, None)
