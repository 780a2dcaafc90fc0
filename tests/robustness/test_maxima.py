"""Maxima over windows in one step: planes that enclose, exact where decided, and networks bounded by them first."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.data.dataset import Dataset
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.maxima import Windows, open_values, planes
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, open_rows, sweep
from cutaway.robustness.certified_share import certified_accuracy
from cutaway.robustness.regions import ball
from cutaway.robustness.verify.verdict import VerifySettings


def one_window(size, **more):
    index = torch.arange(size).unsqueeze(0)
    return Windows(index=index, counts=torch.ones_like(index, dtype=torch.bool), **more)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    ends=st.lists(st.tuples(st.floats(-5, 5), st.sampled_from([0.0, 1e-12, 0.3, 4.0])), min_size=1, max_size=6),
    scale=st.sampled_from([1e-150, 1.0, 1e9]),
)
def test_planes_enclose_the_maximum_at_corners_and_samples(ends, scale):
    low = torch.tensor([[a for a, _ in ends]], dtype=torch.float64) * scale
    high = low + torch.tensor([[b for _, b in ends]], dtype=torch.float64) * scale
    below, above, offset = planes(one_window(len(ends)), low, high)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(ends))), dtype=torch.float64)
    inner = torch.rand(50, len(ends), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = torch.cat([corners, inner])
    points = torch.where(shares == 1, high, low + shares * (high - low)).clamp(low, high)
    largest = points.amax(1)
    assert bool((points @ below[0, 0] <= largest).all())
    over = points @ above[0, 0] + offset[0, 0] - largest
    rounding = 1e-15 * (points.abs() @ above[0, 0].abs() + offset.abs()[0, 0])
    assert bool((over >= -rounding).all())
    middle = (low + high) / 2
    assert float(middle @ above[0, 0] + offset[0, 0]) <= float(high.amax()) + 2e-12 * float(high.abs().amax())


def naive_plane(low, high, level):
    """Height at the middle of T + sum s_i (x_i - l_i)."""
    slopes = [(u - level) / (u - a) if u > level else 0.0 for a, u in zip(low, high)]
    return level + sum(s * (u - a) / 2 for s, a, u in zip(slopes, low, high))


def test_no_other_level_is_lower_at_the_middle():
    generator = torch.Generator().manual_seed(1)
    for size in (2, 3, 4, 9):
        low = torch.randn(30, size, generator=generator, dtype=torch.float64)
        high = low + 2 * torch.rand(30, size, generator=generator, dtype=torch.float64)
        _, above, offset = planes(one_window(size), low, high)
        found = (above[:, 0] * (low + high) / 2).sum(1) + offset[:, 0]
        for row in range(30):
            a, u = low[row].tolist(), high[row].tolist()
            levels = [max(a) + t / 200 * (max(u) - max(a)) for t in range(201)]
            assert float(found[row]) <= min(naive_plane(a, u, t) for t in levels) + 1e-9


def test_a_decided_window_is_its_value_and_padding_counts_once():
    low, high = torch.tensor([[0.0, 2.0, -1.0]]).double(), torch.tensor([[1.0, 3.0, 2.0]]).double()
    below, above, offset = planes(one_window(3), low, high)
    assert below.tolist() == above.tolist() == [[[0.0, 1.0, 0.0]]]
    assert offset.tolist() == [[0.0]]
    padded = Windows(index=torch.tensor([[0, 0, 2]]), counts=torch.tensor([[True, False, True]]))
    _, above, offset = planes(padded, low, high)
    reference = planes(Windows(index=torch.tensor([[0, 2]]), counts=torch.ones(1, 2, dtype=torch.bool)), low, high)
    assert torch.equal(above[..., [0, 2]], reference[1])
    assert above[0, 0, 1] == 0
    assert float(offset) == pytest.approx(float(reference[2]), abs=1e-12)


def test_only_values_that_may_matter_are_open():
    low = torch.tensor([[0.0, 2.0, -1.0, 1.5], [-3.0, -3.0, -2.0, -2.0], [-1.0, 3.0, -1.0, -1.0]]).double()
    high = torch.tensor([[1.0, 3.0, 2.5, 1.8], [-1.0, -2.5, -1.5, 1.0], [2.0, 4.0, 0.5, 0.5]]).double()
    assert open_values(one_window(4), low, high).tolist() == [
        [False, True, True, False], [True, False, True, True], [False] * 4,
    ]  # fmt: skip
    assert open_values(one_window(4, positive=True), low, high).tolist() == [
        [False, True, True, False], [False, False, False, True], [False] * 4,
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_known_gives_no_number(bad):
    low, high = torch.tensor([[0.0, 0.5]]).double(), torch.tensor([[1.0, bad]]).double()
    _, above, offset = planes(one_window(2), low, high)
    assert not bool(torch.isfinite(offset + above.sum(2)).all())


def pooled(width=6, seed=3):
    """Two blocks of convolution and pooling, the second with overlap and padding, and a maximum over channels."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            self.second = nn.Sequential(nn.Conv2d(width, 4, 3, padding=1), nn.MaxPool2d(3, 2, padding=1), nn.Tanh())
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            y = self.second(self.first(x))
            return self.head(y.flatten(1)) + y.amax((2, 3))[:, :3]

    torch.manual_seed(seed)
    return Network().double().eval()


def test_the_coarse_network_is_the_same_function_and_encloses(check_inside):
    model = pooled()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = bound_network(model, x)
    assert net.coarse is not None
    assert {n.op for n in net.coarse.graph.nodes} >= {"max_pool", "max_reduce"}
    assert not {n.op for n in net.graph.nodes} & {"max_pool", "max_reduce"}
    rows = torch.eye(3, dtype=torch.float64)[:, None]
    for radius in (0.0, 0.02, 0.3):
        region = ball(x, radius, float("inf"))
        for method in ("ibp", "crown"):
            check_inside(net.coarse, region, method, num=500)
        coarse, fine = (bound_rows(n, sweep(n, region), region, rows) for n in (net.coarse, net))
        if radius == 0:
            assert torch.allclose(coarse, model(x).unsqueeze(1).mT.reshape(2, 3), atol=1e-9)
        if radius == 0.02:
            assert bool((coarse > fine - 0.05 * (1 + fine.abs())).all())


def test_patches_give_what_functionals_over_the_whole_picture_give(monkeypatch):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten())
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.manual_seed(0)
    net = bound_network(nn.Sequential(model, nn.Linear(75, 2)).double(), x).coarse
    assert net is not None
    region = ball(x, 0.1, float("inf"))
    before = sweep(net, region)
    monkeypatch.setattr("cutaway.robustness.bounds.backward.fits", lambda node: False)
    after = sweep(net, region)
    assert any(int(open_rows(net, before, i).sum()) for i in net.tighten)
    for index in net.tighten:
        assert torch.allclose(before.lower[index], after.lower[index], rtol=0, atol=1e-10)
        assert torch.allclose(before.upper[index], after.upper[index], rtol=0, atol=1e-10)


@pytest.mark.parametrize("pool", [
    nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2, 1), nn.MaxPool2d((3, 2), ceil_mode=True),
    nn.MaxPool2d(2, dilation=2), nn.MaxPool2d(3, 3, ceil_mode=True), nn.MaxPool2d(2, 3),
])  # fmt: skip
@pytest.mark.parametrize("size", [8, 9])
def test_windows_of_every_kind_between_convolutions(pool, size, check_inside):
    torch.manual_seed(size)
    front = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(3, 3, 2), nn.ReLU(), nn.Flatten())
    width = front(torch.zeros(1, 1, size, size)).shape[1]
    x = torch.randn(2, 1, size, size, dtype=torch.float64)
    net = bound_network(nn.Sequential(front, nn.Linear(width, 2)).double().eval(), x)
    assert net.coarse is not None
    for radius in (0.05, 0.5):
        check_inside(net.coarse, ball(x, radius, float("inf")), "crown", num=1000)


def test_an_overhanging_window_is_never_certified_away():
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(1, 1, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(49, 2, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        model[0].weight.fill_(0.25)
        model[2].weight.fill_(1.0)
        model[2].bias.fill_(-0.95)
        model[5].weight.zero_()
        model[5].weight[1, 48] = 100.0
    ones = torch.ones(1, 1, 13, 13, dtype=torch.float64)
    net = bound_network(model.double(), ones).coarse
    assert net is not None
    region = ball(ones - 0.5, 0.5, float("inf"))
    assert float(model(ones)[0, 1].detach()) > 4.9
    for kept in (sweep(net, region), sweep(net, region, SweepSettings(method="crown-ibp"))):
        row = torch.tensor([[0.0, -1.0]], dtype=torch.float64).reshape(1, *net.graph.output.shape)
        assert float(bound_rows(net, kept, region, row)) <= -4.9


def test_single_precision_stays_within_the_deployment_radius():
    model = pooled()
    single = pooled().float()
    single.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    model.load_state_dict({k: v.double() for k, v in single.state_dict().items()})
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = bound_network(model, x)
    region = ball(x, 0.3, float("inf"))
    points = region.sample(2000, torch.Generator().manual_seed(2)).reshape(-1, 1, 8, 8).float()
    with torch.no_grad():
        gap = (single(points).double() - model(points.double())).abs().amax(0)
    for one in (net, net.coarse):
        radius = deployment_radius(one, sweep(one, region)).flatten()
        assert bool((gap <= radius).all())
    assert net.coarse is not None
    assert float((radius / gap).max()) < 1000  # of the coarse network: nothing grows in its maxima


def test_certified_accuracy_of_a_pooling_network_with_and_without_search():
    model = pooled().float()
    inputs = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    labels = model(inputs).argmax(1)
    data = Dataset(name="made", inputs=inputs, labels=labels, value_range=(-10.0, 10.0))
    quick = certified_accuracy(model, data, radius=0.01)
    assert quick.certified.sum() >= 4
    searched = certified_accuracy(model, data, radius=0.05, settings=VerifySettings(timeout=3.0, restarts=1))
    bounded = certified_accuracy(model, data, radius=0.05)
    assert bool((searched.certified >= bounded.certified).all())
    assert not bool((searched.certified & ~searched.robust).any())


def test_uneven_padding_by_minus_infinity_is_part_of_the_maximum():
    """As Keras exports SAME_UPPER: the limits are finite and those of the values."""
    model = nn.Sequential(nn.ConstantPad2d((0, 1, 1, 0), -torch.inf), nn.MaxPool2d(3, 2))
    x = torch.randn(1, 2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net, region = bound_network(model, x), ball(x, 0.2, float("inf"))
    points = region.sample(500, torch.Generator().manual_seed(1)).reshape(-1, 2, 6, 5)
    for one in (net, net.coarse):
        limits = sweep(one, region)
        low, high = (side[one.graph.output.index] for side in (limits.lower, limits.upper))
        assert bool(((low <= model(points)) & (model(points) <= high)).all())
        assert one is net or torch.allclose(low, model(x - 0.2), atol=1e-9)
        assert float(deployment_radius(one, limits).max()) < 1e-5
