"""How far a network's output in another precision may be from its real-arithmetic output, anywhere in a region.

The radius is propagated forwards: through y = L x + c an error e becomes |L| e + gamma_n (|L| |x| + |c|), through a
function |f'| e plus four roundings of its value and of what cancels in it, through a product |x| e_y + |y| e_x +
e_x e_y plus one rounding, through a maximum the largest e; gamma_n = n u / (1 - n u) with the unit roundoff u of the
deployment dtype. Valid for any order of summation, without flush-to-zero and without reduced-precision matrix products
(TF32, bfloat16). Section 5 of the method notes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.lowering import LINEAR
from cutaway.robustness.bounds.maxima import MAXIMA
from cutaway.robustness.bounds.network import BoundNetwork, gamma
from cutaway.robustness.bounds.transpose import apply_linear, fan
from cutaway.robustness.bounds.unary import cancellation, derivative_limit


def deployment_radius(net: BoundNetwork, limits: Limits, dtype: torch.dtype = torch.float32) -> Tensor:
    """Largest |output in `dtype` - real output| by entry, (B, *output shape), for inputs exactly representable in
    `dtype` or rounded to it. `limits` are any limits of the region."""
    unit = torch.finfo(dtype).eps / 2
    error: dict[int, Tensor] = {}
    for node in net.graph.nodes:
        size = torch.maximum(limits.lower[node.index].abs(), limits.upper[node.index].abs())
        if node.op in ("input", "constant"):
            error[node.index] = unit * size
        elif node.op in LINEAR:
            magnitudes = [torch.maximum(limits.lower[i].abs(), limits.upper[i].abs()) for i in node.inputs]
            operator = net.absolute[node.index]
            grown = apply_linear(operator, [error[i] for i in node.inputs])
            reach = apply_linear(operator, [m + error[i] for m, i in zip(magnitudes, node.inputs)])
            if node.index in net.offset:
                reach = reach + net.offset[node.index].abs()
            error[node.index] = grown + gamma(fan(net.graph, node) + 4, dtype) * reach
        elif node.op == "mul":
            x, y = node.inputs
            big_x, big_y = (torch.maximum(limits.lower[i].abs(), limits.upper[i].abs()) for i in (x, y))
            grown = big_x * error[y] + big_y * error[x] + error[x] * error[y]
            error[node.index] = grown + unit * (big_x + error[x]) * (big_y + error[y])
        elif node.op in MAXIMA:
            error[node.index] = net.windows[node.index].of(error[node.inputs[0]]).amax(2).reshape(-1, *node.shape)
        else:
            source = node.inputs[0]
            low, high = limits.lower[source] - error[source], limits.upper[source] + error[source]
            own = 4 * unit * (size + cancellation(node, low, high))
            error[node.index] = derivative_limit(node, low, high) * error[source] + own
    return error[net.graph.output.index]
