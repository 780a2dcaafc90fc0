"""What a slice says of itself: exact only where every sign was decided and everything was checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import ModelError
from cutaway.geometry import (
    SliceSettings,
    crossings,
    estimated_regions,
    input_plane,
    rectangle,
    sign_partition,
    slice_network,
)
from cutaway.geometry.checks import in_plane_map
from cutaway.status import Status

SQUARE = rectangle(-1, 1, -1, 1)


def concurrent():
    """Six lines, three of them through (0.3, 0.1): signs there are within rounding."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.3], [-0.2, 1.0], [0.7, 0.9]]))
        model[0].bias.copy_(-model[0].weight @ torch.tensor([0.3, 0.1], dtype=torch.float64))
    return model


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda m: m[0].weight.data.__setitem__((0, 0), torch.nan), "parameter '0.weight' of Sequential; found NaN"),
        (lambda m: m[2].bias.data.__setitem__(0, torch.inf), "parameter '2.bias' of Sequential; found infinite values"),
        (lambda m: [p.data.mul_(1e200) for p in m.parameters()], "NaN or infinite numbers from finite weights"),
    ],
)
def test_values_that_are_no_numbers_are_refused(mlp, spoil, words):
    model = mlp(2, 8, 2)
    spoil(model)
    for cut in (slice_network, sign_partition):
        with pytest.raises(ModelError, match=words):
            cut(model, domain=SQUARE)


def test_overflow_inside_the_network_is_refused_though_its_outputs_are_finite(mlp):
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Hardtanh(), nn.Linear(4, 2)).double()
    nn.init.constant_(model[0].weight, 1e200)
    nn.init.constant_(model[2].weight, 1e200)
    with pytest.raises(ModelError, match="overflow"):
        slice_network(model, domain=SQUARE)


def test_a_graph_with_weights_that_are_no_numbers_is_refused(mlp):
    from cutaway.network.graph import trace

    model = mlp(2, 8, 2)
    model[2].weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="weight of site '2'; found NaN or infinite"):
        crossings(trace(model, torch.zeros(1, 2), check=False), -torch.ones(1, 2), torch.ones(1, 2))


def test_a_check_that_was_not_made_is_no_check(mlp):
    unchecked = slice_network(mlp(2, 8, 2), domain=SQUARE, settings=SliceSettings(check=False))
    assert unchecked.check is None and unchecked.status == Status.ESTIMATE
    assert unchecked.caveats == ("the self-check was not made",)
    assert unchecked.summary()["max_residual"] is None
    partition = sign_partition(mlp(2, 8, 2), domain=SQUARE)
    assert partition.check is None and partition.status == Status.ESTIMATE and "mesh" in partition.caveats[0]


def test_a_sign_that_was_not_decided_is_said():
    exact = slice_network(concurrent(), domain=SQUARE)
    assert exact.report.decided and not exact.report.snapped and exact.status == Status.EXACT
    for settings in (SliceSettings(exact=False), SliceSettings(exact_total=0), SliceSettings(exact_operations=0)):
        snapped = slice_network(concurrent(), domain=SQUARE, settings=settings)
        assert snapped.report.snapped and snapped.status == Status.ESTIMATE
        assert "lay within rounding and were taken for zero" in snapped.caveats[0]


def test_exact_arithmetic_stops_at_its_cap():
    """Half the multiplications that the questions need: some signs are decided, the others said."""
    from cutaway.geometry.exact import ExactSigns

    spent = []
    pay = ExactSigns._pay
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExactSigns, "_pay", lambda self, cost: (spent.append(cost), pay(self, cost))[1])
        full = slice_network(bias_free(), domain=SQUARE).report
    capped = slice_network(bias_free(), domain=SQUARE, settings=SliceSettings(exact_total=sum(spent) // 2)).report
    assert 0 < capped.decided < full.decided and capped.snapped


def bias_free():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(2, 8, False), nn.ReLU(), nn.Linear(8, 6, False), nn.ReLU(), nn.Linear(6, 2))


def test_slopes_keep_their_digits_beside_a_large_offset(mlp):
    """Adding a constant to the outputs, through a residual connection too, moves no slope."""

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.skip = mlp(2, 20, 16, 3), nn.Linear(2, 3).double()

        def forward(self, x):
            return self.skip(x) + self.body(x)

    for make in (lambda: mlp(2, 20, 16, 3), Skip):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = make()
        plain = slice_network(model, domain=SQUARE)
        last = model.skip if isinstance(model, Skip) else model[-1]
        last.bias.data += torch.tensor([1e9, -1e9, 3e8])
        moved = slice_network(model, domain=SQUARE)
        size = np.sqrt(plain.measures.area)
        assert np.array_equal(plain.cells.position, moved.cells.position)
        assert np.abs(plain.slopes - moved.slopes)[size > 1e-6].max() <= 1e-9 * np.abs(plain.slopes).max()
        face = int(plain.measures.area.argmax())
        assert np.abs(in_plane_map(moved.program, moved.plane, moved.measures.interior[face])[1]
                      - moved.slopes[face]).max() <= 1e-9  # fmt: skip
        direct = model(torch.from_numpy(moved.vertices)).detach().numpy()
        np.testing.assert_allclose(moved.outputs, direct, rtol=1e-14)


def test_the_self_check_costs_the_same_for_any_number_of_outputs(mlp, monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward pass an output"))
    assert slice_network(mlp(2, 12, 300), domain=SQUARE).check.sound


def test_printed_seconds_hold_the_tracing_and_the_check(mlp):
    import time

    begin = time.process_time()
    result = slice_network(mlp(2, 12, 3), domain=SQUARE)
    assert result.cpu_seconds >= 0.95 * (time.process_time() - begin)


def test_estimated_regions_are_near_the_number_of_regions(mlp):
    """Uniform places: over 12 networks the estimate is right within a third and on average. Cutting the same polygon
    with a corner more, or about another corner, changes nothing in the mean."""
    ratios = []
    for seed in range(4):
        for widths in ((2, 40, 40, 2), (2, 20, 20, 20, 1), (2, 100, 3)):
            model = mlp(*widths, seed=seed)
            found = slice_network(model, domain=2 * SQUARE, settings=SliceSettings(check=False)).num_faces
            ratios.append(estimated_regions(model, input_plane(), 2 * SQUARE).regions / found)
    assert 0.85 < np.median(ratios) < 1.15 and min(ratios) > 0.6 and max(ratios) < 1.5, ratios


def test_segments_are_spread_evenly():
    """Oracle: mean and second moments of the uniform distribution on a triangle and on a rectangle."""
    from scipy.stats import qmc

    from cutaway.geometry.preview import _spread

    place = qmc.Sobol(2, rng=0).random(4096)
    triangle = _spread(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), place)
    assert np.allclose(triangle.mean(axis=0), 1 / 3, atol=2e-3) and np.allclose(
        (triangle**2).mean(axis=0), 1 / 6, atol=2e-3
    )
    box = _spread(rectangle(-1, 3, 0, 1), place)
    assert np.allclose(box.mean(axis=0), [1, 0.5], atol=4e-3) and np.allclose(
        box.var(axis=0), [16 / 12, 1 / 12], atol=4e-3
    )
