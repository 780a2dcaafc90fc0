"""Neural activation patterns: which neurons a class switches on and off, counted exactly and verified.

Geng et al., *Towards Reliable Neural Specifications* (ICML 2023, arXiv 2210.16114). For class c and a share delta in
(1/2, 1] a ReLU neuron is fixed active if its input is > 0 on at least delta of the class's samples, fixed inactive if
it is <= 0 on at least delta, else free. A point follows the pattern when all fixed neurons agree. Questions: (1) does
every point of a box that follows the pattern of c get label c; (2) the same in a small ball; (3) can a point follow two
patterns at once (no, as soon as one neuron is fixed differently).

How we differ: shares are exact fractions of integer counts; coverage and precision are reported; a verification first
asks whether any known point follows the pattern in the region (a vacuous truth is called one); verification clamps the
fixed neurons in our bound engine (closed at 0, which only makes the claim stronger) and needs no external solver.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.network.graph import evaluate_graph
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import sweep
from cutaway.robustness.query import Query
from cutaway.robustness.verify.problem import Problem, Replay
from cutaway.robustness.verify.relu_parts import SplitSettings, split_nodes
from cutaway.robustness.verify.relu_split import split_relus
from cutaway.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """`signs`: split node -> int8 (*shape), +1 active, -1 inactive, 0 free."""

    label: int
    delta: Fraction
    signs: dict[int, Tensor]

    @property
    def num_fixed(self) -> int:
        """How many neurons are not free."""
        return sum(int((s != 0).sum()) for s in self.signs.values())

    @property
    def num_neurons(self) -> int:
        """All neurons of the pattern."""
        return sum(s.numel() for s in self.signs.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternCounts:
    """By split node: `active` (C, *shape) int64 counts of samples with input > 0; `total` (C,) samples a class."""

    active: dict[int, Tensor]
    total: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternVerdict:
    """`status`: certified, falsified (with `witness`), unknown; `vacuous`: no point of the region can follow the
    pattern; `inhabited`: a point of the region that follows it is known, so the certificate says something."""

    status: Status
    witness: Tensor | None
    vacuous: bool
    inhabited: bool
    seconds: float
    parts: int


def own_neurons(bounded: BoundNetwork) -> list[int]:
    """Split nodes that are inputs of the network's own ReLUs: none of those that stand for a maximum."""
    return [k for k, relu in split_nodes(bounded).items() if not bounded.graph.nodes[relu].attributes.get("rewritten")]


def relu_inputs(bounded: BoundNetwork, inputs: Tensor) -> dict[int, Tensor]:
    """Inputs of every ReLU, by split node, (B, *shape)."""
    nodes = own_neurons(bounded)
    with torch.no_grad():
        values = evaluate_graph(bounded.graph, inputs, keep=lambda n: n.index in nodes)
    return {k: values[k] for k in nodes}


def count_activations(
    bounded: BoundNetwork, inputs: Tensor, labels: Tensor, num_classes: int, *, batch_size: int = 2000
) -> PatternCounts:
    """Streaming counts. Cost: one forward pass, memory of one batch. Raises InputError for rows and labels that
    differ.

    `inputs` (n, *input shape), `labels` (n,). Exact. Source: Geng et al. 2023 (arXiv 2210.16114), with exact fractions.
    """
    if len(inputs) != len(labels):
        raise InputError(
            "labels",
            found=f"{len(labels)} labels",
            expected=f"one for each of {len(inputs)} inputs",
            remedy="give one label an input",
        )
    active = {
        k: torch.zeros(num_classes, *bounded.graph.nodes[k].shape, dtype=torch.int64) for k in own_neurons(bounded)
    }
    for start in range(0, len(inputs), batch_size):
        part, of = inputs[start : start + batch_size], labels[start : start + batch_size]
        for k, value in relu_inputs(bounded, part).items():
            active[k].index_add_(0, of, (value > 0).to(torch.int64))
    return PatternCounts(active=active, total=torch.bincount(labels, minlength=num_classes))


def mine(counts: PatternCounts, label: int, delta: Fraction | float | str) -> Pattern:
    """The pattern of a class. `delta` as a fraction, a decimal text or a float (read as the decimal it prints).

    Raises `InputError` for a delta outside (1/2, 1] and a class without samples.
    """
    share = Fraction(str(delta)) if not isinstance(delta, Fraction) else delta
    if not Fraction(1, 2) < share <= 1:
        raise InputError("delta", found=str(delta), expected="a share in (1/2, 1]", remedy="give a share such as 0.95")
    total = int(counts.total[label])
    if total == 0:
        raise InputError(
            f"class {label}",
            found="no samples",
            expected="at least one sample to mine a pattern from",
            remedy="give samples of that class, or another class",
        )
    needed = -(-share.numerator * total // share.denominator)  # ceiling of share * total, in integers
    signs = {}
    for k, active in counts.active.items():
        on, off = active[label] >= needed, total - active[label] >= needed
        signs[k] = on.to(torch.int8) - off.to(torch.int8)
    return Pattern(label=label, delta=share, signs=signs)


def follows(bounded: BoundNetwork, pattern: Pattern, inputs: Tensor) -> Tensor:
    """Which inputs (B, ...) agree with every fixed neuron, (B,)."""
    agree = torch.ones(len(inputs), dtype=torch.bool)
    for k, value in relu_inputs(bounded, inputs).items():
        sign = pattern.signs[k]
        right = (sign == 0) | ((value > 0) == (sign > 0))
        agree &= right.flatten(1).all(1)
    return agree


def coverage_and_precision(
    bounded: BoundNetwork, pattern: Pattern, inputs: Tensor, labels: Tensor, *, batch_size: int = 2000
) -> tuple[float, float, int]:
    """Share of the class's samples that follow the pattern, share of followers that are of the class, number of
    followers."""
    inside = torch.cat(
        [follows(bounded, pattern, inputs[i : i + batch_size]) for i in range(0, len(inputs), batch_size)]
    )
    mine_, count = labels == pattern.label, int(inside.sum())
    coverage = float(inside[mine_].double().mean()) if bool(mine_.any()) else float("nan")
    return coverage, float(mine_[inside].double().mean()) if count else float("nan"), count


def contradict(first: Pattern, second: Pattern) -> bool:
    """Whether some neuron is fixed differently, so that no point can follow both."""
    return any(bool((first.signs[k] * second.signs[k] < 0).any()) for k in first.signs)


def verify_pattern(
    bounded: BoundNetwork,
    query: Query,
    pattern: Pattern,
    replay: Replay,
    *,
    known: Tensor | None = None,
    timeout: float = 60.0,
    settings: SplitSettings = SplitSettings(),  # noqa: B008 (frozen)
) -> PatternVerdict:
    """Is there a point of the query's boxes that follows the pattern and meets a clause? No means certified.

    `known` (N, n): points of the region; if one follows the pattern, the certificate is not vacuous. Vacuous is
    reported only where the limits themselves exclude every point.
    Cost: branch and bound until `timeout` seconds at most. Source: Geng et al. 2023 (arXiv 2210.16114).
    """
    begin = time.monotonic()
    node = bounded.graph.input
    shape = node.shape[1:] if bounded.graph.batched else node.shape

    def accept(point: Tensor) -> bool:
        return bool(follows(bounded, pattern, point.reshape(1, *shape))[0])

    problem = replace(Problem.of(bounded, query, replay), accept=accept)
    inhabited = known is not None and bool(follows(bounded, pattern, known.reshape(-1, *shape)).any())
    count = len(problem.lower)
    signs = {k: v.unsqueeze(0).expand(count, *v.shape) for k, v in pattern.signs.items()}
    region = problem.region(problem.lower, problem.upper)
    limits = sweep(bounded, region, splits=signs)
    open_ = torch.ones(count, dtype=torch.bool) if limits.empty is None else ~limits.empty
    if not bool(open_.any()):
        return PatternVerdict(
            status=Status.CERTIFIED,
            witness=None,
            vacuous=True,
            inhabited=False,
            seconds=time.monotonic() - begin,
            parts=count,
        )
    left = open_.nonzero().squeeze(1)
    outcome = split_relus(
        problem,
        left,
        limits.select(left),
        deadline=begin + timeout,
        settings=settings,
        fixed={k: v[left] for k, v in signs.items()},
    )
    status = Status.CERTIFIED if outcome.proved else Status.UNKNOWN
    if outcome.witness is not None:
        status = Status.FALSIFIED
    return PatternVerdict(
        status=status,
        witness=outcome.witness,
        vacuous=False,
        inhabited=inhabited or outcome.witness is not None,
        seconds=time.monotonic() - begin,
        parts=outcome.parts,
    )


def coarsen(bounded: BoundNetwork, query: Query, pattern: Pattern, replay: Replay, *, timeout: float = 60.0) -> Pattern:
    """A pattern with as few fixed neurons as greedy search finds that is still certified (arXiv 2404.04662).

    Whole runs of neurons are freed by halves, then single ones, as far as `timeout` seconds allow (at most five for one
    check; what is not proved then stays fixed): with time left the result is minimal with respect to the order tried,
    never the smallest of all. Raises InputError when the given pattern is not certified.
    """
    deadline = time.monotonic() + timeout

    def holds(candidate: Pattern) -> bool:
        left = max(0.1, min(5.0, deadline - time.monotonic()))
        return verify_pattern(bounded, query, candidate, replay, timeout=left).status is Status.CERTIFIED

    if not holds(pattern):
        raise InputError(
            "pattern",
            found="one that is not certified",
            expected="a certified pattern to coarsen",
            remedy="certify the pattern with verify_pattern first",
        )
    fixed = [(k, i) for k, s in pattern.signs.items() for i in s.flatten().nonzero().squeeze(1).tolist()]
    size = max(1, len(fixed) // 2)
    while size >= 1 and time.monotonic() < deadline:
        position = 0
        while position < len(fixed) and time.monotonic() < deadline:
            freed = fixed[position : position + size]
            candidate = _free(pattern, freed)
            if holds(candidate):
                pattern, fixed = candidate, fixed[:position] + fixed[position + size :]
            else:
                position += size
        size //= 2
    return pattern


def _free(pattern: Pattern, neurons: list[tuple[int, int]]) -> Pattern:
    signs = {k: s.clone() for k, s in pattern.signs.items()}
    for k, i in neurons:
        signs[k].view(-1)[i] = 0
    return replace(pattern, signs=signs)
