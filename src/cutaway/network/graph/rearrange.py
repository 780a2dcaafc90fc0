"""Handlers of operators that move, repeat, pool or cut values without nonlinear arithmetic (see `normalise`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph.builder import Builder, Ref


def wrap_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front."""
    return dim + rank if dim < 0 else dim


def _same(b: Builder, x: Ref, *_: Any, **__: Any) -> Ref:
    return x


def _reshape_like(function: Callable[..., Tensor]) -> Callable[..., Ref]:
    """Handler for operators that only change the shape."""
    return lambda b, x, *args: b.emit("reshape", x, shape=tuple(function(b.value(x), *args).shape))


def _take_by(function: Callable[..., Tensor]) -> Callable[..., Ref]:
    """Handler for any rearrangement: the operator is run on the numbers 0, 1, 2, ... to see where values come from."""

    def handler(b: Builder, x: Ref, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, Ref) for a in args):
            return NotImplemented
        count = b.value(x).numel()
        positions = function(torch.arange(count, dtype=torch.float64).reshape(b.shape(x)), *args, **kwargs)
        index = positions.reshape(-1).round().to(torch.int64)
        return b.emit("take", x, constants={"index": index}, shape=tuple(positions.shape))

    return handler


def _squeeze(b: Builder, x: Ref, dims: Any = None) -> Ref:
    value = b.value(x)
    dims = tuple(dims) if isinstance(dims, list | tuple) else dims
    return b.emit("reshape", x, shape=tuple((value.squeeze() if dims is None else value.squeeze(dims)).shape))


def _permute(b: Builder, x: Ref, dims: Any) -> Ref:
    return b.emit("permute", x, dims=tuple(wrap_dim(d, len(dims)) for d in dims))


def _transpose(b: Builder, x: Ref, first: int, second: int) -> Ref:
    dims = list(range(len(b.shape(x))))
    dims[first], dims[second] = dims[second], dims[first]
    return b.emit("permute", x, dims=tuple(dims))


def _expand(b: Builder, x: Ref, shape: Sequence[int], **_: Any) -> Ref:
    return b.emit("expand", x, shape=tuple(b.value(x).expand(shape).shape))


def _slice(b: Builder, x: Ref, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Ref:
    dim = wrap_dim(dim, len(b.shape(x)))
    start, end, step = slice(start, end, step).indices(b.shape(x)[dim])
    if (start, end, step) == (0, b.shape(x)[dim], 1):
        return x
    return b.emit("slice", x, dim=dim, start=start, end=end, step=step)


def _select(b: Builder, x: Ref, dim: int, index: int) -> Ref:
    dim = wrap_dim(dim, len(b.shape(x)))
    index = wrap_dim(index, b.shape(x)[dim])
    piece = b.emit("slice", x, dim=dim, start=index, end=index + 1, step=1)
    shape = b.shape(piece)
    return b.emit("reshape", piece, shape=(*shape[:dim], *shape[dim + 1 :]))


def _split(b: Builder, x: Ref, sizes: Any, dim: int = 0) -> list[Ref]:
    dim = wrap_dim(dim, len(b.shape(x)))
    total = b.shape(x)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - i) for i in range(0, total, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [b.emit("slice", x, dim=dim, start=s, end=s + n, step=1) for s, n in zip(starts, sizes)]


def _unbind(b: Builder, x: Ref, dim: int = 0) -> list[Ref]:
    return [_select(b, x, dim, i) for i in range(b.shape(x)[wrap_dim(dim, len(b.shape(x)))])]


def _cat(b: Builder, parts: Sequence[Any], dim: int = 0) -> Ref:
    parts = [p for p in parts if isinstance(p, Ref) or p.numel()]
    rank = len(b.shape(next(p for p in parts if isinstance(p, Ref))))
    return b.emit("cat", *parts, dim=wrap_dim(dim, rank))


def _stack(b: Builder, parts: Sequence[Any], dim: int = 0) -> Ref:
    rank = len(b.shape(next(p for p in parts if isinstance(p, Ref)))) + 1
    dim = wrap_dim(dim, rank)
    raised = []
    for part in parts:
        if isinstance(part, Ref):
            shape = b.shape(part)
            raised.append(b.emit("reshape", part, shape=(*shape[:dim], 1, *shape[dim:])))
        else:
            raised.append(part.unsqueeze(dim))
    return _cat(b, raised, dim)


def _pad(b: Builder, x: Ref, pad: Sequence[int], value: float = 0.0) -> Ref:
    return b.emit("pad", x, pad=tuple(pad), value=float(value))


def _pair(value: Any, count: int) -> tuple:
    value = (value,) if isinstance(value, int) else tuple(value)
    return value * count if len(value) == 1 else value


def _avg_pool(count: int):
    def handler(
        b: Builder,
        x: Ref,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Ref:
        kernel = _pair(kernel, count)
        return b.emit(
            "avg_pool",
            x,
            kernel=kernel,
            stride=_pair(stride, count) if stride else kernel,
            padding=_pair(padding, count),
            ceil_mode=bool(ceil_mode),
            count_include_pad=bool(count_include_pad),
            divisor=divisor_override,
        )

    return handler


def _max_pool(count: int, with_indices: bool):
    def handler(
        b: Builder, x: Ref, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        kernel = _pair(kernel, count)
        ref = b.emit(
            "max_pool",
            x,
            kernel=kernel,
            stride=_pair(stride, count) if stride else kernel,
            padding=_pair(padding, count),
            dilation=_pair(dilation, count),
            ceil_mode=bool(ceil_mode),
        )
        return (ref, None) if with_indices else ref

    return handler


def _adaptive_avg_pool(count: int):
    return lambda b, x, size: b.emit("adaptive_avg_pool", x, size=_pair(size, count))


def _index(x: Tensor, indices: Sequence[Any]) -> Tensor:
    return x[tuple(slice(None) if i is None else i for i in indices)]


def _upsample(x: Tensor, size: Sequence[int] | None = None, scales: Any = None, *more: float) -> Tensor:
    shape = x.shape
    flat = x.reshape(1, -1, *shape[-2:])
    if isinstance(scales, int | float):  # the overload (size, scale height, scale width)
        scales = (scales, *more)
    scale = tuple(scales) if size is None and scales is not None else None
    grown = F.interpolate(flat, size=tuple(size) if size is not None else None, scale_factor=scale, mode="nearest")
    return grown.reshape(*shape[:-2], *grown.shape[-2:])


REARRANGE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "dropout", "lift_fresh_copy", "native_dropout"), _same),
    "view": _reshape_like(lambda x, shape: x.reshape(shape)),
    "reshape": _reshape_like(lambda x, shape: x.reshape(shape)),
    "_unsafe_view": _reshape_like(lambda x, shape: x.reshape(shape)),
    "flatten": _reshape_like(torch.flatten),
    "unsqueeze": _reshape_like(torch.unsqueeze),
    "squeeze": _squeeze,
    "permute": _permute,
    "transpose": _transpose,
    "t": lambda b, x: _transpose(b, x, 0, 1) if len(b.shape(x)) == 2 else x,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "narrow": lambda b, x, dim, start, length: _slice(b, x, dim, start, start + length),
    "split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "cat": _cat,
    "stack": _stack,
    "constant_pad_nd": _pad,
    "index": _take_by(_index),
    "index_select": _take_by(torch.index_select),
    "unfold": _take_by(lambda x, dim, size, step: x.unfold(dim, size, step)),
    "flip": _take_by(torch.flip),
    "roll": _take_by(torch.roll),
    "repeat": _take_by(lambda x, sizes: x.repeat(sizes)),
    "gather": _take_by(lambda x, dim, index, **_: x.gather(dim, index)),
    "diagonal": _take_by(torch.diagonal),
    "pixel_shuffle": _take_by(F.pixel_shuffle),
    "upsample_nearest2d": _take_by(_upsample),
    "reflection_pad1d": _take_by(lambda x, pad: F.pad(x, pad, mode="reflect")),
    "reflection_pad2d": _take_by(lambda x, pad: F.pad(x, pad, mode="reflect")),
    "replication_pad2d": _take_by(lambda x, pad: F.pad(x, pad, mode="replicate")),
    "avg_pool1d": _avg_pool(1),
    "avg_pool2d": _avg_pool(2),
    "avg_pool3d": _avg_pool(3),
    "max_pool1d": _max_pool(1, False),
    "max_pool2d": _max_pool(2, False),
    "max_pool3d": _max_pool(3, False),
    "max_pool2d_with_indices": _max_pool(2, True),
    "max_pool3d_with_indices": _max_pool(3, True),
    **{f"{p}adaptive_avg_pool{n}d": _adaptive_avg_pool(n) for p in ("", "_") for n in (1, 2, 3)},
}
"""ATen name -> handler."""
