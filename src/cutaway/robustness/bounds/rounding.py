"""What computing an elementwise function in float32 adds to the error of its argument.

`own_error` is in units of the roundoff u: relative |f| + fixed + by_argument |x|. The numbers are generous limits of
what onnxruntime and torch were seen to do on the CPU, no theorems: `benchmarks/float32_functions.py` measures them
beside these limits, `benchmarks/fuzz_deployment.py` tries to break them. onnxruntime's sigmoid, for instance, has no
relative accuracy below -17. Below the smallest normal number nothing is relative: `deployment` adds that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.network.graph import Node

NONNEGATIVE = frozenset({"square", "abs", "relu", "exp", "sqrt", "softplus", "sigmoid"})
"""Never negative in any precision."""

# op -> (relative, fixed, by argument), in units of u.
FLOAT32: dict[str, tuple[float, float, float]] = {
    **dict.fromkeys(("relu", "abs", "floor", "ceil", "round", "sign"), (0, 0, 0)),
    **dict.fromkeys(("clamp", "threshold"), (2, 0, 0)),
    **dict.fromkeys(("sqrt", "square", "reciprocal", "leaky_relu"), (4, 0, 0)),
    **dict.fromkeys(("exp", "erf", "rsqrt", "softsign"), (8, 0, 0)),
    **dict.fromkeys(("log", "tanh", "atan"), (12, 0, 0)),
    **dict.fromkeys(("sin", "cos"), (8, 4, 0)),
    "sigmoid": (8, 6, 0),
    "softplus": (16, 0, 0),
    "elu": (8, 0, 0),
    "mish": (24, 0, 0),
    "silu": (8, 0, 8),
    "gelu": (8, 0, 8),
    "hardswish": (8, 0, 4),
    "power": (16, 0, 0),
}


def own_error(node: Node, argument: Tensor, value: Tensor) -> Tensor:
    """Error of f(x) computed in float32 in units of u, where |x| <= argument and |f(x)| <= value."""
    relative, fixed, by_argument = FLOAT32.get(node.op, (float("inf"), 0, 0))
    a = node.attributes
    if node.op == "elu":  # exp(x) - 1 cancels
        fixed = 4 * abs(a["scale"] * a["alpha"])
    elif node.op == "softplus":  # the identity from beta x = 20 on in torch
        fixed = 2.1e-9 * 2**24 / a["beta"]
    elif node.op == "gelu" and a["approximate"] == "tanh":
        by_argument = 12
    elif node.op == "power":  # a rounded exponent p changes x^p by |p log x| units, and |log x| < 104
        relative += 104 * abs(a["exponent"])
    found = relative * value + fixed + by_argument * argument
    if node.op == "hardswish":  # torch multiplies by up to 6 before it divides by 6
        found = torch.where(6 * argument >= torch.finfo(torch.float32).max, torch.inf, found)
    return found
