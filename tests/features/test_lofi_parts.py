"""LoFi's parts against oracles: quadrature, dense eigenproblems, the naive transcription, chunking, the BBP curve."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm, subspace_angles

from cutaway.errors import InputError
from cutaway.features.lofi import LoFiClassifier
from cutaway.features.lofi.activations import ACTIVATIONS, activation_named, torch_activation
from cutaway.features.lofi.conv_lift import conv_lift, patch_filters
from cutaway.features.lofi.dual_kernels import cross_kernel, diagonal_kernel, gram_kernel, mehler_remainder
from cutaway.features.lofi.kernel_path import KernelPath
from cutaway.features.lofi.labels import class_signals
from cutaway.features.lofi.moments import accumulate
from cutaway.features.lofi.primal_path import LiftSettings, PrimalPath
from cutaway.features.lofi.random_lift import nystroem_error, nystroem_lift, random_lift
from cutaway.features.lofi.spectral_emergence import emergence, emergence_curve, spectral_moments
from cutaway.network.lanczos import leading_pairs


def gauss_hermite_kernel(a, b, activation):
    """Two-dimensional quadrature, straight from the definition (oracle: second implementation)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    evaluate = activation_named(activation).evaluate
    sa, sb = np.linalg.norm(a), np.linalg.norm(b)
    rho = a @ b / (sa * sb)
    u, v = np.meshgrid(nodes, nodes, indexing="ij")
    left, right = evaluate(sa * u), evaluate(sb * (rho * u + np.sqrt(1 - rho**2) * v))
    return float(np.einsum("i,j,ij", weights, weights, left * right))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "erf", "gelu", "cos", "rbf", "cube", "square"])
def test_kernel_equals_quadrature(activation):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((5, 6)) / np.sqrt(6)
    kernel = cross_kernel(points[:2], points[2:], activation)
    for i in range(2):
        for j in range(3):
            assert kernel[i, j] == pytest.approx(gauss_hermite_kernel(points[i], points[2 + j], activation), abs=2e-7)


@pytest.mark.parametrize("activation", ["relu", "relu_normalized", "step", "capped_relu", "relu6"])
def test_kernel_with_a_kink_equals_a_wide_random_layer(activation):
    rng = np.random.default_rng(1)
    points = rng.standard_normal((6, 5)) / np.sqrt(5)
    hidden = activation_named(activation).evaluate(points @ rng.standard_normal((5, 400_000)))
    assert np.allclose(gram_kernel(points, activation), hidden @ hidden.T / 400_000, atol=6e-3)


def test_kernel_of_itself_is_symmetric_and_positive_at_duplicates():
    points = np.repeat(np.random.default_rng(0).standard_normal((40, 3)), 2, axis=0)
    for activation in ("relu", "sigmoid"):
        gram = gram_kernel(points, activation)
        assert np.array_equal(gram, gram.T)
        assert np.linalg.eigvalsh(gram)[0] > -1e-9
        assert np.allclose(np.diagonal(gram), diagonal_kernel(points, activation), atol=1e-6)


def test_mehler_remainder_is_stated():
    assert mehler_remainder("sigmoid") < 1e-12
    assert 1e-4 < mehler_remainder("capped_relu") < 0.2


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numpy_and_torch_activations_agree(name):
    x = np.linspace(-7, 7, 41)
    assert np.allclose(
        activation_named(name).evaluate(x), torch_activation(name)(torch.from_numpy(x)).numpy(), atol=1e-9
    )


def test_krylov_equals_square_roots_of_the_gram_matrix():
    """The specification's M = G^(1/2) Y G^(1/2) by dense algebra (oracle: naive transcription)."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 10)), np.sign(rng.standard_normal(200))
    gram = gram_kernel(x / np.sqrt(10), "relu")
    root = np.real(sqrtm(gram))
    values, vectors = np.linalg.eigh(root @ np.diag(y) @ root)
    order = np.argsort(-np.abs(values))[:6]
    pairs = leading_pairs(
        lambda v, g: y[:, None] * g, lambda v: gram @ v, 200, 6, generator=np.random.default_rng(1), tolerance=1e-9
    )
    assert pairs.converged
    assert np.allclose(pairs.values, values[order], rtol=1e-6)
    features, expected = gram @ pairs.vectors, root @ vectors[:, order]
    assert np.degrees(subspace_angles(features, expected).max()) < 1e-2
    assert np.allclose(pairs.vectors.T @ gram @ pairs.vectors, np.eye(6), atol=1e-8)


def test_krylov_on_a_singular_space_returns_what_there_is():
    gram = np.outer(np.ones(30), np.ones(30))
    pairs = leading_pairs(lambda v, g: g, lambda v: gram @ v, 30, 5, generator=np.random.default_rng(0))
    assert pairs.values.size == 1
    assert pairs.values[0] == pytest.approx(30.0)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_finite_width_converges_to_the_kernel(hierarchy, activation):
    """Acceptance 1: prediction error against the kernel's falls as P grows, for both activations."""
    (x, y), (xt, _) = hierarchy(600, seed=0, num_test=300, dim=6)
    codes = (y > 0).astype(int)
    signals = class_signals(codes, 2)
    kernel = KernelPath(
        inputs=x, evaluation=xt, signals=signals, activation=activation, generator=np.random.default_rng(0)
    )
    gaps, angles = [], []
    kernel.lift()
    kernel.reduce(4)
    wanted = kernel.inputs
    kernel.lift()
    target = kernel.solver()(1e-1)
    for width in (20, 200, 2000):
        settings = LiftSettings(
            kind="finite", width=width, activation=activation, budget=2_000_000_000, device="cpu", dtype=torch.float64
        )
        gap, angle = [], []
        for seed in range(4):
            generator = np.random.default_rng(seed)
            path = PrimalPath(inputs=x, evaluation=xt, signals=signals, settings=settings, generator=generator)
            path.lift()
            path.reduce(4)
            angle.append(np.mean(np.sin(subspace_angles(path.inputs, wanted))))
            path.lift()
            gap.append(np.mean((path.solver()(1e-1) - target) ** 2))
        angles.append(np.mean(angle))
        gaps.append(np.sqrt(np.mean(gap)))
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.5 * gaps[0]
    assert angles[2] < 0.5 * angles[0]


@pytest.mark.parametrize("mode", ["kernel", "finite", "nystroem", "conv"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_predict_equals_the_path_that_was_fitted(mode, activation, hierarchy):
    """The public code's model(x) differs from its own fit; ours must not."""
    (x, y), (xt, _) = hierarchy(200, seed=0, num_test=50)
    x, xt = x[:, :16], xt[:, :16]
    keywords = {
        "mode": mode,
        "activation": activation,
        "width": 60,
        "channels": 12,
        "image_shape": (1, 4, 4),
        "n_layers": 2,
    }
    model = LoFiClassifier(n_directions=4, alpha=0.1, validation_fraction=0, **keywords).fit(x, y)
    from cutaway.features.lofi.fitting import make_path

    path = make_path(x, xt, class_signals((y > 0).astype(int), 2), (y > 0).astype(int), model._settings(), mode)
    path.lift()
    path.reduce(4)
    path.lift()
    assert np.allclose(path.solver()(0.1)[:, 0], model.decision_function(xt), atol=1e-7)


def test_chunked_moments_equal_unchunked_and_class_sums_equal_weighted_sums():
    rng = np.random.default_rng(0)
    x, codes = rng.standard_normal((90, 5)), rng.integers(0, 3, 90)
    signals = class_signals(codes, 3)
    lift = random_lift(5, 16, 1.0, "relu", torch.Generator().manual_seed(0), torch.float64, "cpu")
    whole = accumulate(x, lift, signals.operator, 16, 1000, "cpu", None)
    pieces = accumulate(x, lift, signals.operator, 16, 7, "cpu", codes)
    assert torch.allclose(whole.operators, pieces.operators, atol=1e-13)
    assert torch.allclose(whole.first, pieces.first, atol=1e-13)
    z = lift(torch.from_numpy(x)).numpy()
    direct = np.einsum("nk,np,nq->kpq", signals.operator, z, z) / 90
    assert np.allclose(whole.operators.numpy(), direct)


def test_nystroem_with_all_landmarks_is_the_kernel():
    x = np.random.default_rng(0).standard_normal((60, 4))
    lift = nystroem_lift(x, 60, 2.0, "relu", np.random.default_rng(0), torch.float64)
    z = lift(torch.from_numpy(x)).numpy()
    assert np.allclose(z @ z.T, gram_kernel(x / 2.0, "relu"), atol=1e-8)
    assert nystroem_error(lift, x) < 1e-8
    few = nystroem_lift(x, 6, 2.0, "relu", np.random.default_rng(0), torch.float64)
    assert 0.01 < nystroem_error(few, x) < 0.9


def test_conv_lift_counts_every_position_and_filters_find_the_planted_edge():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((600, 1, 8, 8))
    signal = np.sign(rng.standard_normal(600))
    edge = np.outer([1.0, 1, 1], [1.0, 0, -1]) / np.sqrt(6)
    for i in np.flatnonzero(signal > 0):
        images[i, 0, 2:5, 2:5] += 8 * edge * rng.choice([-1, 1])
    filters, values = patch_filters(images, signal, 3, 2)
    assert abs(np.sum(filters[0, 0] * edge)) > 0.9
    assert values[0, 0] > 0
    flat = images.reshape(600, -1)
    lift = conv_lift(flat, (1, 8, 8), 10, 3, 2, "relu", torch.Generator().manual_seed(0), torch.float64, "cpu")
    assert lift(torch.from_numpy(flat[:3])).shape == (3 * 16, 10)
    model = LoFiClassifier(mode="conv", image_shape=(1, 8, 8), channels=32, width=200, n_layers=2, n_directions=8)
    assert model.fit(flat[:400], signal[:400]).score(flat[400:], signal[400:]) > 0.75


def rank_four(num, seed, dim=256):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((dim, 4)))[0]
    x = rng.standard_normal((num, dim))
    return x, np.sign((x @ directions) ** 2 @ np.array([1.0, 1, -1, -1])), directions


@pytest.mark.parametrize(
    ("num", "tolerance"), [(400, 0.1), (1600, 0.1), (4800, 0.03), pytest.param(9600, 0.03, marks=pytest.mark.slow)]
)
def test_detachment_curve(num, tolerance):
    """Acceptance 2: squared overlap 1 - n_c/n with n_c = D / lambda^2 = 1024, and our estimate of it from data
    alone."""
    measured, predicted = [], []
    for seed in range(2 if num > 1600 else 4):
        x, y, directions = rank_four(num, seed)
        found = emergence(x, y, num_permutations=0 if num > 1600 else 20)
        measured.append(np.sum((directions.T @ found.directions[:, :4]) ** 2) / 4)
        predicted.append(found.overlaps[:4].mean())
    assert np.mean(measured) == pytest.approx(max(0, 1 - 1024 / num), abs=tolerance)
    if num >= 4800:
        assert np.mean(predicted) == pytest.approx(np.mean(measured), abs=tolerance)


# E[y^2 z^2] / E[y z^2]^2 by Gaussian integrals: n_c / D far above the threshold
DEPENDENT = {
    "He2": (lambda z: (z**2 - 1) / np.sqrt(2), 2.5),
    "minus He2": (lambda z: (1 - z**2) / np.sqrt(2), 2.5),
    "|z|": (lambda z: np.abs(z) - np.sqrt(2 / np.pi), 3 * np.pi / 2 - 3),
    "sign": (lambda z: np.sign(z**2 - 0.4549), 1.3605),
}


@pytest.mark.parametrize("name", DEPENDENT)
@pytest.mark.parametrize(("dim", "num"), [(100, 2000), (200, 1600)])
def test_overlap_of_labels_that_depend_on_the_features(name, dim, num):
    """The noise along a direction is E[y^2 (v.z)^2], not E[y^2]: measured overlaps, and n_c from Gaussian integrals."""
    label, ratio = DEPENDENT[name]
    measured, predicted, critical = [], [], []
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((num, dim))
        found = emergence(x, label(x[:, 0]), num_permutations=0, num_directions=1)
        measured.append(found.directions[0, 0] ** 2)
        predicted.append(found.overlaps[0])
        critical.append(found.critical_samples[0])
    # one fit is good to about .04, the mean of four to .02
    assert np.mean(predicted) == pytest.approx(np.mean(measured), abs=0.05)
    if num == 20 * dim:  # the formula is the limit of small D / n
        assert np.mean(critical) == pytest.approx(ratio * dim, rel=0.15)


def test_spectral_moments_are_sums_over_distinct_samples():
    """tr(C^2), tr(C^4) and tr(C A C), A = E[y^2 z z^T] (oracle: naive transcription)."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal(7)
    gram = x @ x.T
    pairs, triples, quads = (list(permutations(range(7), k)) for k in (2, 3, 4))
    found = spectral_moments(x, y, rng)
    assert found.second == pytest.approx(np.mean([y[i] * y[j] * gram[i, j] ** 2 for i, j in pairs]))
    assert found.weighted == pytest.approx(
        np.mean([y[i] * y[j] ** 2 * y[k] * gram[i, j] * gram[j, k] * gram[k, i] for i, j, k in triples])
    )
    assert found.fourth == pytest.approx(
        np.mean([np.prod(y[list(q)]) * np.prod(gram[list(q), np.roll(q, 1)]) for q in quads])
    )


def test_next_feature_counts_the_noise_of_labels_that_depend_on_it():
    """Twelve weak He2's: n_c = D E[y^2 z^2] / lambda^2, E[y^2 z^2] = 4/3 E[y^2] here, and never below r_eff."""
    dim, weak = 300, 12
    guesses = []
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((3000, dim))
        y = (x[:, :weak] ** 2 - 1).sum(axis=1) / np.sqrt(2 * weak)
        found = emergence(x, y, num_permutations=0, num_directions=1)
        guesses.append(found.next_critical_samples)
        assert found.next_critical_samples >= found.next_low >= found.effective_dimension
    truth = dim * (1 + 8 / (2 * weak)) / (2 / weak)  # E[y^2 z^2] = 1 + 4 / weak, lambda^2 = 2 / weak
    assert np.mean(guesses) == pytest.approx(truth, rel=0.15)
    short = emergence(x[:100, :50], x[:100, 0] ** 2 - 1, num_permutations=0, num_directions=1)
    assert min(short.next_critical_samples, short.next_low) >= short.effective_dimension


def test_a_single_feature_leaves_no_noise():
    x = np.random.default_rng(0).standard_normal((50, 1))
    found = emergence(x, x[:, 0] ** 2, num_permutations=20)
    assert found.emerged.all()
    assert (found.overlaps[0], found.analytic_edge, found.effective_dimension) == (1.0, 0.0, 0.0)
    assert found.next_critical_samples == np.inf


def test_permutation_p_values_are_uniform_under_the_null():
    p_values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((60, 12)), np.sign(rng.standard_normal(60))
        p_values.append(emergence(x, y, num_permutations=19, num_directions=1, seed=seed).p_values[0])
    # 20 equally likely values; mean 0.525, standard error 0.288 / sqrt(60): false alarm below 1 %
    assert np.mean(p_values) == pytest.approx(0.525, abs=0.1)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.15


def test_emergence_curve_predicts_the_next_features():
    """Two strong directions and a dozen weak ones: seen in the moments before they detach, and then they come."""
    dim, weak = 128, 12

    def draw(num, seed):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((num, dim))
        y = 2.0 * (x[:, 0] ** 2 - x[:, 1] ** 2) + (x[:, 2 : 2 + weak] ** 2 - 1) @ (0.75 * (-1.0) ** np.arange(weak))
        return x, y / y.std()

    x, y = draw(2000, 0)
    curve = emergence_curve(x, y, samples=np.array([2000.0, 4800.0]), num_permutations=20, num_directions=4)
    assert curve.now.emerged.sum() == 2
    following = curve.critical_samples[-1]
    assert 1300 < following < 3500  # truth: 128 E[y^2 z^2] / 0.276^2 = 1940
    big, labels = draw(4800, 1)
    later = emergence(big, labels, num_directions=2 + weak, num_permutations=0)
    overlap = np.mean(np.sum(later.directions[2 : 2 + weak, 2:] ** 2, axis=0))  # of the kept ones on the weak block
    assert overlap == pytest.approx(curve.overlaps[1, -1], abs=0.15)
    nothing = emergence(x, np.random.default_rng(5).permutation(y), num_permutations=20)
    assert not nothing.emerged.any()
    assert nothing.next_critical_samples == np.inf  # not significant: says so, no guess


def test_emergence_refuses_bad_input():
    x = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(ValueError, match="constant value"):
        emergence(x, np.ones(20))
    with pytest.raises(ValueError, match="NaN"):
        emergence(np.full((20, 3), np.nan), x[:, 0])
    with pytest.raises(ValueError, match="at least 4"):
        emergence(x[:1], x[:1, 0])
    for still in (np.zeros((20, 3)), np.full((20, 3), 0.1)):
        with pytest.raises(
            InputError, match="features; found columns that are all constant; expected columns that vary"
        ):
            emergence(still, x[:, 0])
    with pytest.raises(ValueError, match="num_permutations; found -1"):
        emergence(x, x[:, 0], num_permutations=-1)
    with pytest.raises(ValueError, match="samples; found .*numbers above 0"):
        emergence_curve(x, x[:, 0], samples=np.array([-5.0]))


def test_backward_passes_are_kept_only_while_they_help(hierarchy):
    (x, y), (xt, yt) = hierarchy(1500, seed=0)
    keywords = {
        "mode": "finite",
        "width": 400,
        "n_directions": 8,
        "alpha": 0.1,
        "early_stopping": False,
        "random_state": 1,
    }
    forward = LoFiClassifier(**keywords).fit(x, y)
    coupled = LoFiClassifier(backward_passes=3, **keywords).fit(x, y)
    assert 0 <= coupled.backward_passes_ <= 3
    assert coupled.score(xt, yt) >= forward.score(xt, yt) - 0.02
    ruinous = LoFiClassifier(backward_passes=3, backward_rank=0.99, **keywords).fit(x, y)
    assert ruinous.score(xt, yt) >= forward.score(xt, yt) - 0.05
    with pytest.raises(ValueError, match="backward_passes"):
        LoFiClassifier(backward_passes=1, n_layers=2).fit(x[:100], y[:100])


def test_figures_draw():
    from cutaway.features.lofi.figures import accuracy_figure, emergence_figure, filters_figure, spectrum_figure

    x, y, _ = rank_four(600, 0, dim=32)
    curve = emergence_curve(x, y, num_permutations=5)
    assert len(spectrum_figure(curve.now).axes[0].get_lines()) == 2
    assert emergence_figure(curve, np.zeros(curve.samples.size)).axes[0].get_xlabel() == "samples"
    assert len(filters_figure(np.ones((1, 3, 3, 3)), np.ones((1, 3))).axes) == 3
    two = {"a": np.array([0.5, 0.6]), "b": np.array([0.5, 0.7])}
    assert len(accuracy_figure(np.array([10, 20]), two, {k: 0 * v for k, v in two.items()}).axes[0].get_lines()) == 2
