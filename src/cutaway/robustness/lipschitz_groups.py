"""Lipschitz bounds of networks whose activation sorts groups (MaxMin, GroupSort) or reflects them (Householder).

For y = W_l phi(... phi(W_1 x + b_1) ...) in l2. Differences u before and v after such an activation satisfy, for every
group with its own numbers lam >= 0 and gamma, nu, tau of any sign,

    u^T (T - 2 S) u + 2 u^T (P + S) v - v^T (T + 2 P) v >= 0,   T = lam I + gamma J, P = nu J, S = tau J,

with J = 1 1^T in the group (sorting keeps sums), or I - v v^T for a Householder reflection with unit normal v (Pauli et
al., arXiv 2401.14033; `grouped_constraint` writes the same form as a matrix). Adding these over the layers and
eliminating one layer after another gives the recursion that `squared_grouped_bound` runs,

    X_0 = I,   Y_i = X_{i-1} - W_i^T (T_i - 2 S_i) W_i > 0,
    X_i = T_i + 2 P_i - (P_i + S_i) W_i Y_i^{-1} W_i^T (P_i + S_i) > 0,
    L^2 = lambda_max(W_l X_{l-1}^{-1} W_l^T).

We differ from the source in that no semidefinite solver is used: gradient ascent on the numbers, Cholesky as the test
of feasibility, as in `lipschitz`; every feasible iterate is a certificate, and none need be the programme's optimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.robustness.lipschitz import product_bound

MARGIN = 1e-9
"""Relative enlargement for rounding."""

STARTS = (0.9, 0.8)
"""Shares of the largest feasible lam, layer by layer, from which the ascent begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedBounds:
    """`product` of spectral norms (the activation is 1-Lipschitz) and the `optimised` bound, never above it; both hold
    for every choice of biases. `multipliers` (4, groups) for every activation: lam, gamma, nu, tau."""

    product: float
    optimised: float
    steps: int
    multipliers: tuple[Tensor, ...]


def grouped_bounds(
    weights: list[Tensor],
    group: int = 2,
    *,
    direction: Tensor | None = None,
    steps: int = 400,
    learning_rate: float = 0.1,
) -> GroupedBounds:
    """Bounds for dense weights (out, in) with an activation over consecutive groups of `group` units between them.

    `direction` (group,) makes it a Householder reflection with that normal (scaled to length 1) in every group. Cost:
    2 `steps` times O(sum n_i^3). Raises `InputError` where a layer's width is no multiple of the group or a weight is
    not finite. Source: Pauli et al. (arXiv 2401.14033); the recursion is ours.
    """
    weights = [w.detach().double() for w in weights]
    if any(not bool(torch.isfinite(w).all()) for w in weights):
        raise InputError(
            "weights",
            found="a value that is NaN or infinite",
            expected="finite weights",
            remedy="check the training; the weights have diverged",
        )
    for number, w in enumerate(weights[:-1], 1):
        if len(w) % group:
            raise InputError(
                f"layer {number}",
                found=f"{len(w)} units",
                expected=f"a multiple of the group, {group}",
                remedy="choose a group size that divides the layers",
            )
    product = product_bound(weights) * (1 + MARGIN)
    block = _block(group, direction)
    optimised, multipliers, total = product, _start(weights, group, STARTS[0]), 0
    for share in STARTS:
        best, taken = _ascend(weights, _start(weights, group, share), block, steps, learning_rate)
        found = squared_grouped_bound(weights, [m * (1 - MARGIN) for m in best], block)
        total += taken
        if found is not None and math.sqrt(float(found)) * (1 + MARGIN) < optimised:
            optimised, multipliers = math.sqrt(float(found)) * (1 + MARGIN), best
    return GroupedBounds(product=product, optimised=optimised, steps=total, multipliers=tuple(multipliers))


def squared_grouped_bound(weights: list[Tensor], multipliers: list[Tensor], block: Tensor) -> Tensor | None:
    """L^2 for multipliers (4, groups) of every activation, or None where they are not feasible. Differentiable."""
    x = torch.eye(weights[0].shape[1], dtype=torch.float64)
    for w, numbers in zip(weights, multipliers):
        if not bool((numbers[0] >= 0).all()):
            return None
        lam, gamma, nu, tau = numbers.repeat_interleave(len(block), dim=1)
        j = torch.block_diag(*[block] * numbers.shape[1])
        t = torch.diag(lam) + gamma.unsqueeze(1) * j
        p, s = nu.unsqueeze(1) * j, tau.unsqueeze(1) * j
        factor = _cholesky(x - w.T @ (t - 2 * s) @ w)
        if factor is None:
            return None
        half = torch.linalg.solve_triangular(factor, w.T @ (p + s), upper=False)
        x = t + 2 * p - half.T @ half
    factor = _cholesky(x)
    if factor is None:
        return None
    half = torch.linalg.solve_triangular(factor, weights[-1].T, upper=False)
    return torch.linalg.eigvalsh(half.T @ half)[-1]


def _cholesky(matrix: Tensor) -> Tensor | None:
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.T) / 2)
    return None if int(failed) else factor


def _block(group: int, direction: Tensor | None) -> Tensor:
    if direction is None:
        return torch.ones(group, group, dtype=torch.float64)
    unit = direction.double() / direction.double().norm()
    if unit.shape != (group,) or not bool(torch.isfinite(unit).all()):
        raise InputError(
            "direction",
            found=f"shape {tuple(direction.shape)}",
            expected=f"a vector of {group} numbers, not zero",
            remedy="give a vector of that length",
        )
    return torch.eye(group, dtype=torch.float64) - torch.outer(unit, unit)


def _start(weights: list[Tensor], group: int, share: float) -> list[Tensor]:
    """lam_i = share lam_{i-1} / |W_i|^2, which is feasible, all else zero: the product of norms and a little."""
    lam, found = 1.0, []
    for w in weights[:-1]:
        lam = share * lam / max(float(torch.linalg.matrix_norm(w, 2)) ** 2, 1e-300)
        numbers = torch.zeros(4, len(w) // group, dtype=torch.float64)
        numbers[0] = lam
        found.append(numbers)
    return found


def _ascend(
    weights: list[Tensor], start: list[Tensor], block: Tensor, steps: int, rate: float
) -> tuple[list[Tensor], int]:
    """Adam on log lam and on the others in units of the first lam; an infeasible step is taken back with a third of
    the rate, which grows again afterwards."""
    units = [float(m[0].mean()) / (2 * len(block)) for m in start]
    logs = [m[0].log().requires_grad_() for m in start]
    rest = [(m[1:] / u).requires_grad_() for m, u in zip(start, units)]
    free = [*logs, *rest]
    adam = torch.optim.Adam(free, lr=rate, betas=(0.9, 0.99))
    best, record, taken = [m.clone() for m in start], math.inf, 0
    previous = [p.detach().clone() for p in free]
    for _ in range(steps):
        numbers = [torch.cat([g.exp().unsqueeze(0), u * r]) for g, r, u in zip(logs, rest, units)]
        value = squared_grouped_bound(weights, numbers, block)
        if value is None:
            with torch.no_grad():
                for p, old in zip(free, previous):
                    p.copy_(old)
            adam.state.clear()
            adam.param_groups[0]["lr"] /= 3
            if adam.param_groups[0]["lr"] < 1e-6 * rate:
                break
            continue
        taken += 1
        adam.param_groups[0]["lr"] = min(rate, 1.2 * adam.param_groups[0]["lr"])
        previous = [p.detach().clone() for p in free]
        if float(value.detach()) < record:
            record, best = float(value.detach()), [m.detach().clone() for m in numbers]
        adam.zero_grad()
        value.log().backward()
        adam.step()
    return best, taken
