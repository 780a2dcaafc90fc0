"""A question made ready for solving: network in float64 for bounds, clauses grouped for batches, a way to try points.

Every clause becomes K rows g_k(y) = matrix_k y - limits_k (padded by repetition). The clause cannot be met on a region
when some row is positive everywhere: max_k min_x g_k > 0. A point meets it when max_k g_k <= 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.network.graph import output_of
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.query import Query
from cutaway.robustness.regions import Box

Replay = Callable[[Tensor], Tensor]
"""(n,) float64 point -> (m,) output of the original model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`lower`, `upper` (C, n); `matrix` (C, K, m), `limits` (C, K) for C clauses. `accept` says of a point (n,)
    whether it may be a witness at all (a pattern to follow)."""

    net: BoundNetwork
    query: Query
    lower: Tensor
    upper: Tensor
    matrix: Tensor
    limits: Tensor
    replay: Replay
    accept: Callable[[Tensor], bool] | None = None

    @classmethod
    def of(cls, net: BoundNetwork, query: Query, replay: Replay) -> Problem:
        """Raises InputError where the question does not fit the network."""
        query.check_network(net.graph.input.numel, net.graph.output.numel)
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
            net=net,
            query=query,
            replay=replay,
            matrix=torch.stack(matrix),
            limits=torch.stack(limits),
            lower=torch.stack([c.lower for c in query.clauses]),
            upper=torch.stack([c.upper for c in query.clauses]),
        )

    def rows(self, clause: Tensor) -> Tensor:
        """Output functionals (B, K, *output shape) of the clauses `clause` (B,)."""
        return self.matrix[clause].reshape(len(clause), -1, *self.net.graph.output.shape)

    def region(self, lower: Tensor, upper: Tensor) -> Box:
        """The box, one unit in the last place wider, since the file's decimals were rounded to binary."""
        return Box(low=torch.nextafter(lower, lower - 1), high=torch.nextafter(upper, upper + 1))

    def outputs(self, points: Tensor) -> Tensor:
        """Network outputs (N, m) at flattened points (N, n), in float64."""
        node = self.net.graph.input
        shape = node.shape[1:] if self.net.graph.batched else node.shape
        return output_of(self.net.graph, points.reshape(len(points), *shape)).flatten(1)

    def misses(self, points: Tensor, clause: Tensor) -> Tensor:
        """max_k g_k at points (N, n) for the clause of each: at most 0 where met."""
        scores = self.outputs(points)
        return ((self.matrix[clause] @ scores.unsqueeze(-1)).squeeze(-1) - self.limits[clause]).amax(-1)

    def confirm(self, point: Tensor, clause: int) -> Tensor | None:
        """The point as the original model takes it (float32, inside the box), if the model itself meets the clause."""
        for candidate in (_into_float32(point, self.lower[clause], self.upper[clause]), point):
            if candidate is None:
                continue
            output = self.replay(candidate).double().flatten()
            met = bool((self.matrix[clause] @ output <= self.limits[clause]).all())
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
