"""Support functions of regions against sampling and closed forms; malformed regions are refused."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import InputError
from cutaway.robustness.regions import Intersection, ball, box
from cutaway.robustness.regions_linear import Ellipsoid, Hull, RotatedBox

GENERATOR = torch.Generator().manual_seed(3)


def draw(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


CENTER = draw(2, 5)
BASIS = torch.linalg.qr(draw(5, 5)).Q
REGIONS = {
    "box": box(CENTER - 0.3, CENTER + 0.7),
    "linf": ball(CENTER, 0.4, float("inf")),
    "l2": ball(CENTER, 0.4, 2),
    "l1": ball(CENTER, 0.4, 1),
    "cut l2": ball(CENTER, 0.4, 2, low=-1.0, high=1.0)
    if bool((CENTER.abs() <= 1.4).all())
    else ball(CENTER, 0.4, 2, low=-4.0),
    "ellipsoid": Ellipsoid(center=CENTER, root=draw(5, 5), radius=torch.tensor([0.5, 1.0], dtype=torch.float64)),
    "rotated": RotatedBox(basis=BASIS, low=-draw(2, 5).abs(), high=draw(2, 5).abs()),
    "hull": Hull(points=draw(2, 7, 5)),
}


@pytest.mark.parametrize("name", REGIONS)
def test_minimum_is_below_all_points_and_attained(name):
    region = REGIONS[name]
    functionals = draw(2, 6, 5)
    points = region.sample(3000, torch.Generator().manual_seed(0))
    least = (points @ functionals.mT).amin(1)
    minimum = region.minimum(functionals)
    assert bool((minimum <= least + 1e-12).all())
    if name != "cut l2":
        best = (region.minimiser(functionals) * functionals).sum(-1)
        assert torch.allclose(best, minimum, atol=1e-12)


@pytest.mark.parametrize("name", REGIONS)
def test_surrounding_box_and_magnitude(name):
    region = REGIONS[name]
    points = region.sample(2000, torch.Generator().manual_seed(0))
    assert bool((points >= region.lower.unsqueeze(1) - 1e-12).all())
    assert bool((points <= region.upper.unsqueeze(1) + 1e-12).all())
    assert bool((points.abs() <= region.magnitude.unsqueeze(1) + 1e-12).all())


def test_closed_forms_of_the_balls():
    a, c = draw(1, 3, 4), draw(1, 4)
    for norm, dual in ((1, float("inf")), (2, 2), (float("inf"), 1)):
        expected = (a @ c.unsqueeze(-1)).squeeze(-1) - 0.7 * a.norm(p=dual, dim=-1)
        assert torch.allclose(ball(c, 0.7, norm).minimum(a), expected)


def test_intersection_is_at_least_each_member():
    members = (REGIONS["l2"], REGIONS["box"])
    a = draw(2, 4, 5)
    both = Intersection(members=members).minimum(a)
    assert bool((both >= members[0].minimum(a)).all()) and bool((both >= members[1].minimum(a)).all())


def test_refusals():
    x = torch.zeros(1, 3)
    with pytest.raises(InputError, match="coordinate 1; found lower 2.0 above upper 1.0"):
        box(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0]]))
    with pytest.raises(InputError, match="NaN or infinite"):
        box(torch.tensor([[float("nan")]]), torch.tensor([[1.0]]))
    with pytest.raises(InputError, match="radius; found -1"):
        ball(x, -1.0, 2)
    with pytest.raises(InputError, match="norm; found 3; expected 1, 2 or inf"):
        ball(x, 1.0, 3)
    with pytest.raises(InputError, match="hull"):
        Hull(points=torch.zeros(1, 0, 3))
    with pytest.raises(InputError, match="rotated box"):
        RotatedBox(basis=torch.eye(2), low=torch.ones(1, 2), high=torch.zeros(1, 2))
