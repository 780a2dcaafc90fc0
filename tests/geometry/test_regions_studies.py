"""Density, reconstruction alignment, BatchNorm, pruning and bias studies, expressivity: closed forms and
transcriptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import InputError, ModelError
from cutaway.features.reconstruction import reconstruction_alignment
from cutaway.geometry.boundary_distance import hyperplane_misfit
from cutaway.geometry.density import boundary_density
from cutaway.geometry.expressivity import class_density, same_class_pairs, size_and_confidence
from cutaway.geometry.slice import slice_network
from cutaway.structure.variants import pruned, with_statistics_of, without_biases


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_density_equals_the_closed_form_and_carries_gradients(mlp):
    """Oracle: closed form for a one-layer network, |w_i| phi(z_i) summed; within four standard errors."""
    model = mlp(5, 8, 2, seed=1)
    inputs = torch.randn(6, 5, generator=seeded(), dtype=torch.float64)
    truth = 0.0
    with torch.no_grad():
        z = model[0](inputs)
        norm = model[0].weight.norm(dim=1)
        truth = (norm * torch.exp(-0.5 * (z / 0.7) ** 2) / (0.7 * math.sqrt(2 * math.pi))).sum(dim=1)
    runs = torch.stack(
        [boundary_density(model, inputs, sigma=0.7, num_directions=32, generator=seeded(s)) for s in range(8)]
    )
    error = runs.std(dim=0) / math.sqrt(8)
    assert ((runs.mean(dim=0) - truth).abs() < 4 * error + 1e-9).all()
    loss = boundary_density(model, inputs, sigma=0.7, generator=seeded()).mean()
    loss.backward()
    gradient, step = model[0].weight.grad[2, 3].item(), 1e-5
    with torch.no_grad():
        model[0].weight[2, 3] += step
        up = boundary_density(model, inputs, sigma=0.7, generator=seeded()).mean()
        model[0].weight[2, 3] -= 2 * step
        down = boundary_density(model, inputs, sigma=0.7, generator=seeded()).mean()
    assert gradient == pytest.approx(((up - down) / (2 * step)).item(), rel=1e-5)


def test_density_integrates_to_the_crossings_of_a_segment(mlp):
    """Co-area in one dimension: the density blurred by sigma, averaged over many thresholds, is crossings a unit
    length."""
    model = mlp(1, 40, 1, seed=0)
    line = torch.linspace(-1, 1, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        density = boundary_density(model, line, sigma=0.003, num_directions=256, generator=seeded())
        gates = model[0](line) > 0
    crossings = (gates[1:] != gates[:-1]).sum().item()
    assert float(density.mean() * 2) == pytest.approx(crossings, rel=0.1)


def test_density_refuses_what_it_cannot_do(mlp):
    inputs = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="positive width"):
        boundary_density(mlp(2, 3, 1), inputs, sigma=0.0, generator=seeded())
    with pytest.raises(InputError, match="ReLU-like"):
        boundary_density(nn.Linear(2, 2).double(), inputs, sigma=1.0, generator=seeded())


def plain_alignment(images, labels, drop, patch, seed=0):
    """Naive transcription: second moments by explicit masks over patches, plain generalised eigenproblem."""
    from scipy.linalg import eig

    x = images - images.mean(axis=0)
    x = x / x.std()
    x = x + 1e-3 * np.random.default_rng(seed).standard_normal(x.shape)
    n, _, h, w = x.shape
    z = x.reshape(n, -1)
    moment = z.T @ z
    masked = moment.copy()
    for i in range(h * w):
        for j in range(h * w):
            together = (i // w // patch, i % w // patch) == (j // w // patch, j % w // patch)
            masked[i, j] *= (1 - drop) if together else (1 - drop) ** 2
    cross = (1 - drop) * moment
    values, vectors = eig(cross @ cross.T, masked)
    vectors = vectors.real[:, np.argsort(-values.real)]
    q, _ = np.linalg.qr(z @ vectors)
    y = np.eye(labels.max() + 1)[labels]
    share = np.square(y.T @ q / n).sum(axis=0)
    return 100 * np.sqrt(np.cumsum(share) / share.sum())


@pytest.mark.parametrize(("drop", "patch"), [(0.0, 1), (0.4, 1), (0.6, 2)])
def test_alignment_equals_a_naive_transcription(drop, patch):
    generator = np.random.default_rng(3)
    images = generator.standard_normal((80, 1, 4, 4)).cumsum(axis=2)
    labels = generator.integers(0, 3, 80)
    ours = reconstruction_alignment(images, labels, drop=drop, patch=patch).curve
    np.testing.assert_allclose(ours, plain_alignment(images, labels, drop, patch), rtol=1e-6)


def test_gaussian_noise_never_changes_the_order_and_masking_does():
    generator = np.random.default_rng(0)
    images = generator.standard_normal((120, 1, 6, 6)).cumsum(axis=3)
    labels = (images[:, 0, :3, :3].sum(axis=(1, 2)) > 0).astype(int)
    plain = reconstruction_alignment(images, labels).curve
    np.testing.assert_allclose(reconstruction_alignment(images, labels, sigma=2.0).curve, plain, atol=1e-6)
    assert np.abs(reconstruction_alignment(images, labels, drop=0.8, patch=3).curve - plain).max() > 0.1
    with pytest.raises(InputError, match="divisor"):
        reconstruction_alignment(images, labels, drop=0.5, patch=4)
    with pytest.raises(InputError, match="one label a row"):
        reconstruction_alignment(images, labels[:-1])


def test_batch_mean_is_the_best_offset_of_a_hyperplane():
    """Closed form: any other offset c adds (c - mu)^2 / |w|^2 to the mean squared distance."""
    inputs = torch.randn(50, 3, generator=seeded(), dtype=torch.float64) + 1
    weight = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)
    mean = (inputs @ weight.T).mean(dim=0)
    best = hyperplane_misfit(weight, mean, inputs)
    for shift in (-0.3, 0.2):
        worse = hyperplane_misfit(weight, mean + shift, inputs)
        torch.testing.assert_close(worse - best, torch.full_like(best, shift**2) / weight.square().sum(dim=1))


def test_own_statistics_centre_the_first_arrangement():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    torch.set_rng_state(state)
    inputs = torch.randn(40, 2, generator=seeded(), dtype=torch.float64) + 0.5
    made = with_statistics_of(model, inputs)
    mean = inputs.mean(dim=0).numpy()
    result = slice_network(made, domain=mean + np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]))
    # beta = 0: all six lines through the batch mean, up to the rounding of the stored statistics
    assert np.count_nonzero(result.measures.area > 1e-12) == 12
    assert torch.equal(model[1].running_mean, torch.zeros(6, dtype=torch.float64))  # the model itself is untouched
    with pytest.raises(ModelError, match="no batch normalisation"):
        with_statistics_of(nn.Linear(2, 2), inputs)


def test_bias_removal_makes_cones_and_pruning_removes_lines(mlp, square):
    model = mlp(2, 10, 10, 2, seed=2)
    cones = slice_network(without_biases(model), domain=square)
    assert all(any(np.abs(cones.vertices[v]).max() < 1e-12 for v in cones.corners(f)) for f in range(cones.num_faces))
    full = slice_network(model, domain=square)
    thin = slice_network(pruned(model, 0.5, structured=True), domain=square)
    lines = [len(np.unique(s.edge_gates[s.edge_sites == 0])) for s in (full, thin)]
    assert lines[1] <= 5 < lines[0]
    sparse = pruned(model, 0.5)
    assert (sparse[0].weight == 0).float().mean() == 0.5
    with pytest.raises(InputError, match="fraction"):
        pruned(model, 1.0)


def test_class_density_finds_the_class_with_more_pieces():
    """A network that bends only where x_0 > 0: class 1 lives there."""
    model = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 0.0]).repeat(20, 1))
        model[0].bias.copy_(-torch.linspace(1.05, 2.95, 20))
    inputs = torch.rand(60, 2, generator=seeded(), dtype=torch.float64)
    labels = (torch.arange(60) % 2).long()
    inputs[:, 0] += torch.where(labels == 1, 1.5, -1.5)
    found = class_density(model, inputs, labels, per_class=20, generator=seeded(1))
    assert found.density[0] == 0 and found.density[1] > 1
    assert found.low[1] <= found.density[1] <= found.high[1]
    pairs = same_class_pairs(labels, 10, seeded(2))
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).all() and (pairs[:, 0] != pairs[:, 1]).all()
    with pytest.raises(InputError, match="one a row"):
        class_density(model, inputs, labels[:-1], generator=seeded())


def test_size_and_confidence(mlp):
    model = mlp(4, 10, 3, seed=1)
    inputs = torch.randn(12, 4, generator=seeded(), dtype=torch.float64)
    found = size_and_confidence(model, inputs)
    with torch.no_grad():
        gap = (model[0](inputs).abs() / model[0].weight.norm(dim=1)).amin(dim=1)
    np.testing.assert_allclose(found.radius, gap.numpy(), rtol=1e-9)
    assert -1 <= found.with_margin <= 1


def test_size_and_confidence_reads_one_output_as_two_classes(mlp):
    """Oracle: the same network with the second logit spelled out."""
    one, two = mlp(6, 12, 1, seed=4), mlp(6, 12, 2, seed=4)
    two.load_state_dict({k: v for k, v in one.state_dict().items() if k[0] == "0"}, strict=False)
    with torch.no_grad():
        for mine, its in zip(two[2].parameters(), one[2].parameters()):
            mine.zero_()[1] = its[0]
    inputs = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, oracle = size_and_confidence(one, inputs), size_and_confidence(two, inputs)
    for name in ("radius", "confidence", "margin", "with_margin"):
        np.testing.assert_allclose(getattr(found, name), getattr(oracle, name), atol=1e-12)
