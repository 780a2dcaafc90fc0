"""Lipschitz bounds of networks that sort or reflect groups: above every slope, below the product, and known cases."""

import itertools
import math

import pytest
import torch

from cutaway.errors import InputError
from cutaway.robustness.lipschitz import grouped_constraint
from cutaway.robustness.lipschitz_groups import grouped_bounds, squared_grouped_bound


def drawn(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, a, generator=generator, dtype=torch.float64) / a**0.5 for a, b in itertools.pairwise(sizes)]


def sort(group):
    return lambda x: x.reshape(len(x), -1, group).sort(2).values.flatten(1)


def reflect(direction):
    unit = direction / direction.norm()

    def run(x):
        y = x.reshape(len(x), -1, len(unit))
        return torch.where(((y @ unit) < 0).unsqueeze(2), y - 2 * (y @ unit).unsqueeze(2) * unit, y).flatten(1)

    return run


def slopes(weights, activation, seed=1, num=4000):
    """Slopes between points near and far, and along the last layer's strongest direction."""
    generator = torch.Generator().manual_seed(seed)
    biases = [0.3 * torch.randn(len(w), generator=generator, dtype=torch.float64) for w in weights]

    def run(x):
        for w, b in zip(weights[:-1], biases):
            x = activation(x @ w.T + b)
        return x @ weights[-1].T

    x = torch.randn(num, weights[0].shape[1], generator=generator, dtype=torch.float64)
    step = torch.randn(x.shape, generator=generator, dtype=torch.float64) * (
        0.01 + torch.rand(num, 1, generator=generator, dtype=torch.float64) ** 3
    )
    jacobians = torch.func.vmap(torch.func.jacrev(lambda z: run(z.unsqueeze(0)).squeeze(0)))(x[:60])
    steep = torch.linalg.matrix_norm(jacobians, 2).max()
    return max(float(((run(x + step) - run(x)).norm(dim=1) / step.norm(dim=1)).max()), float(steep))


@pytest.mark.parametrize("sizes", [(10, 16, 16, 2), (5, 12, 12, 4)])
@pytest.mark.parametrize("kind", ["maxmin", "groupsort 4", "householder"])
def test_bounds_stand_above_every_slope_and_below_the_product(sizes, kind):
    direction = torch.tensor([3.0, -4.0], dtype=torch.float64) if kind == "householder" else None
    group = 4 if "4" in kind else 2
    activation = sort(group) if direction is None else reflect(direction)
    weights = drawn(sizes)
    found = grouped_bounds(weights, group, direction=direction, steps=250)
    assert slopes(weights, activation) <= found.optimised < 0.99 * found.product
    again = squared_grouped_bound(weights, list(found.multipliers), _block(group, direction))
    assert math.sqrt(float(again)) == pytest.approx(found.optimised, rel=1e-6)


def _block(group, direction):
    if direction is None:
        return torch.ones(group, group, dtype=torch.float64)
    unit = direction / direction.norm()
    return torch.eye(group, dtype=torch.float64) - torch.outer(unit, unit)


def test_the_recursion_is_the_elimination_of_the_whole_inequality():
    """Second implementation: the constraint over all layers at once, assembled from `grouped_constraint`, is negative
    semidefinite exactly at the recursion's L^2 (and not a little below)."""
    weights = drawn((4, 6, 6, 3), seed=3)
    found = grouped_bounds(weights, 2, steps=60)
    value = float(squared_grouped_bound(weights, list(found.multipliers), torch.ones(2, 2, dtype=torch.float64)))
    sizes = [4, 6, 6]
    starts = [0, 4, 10]
    for factor, feasible in ((1.0 + 1e-6, True), (0.99, False)):
        whole = torch.zeros(16, 16, dtype=torch.float64)
        whole[:4, :4] = -torch.eye(4, dtype=torch.float64)
        whole[10:, 10:] += weights[-1].T @ weights[-1] / (value * factor)
        for i, (w, numbers) in enumerate(zip(weights[:-1], found.multipliers)):
            blocks = [grouped_constraint(2, 2, *(float(v) for v in column)) for column in numbers.T]
            q = torch.zeros(12, 12, dtype=torch.float64)
            for k, block in enumerate(blocks):
                at = torch.tensor([2 * k, 2 * k + 1, 6 + 2 * k, 7 + 2 * k])
                q[at.unsqueeze(1), at] = block
            lift = torch.zeros(12, 16, dtype=torch.float64)
            lift[:6, starts[i] : starts[i] + sizes[i]] = w
            lift[6:, starts[i + 1] : starts[i + 1] + 6] = torch.eye(6, dtype=torch.float64)
            whole += lift.T @ q @ lift
        assert (float(torch.linalg.eigvalsh(whole)[-1]) <= 1e-9) == feasible


def test_an_isometry_has_constant_one():
    """Closed form: orthogonal layers with a sorting activation keep distances."""
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    found = grouped_bounds([turn, turn, turn], steps=100)
    assert found.optimised == pytest.approx(1.0, abs=1e-6)
    assert found.optimised >= 1.0


def test_refusals():
    with pytest.raises(InputError, match="layer 1; found 5 units; expected a multiple of the group, 2"):
        grouped_bounds(drawn((3, 5, 2)))
    with pytest.raises(InputError, match="weights; found a value that is NaN or infinite"):
        grouped_bounds([torch.full((2, 2), torch.nan), torch.ones(1, 2)])
    with pytest.raises(InputError, match="direction; found shape"):
        grouped_bounds(drawn((3, 4, 2)), direction=torch.zeros(2))
