"""The deployment radius of each rule, term by term, against its formula written out for one point.

In float16 the unit roundoff U, the smallest normal number T and products of errors all show at nine digits. The region
is the point itself, so that the largest |value| is the value's own.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cutaway.network.graph import Node
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.rounding import own_error
from cutaway.robustness.bounds.sweep import SweepSettings, sweep
from cutaway.robustness.regions import box

U, T, MOST = 2.0**-11, torch.finfo(torch.float16).tiny, torch.finfo(torch.float16).max
SPARE = 8
X = torch.tensor([[0.7, -1.3, 2.1]], dtype=torch.float64)
W = torch.tensor([[0.5, -3.0, 0.2], [1.5, 0.1, -0.4]], dtype=torch.float64)
B = torch.tensor([0.3, -2.0], dtype=torch.float64)


def g(count: int) -> float:
    return count * U / (1 - count * U)


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def radius(function, x: Tensor = X) -> Tensor:
    net = bound_network(Of(function), x)
    flat = x.flatten(1)
    limits = sweep(net, box(flat, flat), SweepSettings(method="ibp"))
    return deployment_radius(net, limits, torch.float16).reshape(-1)


def given(x: Tensor = X) -> Tensor:
    return (U * x.abs() + T).reshape(-1)


def of_linear(x: Tensor = X) -> tuple[Tensor, int, Tensor, Tensor]:
    """carried, count, reach, wide of W x + B."""
    size = x.abs().reshape(-1) + given(x)
    wide = W.abs().clamp(min=1) @ size.clamp(min=1) + B.abs().clamp(min=1)
    return W.abs() @ given(x), 3 + SPARE, W.abs() @ size + B.abs(), wide


def total(carried, count, reach, wide) -> Tensor:
    return carried + g(count) * reach + SPARE * T * wide


def linear(x: Tensor) -> Tensor:
    return nn.functional.linear(x, W, B)


def same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected.expand(found.shape), rtol=1e-9, atol=0)


def test_an_input_is_rounded_or_flushed():
    assert same(radius(lambda x: x.flip(1)), given(X.flip(1)))


def test_a_linear_layer():
    assert same(radius(linear), total(*of_linear()))


def test_a_scale_and_a_shift():
    size = X.abs().reshape(-1) + given()
    found = radius(lambda x: 0.25 * x - 3.0)
    once = 0.25 * given(), SPARE, 0.25 * size, size.clamp(min=1) + 0
    error = total(once[0], once[1], once[2], once[3] + 1.0)
    shifted = (0.25 * X.reshape(-1)).abs() + error
    assert same(found, total(error, SPARE, shifted + 3.0, shifted.clamp(min=1) + 3.0))


def test_constant_factors_behind_a_sum_go_on_with_its_roundings():
    carried, count, reach, wide = of_linear()
    half = 0.5 * carried, count + SPARE, 0.5 * reach, wide + 1.0
    assert same(radius(lambda x: 0.5 * linear(x)), total(*half))
    more = 40.0 * carried, count + SPARE, 40.0 * reach, 40.0 * wide + 1.0
    assert same(radius(lambda x: 40.0 * linear(x)), total(*more))
    moved = half[0], half[1] + SPARE, half[2] + 7.0, half[3] + 7.0
    assert same(radius(lambda x: 0.5 * linear(x) + 7.0), total(*moved))


def test_a_batch_norm_adds_the_sizes_of_its_parts():
    norm = nn.BatchNorm1d(3).double().eval()
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([3.0, -1.0, 0.5]))
        norm.bias.copy_(torch.tensor([-2.5, 0.5, 1.0]))
    scale = 1 / math.sqrt(1 + norm.eps)
    parts = norm.running_mean.abs() * scale + norm.bias.detach().abs()
    size = X.abs().reshape(-1) + given()
    expected = total(scale * given(), SPARE, scale * size + parts, size.clamp(min=1) + parts.clamp(min=1))
    assert same(radius(norm), expected)


def test_an_addend_of_a_sum_meets_all_the_sums_roundings():
    carried, count, reach, wide = of_linear()
    value, error = linear(X).abs().reshape(-1), total(carried, count, reach, wide)
    size = torch.maximum(value + error, reach)
    other = (X.abs().reshape(-1) + given())[:2]
    expected = error + g(SPARE) * size + given()[:2] + g(SPARE + count) * other + 4 * T
    assert same(radius(lambda x: linear(x) + x[:, :2]), expected)


def test_a_mean_and_the_variance_that_a_runtime_may_take_as_a_difference():
    size, terms = X.abs().reshape(-1) + given(), 3 + SPARE
    expected = given().mean() + g(terms) * size.mean() + 4 * terms * T
    assert same(radius(lambda x: x.mean(1, keepdim=True)), expected)

    def squares(x, centred):
        y = x - x.mean(1, keepdim=True) if centred else x - 0.5 * x.flip(1)
        return y, y.square()

    for centred in (True, False):
        square = radius(lambda x, c=centred: squares(x, c)[1])
        reach = (squares(X, centred)[1].reshape(-1) + square).mean()
        expected = square.mean() + g(terms) * reach + 4 * terms * T
        extra = 2 * g(terms) * size.square().mean() if centred else 0.0
        assert same(radius(lambda x, c=centred: squares(x, c)[1].mean(1, keepdim=True)), expected + extra)


@pytest.mark.parametrize("word", ["tanh", "exp", "sigmoid", "erf"])
def test_a_function_passes_errors_on_by_its_slope_and_adds_its_own(word):
    function, node = getattr(torch, word), Node(index=1, op=word)
    x, error = X.reshape(-1), given()
    steep = {"tanh": 1.0, "sigmoid": 0.25, "erf": 2 / math.sqrt(math.pi), "exp": torch.exp(x + error)}[word]
    ends = torch.stack([function(x - error), function(x + error)])
    spread, reach = ends[1] - ends[0], ends.abs().amax(0)
    argument = torch.maximum((x - error).abs(), (x + error).abs())
    expected = torch.minimum(steep * error, spread) + U * own_error(node, argument, reach) + 4 * T
    assert same(radius(function), expected)


def test_what_is_never_negative_is_not_in_other_precisions_either():
    x = torch.ones(1, 2, dtype=torch.float64)
    weight = torch.tensor([[60.0, -60.0]], dtype=torch.float64)

    def cancelled(x):
        return torch.relu(nn.functional.linear(x, weight))

    error = radius(cancelled, x)
    top = torch.exp(error)
    expected = torch.minimum(top * error, top - 1) + U * own_error(Node(index=1, op="exp"), error, top) + 4 * T
    assert float(error) > 0.5 and same(radius(lambda x: cancelled(x).exp(), x), expected)


def test_a_product_of_two_values():
    x, error = X.reshape(-1), given()
    a, ea, b, eb = x.abs(), error, x.flip(0).abs(), error.flip(0)
    expected = a * eb + b * ea + ea * eb + g(4) * (a + ea) * (b + eb) + 4 * T
    assert same(radius(lambda x: x * x.flip(1)), expected)


def test_a_matrix_product_of_two_values():
    wide = 3.0 * X.reshape(3, 1)
    x = torch.cat([X.reshape(-1), wide.reshape(-1)]).reshape(1, 6)
    a, ea, b, eb = x[0, :3].abs(), given(x)[:3], x[0, 3:].abs(), given(x)[3:]
    reach, most = (a + ea) @ (b + eb), (a + ea).clamp(min=1) @ (b + eb).clamp(min=1)
    expected = a @ eb + ea @ (b + eb) + g(3 + SPARE) * reach + SPARE * T * most
    found = radius(lambda x: (x[:, None, :3] @ x[:, 3:, None]).flatten(1), x)
    assert same(found, expected.reshape(1))


def test_maxima_have_the_largest_error_that_they_see():
    assert same(radius(lambda x: torch.maximum(x[:, :1], x[:, 1:2])), given()[:2].amax().reshape(1))
    assert same(radius(lambda x: x.amax(1, keepdim=True)), given().amax().reshape(1))


def moved_exponents() -> Tensor:
    size = X.abs().reshape(-1) + given()
    own = given() + U * (size + size.amax())
    return own + own.amax()


def test_softmax_and_its_logarithm():
    moved = moved_exponents()
    relative = torch.expm1(moved + g(3 + 2 * SPARE))
    assert same(radius(lambda x: x.softmax(1)), X.softmax(1).reshape(-1) * relative + 12 * T)
    value = X.log_softmax(1).abs().reshape(-1)
    assert same(radius(lambda x: x.log_softmax(1)), moved + g(3 + 2 * SPARE) * (1 + value + moved) + 4 * T)


def test_a_layer_norm():
    weight, bias = torch.tensor([2.0, -0.5, 1.0]).double(), torch.tensor([0.1, 3.0, -1.0]).double()
    x = 1e3 * X / 1024
    x[0, 0] = 30.0
    size, wrong, share = x.abs().reshape(-1) + given(x), given(x), g(3 + SPARE)
    off = wrong + wrong.mean() + share * (size + size.mean()) + 4 * T
    reach = size.square().mean()
    moved = (2 * (size + size.mean()) * off + off.square()).mean() + 2 * share * (reach + 0.5) + 12 * T
    scale = (x.var(correction=0) + 0.5 - moved) ** -0.5
    found = (size + size.mean()) * (0.5 * scale**3 * moved + share * scale) + off * scale + 4 * T
    own = 8 * U * (weight.abs() * math.sqrt(3) + bias.abs()) + 8 * T * (1 + found)
    expected = weight.abs() * found * (1 + share) + own
    assert same(radius(lambda x: nn.functional.layer_norm(x, (3,), weight, bias, 0.5), x), expected)


@pytest.mark.parametrize("beta", [0.75, 1.0, 2.0])
def test_a_local_response_norm_sees_all_channels(beta):
    size, alpha, k = 3, 0.6, 2.0
    x = torch.tensor([[0.7, -1.3, 2.1, 0.4]], dtype=torch.float64).reshape(1, 4, 1)
    w, wrong, most = alpha / size, given(x), x.abs().reshape(-1) + given(x)

    def window(v):
        return torch.stack([v[max(0, c - 1) : c + 2].sum() for c in range(4)])

    whole = k + w * most.square().sum()
    moved = w * window(2 * most * wrong) + g(8 + SPARE) * whole + 16 * T * (1 + w)
    left, top = k + w * window(x.reshape(-1).square()) - moved, k + w * window(most.square()) + moved
    factor, slope = (torch.maximum(left**-p, top**-p) for p in (beta, beta + 1))
    relative = U * (SPARE + 16 + 104 * abs(beta))
    expected = most * (abs(beta) * slope * moved + relative * factor) + wrong * factor + 4 * T * (1 + most)
    assert same(radius(lambda x: nn.functional.local_response_norm(x, size, alpha, beta, k), x), expected)


@pytest.mark.parametrize(
    ("function", "fine", "over"),
    [
        (lambda x: x.flip(1), 6e4, 65490.0),
        (lambda x: -x, 6e4, 7e4),
        (lambda x: x * x.flip(1), 240.0, 260.0),
        (lambda x: x.square(), 240.0, 260.0),
        (lambda x: x - x.flip(1), 3e4, 7e4),
        (lambda x: x.mean(1, keepdim=True), 5e3, 8e3),
        (lambda x: nn.functional.linear(x, torch.full((1, 3), 0.5).double()), 2e4, 6e4),
        (lambda x: nn.functional.layer_norm(x, (3,), eps=1e6), 80.0, 300.0),
    ],
)
def test_nothing_is_promised_where_a_number_may_pass_the_largest(function, fine, over):
    """The largest float16 is 65504; a sum may pass it before its mean is taken."""
    signs = torch.tensor([[1.0, 1.0, 1.0]]).double()
    for sign in (1.0, -1.0):
        assert bool(torch.isfinite(radius(function, sign * fine * signs)).all())
        assert bool(torch.isinf(radius(function, sign * over * signs)).any())


def test_own_errors_that_depend_on_the_parameters():
    one, x = torch.ones(1, dtype=torch.float64), torch.full((1,), 2.0, dtype=torch.float64)

    def own(op, **attributes):
        return float(own_error(Node(index=1, op=op, attributes=attributes), x, one))

    assert own("elu", scale=-1.5, alpha=2.0) == 8 + 4 * 3.0
    assert own("softplus", beta=0.5) == 16 + 2.1e-9 * 2**24 / 0.5
    assert own("gelu", approximate="none") == 8 + 8 * 2 and own("gelu", approximate="tanh") == 8 + 12 * 2
    assert own("power", exponent=-3.0) == 16 + 104 * 3
    assert own("silu") == 8 + 8 * 2 and own("sigmoid") == 8 + 6
    assert own("nothing known") == math.inf
