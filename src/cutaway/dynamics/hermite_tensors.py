"""Hermite tensors of a target under the standard normal, and its mean and variance, by quadrature or draws.

E[f H_k(z)] / sqrt(k!) by trapezium grids for up to three directions (error: the largest difference to two coarser
grids), by draws beyond (error: the difference of two halves). A target of one direction that is infinite at 0, as
log|z| is, is integrated on a grid that crowds there; one of a callable without the node 0, and refused where its square
has no integral. `dynamics.closed_form` has what needs no grid.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.certain import Certain
from cutaway.dynamics.closed_form import called_function
from cutaway.dynamics.hermite import graded_rule, normalized_hermites, product_rule
from cutaway.dynamics.ranges import constant_of
from cutaway.dynamics.targets import Target
from cutaway.errors import InputError

_CUT = 12.0  # He8 times he8 at the cut, weighted, is below 1e-20
_CUTS = {1: (_CUT, 2 * _CUT), 2: (_CUT,), 3: (_CUT,)}
_OUTSIDE = 1e-6  # of the square's integral, beyond 5/6 of the cut
_NUM_NODES = {1: (384_001, 192_001, 96_001), 2: (3_000_000, 800_000, 200_000), 3: (3_000_000, 800_000, 200_000)}
_NEAREST = (-6.54, -5.8, -5.0)  # where a graded grid begins: at 1e-303, 1e-146, 1e-67


def energy(chosen: Target) -> tuple[float, float]:
    """Mean and variance of the target: by quadrature up to three directions, from 400,000 draws beyond."""
    if chosen.num_directions <= 3:
        _, weights, values = _on_grid(chosen, _NUM_NODES[chosen.num_directions][1])
    else:
        values = np.asarray(chosen(np.random.default_rng(2).standard_normal((400_000, chosen.num_directions))))
        weights = np.full(values.size, 1.0 / values.size)
    mean = float(values @ weights)
    return mean, float((values - mean) ** 2 @ weights)


def _on_grid(chosen: Target, num_nodes: int) -> tuple[Array, Array, Array]:
    """Points, weights and values; 0 is a node of the grid unless the target is infinite there.

    Raises `InputError` for a target whose square has its mass beyond the grid, or that is infinite, as a power of the
    distance, at another place than 0.
    """
    singular = {} if chosen.tree is None else Certain(chosen, 0).singular_at()
    if singular.keys() == {(0, 0.0)} and chosen.num_directions == 1:
        return _on_graded_grid(chosen, num_nodes)
    for (axis, value), order in singular.items():
        if order > 0.01:  # of a logarithm, a grid loses little
            raise InputError(
                f"target {chosen.name!r}",
                found=f"values that are infinite at z{axis + 1} = {value:.6g}, as |z - r|^-{order:g}",
                expected="such values at 0 alone, and of one projection",
                remedy="shift the link, or bound it there",
            )
    for cut in _CUTS[chosen.num_directions]:
        points, weights, values = _on_cut(chosen, num_nodes, cut)
        far = np.abs(points).max(axis=1) > 5 / 6 * cut
        with np.errstate(over="ignore"):
            mass = (values * np.sqrt(weights)) ** 2
        if mass[far].sum() <= _OUTSIDE * mass.sum() < math.inf:
            return points, weights, values
    raise InputError(
        f"target {chosen.name!r}",
        found=f"a square whose mass lies beyond |z| = {5 / 6 * _CUTS[chosen.num_directions][-1]:g}",
        expected="a target that Gaussian fields of ordinary size tell",
        remedy="let it grow more slowly",
    )


def _on_graded_grid(chosen: Target, num_nodes: int) -> tuple[Array, Array, Array]:
    for nearest in _NEAREST:
        nodes, weights = graded_rule(num_nodes // 8, _CUT, nearest)
        try:
            return nodes[:, None], weights, np.asarray(chosen(nodes[:, None]))
        except InputError:  # infinite, or 0 times infinity, so near 0
            if nearest == _NEAREST[-1]:
                raise
    raise AssertionError


def _on_cut(chosen: Target, num_nodes: int, cut: float) -> tuple[Array, Array, Array]:
    points, weights = product_rule(chosen.num_directions, num_nodes, cut=cut)
    try:
        return points, weights, np.asarray(chosen(points))
    except InputError:
        if chosen.tree is None:
            _check_square_integral(chosen)
        points, weights = product_rule(chosen.num_directions, num_nodes, cut=cut, odd=False)
        return points, weights, np.asarray(chosen(points))


def _check_square_integral(chosen: Target) -> None:
    """Raises `InputError` unless E[f^2] settles as the grid without the node 0 becomes finer."""
    moments = []
    for num_nodes in _NUM_NODES[chosen.num_directions][::-1]:
        points, weights = product_rule(chosen.num_directions, num_nodes, cut=_CUT, odd=False)
        moments.append(float(np.asarray(chosen(points)) ** 2 @ weights))
    first, second = abs(moments[1] - moments[0]), abs(moments[2] - moments[1])
    if second > 0.8 * first and second > 1e-6 * moments[2]:
        raise InputError(
            f"target {chosen.name!r}",
            found="values whose square has no integral (it grows with every finer grid)",
            expected="a finite variance for Gaussian fields",
            remedy="bound the link near its singularity, for example tanh(1/z)",
        )


def hermite_tensors(chosen: Target, max_degree: int) -> tuple[list[Array], list[float]]:
    """E[f H_k(z)] / sqrt(k!) as symmetric tensors of k legs, k = 0 .. max_degree, and the error of each squared norm.

    Normalised so that the squared norms add up to E[f^2]. Quadrature for up to three directions, 2e6 draws beyond.
    """
    count = chosen.num_directions
    if count <= 3:
        tables = [_grid_coefficients(chosen, num_nodes, max_degree) for num_nodes in _NUM_NODES[count]]
        fine, *coarser = [_tensors(table.__getitem__, count, max_degree) for table in tables]
        errors = [max(float(np.sum((a - b) ** 2)) for b in rest) for a, *rest in zip(fine, *coarser)]
        return fine, [max(pair) for pair in zip(errors, _rough_errors(chosen, max_degree))]
    generator = np.random.default_rng(0)
    halves = []
    for _ in range(2):
        points = generator.standard_normal((1_000_000, count))
        halves.append(_tensors(_drawn_coefficients(chosen, points, max_degree), count, max_degree))
    errors = [float(np.sum((a - b) ** 2)) for a, b in zip(*halves)]
    return [0.5 * (a + b) for a, b in zip(*halves)], errors


def _rough_errors(chosen: Target, max_degree: int) -> list[float]:
    """A quarter of what the squared error of every degree is at most where an expression may jump or have kinks, else
    0: differences of grids may miss it, since what lies off the nodes can cancel there.

    In one direction, of g = w f he_k on the nodes: half the sum of |g_i - g_i+1| (half a step times the variation), or
    an eighth of that of the second differences. In more the size of one jump, or kink, through the middle.
    """
    order = 0 if chosen.tree is None else _roughness(chosen.tree)
    if not order:
        return [0.0] * (max_degree + 1)
    points, weights, values = _on_grid(chosen, _NUM_NODES[chosen.num_directions][0])
    values = values - float(values @ weights)
    if chosen.num_directions > 1:
        step = 2 * _CUT / len(weights) ** (1.0 / chosen.num_directions)
        return [0.04 * step ** (2 * order) * float(values**2 @ weights)] * (max_degree + 1)
    parts = weights * values * normalized_hermites(points[:, 0], max_degree)
    share = {1: 1 / 2, 2: 1 / 8}[order]
    return [(share * float(np.abs(np.diff(part, order)).sum())) ** 2 / 4 for part in parts]


def _roughness(tree: ast.expr) -> int:
    """1 for an expression that may jump (a sign, a division, a negative power), 2 for one with kinks (an absolute
    value, a root, a broken power), 0 for a smooth one."""
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Call | ast.BinOp) and constant_of(n) is None]
    powers = [constant_of(n.right) for n in nodes if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow)]
    divided = [n for n in nodes if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)]
    called = {called_function(n) for n in nodes}
    falls = any(power is not None and power < 0 for power in powers)
    if "sign" in called or falls or any(constant_of(n.right) is None for n in divided):
        return 1
    broken = any(power is not None and not power.is_integer() for power in powers)
    return 2 if broken or called & {"abs", "relu", "sqrt", "log"} else 0


def exact_tensors(known: Certain, max_degree: int) -> list[Array]:
    """The tensors of a target in closed form, over its standard deviation."""
    import mpmath

    variance = known.variance()
    scale = mpmath.sqrt(variance) if variance else mpmath.mpf(1)
    return _tensors(lambda powers: float(known.coefficient(powers) / scale), known.num, max_degree)


def _grid_coefficients(chosen: Target, num_nodes: int, max_degree: int) -> Array:
    """E[f he_i(z1) he_j(z2) ..] for every i, j, ..: shape (max_degree + 1,) * k. The mean is taken off first, so that
    an offset costs no digits."""
    count = chosen.num_directions
    points, weights, values = _on_grid(chosen, num_nodes)
    side = round(len(weights) ** (1.0 / count))
    mean = float(values @ weights)
    table = normalized_hermites(points[:side, -1], max_degree)
    out = ((values - mean) * weights).reshape((side,) * count)
    for _ in range(count):
        out = np.tensordot(out, table, axes=(0, 1))  # the axes turn round once
    out[(0,) * count] = mean
    return out


def _drawn_coefficients(chosen: Target, points: Array, max_degree: int) -> Callable[[tuple[int, ...]], float]:
    """The same on draws, powers by powers; without its mean the target leaves less noise."""
    values = np.asarray(chosen(points))
    mean = float(values.mean())
    tables = [normalized_hermites(column, max_degree) for column in points.T]

    def coefficient(powers: tuple[int, ...]) -> float:
        if not any(powers):
            return mean
        product = values - mean
        for table, power in zip(tables, powers):
            if power:
                product = product * table[power]
        return float(product.mean())

    return coefficient


def _tensors(coefficient: Callable[[tuple[int, ...]], float], count: int, max_degree: int) -> list[Array]:
    """Symmetric tensors from the coefficients: an entry is that of its axes' powers, shared among the entries alike."""
    marks = (max_degree + 1) ** np.arange(count)  # an entry's powers as digits of one number
    code, out = np.zeros((), dtype=int), []
    for degree in range(max_degree + 1):
        values = {}
        for powers in compositions(degree, count):
            alike = math.factorial(degree)
            for power in powers:
                alike //= math.factorial(power)
            values[int(np.dot(powers, marks))] = float(coefficient(powers)) / math.sqrt(alike)
        codes = np.array(sorted(values))
        out.append(np.array([values[each] for each in codes.tolist()])[np.searchsorted(codes, code)])
        code = np.add.outer(code, marks)
    return out


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` whole numbers >= 0 with sum `total`."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(total - first, parts - 1):
            yield (first, *rest)
