"""Handlers of writes into parts of a tensor (in-place through views, circular padding) and of running sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.operators import apply_node, resolve_target
from cutaway.network.graph.rearrange import wrap_dim

MOVES = frozenset({"reshape", "permute", "expand", "slice", "take"})


def _places(b: Builder, x: Any) -> tuple[int | None, Tensor]:
    """(node, positions in it) that the entries of `x` are copies of, where -1 stands for 0; (None, -1) for zeros."""
    if not isinstance(x, Ref):
        return None, torch.full(tuple(x.shape), -1.0, dtype=torch.float64)
    if x.index in b.moved:
        return b.moved[x.index]
    node = b.nodes[x.index]
    if node.op in MOVES:
        root, places = _places(b, Ref(node.inputs[0]))
        return root, apply_node(node, [places])
    return x.index, torch.arange(b.value(x).numel(), dtype=torch.float64).reshape(node.shape)


def _scatter(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Handler for `function(into, source, ...)`, which copies the entries of `source` into places of `into`."""

    def handler(b: Builder, into: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, Ref) for a in args):
            return NotImplemented
        plain = [v for v in (into, source) if not isinstance(v, Ref)]
        (one, first), (two, second) = _places(b, into), _places(b, source)
        if not any(bool((v != 0).any()) for v in plain) and (one is None or two is None or one == two):
            root = one if one is not None else two
            assert root is not None
            return _taken(b, root, function(first, second, *args, **kwargs))
        return _joined(b, into, source, function, args, kwargs)

    return handler


def _taken(b: Builder, root: int, places: Tensor) -> Ref:
    flat = b.emit("reshape", Ref(root), shape=(b.value(Ref(root)).numel(),))
    index = places.round().to(torch.int64)
    if bool((index < 0).any()):
        index = torch.where(index < 0, b.shape(flat)[0], index)
        flat = b.emit("cat", flat, torch.zeros(1, dtype=torch.float64), dim=0)
    ref = b.emit("take", flat, constants={"index": index.reshape(-1)}, shape=tuple(places.shape))
    b.moved[ref.index] = root, places
    return ref


def _joined(
    b: Builder, into: Any, source: Any, function: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Ref:
    """Both end to end, and every entry taken from one of them."""
    parts, sizes = [], []
    for value in (into, source):
        count = (b.value(value) if isinstance(value, Ref) else value).numel()
        flat = b.emit("reshape", value, shape=(count,)) if isinstance(value, Ref) else value.reshape(-1)
        parts.append(flat)
        sizes.append(torch.arange(count, dtype=torch.float64))
    shapes = [b.shape(v) if isinstance(v, Ref) else tuple(v.shape) for v in (into, source)]
    places = function(sizes[0].reshape(shapes[0]), (sizes[1] + len(sizes[0])).reshape(shapes[1]), *args, **kwargs)
    whole = b.emit("cat", *parts, dim=0)
    index = places.reshape(-1).round().to(torch.int64)
    return b.emit("take", whole, constants={"index": index}, shape=tuple(places.shape))


def _copy(b: Builder, into: Any, source: Any, *_: Any) -> Any:
    shape = b.shape(into) if isinstance(into, Ref) else tuple(into.shape)
    if not isinstance(source, Ref):
        return torch.broadcast_to(source, shape).clone()
    return source if b.shape(source) == shape else b.emit("expand", source, shape=shape)


def along(b: Builder, x: Ref, dim: int, matrix: Tensor) -> Ref:
    """sum_j matrix[i, j] x_j along a dimension."""
    rank = len(b.shape(x))
    dims = list(range(rank))
    dims[dim], dims[-1] = dims[-1], dims[dim]
    y = b.emit("linear", b.emit("permute", x, dims=tuple(dims)), constants={"weight": matrix})
    return b.emit("permute", y, dims=tuple(dims))


def _cumsum(b: Builder, x: Ref, dim: int, **_: Any) -> Ref:
    dim = wrap_dim(dim, len(b.shape(x)))
    return along(b, x, dim, torch.ones(b.shape(x)[dim], b.shape(x)[dim], dtype=torch.float64).tril())


def _bilinear(b: Builder, x: Ref, *args: Any) -> Ref:
    """Bilinear upsampling is one interpolation along each dimension; their weights are read off unit vectors."""
    run, shape = resolve_target(b.target), b.shape(x)
    high, wide = shape[-2:]
    rows = run(torch.eye(high, dtype=torch.float64)[:, None, :, None].expand(-1, 1, -1, wide).contiguous(), *args)
    columns = run(torch.eye(wide, dtype=torch.float64)[:, None, None, :].expand(-1, 1, high, -1).contiguous(), *args)
    y = along(b, x, len(shape) - 2, rows[:, 0, :, 0].mT.contiguous())
    return along(b, y, len(shape) - 1, columns[:, 0, 0, :].mT.contiguous())


SCATTER: dict[str, Callable[..., Any]] = {
    "slice_scatter": _scatter(torch.slice_scatter),
    "select_scatter": _scatter(torch.select_scatter),
    "diagonal_scatter": _scatter(torch.diagonal_scatter),
    "copy": _copy,
    "cumsum": _cumsum,
    "upsample_bilinear2d": _bilinear,
}
"""ATen name -> handler."""
