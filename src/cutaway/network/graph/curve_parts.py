"""Parts that the records of `facts` are made of: values, derivatives, kinks and slopes of functions with parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph.fact import Arguments, Form, Rounding
from cutaway.network.graph.node import Node

GELU_TURNING, GELU_TANH_TURNING = -0.7517915246935645, -0.7524614220710162


def call(function: Any, *names: str) -> Any:
    """f(node, x) from a torch function, given the node's attributes of these names."""
    return lambda node, x: function(x, *(node.attributes[n] for n in names))


def at(*points: float) -> Any:
    return lambda node: points


def ends(low: str, high: str) -> Any:
    """Kinks at the arguments of these names that are given; none where one is more than a number."""

    def kinks(node: Node) -> tuple[float, ...]:
        given = [v for v in (node.attributes.get(low), node.attributes.get(high)) if v is not None]
        plain = all(not isinstance(v, Tensor) or v.numel() == 1 for v in given)
        return tuple(float(v) for v in given) if plain else ()

    return kinks


def shrink_kinks(node: Node) -> tuple[float, ...]:
    size = float(node.attributes.get("lambd", 0.5))
    return (-size, size) if size else (0.0,)


def threshold_jumps(node: Node) -> tuple[tuple[float, float], ...]:
    place = node.attributes["threshold"]
    return (place, place), (place, node.attributes["value"])


def sign_jumps(node: Node) -> tuple[tuple[float, float], ...]:
    return (0.0, -1.0), (0.0, 1.0)


def leaky_slopes(node: Node) -> tuple[float, float]:
    slope = node.constants["slope"]
    return min(1.0, float(slope.min())), max(1.0, float(slope.max()))


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return x.clamp(min=0) + node.constants["slope"] * x.clamp(max=0)


def elu(node: Node, x: Tensor) -> Tensor:
    a = node.attributes
    return a["scale"] * (x.clamp(min=0) + a["alpha"] * torch.expm1(a["input_scale"] * x.clamp(max=0)))


def d_elu(node: Node, x: Tensor) -> Tensor:
    a = node.attributes
    below = a["alpha"] * a["input_scale"] * torch.exp(a["input_scale"] * x.clamp(max=0))
    return a["scale"] * torch.where(x > 0, 1.0, below)


def elu_slopes(node: Node) -> tuple[float, float]:
    a = node.attributes
    ends = (0.0, a["scale"], a["scale"] * a["alpha"] * a["input_scale"])
    return min(ends), max(ends)


def elu_turning(node: Node) -> tuple[float, ...]:
    return (0.0,) if elu_slopes(node)[0] < 0 else ()


def softplus(node: Node, x: Tensor) -> Tensor:
    z = node.attributes["beta"] * x
    return (z.clamp(min=0) + torch.log1p(torch.exp(-z.abs()))) / node.attributes["beta"]


def d_power(node: Node, x: Tensor) -> Tensor:
    p = node.attributes["exponent"]
    return p * x ** (p - 1)


def gelu_turning(node: Node) -> tuple[float, ...]:
    return (GELU_TANH_TURNING if node.attributes["approximate"] == "tanh" else GELU_TURNING,)


def d_softplus(node: Node, x: Tensor) -> Tensor:
    return torch.sigmoid(node.attributes["beta"] * x)


def power(node: Node, x: Tensor) -> Tensor:
    return x ** node.attributes["exponent"]


def gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.attributes["approximate"])


def power_form(arguments: Arguments) -> Form:
    exponent = arguments.get("exponent")
    return Form.AFFINE if isinstance(exponent, int | float) and exponent in (0, 1) else Form.CURVED


def rrelu_form(arguments: Arguments) -> Form:
    return Form.UNKNOWN if arguments.get("training") else Form.PIECEWISE


def elu_kind(node: Node) -> str:
    """Convex where the slope does not fall at 0."""
    a = node.attributes
    return "convex" if a["alpha"] * a["input_scale"] <= 1 and a["alpha"] >= 0 and a["scale"] >= 0 else "smooth"


def elu_bend(node: Node, size: Tensor) -> float:
    a = node.attributes
    return abs(a["scale"] * a["alpha"]) * a["input_scale"] ** 2


def power_kind(node: Node) -> str:
    p = float(node.attributes["exponent"])
    if not p.is_integer():
        return "convex" if p > 1 or p < 0 else "concave"
    if p < 0:
        return "convex" if p % 2 == 0 else "signed"
    return "convex" if p % 2 == 0 else "smooth"


def power_bend(node: Node, size: Tensor) -> Tensor:
    p = float(node.attributes["exponent"])
    return abs(p * (p - 1)) * size ** (p - 2)


def power_defined(node: Node, lower: Tensor, upper: Tensor) -> Tensor:
    p = float(node.attributes["exponent"])
    if not p.is_integer():
        return lower > 0
    return away_from_zero(node, lower, upper) if p < 0 else lower > -torch.inf


def away_from_zero(node: Node, lower: Tensor, upper: Tensor) -> Tensor:
    return (lower > 0) | (upper < 0)


def elu_rounding(node: Node) -> Rounding:
    """exp(x) - 1 cancels."""
    return Rounding(8, fixed=4 * abs(node.attributes["scale"] * node.attributes["alpha"]))


def softplus_rounding(node: Node) -> Rounding:
    """torch takes the identity from beta x = 20 on."""
    return Rounding(16, fixed=2.1e-9 * 2**24 / node.attributes["beta"], never_negative=True)


def gelu_rounding(node: Node) -> Rounding:
    return Rounding(8, by_argument=12 if node.attributes["approximate"] == "tanh" else 8)


def power_rounding(node: Node) -> Rounding:
    """A rounded exponent p changes x^p by |p log x| units, and |log x| < 104."""
    return Rounding(16 + 104 * abs(node.attributes["exponent"]))
