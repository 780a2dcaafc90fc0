"""ONNX operators that only move numbers: shapes, slices, padding, concatenation (called as in `functions`)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.network.onnx.host import as_tuple, is_host, to_host


def _shape(attributes: dict[str, Any], x: Tensor):
    start, end = attributes.get("start", 0), attributes.get("end")
    return tuple(x.shape)[start:end]


def _reshape(attributes: dict[str, Any], x: Any, shape: Any):
    if is_host(x):
        return as_tuple(x) if as_tuple(shape) else as_tuple(x)[0]
    target = list(as_tuple(shape))
    if not attributes.get("allowzero", 0):
        target = [x.shape[k] if isinstance(size, int) and size == 0 else size for k, size in enumerate(target)]
    if attributes.get("keep_batch"):
        target[0] = x.shape[0]
    return x.reshape(target)


def _flatten(attributes: dict[str, Any], x: Tensor):
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.ndim > 1 else x[:, None]
    head = functools.reduce(operator.mul, x.shape[:axis], 1)
    return x.reshape(head, -1)


def _transpose(attributes: dict[str, Any], x: Tensor):
    return x.permute(tuple(attributes.get("perm", range(x.ndim)[::-1])))


def _squeeze(attributes: dict[str, Any], x: Any, axes: Any = None):
    if is_host(x):
        return as_tuple(x)[0] if isinstance(x, tuple) and len(x) == 1 else x
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(as_tuple(axes)))


def _unsqueeze(attributes: dict[str, Any], x: Any, axes: Any):
    if is_host(x):
        return as_tuple(x)
    ndim = x.ndim + len(as_tuple(axes))
    for axis in sorted(axis % ndim for axis in as_tuple(axes)):
        x = x.unsqueeze(axis)
    return x


def _concat(attributes: dict[str, Any], *parts: Any):
    if any(is_host(part) for part in parts):
        return tuple(entry for part in parts for entry in as_tuple(part))
    return torch.cat(parts, attributes["axis"])


def _slice(attributes: dict[str, Any], x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None):
    starts, ends = as_tuple(starts), as_tuple(ends)
    axes = range(len(starts)) if axes is None else as_tuple(axes)
    steps = (1,) * len(starts) if steps is None else as_tuple(steps)
    if is_host(x):
        return as_tuple(x)[starts[0] : ends[0] : steps[0]]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis = axis % x.ndim
        if step > 0:
            index: list[Any] = [slice(None)] * x.ndim
            index[axis] = slice(start, end, step)
            x = x[tuple(index)]
        else:  # torch has no negative steps
            size = x.shape[axis]
            first = min(max(start + size if start < 0 else start, 0), size - 1)
            last = min(max(end + size if end < 0 else end, -1), size - 1)
            rows = torch.tensor(list(range(first, last, step)), dtype=torch.int64, device=x.device)
            x = x.index_select(axis, rows)
    return x


def _gather(attributes: dict[str, Any], x: Any, indices: Any):
    axis = attributes.get("axis", 0)
    if is_host(x):
        listed = as_tuple(x)
        chosen = to_host(indices) if isinstance(indices, Tensor) else indices
        return tuple(listed[k] for k in chosen) if isinstance(chosen, tuple) else listed[chosen]
    axis = axis % x.ndim
    if is_host(indices):
        if not isinstance(indices, tuple):
            return x.select(axis, indices)
        indices = torch.tensor(indices, device=x.device)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _pad(attributes: dict[str, Any], x: Tensor, pads: Any, value: Any = None, axes: Any = None):
    pads = as_tuple(pads)
    half = len(pads) // 2
    axes = range(x.ndim) if axes is None else [axis % x.ndim for axis in as_tuple(axes)]
    flat = [0] * (2 * x.ndim)
    for k, axis in enumerate(axes):
        at = 2 * (x.ndim - 1 - axis)
        flat[at], flat[at + 1] = pads[k], pads[half + k]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, flat, value=0.0 if value is None else float(value))
    for axis in axes:
        at = 2 * (x.ndim - 1 - axis)
        if at < len(flat) and flat[at : at + 2] != [0, 0]:
            x = x.index_select(axis, _padded(x.shape[axis], flat[at], flat[at + 1], mode).to(x.device))
    return x


def _padded(size: int, before: int, after: int, mode: str) -> Tensor:
    """Which entry stands at each position of a padded dimension."""
    at = torch.arange(-before, size + after)
    if mode == "edge":
        return at.clamp(0, size - 1)
    if mode == "wrap":
        return at % size
    period = max(1, 2 * (size - 1))
    return torch.minimum(at % period, -at % period)


def _expand(attributes: dict[str, Any], x: Tensor, shape: Any):
    sizes = (tuple(x.shape), as_tuple(shape))
    plain = all(type(size) is int for size in (*sizes[0], *sizes[1]))
    return x.expand(np.broadcast_shapes(*sizes) if plain else torch.broadcast_shapes(*sizes))


def _split(attributes: dict[str, Any], x: Tensor, sizes: Any = None):
    axis = attributes.get("axis", 0) % x.ndim
    if sizes is None:
        parts = attributes["num_outputs"]
        sizes = -(-x.shape[axis] // parts)
        return list(x.split(sizes, axis))
    return list(x.split(list(as_tuple(sizes)), axis))


MOVES: dict[str, Callable] = {
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Split": _split,
}
