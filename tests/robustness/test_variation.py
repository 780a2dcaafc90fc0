"""The task drawn again: the identity, single changes with known results, variance components, and the instrument."""

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments.robustness.variation import Variation
from cutaway.robustness import draw_versions, redrawn, variance_shares
from cutaway.robustness.variation import PARAMETERS
from cutaway.status import Status


def one(**values):
    version = np.zeros(len(PARAMETERS))
    for name, value in values.items():
        version[list(PARAMETERS).index(name.replace("_", " "))] = value
    return version


def image():
    return torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_zeros_give_the_images_back_bit_for_bit():
    assert torch.equal(redrawn(image(), one()), image())
    drawn = draw_versions(5, strength=1.0, rng=np.random.default_rng(0))
    assert not drawn[0].any()
    assert drawn[1:].all()


def test_a_quarter_turn_is_a_permutation_of_the_pixels():
    turned = redrawn(image(), one(rotation=np.pi / 2))
    assert any(torch.allclose(turned, torch.rot90(image(), k, dims=(2, 3)), atol=1e-9) for k in (1, 3))


def test_a_shift_by_whole_pixels_moves_them_and_brings_in_zeros():
    moved = redrawn(image(), one(shift_right=4 / 9))  # two pixels of nine: half widths of 4.5 pixels
    assert torch.allclose(moved[..., 2:], image()[..., :-2], atol=1e-9)
    assert not moved[..., :2].abs().gt(1e-9).any()


def test_contrast_gamma_and_offset_follow_the_formula_and_stay_in_range():
    made = redrawn(image(), one(log_contrast=0.3, log_gamma=-0.2, offset=0.1))
    wanted = ((image() ** np.exp(-0.2) - 0.5) * np.exp(0.3) + 0.6).clamp(0, 1)
    assert torch.allclose(made, wanted)
    assert torch.equal(redrawn(image(), one(offset=0.1), photometric=False), image())


def test_components_of_a_planted_table():
    rng = np.random.default_rng(0)
    versions, rows = 300, 400
    table = rng.normal(0, 2, versions)[:, None] + rng.normal(0, 1, rows)[None] + rng.normal(0, 3, (versions, rows))
    found = variance_shares(table)
    assert found.version == pytest.approx(4 / 14, abs=0.04)
    assert found.row == pytest.approx(1 / 14, abs=0.02)
    assert found.interaction == pytest.approx(9 / 14, abs=0.04)
    assert np.isnan(variance_shares(np.ones((4, 5))).version)


def test_components_equal_the_naive_two_way_table():
    hits = (np.random.default_rng(1).random((6, 7)) < 0.5).astype(float)
    v, n = hits.shape
    square = sum(
        (hits[i, j] - hits[i].mean() - hits[:, j].mean() + hits.mean()) ** 2 for i in range(v) for j in range(n)
    )
    error = square / ((v - 1) * (n - 1))
    parts = [n * hits.mean(1).var(ddof=1), v * hits.mean(0).var(ddof=1)]
    by_version, by_row = (max(0.0, (p - error) / k) for p, k in zip(parts, (n, v)))
    found, whole = variance_shares(hits), by_version + by_row + error
    assert (found.version, found.row) == pytest.approx((by_version / whole, by_row / whole))


class Brightness(nn.Module):
    """Class 1 where the mean pixel is above 0.5: moved by the offset, not by a turn of a constant image's middle."""

    def forward(self, x):
        mean = x[..., 3:5, 3:5].mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def constant_images(rows=60, **more):
    levels = torch.linspace(0.3, 0.7, rows)
    inputs = levels[:, None, None, None].expand(rows, 1, 8, 8).clone()
    return Dataset(name="levels", inputs=inputs, labels=(levels > 0.5).long(), value_range=(0.0, 1.0), **more)


def test_what_moves_the_accuracy_is_named():
    data = constant_images()
    reading = Variation(versions=80).measure(Brightness(), data)
    assert reading.figure("accuracy").value == 1
    assert reading.figure("sd_over_resamples").value == 0
    assert reading.figure("worst_version").value < reading.figure("mean_accuracy").value < 1
    worst = str(reading.values["parameter"].values[np.nanargmin(reading.values["explains"].values)])
    assert worst in ("offset", "log gamma")
    assert worst in Variation().describe(reading)


def test_normalised_data_is_varied_before_its_normalisation():
    data = constant_images()

    class Back(nn.Module):
        def forward(self, x):
            return Brightness()(x * 0.25 + 0.4)

    one, two = (
        Variation(versions=6).measure(model, rows).values["version_accuracy"].values
        for model, rows in ((Brightness(), data), (Back(), data.normalised((0.4,), (0.25,))))
    )
    assert np.abs(one - two).max() <= 1 / 60


def test_data_without_a_range_is_only_moved_and_vectors_are_refused():
    data = constant_images()
    plain = Dataset(name="plain", inputs=data.inputs, labels=data.labels)
    reading = Variation(versions=4).measure(Brightness(), plain)
    assert [s.what for s in reading.coverage.skipped] == ["photometric changes"]
    assert reading.figure("sd_over_versions").value == 0
    flat = Dataset(name="flat", inputs=data.inputs.flatten(1), labels=data.labels)
    refused = Variation().measure(nn.Linear(64, 2), flat)
    assert refused.status == Status.UNSUPPORTED
    assert "images" in refused.reason
