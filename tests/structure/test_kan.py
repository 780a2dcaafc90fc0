"""KANs as ReLU networks: against direct evaluation of the B-splines, read by geometry and bounds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import nn

from cutaway import Network
from cutaway.errors import InputError, ModelError, NotPiecewiseAffine
from cutaway.geometry import input_plane, rectangle, slice_network
from cutaway.structure import kan_to_relu


class Splines(nn.Module):
    """sum_i mask (scale_base base(x_i) + scale_sp spline(x_i)), splines by scipy, in the tensors of pykan."""

    def __init__(self, inputs: int, outputs: int, order: int = 1, base: nn.Module | None = None, pieces: int = 5):
        super().__init__()
        draw = torch.Generator().manual_seed(inputs + outputs)
        step = 2 / pieces
        grid = -1 + step * torch.arange(-order, pieces + order + 1, dtype=torch.float64)
        self.grid = nn.Parameter(grid.repeat(inputs, 1), requires_grad=False)
        self.coef = nn.Parameter(torch.randn(inputs, outputs, pieces + order, generator=draw).double())
        self.scale_base = nn.Parameter(torch.randn(inputs, outputs, generator=draw).double() * (base is not None))
        self.scale_sp = nn.Parameter(torch.rand(inputs, outputs, generator=draw).double())
        self.mask = nn.Parameter((torch.rand(inputs, outputs, generator=draw) < 0.8).double(), requires_grad=False)
        self.base_fun, self.k = base or nn.SiLU(), order

    def forward(self, x):
        grid, at = self.grid.detach().numpy(), x.detach().numpy()
        found = torch.zeros(*x.shape, self.coef.shape[1], dtype=torch.float64)
        for i in range(x.shape[1]):
            for c in range(self.coef.shape[2]):
                hat = BSpline.basis_element(grid[i, c : c + self.k + 2], extrapolate=False)(at[:, i])
                found[:, i] += torch.tensor(np.nan_to_num(hat))[:, None] * self.coef[i, :, c].detach()
        curve = self.scale_base * self.base_fun(x)[..., None] + self.scale_sp * found
        return (self.mask * curve).sum(dim=1).detach()


class Efficient(nn.Module):
    """The tensors of efficient-kan."""

    def __init__(self, like: Splines):
        super().__init__()
        self.grid, self.spline_order, self.base_activation = like.grid, like.k, like.base_fun
        self.spline_scaler = nn.Parameter((like.scale_sp * like.mask).T.clone())
        self.spline_weight = nn.Parameter(like.coef.detach().transpose(0, 1).clone())
        self.base_weight = nn.Parameter((like.scale_base * like.mask).T.clone())
        self.same = [like]

    def forward(self, x):
        return self.same[0](x)


POINTS = 4 * torch.rand(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 2


@pytest.mark.parametrize("base", [None, nn.Identity(), nn.ReLU(), nn.LeakyReLU(0.1)])
@pytest.mark.parametrize("kind", ["pykan", "efficient"])
def test_linear_splines_are_equal_inside_and_outside_the_grid(base, kind):
    layers = [Splines(2, 4, base=base), Splines(4, 3, base=base)]
    model = nn.Sequential(*(layers if kind == "pykan" else [Efficient(x) for x in layers]))
    found = kan_to_relu(model)
    torch.testing.assert_close(found.model(POINTS), model(POINTS), rtol=0, atol=1e-12)
    assert found.exact and found.error < 1e-12 and found.units <= 6 * 8 + 6
    assert model[0].coef.requires_grad if kind == "pykan" else True


def test_geometry_and_bounds_read_the_result():
    model = nn.Sequential(Splines(2, 4), Splines(4, 3))
    made = kan_to_relu(model).model
    result = slice_network(made, input_plane(), rectangle(-1, 1, -1, 1))
    assert result.status.value == "exact" and result.num_faces > 25
    network = Network(made, POINTS[:2])
    low, high = network.bounds(POINTS[:4], 0.05).output
    near = POINTS[:4, None] + 0.05 * (2 * torch.rand(4, 200, 2, dtype=torch.float64) - 1)
    values = model(near.reshape(-1, 2)).reshape(4, 200, 3)
    assert bool((values >= low[:, None] - 1e-9).all()) and bool((values <= high[:, None] + 1e-9).all())
    whole = Splines(2, 1)
    whole.mask.fill_(1.0)
    knots = kan_to_relu(whole).model
    lines = slice_network(knots, input_plane(), rectangle(-0.99, 0.99, -0.99, 0.99))
    assert lines.num_faces == 5 * 5  # four inner knots a side


def test_higher_orders_are_refused_and_estimated():
    cubic = nn.Sequential(Splines(2, 3, order=3))
    with pytest.raises(NotPiecewiseAffine, match="order 3, which is curved"):
        kan_to_relu(cubic)
    coarse, fine = (kan_to_relu(cubic, pieces=p) for p in (4, 16))
    assert not fine.exact and fine.error < 0.01 and fine.error < coarse.error / 8
    with pytest.raises(NotPiecewiseAffine, match="order 0, which jumps"):
        kan_to_relu(nn.Sequential(Splines(2, 3, order=0)))
    curved = nn.Sequential(Splines(2, 3, base=nn.SiLU()))
    with pytest.raises(NotPiecewiseAffine, match="SiLU"):
        kan_to_relu(curved)
    assert 1e-6 < kan_to_relu(curved, pieces=16).error < 0.02


def test_a_base_function_that_bends_far_away_is_not_taken_for_zero():
    with pytest.raises(NotPiecewiseAffine, match="base function"):
        kan_to_relu(nn.Sequential(Splines(2, 3, base=nn.Hardshrink(6.0))))


def test_what_is_no_kan_is_told():
    with pytest.raises(ModelError, match="no KAN layer"):
        kan_to_relu(nn.Linear(2, 2))
    with pytest.raises(InputError, match="pieces"):
        kan_to_relu(Splines(2, 2), pieces=0)
    wrong = Splines(2, 2)
    wrong.k = 3
    with pytest.raises(ModelError, match="8 grid points and 6 coefficients for order 3"):
        kan_to_relu(wrong)
