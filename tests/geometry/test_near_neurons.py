"""Counts of near neurons against naive transcriptions, in single precision with a referee, and against exact norms."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import BudgetError, InputError
from cutaway.geometry import linearisation
from cutaway.geometry.cross_polytope import CrossPolytope
from cutaway.geometry.near_neurons import frame, local_complexity, mean_share, neurons_within
from cutaway.instruments import LocalComplexity
from cutaway.network import Network

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


class Residual(nn.Module):
    """Normalisation of the inputs, batch norm, residual around an in-place ReLU, pooling, `view`."""

    def __init__(self, *, in_place: bool = False, reshape: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm, self.relu, self.reshape = nn.BatchNorm2d(8), nn.ReLU(in_place), reshape
        self.last = nn.Linear(8 * 16, 5)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.3))

    def forward(self, x):
        x = self.norm(self.a((x - self.mean) / 0.5))
        x = self.b(self.relu(x)) + x  # behind an in-place ReLU this is the ReLU's output
        x = nn.functional.max_pool2d(torch.relu(x), 2)
        return self.last(x.reshape(len(x), -1) if self.reshape else x.contiguous().view(x.size(0), -1))


def build(make, seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.to(dtype)


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 4))


def points(count=12, seed=1, dtype=torch.float64):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def naive(network, inputs, directions, radius, sites):
    """The published algorithm, word for word: all vertices through the network, signs compared with the first's."""
    counts = torch.zeros(len(inputs), len(sites), dtype=torch.float64)
    for row, x in enumerate(inputs):
        moves = (radius * directions).to(inputs).reshape(-1, *x.shape)
        vertices = torch.cat([x + moves, x - moves])
        pre = network.capture(vertices, sites, post=False).pre
        for k, site in enumerate(sites):
            signs = pre[site.name].flatten(1).sign()
            counts[row, k] = (signs != signs[:1]).any(dim=0).sum()
    return counts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "make",
    [perceptron, Residual, lambda: Residual(in_place=True), lambda: Residual(reshape=True)],
    ids=["perceptron", "view", "in-place", "channels-last"],
)
def test_equals_the_naive_transcription(make, device):
    model = build(make).to(device)
    inputs = points().to(device)
    network = Network(model, inputs[:2])
    sites = network.select("activation")
    directions = frame(192, 10, torch.Generator().manual_seed(2))
    for radius in (0.2, 1.0):
        found = local_complexity(network, inputs, directions, radius, sites)
        assert found.sum() > 5
        torch.testing.assert_close(found, naive(network, inputs, directions, radius, sites), rtol=0, atol=0)


@pytest.mark.parametrize("rows", [2, 6, 8])
@pytest.mark.parametrize("make", [perceptron, Residual, lambda: Residual(in_place=True)], ids=["mlp", "view", "place"])
def test_vertices_that_come_in_parts_are_counted_as_those_that_come_at_once(make, rows):
    network = Network(build(make), points(2))
    sites, directions = network.select("activation"), frame(192, 10, torch.Generator().manual_seed(2))
    found = local_complexity(network, points(5), directions, 0.6, sites, batch_size=rows)
    assert found.sum() > 5
    torch.testing.assert_close(found, naive(network, points(5), directions, 0.6, sites), rtol=0, atol=0)


def test_no_more_vertices_go_through_at_once_than_were_asked_for():
    seen = []

    class Seen(nn.Linear):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), Seen(9, 3)).double().eval()
    network = Network(model, points(2))
    seen.clear()
    local_complexity(
        network, points(4), frame(192, 5, torch.Generator().manual_seed(0)), 0.1, network.sites, batch_size=4
    )
    assert max(seen) == 4 and sum(seen[1:]) == 4 * 10  # the first asks for the layout of memory
    seen.clear()
    neurons_within(network, points(4), 0.1, network.sites, generator=torch.Generator(), batch_size=4)
    assert len(seen) == 4 * 7  # twenty directions, three at a time, of each of four points


def test_first_layer_takes_one_row_a_point_and_direction():
    """A counting linear layer in front: n + P + 1 rows instead of 2 P n, and the others in full."""
    seen = []

    class Counting(nn.Linear):
        def forward(self, x):
            seen.append(len(x.rows) if isinstance(x, CrossPolytope) else len(x))
            return super().forward(x)

    model = nn.Sequential(nn.Flatten(), Counting(192, 9), nn.ReLU(), Counting(9, 3)).double().eval()
    inputs = points(7)
    network = Network(model, inputs[:2])
    seen.clear()
    local_complexity(network, inputs, frame(192, 5, torch.Generator().manual_seed(0)), 0.1, network.sites)
    assert seen[-2:] == [7 + 5 + 1, 2 * 5 * 7]


def test_referee_gives_the_counts_of_double_precision():
    """Inputs far from 0 lose digits in single precision: its own counts are wrong, and the referee's are not."""
    model = build(perceptron, seed=3, dtype=torch.float32)
    with torch.no_grad():
        model[1].bias -= 1000 * model[1].weight.sum(dim=1)
    inputs = 1000 + points(60, dtype=torch.float32)
    network = Network(model, inputs[:2])
    double, sites = network.double(), network.select("activation")
    directions = frame(192, 6, torch.Generator().manual_seed(0))
    truth = local_complexity(double, inputs.double(), directions, 0.1, sites)
    alone = local_complexity(network, inputs, directions, 0.1, sites)
    assert (alone != truth).any()
    for rows, kept, room in (
        (2048, 32, 1 << 30),
        (4, 3, 1 << 30),
        (2048, 5, 0),
        (4, 5, 0),
        (4, 32, 600),
        (2048, 32, 600),
    ):
        settings = {"batch_size": rows, "referee": double, "kept": kept, "room": room}
        decided = local_complexity(network, inputs, directions, 0.1, sites, **settings)
        torch.testing.assert_close(decided, truth, rtol=0, atol=0)


def test_a_view_that_is_changed_in_place_changes_what_it_is_a_view_of():
    x, steps = points(3), 0.1 * points(2, seed=5)
    dense = torch.stack([x[:, None] + steps, x[:, None] - steps], dim=1).flatten(0, 2)

    def work(t):
        y = t * 2.0
        y.flatten(1).clamp_(max=0.7)
        return y + t

    torch.testing.assert_close(work(CrossPolytope.of(x, steps)), work(dense.clone()), rtol=0, atol=1e-14)
    joined = torch.cat([CrossPolytope.of(x, steps), CrossPolytope.of(x, steps)], dim=1)
    assert type(joined) is torch.Tensor and joined.shape == (12, 6, 8, 8)


def counted_by_norms(network, inputs, sites, radius):
    """Neurons within the radius from every gradient norm by forward mode, (n, sites)."""
    norms = linearisation.gradient_norms(network, inputs, sites, batch_size=512)
    values = network.capture(inputs, sites, post=False).pre
    return torch.stack([(values[s.name].flatten(1).abs() < radius * norms[s.name]).sum(1) for s in sites], 1)


def test_estimated_count_is_unbiased_for_the_exact_one():
    """192 input dimensions, all norms by forward mode as oracle; mean over points within four standard errors."""
    network = Network(build(Residual, seed=1), points(2))
    inputs, sites, radius = points(48), network.select("activation"), 0.05
    exact = counted_by_norms(network, inputs, sites, radius)
    runs = torch.stack(
        [
            neurons_within(network, inputs, radius, sites, generator=torch.Generator().manual_seed(s)).sum(dim=1)
            for s in range(4)
        ]
    )
    error = (runs - exact.sum(dim=1)).mean(dim=0)
    assert exact.sum(dim=1).double().mean() > 20
    assert abs(float(error.mean())) < 4 * float(error.std()) / len(error) ** 0.5 + 0.02 * float(
        exact.sum(1).double().mean()
    )


def test_mean_share_is_the_mean_length_of_a_projection():
    """Oracle: Monte Carlo on random unit vectors (false alarm about 1e-6)."""
    vectors = torch.randn(20000, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = vectors[:, :7].norm(dim=1) / vectors.norm(dim=1)
    assert abs(float(share.mean()) - mean_share(30, 7)) < 5 * float(share.std()) / 20000**0.5


def test_shared_tangents_equal_those_along_one_direction():
    network = Network(build(lambda: Residual(in_place=True)), points(2))
    sites, inputs, directions = network.select("activation"), points(3), points(4, seed=9)
    values, slopes = linearisation.shared_tangents(network, inputs, directions, sites)
    for row, direction in enumerate(directions):
        one_value, one = linearisation.tangents(network, inputs, direction.expand_as(inputs).contiguous(), sites)
        for site in sites:
            torch.testing.assert_close(slopes[site.name][row], one[site.name])
            torch.testing.assert_close(values[site.name], one_value[site.name])


def test_tangents_that_come_in_parts_give_the_count_of_those_that_come_at_once():
    network = Network(build(Residual, seed=1), points(2))
    inputs, sites = points(6), network.select("activation")
    whole, parts = (
        neurons_within(network, inputs, 0.05, sites, generator=torch.Generator().manual_seed(0), batch_size=rows)
        for rows in (2048, 3)
    )
    assert whole.sum() > 20
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


def test_directions_must_fit():
    network = Network(build(perceptron), points(2))
    with pytest.raises(InputError, match=r"directions.*\(P, 192\)"):
        local_complexity(network, points(), torch.eye(5, dtype=torch.float64), 0.1, network.sites)
    with pytest.raises(InputError, match="num_directions"):
        frame(4, 5, torch.Generator())


def test_exact_count_can_be_asked_for_above_128_dimensions():
    """Oracle: all norms by forward mode; 192 dimensions, in chunks smaller than the number of points."""
    network = Network(build(Residual, seed=1), points(2))
    inputs, sites, radius = points(7), network.select("activation"), 0.05
    oracle = counted_by_norms(network, inputs, sites, radius)
    found = neurons_within(network, inputs, radius, sites, generator=torch.Generator(), batch_size=3, exact=True)
    torch.testing.assert_close(found, oracle.double())


@pytest.mark.parametrize(("exact", "words"), [(True, "counted exactly at 3"), (False, "estimated at 3")])
def test_the_instrument_says_how_it_counted_within_the_radius(exact, words):
    data = Dataset(inputs=points(6).float(), name="points")
    settings = {"num_points": 6, "num_directions": 4, "num_counted": 3, "radius": 0.05, "exact": exact}
    instrument = LocalComplexity(**settings)
    reading = instrument.measure(Network(build(Residual).float(), data.inputs), data, intervals=False)
    figure = reading.figure("neurons_within_radius")
    assert words in figure.long_name and words in instrument.describe(reading)
    assert reading.values["within_radius"].shape == (3,)
    assert figure.value == pytest.approx(float(reading.values["within_radius"].mean()))


def test_a_budget_that_not_one_vertex_fits_is_refused_with_one_that_would_do():
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 64, 2)).eval()
    inputs = points(4, dtype=torch.float32)
    with pytest.raises(BudgetError, match=r"local-complexity.*--budget \d+MB") as refused:
        LocalComplexity().measure(Network(model, inputs[:2]), inputs, budget=100_000)
    enough = re.search(r"--budget (\d+)MB", str(refused.value))[1]
    assert LocalComplexity().measure(Network(model, inputs[:2]), inputs, budget=int(enough) * 10**6).figures
