"""What is measured in parts that fit a memory budget is what is measured at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.errors import BudgetError
from cutaway.geometry import boundary_distance, linearisation, rays
from cutaway.geometry.linear_regions import region_radius, sample_region
from cutaway.geometry.rays import crossings


def _images(seed: int = 0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).eval()


@pytest.mark.parametrize("wide", [12, 3])  # above and below the dimension up to which every norm is computed
def test_boundaries_in_groups_of_sites_are_those_of_all_at_once(wide):
    dense = [nn.Flatten(), nn.Linear(18, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)]
    model = _images() if wide == 12 else nn.Sequential(*dense)
    inputs = torch.rand((5, 2, wide, wide), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = Network(model.double(), inputs[:1])
    sites = linearisation.boundary_sites(network)
    found = [
        boundary_distance.nearest_boundary(
            network, inputs, sites, generator=torch.Generator().manual_seed(2), groups=groups
        )
        for groups in (None, [[k] for k in range(len(sites))])
    ]
    assert len(sites) == 2
    for whole, grouped in zip(*found):
        torch.testing.assert_close(whole, grouped, rtol=0, atol=0)
    ahead = [
        boundary_distance.first_crossing(network, inputs, torch.ones_like(inputs), sites, groups)
        for groups in (None, [[0], [1]])
    ]
    assert torch.equal(*ahead) and bool(torch.isfinite(ahead[0]).any())


def test_groups_hold_no_more_neurons_than_asked_but_at_least_one_site():
    sites = linearisation.boundary_sites(Network(_images(), torch.rand(1, 2, 12, 12)))
    widths = [s.width for s in sites]
    assert boundary_distance._grouped(sites, sum(widths)) == [[0, 1]]
    assert boundary_distance._grouped(sites, sum(widths) - 1) == [[0], [1]]
    assert boundary_distance._grouped(sites, 1) == [[0], [1]]


@pytest.mark.parametrize("budget", [1 << 30, 300_000])
def test_the_radius_without_half_spaces_is_that_of_the_region(budget):
    model = _images()
    point = torch.rand((2, 12, 12), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    region = sample_region(model, point)
    assert region_radius(model, point, budget=budget) == pytest.approx(region.radius, rel=1e-12)
    assert 0 < region.radius < 1


def test_a_budget_below_one_direction_is_refused_with_what_is_needed():
    with pytest.raises(BudgetError, match="for 1 at a time"):
        region_radius(_images(), torch.rand(2, 12, 12), budget=1000)


def test_crossings_in_chunks_are_those_of_all_segments_and_one_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(rays, "LEAST", 0)
    ends = torch.rand((2, 6, 2, 12, 12), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    whole = crossings(_images(), *ends)
    parts = crossings(_images(), *ends, budget=10_000_000)
    assert torch.equal(whole.gate, parts.gate) and torch.equal(whole.segment, parts.segment)
    torch.testing.assert_close(whole.at, parts.at, rtol=0, atol=1e-12)
    with pytest.raises(BudgetError, match=r"crossings at site .* on 1 segments, .* of values"):
        crossings(_images(), *ends, budget=100_000)
