"""The self-check of a slice: it passes networks that are zero somewhere and pooled ones, and finds a single fault."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import ClaimError
from cutaway.geometry.checks import self_check
from cutaway.geometry.plane import plane_through, rectangle, square_around
from cutaway.geometry.slice import slice_network


def seeded(make, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
def test_cones_without_bias_pass_where_every_neuron_is_dead(activation):
    for seed in range(4):  # of seed 0, one of the twenty cones has no living neuron: rounding against an output of 0
        model = seeded(lambda: nn.Sequential(nn.Linear(2, 10, False), activation(), nn.Linear(10, 1, False)), seed)
        result = slice_network(model, domain=rectangle(-1, 1, -1, 1))
        assert result.num_faces == 20 and result.check.affine_error < 1e-9


def test_a_final_relu_passes():
    for seed in range(8):
        model = seeded(lambda: nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3), nn.ReLU()), seed)
        assert slice_network(model, domain=rectangle(-3, 3, -3, 3)).check.affine_error < 1e-9


def test_a_network_that_is_zero_on_the_whole_domain_passes():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    nn.init.constant_(model[0].bias, -50.0)
    assert slice_network(model, domain=rectangle(-1, 1, -1, 1)).check.affine_error == 0


def test_residuals_of_pooling_edges_are_small():
    """A window's gate is not affine on the whole face: its slope counts beside the edge."""

    def pooled():
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3)
        ).double()  # fmt: skip

    plane = plane_through(seeded(lambda: torch.randn(3, 1, 8, 8, dtype=torch.float64), 0).numpy())
    result = slice_network(seeded(pooled, 0), plane, square_around(plane, 8.0))
    assert result.check.edges_checked > 500 and result.check.max_residual < 1e-9


def test_one_wrong_edge_is_found(mlp):
    result = slice_network(mlp(2, 12, 12, 3), domain=rectangle(-2, 2, -2, 2))

    def check():
        return self_check(
            result.program, result.plane, result.domain, result.cells, result.measures, result.outputs
        )  # fmt: skip

    assert check().sound
    edges = result.edge_half_edges[result.edge_gates >= 0]
    half = edges[len(edges) // 2]
    makers = np.unique(result.edge_gates[result.edge_gates >= 0])
    result.cells.tag[[half, result.cells.twin[half]]] = makers[makers != result.cells.tag[half]][0]
    found = check()
    assert found.max_residual > 1e-3 and found.median_residual < 1e-12
    with pytest.raises(ClaimError, match="off the line of their neuron"):
        found.require()


def test_one_wrong_map_is_found(mlp):
    """Both halves of a network agree with themselves: shift the vertices and the maps of the faces no longer meet."""
    result = slice_network(mlp(2, 6, 2), domain=rectangle(-2, 2, -2, 2))
    inner = np.setdiff1d(np.arange(result.num_vertices), np.unique(result.edges[result.edge_gates < 0]))
    result.cells.position[inner] += 0.01
    found = self_check(result.program, result.plane, result.domain, result.cells, result.measures, result.outputs)
    assert found.affine_error > 1e-6 and not found.sound
