"""What bends is found however it is written: names that no table has, C++ kernels, masks, in-place writes, `out=`."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cutaway.errors import ModelError, NoGradient, NotPiecewiseAffine
from cutaway.network import Network
from cutaway.network.affine import affine_map


class Head(nn.Module):
    """Linear, a function, ReLU, linear."""

    def __init__(self, function, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.function = nn.Linear(4, width), nn.Linear(width, 3), function

    def forward(self, x):
        return self.last(F.relu(self.function(self.first(x))))


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad


def assigned(z, value=0.0):
    z = z.clone()
    z[z < 0] = value
    return z


def written_through_a_view(z):
    z = z.clone()
    z[:, :4].tanh_()
    return z


def numpy_and_back(z):
    return torch.from_numpy(z.detach().numpy() ** 2).to(z)


CURVED = {
    **{n: getattr(torch, n) for n in "sinh cosh tan atan asinh erfc sinc erfinv lgamma sigmoid exp".split()},
    "logsumexp": lambda z: z - z.logsumexp(1, keepdim=True),
    "norm": lambda z: z - z.norm(dim=1, keepdim=True),
    "var": lambda z: z + z.var(1, keepdim=True),
    "where of a sine": lambda z: torch.where(z > 0, z.sin(), z),
    "cosine similarity": lambda z: z + F.cosine_similarity(z, z.flip(1))[:, None],
    "cdist": lambda z: torch.cdist(z[:, None], torch.eye(8, dtype=z.dtype)[None])[:, 0],
    "powers": lambda z: torch.pow(z.abs(), torch.arange(8.0, dtype=z.dtype)),
    "addcmul": lambda z: torch.addcmul(z, z, z),
    "outer": lambda z: torch.einsum("bi,bj->bi", z, z),
    "modulus of a spectrum": lambda z: torch.fft.fft(z).abs(),
    "lerp": lambda z: torch.lerp(z, z.flip(1), z),
    "out=": lambda z: torch.mul(z, z, out=torch.empty_like(z)),
    "in place": lambda z: z.clone().mul_(z),
    "view": written_through_a_view,
    "detached factor": lambda z: z * z.detach(),
    "own derivative": Own.apply,
    "NumPy": numpy_and_back,
    "number": lambda z: z * float(z[0, 0]),
    "dynamic convolution": lambda z: F.conv1d(z[:1, None], z[:1, None, :3], padding=1)[:, 0].expand(len(z), 8),
    "division": lambda z: z / (2 + z.abs()),
    "interpolated index": lambda z: F.grid_sample(
        torch.ones(len(z), 1, 4, 4, dtype=z.dtype).cumsum(3), z.reshape(-1, 1, 4, 2), align_corners=False
    ).reshape(-1, 4).repeat(1, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVED)
def test_what_is_not_affine_is_never_called_affine(name):
    network = Network(Head(CURVED[name]).double().eval(), torch.rand(2, 4), probe=False)
    assert not network.piecewise_affine
    with pytest.raises(NotPiecewiseAffine):
        network.affine_at(torch.rand(4))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_kernels_are_not_affine(kind):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(F.relu(self.inner(x)[0][:, -1]))

    assert not Network(Last().eval(), torch.randn(2, 5, 4)).piecewise_affine


def test_a_value_that_leaves_torch_counts_though_it_has_no_site():
    network = Network(Head(lambda z: z * float(z[0, 0])).eval(), torch.randn(2, 4), probe=False)
    assert [s.kind for s in network.sites] == ["relu"] and not network.piecewise_affine
    with pytest.raises(NotPiecewiseAffine, match="operator _local_scalar_dense, which is not known to be affine"):
        network.require_piecewise_affine()
    said = "operator _local_scalar_dense: a value leaves torch, where it cannot be followed"
    assert [s.reason for s in network.skipped] == [said]


def test_a_function_of_torchscript_is_a_site():
    bent = torch.jit.CompilationUnit("def bent(x):\n    return x.tanh()\n").bent
    network = Network(Head(bent).eval(), torch.randn(2, 4))
    assert [s.kind for s in network.sites] == ["tanh", "relu"] and not network.piecewise_affine


def test_an_operator_without_a_record_is_named_in_the_coverage():
    network = Network(Head(torch.erfinv).eval(), torch.rand(2, 4) / 9)
    assert [s.reason for s in network.skipped] == ["erfinv is not known to be affine: nothing is claimed of it"]
    with pytest.raises(NotPiecewiseAffine, match="erfinv, which is not known to be affine"):
        network.affine_at(torch.rand(4))


AFFINE = {
    "moves": lambda z: z.flip(1).roll(1, 1).unflatten(1, (2, 4)).movedim(1, 2).flatten(1).repeat(1, 2)[:, ::2],
    "sums": lambda z: z.cumsum(1) - z.mean(1, keepdim=True) + torch.fft.irfft(torch.fft.rfft(z), n=8),
    "constant where": lambda z: torch.where(torch.arange(8) > 3, z, -z).index_select(1, torch.arange(7, -1, -1)),
    "upsampling": lambda z: F.interpolate(z[:, None], size=16, mode="linear")[:, 0, ::2],
    "shape": lambda z: z * z.shape[1] + torch.zeros_like(z) + torch.ones_like(z).exp(),
    "circular padding": lambda z: F.pad(z[:, None], (1, 1), mode="circular")[:, 0, 1:9],
    "batch norm": nn.BatchNorm1d(8).eval(),
    "printed": lambda z: (str(z), z)[1],
}  # fmt: skip


@pytest.mark.parametrize("name", AFFINE)
def test_what_is_affine_gives_no_site(name):
    network = Network(Head(AFFINE[name]).double().eval(), torch.rand(2, 4))
    assert [s.kind for s in network.sites] == ["relu"]
    assert network.skipped == () and network.continuous
    assert network.affine_at(torch.rand(4)).check() < 1e-7


BY_HAND = {
    "where": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "where below": lambda z: torch.where(z <= 0, 0.0, z),
    "product": lambda z: z * (z > 0),
    "product of numbers": lambda z: (z > 0).to(z) * z,
    "masked_fill": lambda z: z.masked_fill(z < 0, 0.0),
    "assignment": assigned,
    "sign": lambda z: (z.sign() + 1) / 2 * z,
    "heaviside": lambda z: z * torch.heaviside(z.detach(), z.new_zeros(1)),
    "fmax": lambda z: torch.fmax(z, z.new_zeros(())),
    "clamp": lambda z: z.clamp(min=0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_relu_by_hand_is_a_site_with_the_same_values(name):
    class Two(nn.Module):
        def __init__(self, function):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.function = nn.Linear(4, 8), nn.Linear(8, 3), function

        def forward(self, x):
            return self.b(self.function(self.a(x)))

    x = torch.randn(6, 4)
    hand, plain = (Network(Two(f).eval(), x) for f in (BY_HAND[name], F.relu))
    ours, theirs = hand.capture(x), plain.capture(x)
    assert len(hand.sites) == 1 and hand.piecewise_affine and hand.continuous and hand.skipped == ()
    assert hand.sites[0].family == "activation"
    assert hand.sites[0].bends_at_zero or name == "fmax"
    torch.testing.assert_close(*(next(iter(c.pre.values())) for c in (ours, theirs)))
    torch.testing.assert_close(*(next(iter(c.post.values())) for c in (ours, theirs)))


def changed_after_its_mask(z):
    z = z.clone()
    mask = z > 0
    return z.add_(1) * mask


JUMPING = {
    "changed after its mask": changed_after_its_mask,
    "another's mask": lambda z: z * (z.flip(1) > 0),
    "threshold": lambda z: z.masked_fill(z < 0.2, 0.0),
    "filled": lambda z: assigned(z, 5.0),
    "rounded": lambda z: z + z.round(),
    "remainder": lambda z: z % 0.3,
    "hardshrink": F.hardshrink,
    "best": lambda z: z + F.one_hot(z.argmax(1), 8),
    "indices": lambda z: z + z.max(1, keepdim=True).indices,
    "branch": lambda z: z + 1 if bool((z > 0).all()) else z,
    "binary": lambda z: (z > 0).to(z),
}


@pytest.mark.parametrize("name", JUMPING)
def test_jumps_are_piecewise_affine_but_not_continuous(name):
    network = Network(Head(JUMPING[name]).double().eval(), torch.rand(2, 4))
    assert network.piecewise_affine and not network.continuous
    assert network.affine_at(torch.rand(4)).check() < 1e-7


def test_a_comparison_that_decides_nothing_is_no_site():
    def watched(z):
        _ = (z > 0).float().mean(), z.argmax(1)
        return z

    network = Network(Head(watched).eval(), torch.rand(2, 4))
    assert [s.kind for s in network.sites] == ["relu"] and network.continuous


class Straight(torch.autograd.Function):
    """A sign with the gradient of the identity, as binary networks are trained with."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


@pytest.mark.parametrize("function", [lambda z: z.detach() + z, Straight.apply, torch.no_grad()(torch.relu)])
def test_a_derivative_that_is_not_the_functions_gives_no_map(function):
    network = Network(Head(function).double().eval(), torch.rand(2, 4))
    assert network.piecewise_affine
    with pytest.raises(ModelError, match="not the slope of the function.*Take out detach"):
        network.affine_at(torch.rand(4))


@pytest.mark.parametrize("function", [torch.tanh, F.gelu, torch.sin, lambda z: z + 1e-2 * z.square()])
def test_curvature_is_seen_at_a_point_and_boundaries_nearby_are_not_taken_for_it(function):
    torch.manual_seed(2)
    for width in (4, 64):
        curved, bent = (
            nn.Sequential(nn.Linear(width, 64), f, nn.Linear(64, 3)).double() for f in (_Of(function), nn.ReLU())
        )
        point = torch.randn(width, dtype=torch.float64)
        assert affine_map(curved, point).check() > 1e-7
        assert affine_map(bent, point).check() == 0


class _Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_a_point_on_every_boundary_still_has_its_map():
    network = Network(nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU()).double(), torch.rand(2, 4))
    assert not network.affine_at(torch.zeros(4)).slope.any()


def test_an_operation_without_derivative_is_named():
    network = Network(Head(lambda z: z * torch.heaviside(z, z.new_zeros(1))).double(), torch.rand(2, 4))
    with pytest.raises(NoGradient, match="derivative for aten::heaviside is not implemented"):
        network.affine_at(torch.rand(4))


WORDS = {
    **CURVED,
    **AFFINE,
    **BY_HAND,
    **JUMPING,
    "square": torch.square,
    "abs": torch.abs,
    "sort": lambda z: z.sort(1)[0],
}
DISTINCT = sorted(WORDS.keys() - {"interpolated index", "dynamic convolution", "number", "NumPy", "branch", "erfinv"})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(DISTINCT), min_size=1, max_size=3), st.integers(0, 1000))
def test_random_networks_hold_what_is_said_of_them(words, seed):
    """Either the map is refused, or it holds near the point; a network called continuous has no jump on a segment."""
    torch.manual_seed(seed)
    layers = [m for word in words for m in (nn.Linear(8, 8), Head(WORDS[word]), nn.Linear(3, 8))]
    model = nn.Sequential(nn.Linear(4, 8), *[_with_width(m) for m in layers], nn.Linear(8, 2)).double().eval()
    network = Network(model, torch.randn(2, 4), probe=False)
    if not network.piecewise_affine:
        return
    point = torch.randn(4, dtype=torch.float64)
    assert network.affine_at(point).check() < 1e-7
    if network.continuous:
        assert largest_jump(model, point, point + torch.randn(4, dtype=torch.float64)) < 1e-9


def largest_jump(model, start, end):
    """What the largest step of the values on a segment keeps of its size when it is walked in smaller steps."""
    for _ in range(4):
        t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
        points = start + t * (end - start)
        steps = model(points).detach().diff(dim=0).abs().amax(dim=1)
        start, end = points[steps.argmax()], points[steps.argmax() + 1]
    return float(steps.max())


def test_the_largest_jump_is_seen():
    start, end = torch.tensor([-1.0, 0.3]).double(), torch.tensor([1.3, 0.1]).double()
    assert largest_jump(lambda x: 3 * x.relu(), start, end) < 1e-9
    assert largest_jump(lambda x: x + 1e-3 * (x > 0.2), start, end) > 0.9e-3


def _with_width(module):
    if isinstance(module, Head):
        module.first = nn.Linear(8, 8)
    return module


def test_a_value_that_lies_where_another_lay_is_not_that_one():
    """The mask is of a value that is gone; the one that it cuts may have its address, shape and version."""

    class Masks(nn.Module):
        def forward(self, x):
            mask = (2.0 * x) > 0
            return torch.cat([mask * (x + float(k)) for k in range(4)], dim=1)

    network = Network(Masks(), torch.randn(2, 50_000), probe=False)
    assert not network.continuous
