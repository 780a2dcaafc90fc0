"""Global Lipschitz constants in the l2 norm: certified upper bounds, and a sampled lower bound beside them.

For a feed-forward network x_{i+1} = phi(W_i x_i + b_i), y = W_l x_l + b_l with slope-restricted phi (slopes in [0, 1]),
L = sup ||f(x) - f(y)||_2 / ||x - y||_2.

Three upper bounds, each certified: the product of spectral norms; ECLipsE-Fast (Xu and Sivaranjani, arXiv 2404.04375);
and the neuron-wise LipSDP bound (Fazlyab et al., arXiv 1906.04893) reached without a semidefinite solver: with
multipliers S_i = diag(s_i)

    X_0 = I,   X_i = 2 S_i - S_i W_i X_{i-1}^{-1} W_i^T S_i > 0,   L^2 = lambda_max(W_l X_{l-1}^{-1} W_l^T),

gradient descent on log s from the ECLipsE-Fast point, with Cholesky as the test of feasibility. Every feasible iterate
is a certificate; the best is recomputed in float64 and enlarged by a rounding margin. We implement the neuron-wise
multipliers only: the coupling of all neurons published as "network" is not valid.

Layers whose activation sorts groups (MaxMin, GroupSort) or reflects (Householder) are norm-preserving in differences by
their quadratic constraints (Pauli et al., arXiv 2401.14033): T = lam I + gamma J, P = nu J, S = tau J with J = 1 1^T
per group (I - v v^T for Householder); see `grouped_constraint`, and `lipschitz_groups` for bounds of such networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, UnsupportedOperator
from cutaway.network.graph import Graph, Node, trace
from cutaway.network.graph.facts import slopes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LipschitzBounds:
    """`product` >= `fast` >= `optimised` (upper bounds for every choice of biases). `sampled`, a lower bound: of one
    network its largest slope found (`network_lipschitz`), of weights alone that of the ReLU network with the worst
    biases (`lipschitz_bounds`, see `pattern_lower_bound`). `gap` = optimised / sampled; `multipliers` s_i of the
    optimised bound; `margin` is the relative enlargement for rounding that all of them contain.

    `multipliers` has shapes (n_i,).
    """

    product: float
    fast: float
    optimised: float
    sampled: float
    gap: float
    steps: int
    margin: float
    multipliers: tuple[Tensor, ...]


def dense_weights(model: nn.Module | Graph, example: Tensor | None = None) -> list[Tensor]:
    """Weights of a feed-forward dense network, affine steps merged, float64, shapes (n_{i+1}, n_i); behind a function
    whose slopes lie in [0, s], s times them (a sigmoid: a quarter).

    Raises UnsupportedOperator for anything but dense layers, constant scalings and activations with such slopes.
    Exact up to rounding. Cost: one export. Source: definition.
    """
    graph = model if isinstance(model, Graph) else trace(model, _given(example))
    weights: list[Tensor] = []
    current: Tensor | None = None
    slope = 1.0
    for node in graph.nodes[1:]:
        if node.inputs != (node.index - 1,):
            graph.unsupported(node, "the Lipschitz bound (a chain of dense layers)")
        if node.op == "linear":
            step = node.constants["weight"]
            current, slope = (step * slope, 1.0) if current is None else (step @ current, slope)
        elif node.op == "scale_shift":
            scale = node.constants.get("scale", torch.ones(())).expand(node.shape).reshape(-1)
            if current is None:
                current, slope = torch.diag(slope * scale.to(graph.dtype)), 1.0
            else:
                current = scale.unsqueeze(1) * current
        elif slopes_of(node) is not None:
            weights.append(_before(node, current, graph))
            current, slope = None, _steepest(node, graph)
        elif node.op != "reshape":
            graph.unsupported(node, "the Lipschitz bound (a chain of dense layers)")
    if current is None:
        raise UnsupportedOperator(
            "the network ends in an activation",
            expected="a final dense layer",
            remedy="end the network in a dense layer, or bound it without the activation",
        )
    return [w.double() for w in [*weights, current]]


def _given(example: Tensor | None) -> Tensor:
    if example is None:
        raise InputError(
            "Lipschitz bound",
            found="a model without an example input",
            expected="example",
            remedy="give an example of its inputs",
        )
    return example


def _before(node: Node, current: Tensor | None, graph: Graph) -> Tensor:
    if current is None:
        graph.unsupported(node, "the Lipschitz bound (an activation before any dense layer)")
    return current


def _steepest(node: Node, graph: Graph) -> float:
    """The largest slope s of a function whose slopes lie in [0, s]."""
    least, most = slopes_of(node) or (-math.inf, math.inf)
    if least < 0 or not 0 < most < math.inf:
        graph.unsupported(node, "the Lipschitz bound (slopes that are neither negative nor without limit)")
    return most


def product_bound(weights: list[Tensor]) -> float:
    """Product of spectral norms."""
    return math.prod(float(torch.linalg.matrix_norm(w, 2)) for w in weights)


def fast_multipliers(weights: list[Tensor]) -> list[Tensor]:
    """ECLipsE-Fast: s_i = 1 / sigma_max(W_i X^{-1} W_i^T), the same for all neurons of a layer."""
    inverse, found = torch.eye(weights[0].shape[1], dtype=torch.float64), []
    for w in weights[:-1]:
        seen = w @ inverse @ w.T
        s = 1.0 / float(torch.linalg.eigvalsh(seen)[-1])
        found.append(torch.full((len(w),), s, dtype=torch.float64))
        inverse = torch.linalg.inv(2 * s * torch.eye(len(w), dtype=torch.float64) - s * s * seen)
    return found


def squared_bound(weights: list[Tensor], multipliers: list[Tensor]) -> Tensor | None:
    """L^2 for the multipliers, or None where some X_i is not positive definite. Differentiable."""
    seen = weights[0] @ weights[0].T
    for w, s in zip(weights[1:], multipliers):
        x = 2 * torch.diag(s) - s.unsqueeze(1) * seen * s
        factor, failed = torch.linalg.cholesky_ex(x)
        if int(failed):
            return None
        half = torch.linalg.solve_triangular(factor, w.T, upper=False)
        seen = half.T @ half
    return torch.linalg.eigvalsh(seen)[-1]


def lipschitz_bounds(
    weights: list[Tensor], *, steps: int = 300, learning_rate: float = 0.1, seed: int = 0, samples: int = 256
) -> LipschitzBounds:
    """All bounds for dense weights. Cost: `steps` times O(sum n_i^3). A margin of 1e-9 relative covers rounding: every
    matrix is float64, Cholesky succeeded, and the recursion is run once more with multipliers shrunk by that margin.

    `weights` have shapes (n_{i+1}, n_i). Raises `InputError` for weights that are not finite. Source: Xu and
    Sivaranjani (arXiv 2404.04375), Fazlyab et al. (arXiv 1906.04893); the descent is ours.
    """
    weights = [w.detach().double() for w in weights]
    if any(not bool(torch.isfinite(w).all()) for w in weights):
        raise InputError(
            "weights",
            found="a value that is NaN or infinite",
            expected="finite weights",
            remedy="check the training; the weights have diverged",
        )
    margin = 1e-9
    product = product_bound(weights) * (1 + margin)
    sampled = pattern_lower_bound(weights, samples=samples, seed=seed)
    if len(weights) == 1:
        return LipschitzBounds(
            product=product,
            fast=product,
            optimised=product,
            sampled=sampled,
            gap=product / max(sampled, 1e-300),
            steps=0,
            margin=margin,
            multipliers=(),
        )
    start = fast_multipliers(weights)
    best = [s.clone() * (1 - 1e-6) for s in start]
    value = squared_bound(weights, best)
    fast = product if value is None else math.sqrt(float(value)) * (1 + margin)
    best, taken = _descend(weights, best, steps, learning_rate)
    final = squared_bound(weights, [s * (1 - margin) for s in best])
    optimised = fast if final is None else min(fast, math.sqrt(float(final)) * (1 + margin))
    return LipschitzBounds(
        product=product,
        fast=min(fast, product),
        optimised=optimised,
        sampled=sampled,
        steps=taken,
        margin=margin,
        gap=optimised / max(sampled, 1e-300),
        multipliers=tuple(best),
    )


def network_lipschitz(model: nn.Module, inputs: Tensor, *, steps: int = 300) -> LipschitzBounds:
    """`lipschitz_bounds` of a model's weights, with `sampled` its own largest slope at `inputs` (B, ...). Raises as
    `dense_weights`. Cost: that of the bounds and one Jacobian an input. Source: as `lipschitz_bounds` (arXiv
    2404.04375, arXiv 1906.04893)."""
    found = lipschitz_bounds(dense_weights(model, inputs[:1]), steps=steps, samples=0)
    seen = sampled_slope(model, inputs)
    return replace(found, sampled=seen, gap=found.optimised / max(seen, 1e-300))


def _descend(weights: list[Tensor], start: list[Tensor], steps: int, rate: float) -> tuple[list[Tensor], int]:
    """Adam on log s; an infeasible step is taken back with half the rate."""
    logs = [s.log().requires_grad_() for s in start]
    adam = torch.optim.Adam(logs, lr=rate, betas=(0.9, 0.99))
    best, record, taken = [s.clone() for s in start], math.inf, 0
    previous = [p.detach().clone() for p in logs]
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = min(group["lr"], rate * (1 - step / steps) + 0.02 * rate)
        value = squared_bound(weights, [p.exp() for p in logs])
        if value is None:
            with torch.no_grad():
                for p, old in zip(logs, previous):
                    p.copy_(old)
            adam.state.clear()
            for group in adam.param_groups:
                group["lr"] /= 2
            if adam.param_groups[0]["lr"] < 1e-6 * rate:
                break
            continue
        taken += 1
        previous = [p.detach().clone() for p in logs]
        if float(value.detach()) < record:
            record, best = float(value.detach()), [p.detach().exp() for p in logs]
        adam.zero_grad()
        value.log().backward()
        adam.step()
    return best, taken


def pattern_lower_bound(weights: list[Tensor], *, samples: int = 256, seed: int = 0) -> float:
    """Largest ||W_l D_{l-1} ... D_1 W_1||_2 over sampled patterns D (diagonals of zeros and ones, all ones among them).

    The upper bounds above do not see biases, and every such product is the slope of the ReLU network with some biases,
    so none of them can fall below this. It is no lower bound for one given network: for that see `sampled_slope`.
    """
    generator = torch.Generator().manual_seed(seed)
    best = 0.0
    for sample in range(samples + 1):
        jacobian = weights[0]
        for w in weights[1:]:
            keep = (
                torch.rand(len(jacobian), generator=generator, dtype=torch.float32) > (0.3 if sample else -1.0)
            ).double()
            jacobian = w @ (keep.unsqueeze(1) * jacobian)
        best = max(best, float(torch.linalg.matrix_norm(jacobian, 2)))
    return best


def sampled_slope(model: nn.Module, inputs: Tensor) -> float:
    """Largest spectral norm of the Jacobian at `inputs` (B, ...): a lower bound on the network's own Lipschitz
    constant.

    Exact at each point (float64 singular values). Cost: one Jacobian a point.
    """
    from cutaway.network.graph import output_of

    graph = trace(model, inputs[:1])

    def single(x: Tensor) -> Tensor:
        return output_of(graph, x.unsqueeze(0)).flatten()

    jacobians = [torch.func.jacrev(single)(x).flatten(1) for x in inputs.double()]
    return max(float(torch.linalg.matrix_norm(j.detach(), 2)) for j in jacobians)


def grouped_constraint(
    size: int, group: int, lam: float, gamma: float, nu: float, tau: float, *, direction: Tensor | None = None
) -> Tensor:
    """The matrix Q (2n, 2n) with [dx; dphi]^T Q [dx; dphi] >= 0 for GroupSort (MaxMin: group 2), lam >= 0, others free.

    Q = [[T - 2 S, P + S], [P + S, -T - 2 P]], T = lam I + gamma J, P = nu J, S = tau J; J adds within groups, and is
    I - v v^T within groups for Householder with unit `direction` v (group,).
    """
    block = torch.ones(group, group, dtype=torch.float64)
    if direction is not None:
        block = torch.eye(group, dtype=torch.float64) - torch.outer(direction, direction)
    j = torch.block_diag(*[block] * (size // group))
    t, p, s = lam * torch.eye(size, dtype=torch.float64) + gamma * j, nu * j, tau * j
    return torch.cat([torch.cat([t - 2 * s, p + s], 1), torch.cat([p + s, -t - 2 * p], 1)])


def lipschitz_radius(margin: float, lipschitz: float) -> float:
    """Within this l2 radius the class cannot change: margin / (sqrt(2) L)."""
    return max(0.0, margin) / (math.sqrt(2.0) * lipschitz)


def sdp_bound(weights: list[Tensor]) -> float:
    """The neuron-wise LipSDP bound by cvxpy and SCS (extra `sdp`), as an unchecked cross-check: SCS may return
    multipliers that are slightly infeasible."""
    from cutaway._compat import require

    cp = require("cvxpy", "sdp")
    weights = [w.double() for w in weights]
    sizes = [weights[0].shape[1], *(len(w) for w in weights[:-1])]
    total, starts = sum(sizes), [sum(sizes[:i]) for i in range(len(sizes))]
    s = cp.Variable(total - sizes[0], nonneg=True)
    rho = cp.Variable()
    a = torch.zeros(total - sizes[0], total, dtype=torch.float64)
    for i, w in enumerate(weights[:-1]):
        row = starts[i + 1] - sizes[0]
        a[row : row + len(w), starts[i] : starts[i] + sizes[i]] = w
    b = torch.cat([torch.zeros(total - sizes[0], sizes[0]), torch.eye(total - sizes[0])], 1).double()
    last = torch.zeros(len(weights[-1]), total, dtype=torch.float64)
    last[:, starts[-1] :] = weights[-1]
    first = torch.zeros(total, total, dtype=torch.float64)
    first[: sizes[0], : sizes[0]] = torch.eye(sizes[0])
    diagonal = cp.diag(s)
    matrix = a.T.numpy() @ diagonal @ b.numpy()
    lmi = matrix + matrix.T - 2 * b.T.numpy() @ diagonal @ b.numpy() - rho * first.numpy() + (last.T @ last).numpy()
    problem = cp.Problem(cp.Minimize(rho), [(lmi + lmi.T) / 2 << 0])
    problem.solve(solver=cp.SCS, eps=1e-4)
    return math.sqrt(max(float(rho.value), 0.0))
