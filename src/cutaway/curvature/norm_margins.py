"""Margins of a homogeneous network in four norms of its weights, and how far it is from maximising each.

For f(x; c theta) = c^L f(x; theta) and margins m_i = f_y(x_i) - max_{k != y} f_k(x_i) the normalised margin in a norm
is min_i m_i / |theta|^L, and the soft margin log(1 / sum_i exp(-m_i)) / |theta|^L lies below it. Steepest descent in a
norm never lowers that norm's soft margin once the data are separated, and tends to points where the residual

    1 - <theta, -grad L> / (|theta| |grad L|_*),   L = sum_i exp(-m_i),

is zero: the (generalised) Karush-Kuhn-Tucker points of min |theta| subject to m_i >= 1 (Tsilivis, Vardi and Kempe,
arXiv 2410.22069; Lyu and Li, arXiv 1906.05890, for l2). Norms: l1, l2, linf of theta as one vector, and `spectral`, the
largest singular value of any weight (matrices out x rest; vectors by their length), whose dual is the sum of all
nuclear norms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.network import calculus
from cutaway.network.calculus import Parameters

NORMS = ("l1", "l2", "linf", "spectral")
DUAL = {"l1": "linf", "l2": "l2", "linf": "l1", "spectral": "nuclear"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormMargins:
    """`rows` (n,) the margins m_i; by norm: `size` |theta|, `hard` and `soft` the normalised margins, `residual` in
    [0, 1]; the last three are NaN where some row is not separated."""

    rows: Tensor
    size: dict[str, float]
    hard: dict[str, float]
    soft: dict[str, float]
    residual: dict[str, float]


def row_margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """m_i (n,) of outputs (n, c) and labels (n,): true minus best other; with c = 1 labels 0 and 1 are signs.

    Exact. Source: definition.
    """
    if outputs.shape[1] == 1:
        return outputs[:, 0] * (2 * labels.to(outputs) - 1)
    own = outputs.gather(1, labels[:, None].long())[:, 0]
    mask = torch.nn.functional.one_hot(labels.long(), outputs.shape[1]).bool()
    return own - outputs.masked_fill(mask, -torch.inf).amax(dim=1)


def margins(
    parameters: Parameters, inputs: Tensor, labels: Tensor, degree: int, *, budget: int | None = None
) -> NormMargins:
    """Margins of a network homogeneous of `degree` on rows `inputs` (n, ...), `labels` (n,). Exact up to rounding; take
    `Parameters(..., double=True)`, since exp(-m) leaves float32 early. Cost: two forward and one backward pass a row.
    Source: Tsilivis, Vardi and Kempe (arXiv 2410.22069); Lyu and Li (arXiv 1906.05890) for l2.
    """
    with torch.no_grad():
        parts = [
            row_margins(parameters.outputs(parameters.theta, part), labels[rows].to(part.device))
            for rows, part in parameters.rows(inputs, budget)
        ]
    rows, theta = torch.cat(parts), parameters.theta
    size = {name: _norm(name, parameters, theta) for name in NORMS}
    if not bool((rows > 0).all()):
        nothing: dict[str, float] = dict.fromkeys(size, float("nan"))
        return NormMargins(rows=rows, size=size, hard=nothing, soft=nothing, residual=nothing)
    weights = torch.softmax(-rows, dim=0)  # -grad log L = sum_i weights_i grad m_i, which has the direction of -grad L
    packed = torch.stack([labels.to(weights), weights], dim=1)
    slope = len(inputs) * calculus.gradient(parameters, inputs, packed, loss=_weighted, budget=budget)
    lowest, soft = float(rows.min()), float(-torch.logsumexp(-rows, dim=0))
    residual = {name: 1 - float(theta @ -slope) / (size[name] * _norm(DUAL[name], parameters, slope)) for name in NORMS}
    return NormMargins(
        rows=rows,
        size=size,
        hard={name: lowest / size[name] ** degree for name in NORMS},
        soft={name: soft / size[name] ** degree for name in NORMS},
        residual=residual,
    )


def _weighted(outputs: Tensor, packed: Tensor) -> Tensor:
    """-w_i m_i for rows (label, w_i)."""
    return -packed[:, 1] * row_margins(outputs, packed[:, 0])


def _norm(name: str, parameters: Parameters, vector: Tensor) -> float:
    if name in _PLAIN:
        return float(_PLAIN[name](vector))
    values = [
        torch.linalg.svdvals(part.reshape(len(part), -1) if part.dim() > 1 else part.reshape(1, -1))
        for part in parameters.split(vector).values()
    ]
    return float(max(v[0] for v in values) if name == "spectral" else sum(v.sum() for v in values))


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda v: v.abs().sum(),
    "l2": lambda v: v.norm(),
    "linf": lambda v: v.abs().max(),
}
