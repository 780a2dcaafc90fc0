"""A question made ready for solving: network in float64 for bounds, clauses grouped for batches, a way to try points.

Every clause becomes K rows g_k(y) = matrix_k y - limits_k (padded by repetition). The clause cannot be met on a region
when some row is positive everywhere: max_k min_x g_k > 0. A point meets it when max_k g_k <= 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cutaway.network.graph import output_of
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.query import Query
from cutaway.robustness.regions import Box
from cutaway.robustness.verify.memory import Costs, index_pieces

SEARCH_BUDGET = 2_000_000_000


class OutOfTime(Exception):
    """The deadline passed while points were evaluated."""


Replay = Callable[[Tensor], Tensor]
"""(n,) float64 point -> (m,) output of the original model."""


@dataclass(slots=True)
class BestPoints:
    """The points (at most `kept`, of shape (n,)) that came nearest to meeting a clause, over a whole search."""

    kept: int = 16
    points: Tensor = field(default_factory=lambda: torch.empty(0))
    losses: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))

    def note(self, points: Tensor, losses: Tensor) -> None:
        losses = losses.detach().nan_to_num(torch.inf)
        best = losses.topk(min(self.kept, len(losses)), largest=False).indices
        points, losses = points.detach()[best], losses[best]
        if len(self.losses):
            points, losses = torch.cat([self.points, points]), torch.cat([self.losses, losses])
        order = losses.argsort()[: self.kept]
        self.points, self.losses = points[order], losses[order]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`lower`, `upper` (C, n); `matrix` (C, K, m), `limits` (C, K) for C clauses: what a proof must pass. `asked`
    (C, K): the question's own limits, which a witness must meet (a deployment raises only the others). `accept` says
    of a point (n,) whether it may be a witness at all (a pattern to follow). `best` notes the points that were tried.
    `budget`: bytes that chunks are sized by. Points are not evaluated after `deadline` (monotonic seconds):
    OutOfTime."""

    bounded: BoundNetwork
    query: Query
    lower: Tensor
    upper: Tensor
    matrix: Tensor
    limits: Tensor
    asked: Tensor
    replay: Replay
    accept: Callable[[Tensor], bool] | None = None
    best: BestPoints = field(default_factory=BestPoints)
    budget: int = SEARCH_BUDGET
    deadline: float = float("inf")

    @classmethod
    def of(
        cls,
        bounded: BoundNetwork,
        query: Query,
        replay: Replay,
        best: BestPoints | None = None,
        *,
        budget: int = SEARCH_BUDGET,
        deadline: float = float("inf"),
    ) -> Problem:
        """Raises InputError where the question does not fit the network."""
        query.check_network(bounded.graph.input.numel, bounded.graph.output.numel)
        most = max([1, *(len(c.limits) for c in query.clauses)])
        matrix, limits = [], []
        for clause in query.clauses:
            if len(clause.limits) == 0:  # nothing asked of the output: any point of the box meets it
                matrix.append(torch.zeros(most, query.num_outputs, dtype=torch.float64))
                limits.append(torch.zeros(most, dtype=torch.float64))
                continue
            order = torch.arange(most) % len(clause.limits)
            matrix.append(clause.matrix[order])
            limits.append(clause.limits[order])
        return cls(
            bounded=bounded,
            query=query,
            replay=replay,
            best=best or BestPoints(),
            budget=budget,
            deadline=deadline,
            matrix=torch.stack(matrix),
            limits=torch.stack(limits),
            asked=torch.stack(limits),
            lower=torch.stack([c.lower for c in query.clauses]),
            upper=torch.stack([c.upper for c in query.clauses]),
        )

    @property
    def costs(self) -> Costs:
        return Costs.of(self.bounded.graph)

    def subset(self, clauses: Tensor) -> Problem:
        """The same question about some clauses."""
        names = ("lower", "upper", "matrix", "limits", "asked")
        return replace(self, **{name: getattr(self, name)[clauses] for name in names})

    def clause_pieces(self, clauses: Tensor) -> list[Tensor]:
        """The clauses (indices) in pieces whose limits and functionals fit the budget."""
        return list(clauses.split(self.costs.boxes(self.budget, self.matrix.shape[1])))

    def rows(self, clause: Tensor) -> Tensor:
        """Output functionals (B, K, *output shape) of the clauses `clause` (B,)."""
        return self.matrix[clause].reshape(len(clause), -1, *self.bounded.graph.output.shape)

    def region(self, lower: Tensor, upper: Tensor) -> Box:
        """The box, one unit in the last place wider, since the file's decimals were rounded to binary."""
        return Box(low=torch.nextafter(lower, lower - 1), high=torch.nextafter(upper, upper + 1))

    def outputs(self, points: Tensor) -> Tensor:
        """Network outputs (N, m) at flattened points (N, n), in float64."""
        node = self.bounded.graph.input
        shape = node.shape[1:] if self.bounded.graph.batched else node.shape
        return output_of(self.bounded.graph, points.reshape(len(points), *shape)).reshape(len(points), -1)

    def misses(self, points: Tensor, clause: Tensor) -> Tensor:
        """max_k g_k at points (N, n) for the clause of each as asked: at most 0 where met. No gradient; in chunks."""
        with torch.no_grad():
            return torch.cat([self._misses(points[some], clause[some]) for some in self._chunks(points)])

    def slopes(self, points: Tensor, clause: Tensor) -> tuple[Tensor, Tensor]:
        """`misses` (N,) and their gradients (N, n), N in chunks."""
        losses, gradients = [], []
        for some in self._chunks(points):
            point = points[some].detach().requires_grad_()
            with torch.enable_grad():
                loss = self._misses(point, clause[some])
                (gradient,) = torch.autograd.grad(loss.sum(), point)
            losses.append(loss.detach())
            gradients.append(gradient)
        return torch.cat(losses), torch.cat(gradients)

    def _chunks(self, points: Tensor) -> Iterator[Tensor]:
        for some in index_pieces(len(points), self.costs.points(self.budget, points.shape[1])):
            if time.monotonic() > self.deadline:
                raise OutOfTime
            yield some

    def _misses(self, points: Tensor, clause: Tensor) -> Tensor:
        scores = self.outputs(points)
        losses = ((self.matrix[clause] @ scores.unsqueeze(-1)).squeeze(-1) - self.asked[clause]).amax(-1)
        self.best.note(points, losses)
        return losses

    def confirm(self, point: Tensor, clause: int) -> Tensor | None:
        """The point as the original model takes it (float32, inside the box), if the model itself meets the clause."""
        for candidate in (_into_float32(point, self.lower[clause], self.upper[clause]), point):
            if candidate is None:
                continue
            output = self.replay(candidate).double().flatten()
            met = bool((self.matrix[clause] @ output <= self.asked[clause]).all())
            inside = bool(((candidate >= self.lower[clause]) & (candidate <= self.upper[clause])).all())
            allowed = self.accept is None or self.accept(candidate)
            if met and inside and allowed and bool(torch.isfinite(output).all()):
                return candidate
        return None


def _into_float32(point: Tensor, lower: Tensor, upper: Tensor) -> Tensor | None:
    """The nearest float32 numbers inside the box, as float64; None where an interval holds no float32 number."""
    near = point.float()
    near = torch.where(near.double() < lower, torch.nextafter(near, near.new_full((), torch.inf)), near)
    near = torch.where(near.double() > upper, torch.nextafter(near, near.new_full((), -torch.inf)), near)
    result = near.double()
    return result if bool(((result >= lower) & (result <= upper)).all()) else None
