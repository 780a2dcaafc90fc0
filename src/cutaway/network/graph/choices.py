"""Handlers of operators that choose: comparisons and what they steer, steps, sorting, adaptive maxima, shrinkage.

A choice whose two values meet where the comparison changes is continuous and becomes a ReLU or a maximum. One that
jumps stays as it is, so that its consumer can refuse it by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway.network.graph.arithmetic import add, exact, maximum, minimum, scale_shift
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.operators import Slot
from cutaway.network.graph.rearrange import REARRANGE, wrap_dim

MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
LONGEST_SORT = 128


def _keep(b: Builder, target: str, *args: Any, **kwargs: Any) -> Ref:
    """An operator kept as it is."""
    refs = [a for a in args if isinstance(a, Ref)]
    slots = tuple(Slot(refs.index(a)) if isinstance(a, Ref) else a for a in args)
    return b.emit(target, *refs, target=target, args=slots, kwargs=kwargs)


def _compare(kind: str) -> Callable[..., Any]:
    def handler(b: Builder, x: Any, y: Any) -> Any:
        ref = _keep(b, f"aten.{kind}." + ("Tensor" if isinstance(y, Tensor | Ref) else "Scalar"), x, y)
        if isinstance(x, Ref):
            b.compared[ref.index] = (kind, x, y)
        elif isinstance(y, Ref):
            b.compared[ref.index] = (MIRRORED[kind], y, x)
        return ref

    return handler


def _not(b: Builder, x: Ref) -> Any:
    if x.index not in b.compared:
        return NotImplemented
    kind, z, threshold = b.compared[x.index]
    ref = _keep(b, "aten.logical_not.default", x)
    b.compared[ref.index] = (MIRRORED[kind], z, threshold)  # equality aside, where continuous choices agree
    return ref


def _or(b: Builder, x: Any, y: Any) -> Any:
    """Nothing is added by a mask that is false everywhere."""
    for mask, other in ((x, y), (y, x)):
        if isinstance(mask, Tensor) and not bool(mask.any()):
            return other
    return NotImplemented


def _cast(b: Builder, x: Ref, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """A mask as numbers is still a mask."""
    if b.value(x).is_floating_point():
        return x if dtype is None or dtype.is_floating_point else NotImplemented
    if x.index not in b.compared:
        return NotImplemented
    own = next(v.dtype for i in b.inputs if (v := b.value(Ref(i))).is_floating_point())
    ref = _keep(b, "aten._to_copy.default", x, dtype=own if dtype is not None and dtype.is_floating_point else dtype)
    b.compared[ref.index] = b.compared[x.index]
    return ref


def _where(b: Builder, condition: Any, x: Any, y: Any) -> Any:
    """A mixture for a constant mask; for a comparison a ReLU or a maximum, if the values meet where it changes."""
    if isinstance(condition, Tensor):
        return add(b, _pick(b, x, condition), _pick(b, y, ~condition)) if condition.numel() else NotImplemented
    kind, z, threshold = b.compared.get(condition.index, ("", None, None))
    if z is None:
        return NotImplemented
    if kind in ("lt", "le"):
        x, y = y, x
    if isinstance(threshold, Ref):
        return _larger(b, z, threshold, x, y)
    if b.nodes[z.index].op == "abs" and not bool((exact(threshold) != 0).any()):
        z = Ref(b.nodes[z.index].inputs[0])  # |z| > 0 everywhere but at one value, where both must agree
        above, below = _affine_in(b, x, z), _affine_in(b, y, z)
        met = above is not None and below is not None and not bool((above[1] != below[1]).any())
        return x if met and isinstance(x, Ref) else NotImplemented
    return _bent(b, z, exact(threshold), _affine_in(b, x, z), _affine_in(b, y, z))


def _pick(b: Builder, x: Any, mask: Tensor) -> Any:
    if isinstance(x, Ref):
        return scale_shift(b, x, scale=mask.to(b.value(x).dtype))
    return torch.where(mask, exact(x), torch.zeros((), dtype=exact(x).dtype))


def _larger(b: Builder, z: Ref, other: Ref, x: Any, y: Any) -> Any:
    """where(z > other, x, y) with x and y these two."""
    chosen = tuple(v.index if isinstance(v, Ref) else None for v in (x, y))
    if chosen == (z.index, other.index):
        return maximum(b, z, other)
    return minimum(b, z, other) if chosen == (other.index, z.index) else NotImplemented


def _bent(b: Builder, z: Ref, t: Tensor, above: tuple | None, below: tuple | None) -> Any:
    """a z + s above the threshold t and c z + d below it, if they meet there: c z + d + (a - c) relu(z - t)."""
    if above is None or below is None:
        return NotImplemented
    (a, s), (c, d) = above, below
    if bool(((a * t + s) != (c * t + d)).any()):
        return NotImplemented
    if bool((a == c).all()):
        return scale_shift(b, z, scale=a, shift=s)
    if bool((t == 0).all()) and bool((s == 0).all()):
        return _through_zero(b, z, a, c)
    bend = scale_shift(b, b.emit("relu", scale_shift(b, z, shift=-t)), scale=a - c)
    if bool((c == 0).all()):
        return scale_shift(b, bend, shift=d)
    return add(b, scale_shift(b, z, scale=c, shift=d), bend)


def _through_zero(b: Builder, z: Ref, a: Tensor, c: Tensor) -> Ref:
    if bool((a == 1).all()):
        return b.emit("relu", z) if bool((c == 0).all()) else b.emit("leaky_relu", z, constants={"slope": c})
    up = scale_shift(b, b.emit("relu", z), scale=a)
    down = scale_shift(b, b.emit("relu", scale_shift(b, z, scale=-1.0)), scale=-c)
    if bool((a == 0).all()) or bool((c == 0).all()):
        return down if bool((a == 0).all()) else up
    return b.emit("add", up, down, coefficients=(1, 1))


def _affine_in(b: Builder, x: Any, z: Ref) -> tuple[Tensor, Tensor] | None:
    """(c, d) with x = c z + d entry by entry, in float64, or None."""
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    if not isinstance(x, Ref):
        return zero, exact(x).double()
    if x.index == z.index:
        return one, zero
    node = b.nodes[x.index]
    if node.op == "constant":
        return zero, node.constants["value"].double()
    if node.op != "scale_shift" or node.shape != b.shape(z):
        return None
    before = _affine_in(b, Ref(node.inputs[0]), z)
    if before is None:
        return None
    scale, shift = (node.constants.get(k, v).double() for k, v in (("scale", one), ("shift", zero)))
    return before[0] * scale, before[1] * scale + shift


def mask_product(b: Builder, x: Any, y: Any) -> Any:
    """A product that is no product: x times a mask, x sign(x) = |x|, |x| sign(x) = x; None for any other."""
    if not (isinstance(x, Ref) and isinstance(y, Ref)):
        return None
    for value, other in ((x, y), (y, x)):
        node = b.nodes[other.index]
        if other.index in b.compared and b.value(value).is_floating_point() and value.index not in b.compared:
            found = _where(b, other, value, torch.zeros((), dtype=torch.float64))
            return None if found is NotImplemented or b.shape(found) != _joint(b, x, y) else found
        chosen = _of_sign(b, other, value)
        if chosen is not None:
            return chosen
        if node.op == "sign":
            read = b.nodes[value.index]
            if node.inputs == (value.index,):
                return b.emit("abs", value)
            if read.op == "abs" and read.inputs == node.inputs:
                return Ref(node.inputs[0])
    return None


def _of_sign(b: Builder, factor: Ref, x: Ref) -> Ref | None:
    """x (c sign(x) + d) = c |x| + d x, where the factor is that; None for any other."""
    inner = factor
    while b.nodes[inner.index].op == "scale_shift":
        inner = Ref(b.nodes[inner.index].inputs[0])
    if b.nodes[inner.index].op != "sign" or b.nodes[inner.index].inputs != (x.index,):
        return None
    found = _affine_in(b, factor, inner)
    if found is None or inner.index == factor.index:
        return None
    return add(b, scale_shift(b, b.emit("abs", x), scale=found[0]), scale_shift(b, x, scale=found[1]))


def _heaviside(b: Builder, x: Any, values: Any) -> Any:
    """A mask but at 0, where continuous choices agree."""
    if not isinstance(x, Ref):
        return NotImplemented
    above, at_zero = _keep(b, "aten.gt.Scalar", x, 0.0), _keep(b, "aten.eq.Scalar", x, 0.0)
    one = torch.ones((), dtype=b.value(x).dtype)
    ref = _keep(b, "aten.where.self", above, one, _keep(b, "aten.where.self", at_zero, values, 0 * one))
    b.compared[ref.index] = ("gt", x, 0.0)
    return ref


def _running(sign: float) -> Callable[..., Any]:
    """The largest (sign 1) or smallest (-1) of all entries up to each."""

    def handler(b: Builder, x: Ref, dim: int) -> Any:
        shape = b.shape(x)
        dim = wrap_dim(dim, len(shape))
        if shape[dim] > LONGEST_SORT:
            return NotImplemented
        x = x if sign > 0 else scale_shift(b, x, scale=-1.0)
        place = torch.arange(math.prod(shape)).reshape(shape).movedim(dim, -1)
        upto = place[..., None, :].expand(*place.shape, -1)
        late = torch.ones(shape[dim], shape[dim], dtype=torch.bool).triu(1)
        index = torch.where(late, upto[..., :1], upto)  # shorter windows repeat their first entry
        entries = b.emit("take", x, constants={"index": index.reshape(-1)}, shape=tuple(index.shape))
        found = b.emit("max_reduce", entries, dims=(index.ndim - 1,), keepdim=False)
        order = list(range(len(shape)))
        order.insert(dim, order.pop())
        found = b.emit("permute", found, dims=tuple(order))
        return found if sign > 0 else scale_shift(b, found, scale=-1.0), None

    return handler


def _joint(b: Builder, x: Ref, y: Ref) -> tuple[int, ...]:
    return np.broadcast_shapes(b.shape(x), b.shape(y))


def _relu(b: Builder, x: Ref) -> Ref:
    return x if b.nodes[x.index].op in ("abs", "relu") else b.emit("relu", x)


def _threshold(b: Builder, x: Ref, threshold: float, value: float) -> Any:
    t = exact(float(threshold))
    return _bent(b, x, t, _affine_in(b, x, x), (torch.zeros_like(t), exact(float(value))))


def _index_put(b: Builder, x: Any, indices: Any, value: Any, accumulate: bool = False) -> Any:
    """x[mask] = number, with a mask of x's shape."""
    mask = indices[0] if len(indices) == 1 else None
    if not isinstance(mask, Ref) or accumulate or isinstance(value, Ref) or exact(value).numel() != 1:
        return NotImplemented
    if b.shape(mask) != (b.shape(x) if isinstance(x, Ref) else tuple(x.shape)):
        return NotImplemented
    bent = _where(b, mask, exact(value).reshape(()), x)
    return _keep(b, "aten.where.self", mask, value.reshape(()), x) if bent is NotImplemented else bent


def _filled(value: float) -> Callable[..., Tensor]:
    return lambda b, x, *_, **__: torch.full(b.shape(x), value, dtype=b.value(x).dtype)


def _sort(b: Builder, x: Ref, dim: int = -1, descending: bool = False, *_: Any, **__: Any) -> Any:
    """By rounds of comparisons of neighbours, which bend where two entries are equal: so does sorting."""
    dim, shape = wrap_dim(dim, len(b.shape(x))), b.shape(x)
    if shape[dim] > LONGEST_SORT:
        return NotImplemented
    for turn in range(shape[dim]):
        x = _round(b, x, dim, turn % 2, descending)
    return x, None


def _round(b: Builder, x: Ref, dim: int, start: int, descending: bool) -> Ref:
    """Every pair (i, i + 1) with i - start even in order."""
    length = b.shape(x)[dim]
    pairs = (length - start) // 2
    if not pairs:
        return x
    cut = REARRANGE["slice"]
    ends = start + 2 * pairs
    left, right = (cut(b, x, dim, start + k, ends, 2) for k in (0, 1))
    swap = b.emit("relu", add(b, left, right, alpha=-1))  # one bend for both
    low, high = add(b, left, swap, alpha=-1), add(b, right, swap)
    rest = [cut(b, x, dim, 0, start)] if start else []
    rest += [cut(b, x, dim, ends, length)] if ends < length else []
    joined = b.emit("cat", *((high, low) if descending else (low, high)), *rest, dim=dim)
    inner = torch.stack([torch.arange(pairs), torch.arange(pairs) + pairs], dim=1).reshape(-1)
    order = torch.cat([torch.arange(2 * pairs, 2 * pairs + start), inner, torch.arange(2 * pairs + start, length)])
    return REARRANGE["index_select"](b, joined, dim, order)


def _adaptive_max_pool(b: Builder, x: Ref, size: Any) -> tuple[Ref, None]:
    """The largest of each window; shorter windows repeat their first entry."""
    size = (size,) if isinstance(size, int) else tuple(size)
    shape = b.shape(x)
    lead, spatial = shape[: len(shape) - len(size)], shape[len(shape) - len(size) :]
    place = torch.arange(math.prod(spatial)).reshape(spatial)
    for axis, (length, count) in enumerate(zip(spatial, size)):
        windows = [range(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        widest = max(len(w) for w in windows)
        rows = torch.tensor([[*w, *[w[0]] * (widest - len(w))] for w in windows])
        place = place.index_select(2 * axis, rows.reshape(-1)).unflatten(2 * axis, (count, widest))
    dims = range(2 * len(size))
    place = place.permute(*dims[::2], *dims[1::2]).reshape(*size, -1)
    start = torch.arange(math.prod(lead)).reshape(*lead, *(1,) * place.ndim) * math.prod(spatial)
    index = start + place
    entries = b.emit("take", x, constants={"index": index.reshape(-1)}, shape=tuple(index.shape))
    return b.emit("max_reduce", entries, dims=(index.ndim - 1,), keepdim=False), None


def _vector_norm(b: Builder, x: Ref, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    rank = len(b.shape(x))
    dims = range(rank) if dims is None else [dims] if isinstance(dims, int) else dims
    word = {1.0: "sum", math.inf: "max_reduce"}.get(float(order))
    if word is None:
        return NotImplemented
    return b.emit(word, b.emit("abs", x), dims=tuple(wrap_dim(d, rank) for d in dims), keepdim=bool(keepdim))


CHOICES: dict[str, Callable[..., Any]] = {
    **{kind: _compare(kind) for kind in MIRRORED},
    "logical_not": _not,
    "bitwise_not": _not,
    "logical_or": _or,
    "isnan": lambda b, x: torch.zeros(b.shape(x), dtype=torch.bool),  # real numbers are none
    "_to_copy": _cast,
    "to": _cast,
    "where": _where,
    "relu": _relu,
    "threshold": _threshold,
    "index_put": _index_put,
    "full_like": lambda b, x, value, **_: _filled(float(value))(b, x),
    "zeros_like": _filled(0.0),
    "ones_like": _filled(1.0),
    "sort": _sort,
    "cummax": _running(1.0),
    "cummin": _running(-1.0),
    "heaviside": _heaviside,
    "linalg_vector_norm": _vector_norm,
    **{f"adaptive_max_pool{n}d": _adaptive_max_pool for n in (1, 2, 3)},
}
"""ATen name -> handler."""
