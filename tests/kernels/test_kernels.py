"""Tangent kernels three ways, closed forms against wide networks and quadrature, regression against dense algebra."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.special import ndtr

from cutaway.errors import BudgetError, InputError, ModelError
from cutaway.kernels import (
    DUALS,
    InfiniteNetwork,
    centre,
    effective_rank,
    function_space,
    function_space_elsewhere,
    kernel_distance,
    scaled_network,
    solve,
    tangent_kernel,
    target_alignment,
    top_mass,
)
from cutaway.kernels.duals import gelu_dual
from cutaway.kernels.structure import layer_factors
from cutaway.network import Network
from cutaway.network.calculus import Parameters, jacobian

pytestmark = pytest.mark.filterwarnings("ignore:.*vmap.*:UserWarning")


def dense():
    return nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(inplace=True), nn.Linear(12, 9, bias=False), nn.Tanh(), nn.Linear(9, 3)
    )


def conv():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3, bias=False),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x + self.b(torch.relu(self.a(x))))


MODELS = {"dense": (dense, (6,)), "conv": (conv, (2, 8, 8)), "residual": (Residual, (6,))}


def made(name, rows=7, seed=0):
    make, shape = MODELS[name]
    torch.manual_seed(seed)
    inputs = torch.randn(rows, *shape, dtype=torch.float64)
    return Network(make().double().eval(), inputs[:2]), inputs


@pytest.mark.parametrize("name", MODELS)
def test_three_ways_give_the_contraction_of_dense_jacobians(name):
    network, inputs = made(name)
    by_hand = jacobian(Parameters(network), inputs)
    wanted = torch.einsum("icp,jcp->ij", by_hand, by_hand) / by_hand.shape[1]
    for method in ("auto", "structured", "jacobian", "products"):
        found = tangent_kernel(network, inputs, method=method)
        assert (found - wanted).abs().max() < 1e-10, method
        part = tangent_kernel(network, inputs, inputs[2:5], method=method)
        assert (part - wanted[:, 2:5]).abs().max() < 1e-10, method
    assert torch.linalg.eigvalsh(wanted)[0] > -1e-10


def test_a_small_budget_changes_nothing():
    network, inputs = made("conv")
    for method in ("structured", "jacobian", "products"):
        whole = tangent_kernel(network, inputs, method=method)
        tight = tangent_kernel(network, inputs, method=method, budget=150_000)
        assert torch.allclose(whole, tight, atol=1e-11), method
    with pytest.raises(BudgetError):
        tangent_kernel(network, inputs, method="structured", budget=2_000)


def test_both_forms_of_a_convolution_agree(monkeypatch):
    from cutaway.kernels import structure

    network, inputs = made("conv")
    wanted = tangent_kernel(network, inputs, method="jacobian")
    factors = layer_factors(network, inputs)
    assert {f.positions for f in factors} == {1, 4, 16}
    for form in (structure.by_positions, structure.by_weights):
        monkeypatch.setattr(structure, "_join", form)
        assert torch.allclose(structure.joined(factors, factors) / 2, wanted, atol=1e-10), form


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        return self.inner(torch.relu(self.inner(x)))


class Borrowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x):
        return self.inner(x) * self.inner.weight.norm()


@pytest.mark.parametrize(
    "make", [Shared, Borrowed, lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))]
)
def test_parameters_used_in_another_way_go_by_jacobians(make):
    torch.manual_seed(0)
    inputs = torch.randn(5, 6, dtype=torch.float64)
    network = Network(make().double().eval(), inputs[:2])
    with pytest.raises(InputError, match="not used once"):
        tangent_kernel(network, inputs, method="structured")
    wanted = tangent_kernel(network, inputs, method="jacobian")
    assert torch.allclose(tangent_kernel(network, inputs), wanted, atol=1e-10)


def test_normalisation_by_the_batch_is_refused():
    with pytest.raises(ModelError, match="eval"):
        Network(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).train(), torch.randn(4, 6))


def test_half_precision_zero_rows_and_bad_words():
    torch.manual_seed(0)
    inputs = torch.randn(4, 6)
    inputs[1] = 0
    network = Network(
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)).half().eval(), inputs[:2]
    )
    found = tangent_kernel(network, inputs)
    assert found.dtype == torch.float64 and float(found[1].abs().max()) == 0.0
    with pytest.raises(InputError, match="kernel method"):
        tangent_kernel(network, inputs, method="magic")


@pytest.mark.parametrize("activation", DUALS)
def test_duals_are_what_normal_numbers_give(activation):
    """Against a million draws, 4 standard errors, and the closed values at equal arguments."""
    function = {"relu": torch.relu, "erf": torch.erf, "gelu": nn.functional.gelu}[activation]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 10**6, generator=generator, dtype=torch.float64)
    for left, right, cosine in ((1.0, 1.0, 0.3), (0.5, 2.0, -0.7), (2.0, 2.0, 1.0)):
        u = math.sqrt(left) * z[0]
        v = math.sqrt(right) * (cosine * z[0] + math.sqrt(1 - cosine**2) * z[1])
        products = function(u) * function(v)
        slopes = [torch.func.vmap(torch.func.grad(function))(w) for w in (u, v)]
        value, slope = DUALS[activation](*(torch.tensor(t, dtype=torch.float64) for t in (left, right, cosine)))
        for draws, wanted in ((products, value), (slopes[0] * slopes[1], slope)):
            assert abs(float(draws.mean()) - float(wanted)) < 4 * float(draws.std()) / 1000 + 1e-12


@pytest.mark.parametrize(
    ("left", "right", "cosine"), [(1, 1, 0.3), (4, 4, 1), (0.01, 100, 0.5), (100, 100, -1), (30, 70, -0.6)]
)
def test_gelu_dual_is_the_integral_at_every_variance(left, right, cosine):
    """Oracle: trapezium rule in two dimensions, which converges geometrically for these integrands."""
    z = torch.arange(-9, 9, 0.02, dtype=torch.float64)
    density = 0.02 * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    u = math.sqrt(left) * z[:, None]
    v = math.sqrt(right) * (cosine * z[:, None] + math.sqrt(1 - cosine**2) * z)
    found = gelu_dual(*(torch.tensor(float(t), dtype=torch.float64) for t in (left, right, cosine)))
    for value, function in zip(
        found, (lambda x: x * ndtr(x), lambda x: ndtr(x) + x * torch.exp(-(x**2) / 2) / math.tau**0.5)
    ):
        wanted = density @ (function(u) * function(v)) @ density
        assert abs(float(value - wanted)) < 1e-8 * max(1.0, float(wanted.abs()))


def test_wide_networks_approach_the_closed_form():
    """Distance over widths 64 to 1024 falls with slope about -1/2 (at other seeds 0.243, 0.091, 0.074)."""
    inputs = torch.randn(25, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = InfiniteNetwork(depth=2).kernels(inputs)[1]
    distances = []
    for width in (64, 1024):
        found = [
            tangent_kernel(
                Network(scaled_network((16, width, width, 1), s, dtype=torch.float64), inputs[:2]),
                inputs,
                method="structured",
            )
            for s in range(4)
        ]
        distances.append(np.mean([float((k - wanted).norm() / wanted.norm()) for k in found]))
    assert -0.75 < math.log(distances[1] / distances[0]) / math.log(1024 / 64) < -0.3
    assert distances[1] < 0.12


@pytest.mark.parametrize("pooling", [False, True])
def test_the_convolutional_recursion_is_the_naive_one(pooling):
    """A naive transcription, pixel by pixel, on 4 x 3 images."""
    inputs = torch.randn(3, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs[2] = 0
    found = InfiniteNetwork(depth=2, kernel_size=3, pooling=pooling, bias_variance=0.1).kernels(inputs)
    h, w = 4, 3
    pixels = [(i, j) for i in range(h) for j in range(w)]

    def recursion(a, b):
        field = {(p, q): float(a[:, p[0], p[1]] @ b[:, q[0], q[1]]) / 2 for p in pixels for q in pixels}
        fields = {"k": field, "t": dict.fromkeys(field, 0.0)}
        return fields

    def means(field):
        out = {}
        for p, q in field:
            moved = [((p[0] + i, p[1] + j), (q[0] + i, q[1] + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            out[p, q] = sum(field.get(m, 0.0) for m in moved) / 9
        return out

    def kernels(x, y):
        pairs = {"xy": recursion(x, y), "xx": recursion(x, x), "yy": recursion(y, y)}
        for layer in range(2):
            before = {n: {k: 2 * v + 0.1 for k, v in means(f["k"]).items()} for n, f in pairs.items()}
            for name, f in pairs.items():
                tangent = means(f["t"])
                own = {"xy": ("xx", "yy"), "xx": ("xx", "xx"), "yy": ("yy", "yy")}[name]
                for p, q in f["k"]:
                    left, right = before[own[0]][p, p], before[own[1]][q, q]
                    cosine = min(1.0, max(-1.0, before[name][p, q] / math.sqrt(left * right)))
                    angle = math.acos(cosine)
                    value = math.sqrt(left * right) * (math.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
                    t = before[name][p, q] + (2 * tangent[p, q] if layer else 0.0)
                    f["k"][p, q], f["t"][p, q] = value, t * (math.pi - angle) / (2 * math.pi)
        f = pairs["xy"]
        chosen = [k for k in f["k"] if pooling or k[0] == k[1]]
        prior = sum(f["k"][k] for k in chosen) / len(chosen) + 0.1
        return prior, prior + sum(f["t"][k] for k in chosen) / len(chosen)

    for i in range(3):
        for j in range(3):
            prior, tangent = kernels(inputs[i], inputs[j])
            assert float(found[0][i, j]) == pytest.approx(prior, abs=1e-10)
            assert float(found[1][i, j]) == pytest.approx(tangent, abs=1e-9)


def test_blocks_symmetry_and_zero_rows():
    inputs = torch.rand(9, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs[3] = 0
    for settings in ({}, {"kernel_size": 3}, {"kernel_size": 3, "pooling": True}, {"activation": "erf"}):
        network = InfiniteNetwork(depth=2, **settings)
        whole, part = network.kernels(inputs), network.kernels(inputs, inputs)
        for one, other in zip(whole, part):
            assert torch.allclose(one, other, atol=1e-12)
            assert torch.linalg.eigvalsh(one)[0] > -1e-9
            assert float(one[3].abs().max()) == 0.0
        with pytest.raises(BudgetError):
            network.kernels(inputs, budget=10)
    with pytest.raises(InputError, match="odd kernel size"):
        InfiniteNetwork(kernel_size=2)
    with pytest.raises(InputError, match="images"):
        InfiniteNetwork(kernel_size=3).kernels(torch.rand(2, 4))
    with pytest.raises(InputError, match="float16"):
        InfiniteNetwork().kernels(torch.rand(2, 4).half())


def test_the_kernel_has_a_gradient_in_the_inputs_at_the_same_point():
    point = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = InfiniteNetwork(depth=2).kernels(point, torch.cat([point.detach(), point.detach() + 1]))[1].sum()
    (slope,) = torch.autograd.grad(value, point)
    assert bool(torch.isfinite(slope).all()) and float(slope.norm()) > 0


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu"])
@pytest.mark.parametrize("pooling", [False, True])
def test_images_with_empty_borders_have_a_gradient(activation, pooling):
    images = torch.zeros(3, 1, 5, 5, dtype=torch.float64)
    images[:, :, 2:4, 2:4] = torch.rand(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = InfiniteNetwork(depth=2, kernel_size=3, activation=activation, pooling=pooling)

    def total(x):
        return network.kernels(x, images)[1].sum()

    where = images[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(where), where)
    assert bool(slope.isfinite().all())
    step = torch.zeros_like(images[:1])
    step[..., 2, 2] = 1e-5
    wanted = float(total(images[:1] + step) - total(images[:1] - step)) / 2e-5
    assert float(slope[0, 0, 2, 2]) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"kernel_size": 3}, {"kernel_size": 3, "pooling": True}])
def test_in_float32_a_row_is_like_itself(options):
    images = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    network = InfiniteNetwork(depth=3, **options)
    for found, wanted in zip(network.kernels(images), network.kernels(images.double()), strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, found.T)
        assert torch.allclose(found.diagonal().double(), wanted.diagonal(), rtol=2e-6)


def gram(count=40, seed=0, rank=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(count, rank or 2 * count, generator=generator, dtype=torch.float64)
    return root @ root.T / root.shape[1]


def test_regression_directly_by_blocks_and_by_gradients():
    kernel, targets = gram(), torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = torch.linalg.solve(kernel + 0.1 * torch.eye(40, dtype=torch.float64), targets)
    direct = solve(kernel, targets, ridge=0.1)
    blocks = solve(lambda rows: kernel[rows], targets, ridge=0.1)
    steps = solve(lambda rows: kernel[rows], targets, ridge=0.1, budget=20_000, tolerance=1e-10)
    assert (direct.method, blocks.method, steps.method) == ("direct", "direct", "gradients")
    for found in (direct, blocks, steps):
        assert torch.allclose(found.coefficients, wanted, atol=1e-7) and found.residual < 1e-8
    with pytest.raises(InputError, match="ridge"):
        solve(kernel, targets, ridge=-1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_matrix_is_solved_within_the_budget_too(dtype):
    """40 x 40 in float64 are 12,800 bytes: the copy and its factor fit in twice that, one of them in half."""
    kernel, targets = gram().to(dtype), torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    before, wanted = kernel.clone(), solve(kernel, targets, ridge=0.1)
    for budget, method in ((26_000, "direct"), (20_000, "gradients")):
        found = solve(kernel, targets, ridge=0.1, budget=budget, tolerance=1e-10)
        assert found.method == method and torch.equal(kernel, before)
        assert torch.allclose(found.coefficients, wanted.coefficients, atol=1e-7)
    skewed = kernel + 1.0
    skewed[0, 1] += 10
    for budget in (None, 20_000):
        with pytest.raises(InputError, match=r"\(i, j\) and \(j, i\)"):
            solve(skewed, targets, ridge=0.1, budget=budget)
    with pytest.raises(BudgetError, match="Give --budget"):
        solve(kernel, targets, budget=500)


def test_a_singular_matrix_whose_eigenvectors_do_not_fit_goes_through_gradients():
    kernel = gram(40, rank=30)
    targets = kernel @ torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert solve(kernel, targets, budget=60_000).method == "floored"
    found = solve(kernel, targets, budget=20_000, tolerance=1e-9)
    assert found.method == "gradients" and found.residual < 1e-8
    assert torch.allclose(kernel @ found.coefficients, targets, atol=1e-6)


def test_duplicated_rows_are_floored_and_said():
    kernel = gram(20)
    double = torch.cat([torch.cat([kernel, kernel], 0)] * 2, 1)
    targets = torch.randn(20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    found = solve(double, targets)
    assert found.method == "floored" and found.floor > 0 and found.residual < 1e-6
    with pytest.raises(InputError, match="zeros"):
        solve(torch.zeros(3, 3), torch.ones(3, 1))


def by_rows(kernel, targets, **options):
    """By conjugate gradients: the budget holds a few rows of the kernel."""
    return solve(lambda rows: kernel[rows], targets, budget=9600, **options)


def test_conjugate_gradients_name_what_is_not_finite():
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(40, 30, generator=draw, dtype=torch.float64)
    kernel, targets = half @ half.T, torch.randn(40, 2, generator=draw, dtype=torch.float64)
    for bad in (math.nan, math.inf):
        for spoiled, wanted, what in (
            (kernel.index_fill(0, torch.tensor([7]), bad), targets, "kernel"),
            (kernel, targets.index_fill(0, torch.tensor([7]), bad), "targets"),
        ):
            with pytest.raises(InputError, match=f"{what} of a kernel regression; found NaN or infinity"):
                by_rows(spoiled, wanted, ridge=0.1)
        with pytest.raises(InputError, match="a finite ridge"):
            by_rows(kernel, targets, ridge=bad)
    with pytest.raises(InputError, match="a matrix of zeros"):
        by_rows(0 * kernel, targets)


def test_conjugate_gradients_of_a_singular_kernel_say_how_far_they_came():
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(40, 30, generator=draw, dtype=torch.float64)
    kernel, targets = half @ half.T, torch.randn(40, 2, generator=draw, dtype=torch.float64)
    reached = by_rows(kernel, kernel @ targets)
    assert reached.method == "gradients" and reached.residual < 1e-5
    torch.testing.assert_close(kernel @ reached.coefficients, kernel @ targets, rtol=1e-4, atol=1e-4)
    apart = by_rows(kernel, targets, limit=300)  # ten directions that the kernel does not see
    gone = targets - half @ torch.linalg.lstsq(half, targets).solution
    assert apart.residual >= float(gone.norm() / targets.norm()) - 1e-9 and bool(apart.coefficients.isfinite().all())
    told = float((kernel @ apart.coefficients - targets).norm() / targets.norm())
    assert apart.residual == pytest.approx(told, rel=1e-3) and told < 1
    down = by_rows(-kernel, targets)
    assert down.residual == pytest.approx(1.0) and not bool(down.coefficients.any())


def test_function_space_is_gradient_descent_on_the_linear_model():
    """A linear model trained step by step is its own linearisation."""
    generator = torch.Generator().manual_seed(0)
    inputs, new = torch.randn(12, 30, generator=generator).double(), torch.randn(5, 30, generator=generator).double()
    targets, weight = torch.randn(12, 2, generator=generator).double(), torch.randn(2, 30, generator=generator).double()
    start, elsewhere = inputs @ weight.T, new @ weight.T
    trained = weight.clone()
    for _ in range(60):
        trained -= 0.2 * (inputs @ trained.T - targets).T @ inputs / 12
    kernel, cross = inputs @ inputs.T, new @ inputs.T
    assert torch.allclose(function_space(kernel, targets, start, rate=0.2, steps=60), inputs @ trained.T, atol=1e-9)
    found = function_space_elsewhere(kernel, cross, targets, start, elsewhere, rate=0.2, steps=60)
    assert torch.allclose(found, new @ trained.T, atol=1e-9)
    flat = torch.cat([torch.cat([kernel, kernel], 0)] * 2, 1)  # a null space
    twice = function_space_elsewhere(
        flat, torch.cat([cross, cross], 1), targets.repeat(2, 1), start.repeat(2, 1), elsewhere, rate=0.2, steps=60
    )
    assert torch.allclose(twice, found, atol=1e-6)


def test_shapes_of_kernels_in_closed_form():
    kernel = gram()
    assert kernel_distance(kernel, 7 * kernel) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(kernel_distance(kernel, 0 * kernel))
    targets = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert target_alignment(targets @ targets.T, targets) == pytest.approx(1.0)
    assert target_alignment(torch.eye(4), targets, centred=False) == pytest.approx(4 / (2 * 4))
    assert centre(kernel).sum(dim=0).abs().max() < 1e-12
    assert effective_rank(torch.ones(9)) == pytest.approx(9.0) and effective_rank(torch.tensor([5.0, 0, 0])) == 1.0
    assert top_mass(torch.arange(1.0, 5), 2) == pytest.approx(25 / 30)
    assert math.isnan(top_mass(torch.zeros(3))) and math.isnan(effective_rank(torch.zeros(3)))


def test_what_is_no_kernel_is_refused():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn((30, 30), generator=generator, dtype=torch.float64)
    targets = torch.randn((30, 2), generator=generator, dtype=torch.float64)
    with pytest.raises(InputError, match=r"entries \(i, j\) and \(j, i\) that differ"):
        solve(matrix, targets)
    with pytest.raises(InputError, match="an eigenvalue of -"):
        solve(matrix + matrix.T, targets)
    with pytest.raises(InputError, match="variances -1, 1, 0"):
        InfiniteNetwork(weight_variance=-1.0)
    with pytest.raises(InputError, match="variances nan, 1, 0"):
        InfiniteNetwork(weight_variance=float("nan"))
    with pytest.raises(InputError, match=r"shapes \(3, 3\) and \(4, 4\)"):
        kernel_distance(torch.eye(3), torch.eye(4))
    with pytest.raises(InputError, match="rows of a kernel; found none"):
        tangent_kernel(Network(nn.Linear(4, 2), torch.zeros(2, 4)), torch.zeros(0, 4))


METHODS_TO_BREAK = ["auto", "structured", "jacobian", "products"]


@pytest.mark.parametrize("method", METHODS_TO_BREAK)
def test_rows_that_are_none_are_named(method):
    network, rows = made("dense", rows=5)
    assert network.example is not None
    wide = torch.randn(3, *rows.shape[1:-1], rows.shape[-1] + 1)
    for left, right in ((wide, None), (rows, wide)):
        with pytest.raises(ModelError, match=r"which refuses it .*expected rows of \d+ numbers"):
            tangent_kernel(network, left, right, method=method)
    with pytest.raises(ModelError, match="Int64 holds whole ones: give inputs.float"):
        tangent_kernel(network, torch.ones_like(rows).long(), method=method)
    bad = rows.clone()
    bad[2] = math.nan
    for left, right, where in ((bad, None, "kernel, row 2"), (rows, bad, "right, row 2")):
        with pytest.raises(InputError, match=f"{where}; found NaN or infinity .1 of 5 rows"):
            tangent_kernel(network, left, right, method=method)


@pytest.mark.parametrize("method", METHODS_TO_BREAK)
def test_a_kernel_that_its_type_does_not_hold_is_said_to_be_one(method):
    torch.manual_seed(0)
    rows = torch.randn(5, 6)
    network = Network(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), rows[:2])
    with pytest.raises(InputError, match="float32 does not hold.*double=True"):
        tangent_kernel(network, 1e30 * rows, method=method)
    wide = tangent_kernel(network, 1e30 * rows, method=method, double=True)
    assert wide.dtype == torch.float64 and bool(wide.isfinite().all()) and float(wide.max()) > 1e38


def test_a_module_and_arrays_will_do_and_so_will_rows_of_another_size():
    network, rows = made("dense", rows=5)
    wanted = tangent_kernel(network, rows)
    torch.testing.assert_close(tangent_kernel(network.model, rows.numpy(), rows.numpy()), wanted)
    with pytest.raises(InputError, match="found shape"):
        tangent_kernel(network, [1.0, 2.0])
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    small = Network(pooled, torch.randn(2, 1, 5, 5))
    assert tangent_kernel(small, torch.randn(2, 1, 5, 5), torch.randn(3, 1, 8, 8), method="jacobian").shape == (2, 3)


@pytest.mark.parametrize("options", [{}, {"kernel_size": 3}, {"kernel_size": 3, "pooling": True}])
def test_the_closed_form_names_rows_that_are_none(options):
    network, rows = InfiniteNetwork(**options), torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="as on the other side"):
        network.kernels(rows, rows.repeat(1, 3, 1, 1))
    bad = rows.clone()
    bad[1, 0, 2, 2] = math.inf
    with pytest.raises(InputError, match="inputs, row 1; found NaN or infinity"):
        network.kernels(bad)
    with pytest.raises(InputError, match="float32 does not hold.*inputs.double"):
        network.kernels(1e30 * rows)
    with pytest.raises(InputError, match="float64 does not hold.*Divide the inputs"):
        network.kernels(1e200 * rows.double())
    with pytest.raises(InputError, match="found none"):
        network.kernels(rows[:0])
