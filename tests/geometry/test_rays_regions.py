"""Rays, sample regions, facets, neighbours, volumes and counts against slices and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.arrangement.polytopes import polytope_volume
from cutaway.errors import InputError
from cutaway.geometry.linear_regions import chebyshev, facets, neighbours, sample_region
from cutaway.geometry.rays import as_program, crossings
from cutaway.geometry.slice import slice_network
from cutaway.geometry.volume import count_patterns, region_volume, regions_in_ball


class Pooled(nn.Module):
    """Residual, average and max pooling, clamp, maxout: every kink that has its own rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.leaky_relu(self.norm(self.first(x)), 0.1)
        x = nn.functional.max_pool2d(x + self.second(x), 2)
        x = nn.functional.hardtanh(x, -0.5, 0.5).abs()
        x = nn.functional.avg_pool2d(x, 3)
        x = x.flatten(1)
        return self.last(torch.cat([torch.maximum(x, 0.1 - x), x], dim=1))


@pytest.fixture(scope="module")
def pooled():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model = Pooled().double()
    with torch.no_grad():
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
    torch.set_rng_state(state)
    return model.eval()


def random_inputs(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edges_met(result, p, q):
    """Closed form: edges of a slice that the segment p q crosses."""
    a, b = result.vertices[result.edges].transpose(1, 0, 2)

    def side(u, v, w):
        return (v[..., 0] - u[..., 0]) * (w[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (w[..., 0] - u[..., 0])

    return int(np.sum((side(p, q, a) * side(p, q, b) < 0) & (side(a, b, p) * side(a, b, q) < 0)))


def test_crossings_equal_the_edges_of_a_slice(mlp, square):
    model = mlp(2, 20, 20, 3, seed=2)
    result = slice_network(model, domain=square)
    ends = random_inputs(40, 2, 2).clamp(-0.99, 0.99)
    found = crossings(model, ends[:, 0], ends[:, 1])
    expected = [edges_met(result, p.numpy(), q.numpy()) for p, q in ends]
    assert found.counts.tolist() == expected
    assert found.by_site().sum(dim=1).tolist() == expected


def test_gates_vanish_at_crossings_and_patterns_change_only_there(pooled):
    starts, ends = random_inputs(3, 1, 6, 6, seed=1), random_inputs(3, 1, 6, 6, seed=2)
    program = as_program(pooled, starts[:1])
    found = crossings(program, starts, ends)
    points = starts[found.segment] + found.at.reshape(-1, 1, 1, 1) * (ends - starts)[found.segment]
    gates = torch.cat(program.all_gates(points), dim=1)
    assert gates[torch.arange(len(points)), found.gate].abs().max() < 1e-12
    for segment in range(3):
        at = torch.cat([torch.zeros(1), found.at[found.segment == segment], torch.ones(1)]).double()
        middle = (at[1:] + at[:-1]) / 2

        # between crossings the network is affine: the value half way is the mean of the values at the two ends
        def output(t, segment=segment):
            x = starts[segment] + t.reshape(-1, 1, 1, 1) * (ends - starts)[segment]
            return pooled(x)

        with torch.no_grad():
            bend = output(middle) - (output(at[1:]) + output(at[:-1])) / 2
        assert bend.abs().max() < 1e-12


def test_crossings_do_not_depend_on_chunks_or_direction(pooled):
    starts, ends = random_inputs(5, 1, 6, 6, seed=3), random_inputs(5, 1, 6, 6, seed=4)
    whole, parts = crossings(pooled, starts, ends), crossings(pooled, starts, ends, budget=1)
    assert torch.equal(whole.gate, parts.gate)
    torch.testing.assert_close(whole.at, parts.at, rtol=0, atol=1e-12)
    back = crossings(pooled, ends, starts)
    assert torch.equal(whole.counts, back.counts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to compare with the CPU")
def test_crossings_on_an_accelerator_are_the_same(pooled):
    starts, ends = random_inputs(5, 1, 6, 6, seed=3), random_inputs(5, 1, 6, 6, seed=4)
    here, there = crossings(pooled, starts, ends), crossings(pooled, starts, ends, device="cuda")
    assert torch.equal(here.gate, there.gate.cpu())
    torch.testing.assert_close(here.at, there.at.cpu(), rtol=0, atol=1e-10)


def test_bad_segments(mlp):
    model = mlp(2, 4, 1)
    good = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="NaN or infinite"):
        crossings(model, good, good + float("nan"))
    with pytest.raises(InputError, match="two different points"):
        crossings(model, good, good)
    with pytest.raises(InputError, match="R > 0"):
        crossings(model, good[:0], good[:0])


def test_normals_are_the_jacobian_of_the_gates(pooled):
    """Oracle: torch autograd, row by row."""
    point = random_inputs(1, 6, 6, seed=5)
    program = as_program(pooled, point[None])
    region = sample_region(program, point)
    x = point[None].clone().requires_grad_(True)
    gates = torch.cat(program.all_gates(x), dim=1)[0]
    for row in range(0, len(region.gates), 17):
        (gradient,) = torch.autograd.grad(gates[region.gates[row]], x, retain_graph=True)
        np.testing.assert_allclose(region.normals[row], gradient.reshape(-1).numpy(), atol=1e-12)


def test_region_of_a_sample_is_the_face_of_the_slice(mlp, square):
    model = mlp(2, 15, 15, 2, seed=6)
    result = slice_network(model, domain=square)
    inner = [f for f in range(result.num_faces) if min(result.neighbours(f)) >= 0]
    for face in inner[:: max(1, len(inner) // 2)]:
        point = torch.from_numpy(result.measures.interior[face])
        region = sample_region(model, point)
        corners = result.vertices[result.corners(face)]
        ahead = np.roll(corners, -1, axis=0) - corners
        offset = point.numpy() - corners
        height = np.abs(ahead[:, 0] * offset[:, 1] - ahead[:, 1] * offset[:, 0]) / np.hypot(*ahead.T)
        assert region.radius == pytest.approx(height.min(), rel=1e-9)
        sides = facets(region, box=3.0)
        assert len(sides.rows) == len(corners)
        matrix, bound = region.inward
        volume = polytope_volume(matrix, bound, num_samples=300, seed=1)
        assert abs(volume.value - result.measures.area[face]) < 4 * volume.error + 0.02 * volume.value


def test_neighbours_are_the_faces_across_the_edges(mlp, square):
    model = mlp(2, 12, 12, 2, seed=3)
    result = slice_network(model, domain=square)
    inner = [f for f in range(result.num_faces) if min(result.neighbours(f)) >= 0]
    face = inner[len(inner) // 2]
    found = neighbours(model, torch.from_numpy(result.measures.interior[face]), depth=1, box=2.0)
    assert set(result.locate(found.points[1:])) == set(result.neighbours(face))
    assert found.complete and (found.depth[1:] == 1).all()
    cut = neighbours(model, torch.from_numpy(result.measures.interior[face]), depth=3, box=2.0, max_regions=3)
    assert not cut.complete and len(cut.points) == 3


def test_volume_of_simplex_and_cube():
    """Oracle: closed forms 1/d! and side^d; several seeds, z-scores within 4."""
    for dims in (2, 4):
        shift = 1 / (dims + 2)
        matrix = np.concatenate([-np.eye(dims), np.ones((1, dims))])
        bound = np.concatenate([np.full(dims, shift), [1 - dims * shift]])
        truth = 1 / np.prod(np.arange(1, dims + 1))
        scores = [
            (e.value - truth) / e.error
            for e in (polytope_volume(matrix, bound, num_samples=200, seed=s) for s in range(2))
        ]
        assert np.abs(scores).max() < 4
    with pytest.raises(InputError, match="leaves out the origin"):
        polytope_volume(np.eye(2), np.array([1.0, -1.0]))


def test_chebyshev_ball_of_the_unit_square(mlp):
    model = mlp(2, 4, 1)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
        model[0].bias.fill_(0.5)
    region = sample_region(model, torch.tensor([0.1, 0.2], dtype=torch.float64))
    centre, radius = chebyshev(region, box=4.0)
    np.testing.assert_allclose(centre, [-0.1, -0.2], atol=1e-9)
    assert radius == pytest.approx(0.5)
    assert region.radius == pytest.approx(0.3)


def test_region_count_bounds(mlp, square):
    model = mlp(2, 15, 15, 2, seed=1)
    inside = regions_in_ball(
        model, torch.zeros(2, dtype=torch.float64), 1.0, num_samples=3000, generator=torch.Generator().manual_seed(0)
    )
    angles = np.linspace(0, 2 * np.pi, 97)[:-1]
    disc = slice_network(model, domain=np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert inside.observed <= disc.num_faces
    assert inside.observed <= inside.estimate <= disc.num_faces + 4 * inside.error
    assert not inside.saturated
    wide = mlp(64, 400, 400, 2, seed=0)
    samples = random_inputs(200, 64)
    assert count_patterns(as_program(wide, samples[:1]), samples).saturated


def test_region_volume_in_the_plane_is_the_area_of_the_face(mlp, square):
    """Oracle: the exact slice; within five of its own standard errors (false alarm about 1e-6)."""
    model = mlp(2, 20, 20, 2, seed=2)
    result = slice_network(model, domain=square)
    inside = [f for f in range(result.num_faces) if min(result.neighbours(f)) >= 0]
    face = max(inside, key=lambda f: result.measures.area[f])
    region = sample_region(model, torch.from_numpy(result.measures.interior[face]))
    found = region_volume(region, box=2.0, num_samples=400, seed=1)
    assert abs(found.value - result.measures.area[face]) < 5 * found.error
    with pytest.raises(InputError, match="positive half-width"):
        region_volume(region, box=0.0)
