"""How far a network's output in another precision may be from its real-arithmetic output, anywhere in a region.

The radius is propagated forwards through the network as it was traced, before bounds rewrite it. With the unit roundoff
u, the smallest normal number t and the largest number M of the deployment dtype, gamma_n = n u / (1 - n u):

- y = L x + c: |L| e + gamma_n (|L| |x| + |c|), where n counts products, sums and spare roundings, and |c| of a batch
  norm is
  |bias| + |mean scale|. Constant factors that follow a linear layer are counted with it: a runtime may multiply them
  into
  the weights before or not, and the terms of the sum stay the same.
- functions: |f'| e, or the width of f's range where that is less, and the roundings of `rounding.own_error`;
- products |x| e_y + |y| e_x + e_x e_y and a rounding; maxima the largest e; softmax, layer norm and local response
  norm in closed form.

Holds for any order of summation, with fused multiply-adds or not, with numbers below t kept or flushed to zero (each
costs at most t times the factors that follow), with constants rounded to the dtype, and with a layer norm that computes
E[x^2] - E[x]^2, as onnxruntime's does. Infinite where a number may pass M or an operator has no rule. Not for Winograd
convolutions nor reduced-precision products (TF32, bfloat16). Higham, Accuracy and Stability of Numerical Algorithms
(2002), chapters 2 to 4, for sums and products; the rest is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.robustness.bounds.deployment_walk import SPARE, Sum, Walk
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.lowering import LINEAR
from cutaway.robustness.bounds.maxima import windows
from cutaway.robustness.bounds.network import BoundNetwork, gamma
from cutaway.robustness.bounds.rounding import own_error, rounding_of
from cutaway.robustness.bounds.transpose import absolute, apply_linear, fan, offset
from cutaway.robustness.bounds.unary import UNARY, derivative_limit, unary_range

MOVES = frozenset({"reshape", "permute", "expand", "slice", "cat", "pad", "take"})
WEIGHTED = frozenset({"linear", "convolution", "constant_matmul"})


def deployment_radius(bounded: BoundNetwork, limits: Limits, dtype: torch.dtype = torch.float32) -> Tensor:
    """Largest |output in `dtype` - real output| by entry.

    limits: any limits of the region, of this `bounded`.
    dtype: a binary floating-point format; inputs and constants are numbers of it or rounded to it.
    Returns (B, *output shape); infinite where nothing is known. Cost: about three interval passes.
    """
    walk = Walk(bounded=bounded, limits=limits, dtype=dtype)
    for node in bounded.source.nodes:
        if node.index in bounded.needed:
            _step(walk, node)
    return walk.error[bounded.source.output.index]


def _step(walk: Walk, node: Node) -> None:
    rule = _RULES.get(node.op, _function if node.op in UNARY else _unknown)
    largest = torch.finfo(walk.dtype).max
    found = rule(walk, node)
    low, high = walk.range(node.index)
    over = torch.maximum(-low, high) + found >= largest
    walk.error[node.index] = torch.where(torch.isnan(found) | over, math.inf, found)
    if rounding_of(node).never_negative or (
        node.op in MOVES | {"sum", "mean", "avg_pool"} and all(i in walk.never_negative for i in node.inputs)
    ):
        walk.never_negative.add(node.index)


def _given(walk: Walk, node: Node) -> Tensor:
    return walk.unit * walk.exact(node.index) + walk.tiny


def _unknown(walk: Walk, node: Node) -> Tensor:
    return torch.full_like(walk.exact(node.index), math.inf)


def _moved(walk: Walk, node: Node) -> Tensor:
    return apply_linear(absolute(node), [walk.error[i] for i in node.inputs])


def _weighted(walk: Walk, node: Node) -> Tensor:
    (i,) = node.inputs
    shift = _shift(walk, node)
    size = walk.size(i)
    found = Sum(
        carried=apply_linear(absolute(node), [walk.error[i]]),
        count=fan(walk.bounded.source, node) + SPARE,
        reach=apply_linear(absolute(node), [size]) + shift,
        wide=apply_linear(_at_least_one(node), [walk.entry.get(i, size.clamp(min=1))]) + shift.clamp(min=1),
    )
    return _summed(walk, node, found)


def _scaled(walk: Walk, node: Node) -> Tensor:
    """x * scale + shift; the sum that x is, if it is one, goes on."""
    (i,) = node.inputs
    size, shift, factor = walk.size(i), _shift(walk, node), absolute(node)
    start = Sum(carried=walk.error[i], count=0, reach=size, wide=size.clamp(min=1))
    before = walk.sums.get(i, start)
    wide = _at_least_one(node)
    found = Sum(
        carried=apply_linear(factor, [before.carried]),
        count=before.count + SPARE,
        reach=apply_linear(factor, [before.reach]) + shift,
        wide=apply_linear(wide, [before.wide]) + shift.clamp(min=1),
    )
    if i not in walk.sums:
        walk.entry[node.index] = found.wide
        return walk.capped(_total(walk, found), found.reach)
    walk.entry[node.index] = apply_linear(wide, [start.wide]) + shift.clamp(min=1)
    return _summed(walk, node, found)


def _summed(walk: Walk, node: Node, found: Sum) -> Tensor:
    walk.sums[node.index] = found
    return walk.capped(_total(walk, found), torch.maximum(found.reach, found.wide))


def _total(walk: Walk, found: Sum) -> Tensor:
    return found.carried + gamma(found.count, walk.dtype) * found.reach + SPARE * walk.tiny * found.wide


def _shift(walk: Walk, node: Node) -> Tensor:
    """Sum of the sizes of what is added, (*node.shape); an attention mask's minus infinity is exact."""
    if "reach" in node.constants:
        return node.constants["reach"]
    found = offset(walk.bounded.source, node)
    zero = torch.zeros((), dtype=walk.bounded.dtype)
    return zero if found is None else torch.where(found == -math.inf, zero, found.abs())


def _at_least_one(node: Node) -> Node:
    constants = {k: v.clamp(min=1) for k, v in absolute(node).constants.items()}
    return replace(absolute(node), constants=constants)


def _added(walk: Walk, node: Node) -> Tensor:
    """A runtime may begin a sum with the other addend, which then meets all its roundings."""
    counts = [walk.sums[i].count if i in walk.sums else 0 for i in node.inputs]
    sizes = [torch.maximum(walk.size(i), walk.sums[i].reach) if i in walk.sums else walk.size(i) for i in node.inputs]
    rounded = [gamma(SPARE + sum(counts) - n, walk.dtype) * s for n, s in zip(counts, sizes)]
    pieces = [walk.error[i] + r for i, r in zip(node.inputs, rounded)]
    found = apply_linear(absolute(node), pieces) + 4 * walk.tiny
    return walk.capped(found, apply_linear(absolute(node), sizes))


def _averaged(walk: Walk, node: Node) -> Tensor:
    """Sums, means and average pooling; the variance of a layer norm spelled out may be computed as E[x^2] - E[x]^2."""
    (i,) = node.inputs
    terms = fan(walk.bounded.source, node) + SPARE
    reach = apply_linear(absolute(node), [walk.size(i)])
    found = apply_linear(absolute(node), [walk.error[i]]) + gamma(terms, walk.dtype) * reach + 4 * terms * walk.tiny
    raw = _centred(walk, node)
    if raw is not None:
        square = walk.size(raw).square()
        found = found + 2 * gamma(terms, walk.dtype) * apply_linear(absolute(node), [square])
    return walk.capped(found, terms * reach)


def _centred(walk: Walk, node: Node) -> int | None:
    """x where the node is mean((x - mean(x))^2)."""
    nodes = walk.bounded.source.nodes
    square = nodes[node.inputs[0]]
    centred = nodes[square.inputs[0]] if square.op == "square" else node
    if (
        node.op != "mean"
        or centred.op != "add"
        or len(centred.inputs) != 2
        or centred.attributes["coefficients"][1] != -1
    ):
        return None
    x, middle = centred.inputs
    return x if nodes[middle].op == "mean" and nodes[middle].inputs == (x,) else None


def _function(walk: Walk, node: Node) -> Tensor:
    (i,) = node.inputs
    low, high = walk.range(i)
    low, high = low - walk.error[i], high + walk.error[i]
    low = low.clamp(min=0) if i in walk.never_negative else low
    least, most = unary_range(node, low, high)
    carried = (derivative_limit(node, low, high) * walk.error[i]).nan_to_num(math.inf, math.inf)
    reach = torch.maximum(least.abs(), most.abs())
    own = own_error(node, torch.maximum(low.abs(), high.abs()), reach)
    return walk.capped(torch.minimum(carried, most - least) + walk.unit * own + 4 * walk.tiny, reach)


def _multiplied(walk: Walk, node: Node) -> Tensor:
    x, y = node.inputs
    carried = walk.exact(x) * walk.error[y] + walk.exact(y) * walk.error[x] + walk.error[x] * walk.error[y]
    reach = walk.size(x) * walk.size(y)
    return walk.capped(carried + gamma(4, walk.dtype) * reach + 4 * walk.tiny, reach)


def _matrix_product(walk: Walk, node: Node) -> Tensor:
    x, y = node.inputs
    big_x, big_y, wrong_x, wrong_y = walk.exact(x), walk.exact(y), walk.error[x], walk.error[y]
    carried = big_x @ wrong_y + wrong_x @ (big_y + wrong_y)
    terms = big_x.shape[-1] + SPARE
    reach = walk.size(x) @ walk.size(y)
    wide = walk.entry.get(x, walk.size(x).clamp(min=1)) @ walk.entry.get(y, walk.size(y).clamp(min=1))
    found = carried + gamma(terms, walk.dtype) * reach + SPARE * walk.tiny * wide
    return walk.capped(found, torch.maximum(reach, wide))


def _maximum(walk: Walk, node: Node) -> Tensor:
    return torch.maximum(*(walk.error[i] for i in node.inputs))


def _window_maximum(walk: Walk, node: Node) -> Tensor:
    return windows(walk.bounded.source, node).of(walk.error[node.inputs[0]]).amax(2).reshape(-1, *node.shape)


def _exponent(walk: Walk, node: Node) -> tuple[Tensor, int, int]:
    """How far log softmax may move through its inputs and through x - max x; the dimension and its length."""
    (i,) = node.inputs
    dim = node.attributes["dim"] + 1
    size = walk.size(i)
    own = walk.error[i] + walk.unit * (size + size.amax(dim, keepdim=True))
    return own + own.amax(dim, keepdim=True), dim, size.shape[dim]


def _softmax(walk: Walk, node: Node) -> Tensor:
    moved, _, count = _exponent(walk, node)
    relative = torch.expm1(moved + gamma(count + 2 * SPARE, walk.dtype))
    largest = walk.range(node.index)[1].clamp(0, 1)
    return torch.minimum(largest * relative, 1 + relative * 0) + 4 * count * walk.tiny


def _log_softmax(walk: Walk, node: Node) -> Tensor:
    moved, _, count = _exponent(walk, node)
    return moved + gamma(count + 2 * SPARE, walk.dtype) * (1 + walk.exact(node.index) + moved) + 4 * walk.tiny


def _layer_norm(walk: Walk, node: Node) -> Tensor:
    (i,) = node.inputs
    dims = tuple(range(-node.attributes["num_dims"], 0))
    count = math.prod(node.shape[d] for d in dims)
    size, wrong, share = walk.size(i), walk.error[i], gamma(count + SPARE, walk.dtype)
    middle = size.mean(dims, keepdim=True)
    off = wrong + wrong.mean(dims, keepdim=True) + share * (size + middle) + 4 * walk.tiny
    low = walk.bounded.spread(node.index, walk.limits)
    reach = size.square().mean(dims, keepdim=True)
    variance = (2 * (size + middle) * off + off.square()).mean(dims, keepdim=True)
    variance = variance + 2 * share * (reach + node.attributes["eps"]) + 4 * count * walk.tiny
    left = torch.where(low > variance, low - variance, math.nan)
    scale = left.rsqrt()
    found = (size + middle) * (0.5 * scale**3 * variance + share * scale) + off * scale + 4 * walk.tiny
    found = walk.capped(found, count * reach)
    weight, bias = (node.constants.get(k) for k in ("weight", "bias"))
    factor = 1.0 if weight is None else weight.abs()
    plus = 0.0 if bias is None else bias.abs()
    return (
        factor * found * (1 + share) + 8 * walk.unit * (factor * math.sqrt(count) + plus) + 8 * walk.tiny * (1 + found)
    )


def _local_response_norm(walk: Walk, node: Node) -> Tensor:
    """x s^-beta with s = k + w (sum over a window of channels of x^2). onnxruntime moves the window by adding a channel
    and taking one away, so that what it has seen of all channels stays behind as rounding."""
    (i,), a = node.inputs, node.attributes
    w, k, beta = a["alpha"] / a["size"], a["k"], a["beta"]
    if w < 0 or k < 0:
        return _unknown(walk, node)
    size, wrong, channels = walk.size(i), walk.error[i], node.shape[1]
    low, high = walk.range(i)
    least = torch.where((low <= 0) & (high >= 0), 0.0, torch.minimum(low.abs(), high.abs())).square()
    all_of_it = k + w * size.square().sum(2, keepdim=True)
    moved = w * _window_sum(2 * size * wrong, a["size"]) + gamma(2 * channels + SPARE, walk.dtype) * all_of_it
    moved = moved + 4 * channels * walk.tiny * (1 + w)
    left = k + w * _window_sum(least, a["size"]) - moved
    left = torch.where(left > 0, left, math.nan)
    top = k + w * _window_sum(size.square(), a["size"]) + moved
    factor, slope = (torch.maximum(left**-p, top**-p) for p in (beta, beta + 1))
    relative = walk.unit * (SPARE + 16 + 104 * abs(beta))  # of a power, as in its record
    found = size * (abs(beta) * slope * moved + relative * factor) + wrong * factor + 4 * walk.tiny * (1 + size)
    return walk.capped(found, torch.maximum(all_of_it, size * factor))


def _window_sum(values: Tensor, size: int) -> Tensor:
    """Sum over the window of channels, dimension 2 of (B, rows, channels, ...)."""
    rows = values.movedim(2, -1)
    wide = torch.nn.functional.pad(rows, (size // 2, (size - 1) // 2))
    return wide.unfold(-1, size, 1).sum(-1).movedim(-1, 2)


_RULES: dict[str, Callable[[Walk, Node], Tensor]] = {
    **dict.fromkeys(("input", "constant"), _given),
    **dict.fromkeys(MOVES, _moved),
    **dict.fromkeys(WEIGHTED, _weighted),
    **dict.fromkeys(LINEAR - MOVES - WEIGHTED - {"scale_shift", "add"}, _averaged),
    **dict.fromkeys(("max_pool", "max_reduce"), _window_maximum),
    **dict.fromkeys(("maximum", "minimum"), _maximum),
    "scale_shift": _scaled,
    "add": _added,
    "mul": _multiplied,
    "matmul": _matrix_product,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
}
