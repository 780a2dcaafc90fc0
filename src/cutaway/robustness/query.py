"""A verification question: is there an input in one of some boxes whose output satisfies one of some conjunctions?

"Yes" (with a witness) falsifies the property; "no" certifies it. Every source of questions (VNN-LIB files, robustness
of a labelled input, patterns) compiles to this one object.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """x in [lower, upper] (n,) and matrix @ y <= limits, row by row: `matrix` (k, m), `limits` (k,). Float64."""

    lower: Tensor
    upper: Tensor
    matrix: Tensor
    limits: Tensor

    def margins(self, outputs: Tensor) -> Tensor:
        """max_k (matrix y - limits)_k for outputs (..., m): at most 0 exactly where the conjunction holds.

        Result of shape (...,). Source: definition.
        """
        if len(self.limits) == 0:
            return torch.full(outputs.shape[:-1], -torch.inf, dtype=outputs.dtype)
        return (outputs @ self.matrix.T.to(outputs.dtype) - self.limits.to(outputs.dtype)).amax(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Clauses joined by "or"; `num_inputs` n, `num_outputs` m; `source` names it in messages."""

    clauses: tuple[Clause, ...]
    num_inputs: int
    num_outputs: int
    source: str = "query"

    @property
    def fingerprint(self) -> str:
        """sha256 over the numbers of the question (not its wording)."""
        digest = hashlib.sha256(f"{self.num_inputs} {self.num_outputs}".encode())
        for clause in self.clauses:
            for part in (clause.lower, clause.upper, clause.matrix, clause.limits):
                digest.update(part.contiguous().numpy().tobytes() + b"|")
        return digest.hexdigest()

    def meets(self, point: Tensor, output: Tensor) -> bool:
        """Whether `point` (n,) with `output` (m,) is in a clause's box and satisfies it."""
        return any(
            bool(((point >= c.lower) & (point <= c.upper)).all()) and bool(c.margins(output) <= 0) for c in self.clauses
        )

    def check_network(self, num_inputs: int, num_outputs: int) -> None:
        """Raise InputError where the question is about another network's shapes."""
        for kind, ours, theirs in (
            ("inputs", self.num_inputs, num_inputs),
            ("outputs", self.num_outputs, num_outputs),
        ):
            if ours != theirs:
                raise InputError(
                    self.source,
                    found=f"{ours} {kind}",
                    expected=f"the network's {theirs} {kind}",
                    remedy="check that the property belongs to this network",
                )


def robustness_query(center: Tensor, label: int, radius: float, num_classes: int, low=None, high=None) -> Query:
    """Is there x with ||x - center||_inf <= radius (cut to [low, high]) whose class is not `label`? (ties count as
    one)

    `center` (*input shape); limits are numbers or of that shape. The question itself is exact. Source: definition.
    """
    center = center.detach().double().flatten()
    lower, upper = center - radius, center + radius
    if low is not None:
        lower = lower.clamp(min=low)
    if high is not None:
        upper = upper.clamp(max=high)
    clauses = []
    for other in range(num_classes):
        if other != label:
            row = torch.zeros(1, num_classes, dtype=torch.float64)
            row[0, label], row[0, other] = 1.0, -1.0
            clauses.append(Clause(lower=lower, upper=upper, matrix=row, limits=torch.zeros(1, dtype=torch.float64)))
    return Query(clauses=tuple(clauses), num_inputs=len(center), num_outputs=num_classes, source="robustness")
