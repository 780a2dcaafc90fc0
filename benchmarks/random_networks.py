"""Random small networks made of every operator that bounds have a rule for, and random regions: food for fuzzing.

`random_network(generator)` gives a float64 module in evaluation mode with its input shape and the names of its parts;
`random_region(center, generator)` a batch of regions round given inputs with its name. Everything follows from the
generator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.robustness.regions import Intersection, Region, ball, box
from cutaway.robustness.regions_linear import Ellipsoid, Hull, RotatedBox

Draw = Callable[[int, int], int]


class Function(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *[part(x) for part in self.parts])


ELEMENTWISE: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "prelu": nn.PReLU,
    "relu6": nn.ReLU6,
    "hardtanh": lambda: nn.Hardtanh(-0.4, 0.7),
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "log_sigmoid": nn.LogSigmoid,
    "abs": lambda: Function(torch.abs),
    "clamp": lambda: Function(lambda x: x.clamp(min=-0.3)),
    "exp": lambda: Function(lambda x: (0.5 * x).exp()),
    "square": lambda: Function(torch.square),
    "cube": lambda: Function(lambda x: x**3),
    "erf": lambda: Function(torch.erf),
    "sin": lambda: Function(torch.sin),
    "cos": lambda: Function(torch.cos),
    "sqrt": lambda: Function(lambda x: (x.square() + 0.3).sqrt()),
    "rsqrt": lambda: Function(lambda x: (x.square() + 0.5).rsqrt()),
    "reciprocal": lambda: Function(lambda x: 1 / (1 + x.square())),
    "log": lambda: Function(lambda x: (1 + x.exp()).log()),
    "atan": lambda: Function(torch.atan),
    "floor": lambda: Function(lambda x: (2 * x).floor()),
    "ceil": lambda: Function(lambda x: x.ceil()),
    "round": lambda: Function(lambda x: (3 * x).round()),
    "threshold": lambda: nn.Threshold(0.3, 0.0),
    "thresholds": lambda: nn.Threshold(-0.2, 0.5),
    "scale": lambda: Function(lambda x: 1.5 - 2 * x),
}
"""Functions that keep every shape."""


def _seen_norm(norm: nn.Module, draw: Draw) -> nn.Module:
    """A batch norm with statistics and weights as after training."""
    with torch.no_grad():
        for name, low, high in (("running_mean", -0.5, 0.5), ("running_var", 0.3, 2.0), ("weight", -1.5, 1.5)):
            value = getattr(norm, name)
            value.copy_(torch.tensor([low + (high - low) * draw(0, 1000) / 1000 for _ in range(value.numel())]))
    return norm


def _root_mean_square(x: Tensor) -> Tensor:
    """An RMS norm as exporters spell it out."""
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-3).sqrt()


def _vector_part(width: int, draw: Draw) -> tuple[str, nn.Module, int]:
    out = draw(2, 7)
    made: dict[str, Callable[[], tuple[nn.Module, int]]] = {
        "linear": lambda: (nn.Linear(width, out), out),
        "batch_norm": lambda: (_seen_norm(nn.BatchNorm1d(width), draw), width),
        "layer_norm": lambda: (nn.LayerNorm(width), width),
        "rms_norm": lambda: (nn.RMSNorm(width, eps=1e-3), width),
        "root_mean_square": lambda: (Function(_root_mean_square), width),
        "residual": lambda: (Function(lambda x, y: x + torch.relu(y), nn.Linear(width, width)), width),
        "concat": lambda: (Function(lambda x, y: torch.cat([x, y.tanh()], 1), nn.Linear(width, out)), width + out),
        "product": lambda: (Function(lambda x, y, z: y * z, nn.Linear(width, out), nn.Linear(width, out)), out),
        "gated": lambda: (
            Function(lambda x, y, z: F.silu(y) * z, nn.Linear(width, out), nn.Linear(width, out)),
            out,
        ),
        "maximum": lambda: (Function(lambda x, y: torch.maximum(x, y), nn.Linear(width, width)), width),
        "minimum": lambda: (Function(lambda x, y: torch.minimum(x, y), nn.Linear(width, width)), width),
        "softmax": lambda: (nn.Softmax(1), width),
        "log_softmax": lambda: (nn.LogSoftmax(1), width),
        "slice": lambda: (Function(lambda x: torch.cat([x[:, 1:], x[:, :1].amax(1, keepdim=True)], 1)), width),
        "reduce": lambda: (
            Function(lambda x: torch.stack([x.amax(1), x.mean(1), x.amin(1), x.sum(1)], 1)),
            4,
        ),
        "matmul": lambda: (
            Function(lambda x: (x.unsqueeze(2) @ x.unsqueeze(1)).flatten(1)[:, : width + 1]),
            width + 1,
        ),
    }
    name = _pick(list(made), draw)
    module, size = made[name]()
    return name, module, size


def _image_part(shape: tuple[int, int, int], draw: Draw) -> tuple[str, nn.Module]:
    channels, height, width = shape
    out = draw(1, 3)
    made: dict[str, Callable[[], nn.Module]] = {
        "convolution": lambda: nn.Conv2d(channels, out, draw(1, min(3, height, width)), padding=draw(0, 1)),
        "strided_convolution": lambda: nn.Conv2d(channels, out, 2, stride=2, padding=1),
        "transposed_convolution": lambda: nn.ConvTranspose2d(channels, out, 2),
        "batch_norm_2d": lambda: _seen_norm(nn.BatchNorm2d(channels), draw),
        "group_norm": lambda: nn.GroupNorm(1, channels),
        "instance_norm": lambda: nn.InstanceNorm2d(channels, affine=True),
        "local_response_norm": lambda: nn.LocalResponseNorm(draw(1, 4), 0.1 * draw(1, 20), 0.25 * draw(1, 6), 0.8),
        "max_pool": lambda: nn.MaxPool2d(2, stride=draw(1, 2), padding=draw(0, 1), ceil_mode=draw(0, 1) == 1),
        "avg_pool": lambda: nn.AvgPool2d(2, stride=1, padding=draw(0, 1)),
        "adaptive_pool": lambda: nn.AdaptiveAvgPool2d(2),
        "pad": lambda: nn.ZeroPad2d(1),
        "residual_2d": lambda: Function(lambda x, y: x + torch.relu(y), nn.Conv2d(channels, channels, 3, padding=1)),
        "upsample": lambda: nn.Upsample(scale_factor=2),
        "permute": lambda: Function(lambda x: x.transpose(2, 3)),
    }
    names = [n for n in made if min(height, width) >= 2 or n in ("batch_norm_2d", "pad", "convolution", "permute")]
    if height * width > 30:
        names = [n for n in names if n not in ("upsample", "pad", "transposed_convolution")]
    name = _pick(names, draw)
    return name, made[name]()


def _sequence_part(width: int, draw: Draw) -> tuple[str, nn.Module]:
    def attention(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def causal(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def three() -> list[nn.Module]:
        return [nn.Linear(width, width) for _ in range(3)]

    made: dict[str, Callable[[], nn.Module]] = {
        "attention": lambda: Function(attention, *three()),
        "causal_attention": lambda: Function(causal, *three()),
        "multihead_attention": lambda: _SelfAttention(width),
        "transformer_layer": lambda: nn.TransformerEncoderLayer(width, 2, 6, batch_first=True, activation="gelu"),
        "sequence_linear": lambda: nn.Linear(width, width),
        "sequence_layer_norm": lambda: nn.LayerNorm(width),
        "sequence_rms_norm": lambda: nn.RMSNorm(width, eps=1e-3),
        "sequence_softmax": lambda: nn.Softmax(-1),
        "transpose": lambda: Function(lambda x: x.transpose(1, 2).reshape(x.shape)),
    }
    name = _pick(list(made), draw)
    return name, made[name]()


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


def random_network(generator: torch.Generator) -> tuple[nn.Module, tuple[int, ...], list[str]]:
    """(module in float64 and evaluation mode, input shape without batch, names of its parts). The weights are float32
    numbers."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(0, 2**31 - 1))
        kind = ("vector", "vector", "image", "sequence")[draw(0, 3)]
        shape = {"vector": (draw(1, 7),), "image": (draw(1, 2), draw(3, 4), draw(3, 4)), "sequence": (3, 4)}[kind]
        layers, names = _body(kind, shape, draw)
        probe = nn.Sequential(*layers).double().eval()(torch.zeros(1, *shape, dtype=torch.float64))
        layers += [nn.Flatten(), nn.Linear(probe.flatten(1).shape[1], draw(1, 3))]
        model = nn.Sequential(*layers).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_((parameter * (0.5 + draw(0, 10) / 5)).float())
    return model, shape, names


def _body(kind: str, shape: tuple[int, ...], draw: Draw) -> tuple[list[nn.Module], list[str]]:
    layers: list[nn.Module] = []
    names: list[str] = []
    state = torch.zeros(1, *shape, dtype=torch.float64)
    for _ in range(draw(1, 4)):
        if kind == "vector":
            name, module, _ = _vector_part(state.shape[1], draw)
        elif kind == "image":
            name, module = _image_part(tuple(state.shape[1:]), draw)  # type: ignore[arg-type]
        else:
            name, module = _sequence_part(state.shape[2], draw)
        layers, names = [*layers, module], [*names, name]
        if draw(0, 3):
            following = _pick(list(ELEMENTWISE), draw)
            layers, names = [*layers, ELEMENTWISE[following]()], [*names, following]
        with torch.no_grad():
            state = nn.Sequential(*layers).double().eval()(torch.zeros(1, *shape, dtype=torch.float64))
    return layers, names


def _pick(names: list[str], draw: Draw) -> str:
    return names[draw(0, len(names) - 1)]


def random_region(center: Tensor, generator: torch.Generator) -> tuple[str, Region]:
    """A region round every row of `center` (B, *shape), with a radius between 0 and 1.5, and its name."""
    flat = center.flatten(1)
    batch, size = flat.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    names = ("linf", "linf", "box", "l2", "l1", "ellipsoid", "rotated", "hull", "cut_ball", "cut_ellipsoid")
    name = names[int(torch.randint(0, len(names), (1,), generator=generator))]
    radius = (0.0, 1e-7, 0.01, 0.05, 0.2, 0.5, 1.5)[int(torch.randint(0, 7, (1,), generator=generator))]
    if name == "linf":
        return name, ball(center, radius, float("inf"))
    if name == "box":  # some coordinates fixed
        low, high = radius * uniform(batch, size), radius * uniform(batch, size)
        fixed = uniform(batch, size) < 0.3
        return name, box(flat - low.masked_fill(fixed, 0), flat + high.masked_fill(fixed, 0))
    if name in ("l1", "l2"):
        return name, ball(center, radius, float(name[1]))
    if name == "hull":
        points = flat.unsqueeze(1) + radius * (2 * uniform(batch, int(size + 2), size) - 1)
        return name, Hull(points=points)
    if name == "cut_ball":
        low, high = float(flat.min()) - 0.1, float(flat.max()) + 0.1
        return name, ball(center, radius, 2.0, low=low, high=high)
    root = torch.randn(size, max(1, size - 1), generator=generator, dtype=torch.float64) / size**0.5
    whole = Ellipsoid(center=flat, root=root, radius=torch.full((batch,), radius, dtype=torch.float64))
    if name == "ellipsoid":
        return name, whole
    if name == "rotated":
        basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        middle = flat @ basis
        return name, RotatedBox(basis=basis, low=middle - radius * uniform(batch, size), high=middle + radius)
    cut = box(torch.maximum(whole.lower, flat - 0.5 * radius), torch.minimum(whole.upper, flat + 0.5 * radius))
    return name, Intersection(members=(whole, cut))
