"""Hierarchical polynomials, lazy to rich, modular addition: the claims in small, and their readers on planted cases."""

import numpy as np
import pytest

from cutaway.dynamics.hierarchical import fit_three_layer, hierarchical_target, kernel_ridge_error, polynomial_kernel
from cutaway.dynamics.lazy_rich import LazyRichSetting, train_lazy_rich
from cutaway.dynamics.modular_addition import (
    ModularNetwork,
    ModularSetting,
    predicted_winner,
    read_frequencies,
    read_grid,
    train_modular,
)
from cutaway.errors import InputError
from cutaway.reproductions.lazy_to_rich import order_verdict


def test_three_layers_pass_the_kernel():
    rng = np.random.default_rng(0)
    goal = hierarchical_target(12, rng)
    x, test = rng.standard_normal((12 * 144, 12)), rng.standard_normal((1000, 12))
    truth = goal(test)
    net = fit_three_layer(x, goal(x), rng, width=1500)
    error = np.mean((net.predict(test) - truth) ** 2) / truth.var()
    kernel = kernel_ridge_error(polynomial_kernel(2), (x, goal(x)), (test, truth), 10.0 ** np.arange(-1, 3))
    assert error < kernel / truth.var() - 0.1
    assert np.corrcoef(net.feature(test), goal.inner(test))[0, 1] > 0.85
    assert np.mean(goal.inner(test) ** 2) == pytest.approx(1.0, abs=0.15)
    with pytest.raises(InputError, match="even number"):
        hierarchical_target(3, rng)


def test_kernel_ridge_recovers_what_is_in_its_span():
    rng = np.random.default_rng(0)
    x, test = rng.standard_normal((200, 4)), rng.standard_normal((100, 4))
    error = kernel_ridge_error(
        polynomial_kernel(2), (x, x[:, 0] * x[:, 1]), (test, test[:, 0] * test[:, 1]), np.array([1e-8])
    )
    assert error < 1e-8


def test_laziness_delays_the_test_loss_and_stills_the_weights():
    rich = train_lazy_rich(LazyRichSetting(laziness=0.1, alignment=1.0, num_steps=400, num_test=300))
    lazy = train_lazy_rich(LazyRichSetting(laziness=5.0, alignment=1.0, num_steps=400, num_test=300))
    assert rich.test[-1] < 0.1 < lazy.test[-1]
    assert lazy.train[-1] < 0.1
    assert rich.delay < lazy.delay == np.inf
    assert rich.delay_floor == rich.delay
    first = lazy.steps[np.flatnonzero(lazy.train <= 0.1)[0]]
    assert lazy.delay_floor == pytest.approx(np.log10(400 / first))
    assert lazy.movement[-1] < 0.3 * rich.movement[-1]
    with pytest.raises(InputError, match="divergence"):
        train_lazy_rich(LazyRichSetting(laziness=0.1, alignment=1.0, rate=1e6, num_steps=50))
    with pytest.raises(InputError, match="positive"):
        LazyRichSetting(laziness=0.0, alignment=1.0)


def test_delays_that_were_not_seen_make_no_order():
    inf = np.inf
    assert order_verdict([(0.5, 0.5), (0.8, 0.8), (1.0, 1.0)]) == "pass"
    assert order_verdict([(0.5, 0.5), (0.8, 0.8), (inf, 0.9)]) == "pass"
    assert order_verdict([(0.5, 0.5), (0.4, 0.4), (inf, 0.9)]) == "fail"
    assert order_verdict([(0.5, 0.5), (inf, 0.9), (0.7, 0.7)]) == "fail"
    assert order_verdict([(0.5, 0.5), (inf, 0.9), (inf, 0.9)]) == "report"
    assert order_verdict([(0.5, 0.5), (0.8, 0.8), (inf, 0.7)]) == "report"
    assert order_verdict([(inf, -inf), (inf, -inf)]) == "fail"  # the least lazy network did not fit its data


def test_modular_network_locks_its_phases():
    path = train_modular(ModularSetting(modulus=11, width=128, rate=2e-3, num_steps=500, record=500))
    before, after = read_frequencies(path.start), read_frequencies(path.end)
    assert path.train_accuracy[-1] == 1.0
    assert np.isnan(path.test_accuracy[-1])
    assert np.median(after.share) > np.median(before.share) + 0.2
    assert np.median(after.mismatch) < 0.2 < np.median(before.mismatch)
    assert np.mean(predicted_winner(path.start) == after.frequency) > 2.5 / 5


def test_frequency_reader_on_a_planted_neuron():
    p, k, phi, chi = 17, 3, 0.4, 1.1
    n = np.arange(p)
    wave = 2 * np.pi * k * n / p
    planted = ModularNetwork(
        left=np.cos(wave + phi)[None], right=np.cos(wave + chi)[None], out=np.cos(wave + phi + chi)[None]
    )
    found = read_frequencies(planted)
    assert found.frequency[0] == k
    assert found.share[0] == pytest.approx(1.0)
    assert found.mismatch[0] == pytest.approx(0.0, abs=1e-9)
    off = ModularNetwork(left=planted.left, right=planted.right, out=np.cos(wave + phi + chi + 1.0)[None])
    assert read_frequencies(off).mismatch[0] == pytest.approx(1.0)
    a, b = np.meshgrid(n, n, indexing="ij")
    grid = np.cos(2 * np.pi * 5 * (a + b) / p)[None]
    assert read_grid(grid).frequency[0] == 5
    assert read_grid(grid).share[0] == pytest.approx(1.0)
    noise = np.random.default_rng(0).standard_normal((40, p, p))
    assert np.median(read_grid(noise).share) < 0.15
    with pytest.raises(InputError, match="units, p, p"):
        read_grid(np.zeros((2, 3)))
    with pytest.raises(InputError, match="odd number"):
        ModularSetting(modulus=10)


def test_trained_transformer_uses_few_frequencies(real_data):
    from safetensors.torch import load_file

    from cutaway.reproductions.modular_addition import mlp_grid

    hidden = mlp_grid(load_file(real_data / "modadd_transformer" / "seed0.safetensors"), 113)
    live = hidden.std(axis=(1, 2)) > 1e-6
    found = read_grid(hidden[live][::4])
    assert np.median(found.share) > 0.8
    assert len(np.unique(found.frequency[found.share > 0.5])) <= 8
