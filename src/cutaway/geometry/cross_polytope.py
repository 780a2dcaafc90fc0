"""The vertices x +- r v_p of many points as one tensor that is only spelled out behind the first nonlinearity.

An affine layer W maps the 2P vertices of n points to W x +- r W v_p, so n + P + 1 rows (points, steps, and a zero row
that carries the bias) stand for 2 P n of them as long as nothing but affine operations have touched them.
`CrossPolytope` is a tensor of shape (2 P n, ...) that keeps these rows and sends them through linear layers,
convolutions, batch normalisation in evaluation mode, flattening and arithmetic with numbers; anything else first makes
the real tensor. Values are the same up to rounding.

    vertices = CrossPolytope.of(points, steps)      # (n, ...), (P, ...) -> a tensor of shape (n * 2 * P, ...)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWWISE = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d})
_SHAPES = frozenset({Tensor.flatten, torch.flatten, Tensor.contiguous})
_VIEWS = frozenset({Tensor.reshape, torch.reshape, Tensor.view})
_ARITHMETIC = frozenset(
    getattr(home, name)
    for home, names in (
        (
            Tensor,
            "add sub mul div true_divide neg __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __neg__",
        ),
        (torch, "add sub mul div neg"),
    )
    for name in names.split()
)


class CrossPolytope(torch.Tensor):
    """A tensor (n * 2P, ...) held as rows (n + P + 1, ...); see the module."""

    rows: Tensor | None
    points: int
    steps: int
    dense: Tensor | None
    channels_last: bool
    view_of: CrossPolytope | None

    @staticmethod
    def of(points: Tensor, steps: Tensor, *, channels_last: bool = False) -> CrossPolytope:
        """The vertices points +- steps, `points` (n, ...), `steps` (P, ...) of the same shape and dtype.

        `channels_last`: images are spelled out with the channels last in memory, which convolutions are faster on, but
        a model that calls `view` on them fails.
        """
        rows = torch.cat([points, steps, torch.zeros_like(steps[:1])])
        return CrossPolytope._make(rows, len(points), len(steps), channels_last)

    @staticmethod
    def _make(rows: Tensor, points: int, steps: int, channels_last: bool) -> CrossPolytope:
        shape = (2 * steps * points, *rows.shape[1:])
        made = torch.Tensor._make_wrapper_subclass(CrossPolytope, shape, dtype=rows.dtype, device=rows.device)
        made.rows, made.points, made.steps, made.dense = rows, points, steps, None
        made.channels_last, made.view_of = channels_last, None
        return made

    def parts(self) -> tuple[Tensor, Tensor] | None:
        """(centres (n, ...), linear steps (P, ...)) while nothing has been changed in place, else None."""
        if self.rows is None:
            return None
        return self.rows[: self.points], self.rows[self.points : -1] - self.rows[-1:]

    def spell_out(self) -> Tensor:
        """The real tensor, made once."""
        if self.dense is None:
            found = self.parts()
            assert found is not None
            centre, step = found
            made = torch.stack([centre[:, None] + step, centre[:, None] - step], dim=1).flatten(0, 2)
            wanted = torch.channels_last if self.channels_last and made.dim() == 4 else torch.contiguous_format
            self.dense = made.contiguous(memory_format=wanted)
        return self.dense

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("__get__", "size", "dim", "numel", "__len__", "is_floating_point", "stride", "ndimension"):
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        lazy = args[0] if args and isinstance(args[0], CrossPolytope) else None
        if lazy is not None and lazy.rows is not None:
            rows = _on_rows(func, lazy, args, kwargs)
            if rows is not None:
                made = CrossPolytope._make(rows, lazy.points, lazy.steps, lazy.channels_last)
                made.view_of = lazy if func in _SHAPES or func in _VIEWS or func is F.dropout else None
                return made
        changed = (name.endswith("_") and not name.endswith("__")) or kwargs.get("inplace") or "out" in kwargs
        if name == "__setitem__" or (func in (F.relu, F.leaky_relu, F.hardtanh, F.elu) and True in args[1:]):
            changed = True
        given = [_plain(a, bool(changed)) for a in args]
        return func(*given, **{k: _plain(v, bool(changed)) for k, v in kwargs.items()})

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        """What comes here without passing `__torch_function__` works on the real tensor."""
        return func(*(_plain(a, False) for a in args), **{k: _plain(v, False) for k, v in (kwargs or {}).items()})


def _on_rows(func: Any, lazy: CrossPolytope, args: tuple, kwargs: dict[str, Any]) -> Tensor | None:
    """What the function makes of the rows, None where it is not affine row by row or not known here."""
    assert lazy.rows is not None
    rest = args[1:]
    if any(isinstance(a, CrossPolytope) for a in (*rest, *kwargs.values())):
        return None
    if func in _ROWWISE:
        return func(lazy.rows, *rest, **kwargs)
    if func is F.batch_norm and not kwargs.get("training", rest[4] if len(rest) > 4 else False):
        return func(lazy.rows, *rest, **kwargs)
    if func is F.dropout and not kwargs.get("training", rest[1] if len(rest) > 1 else True):
        return lazy.rows
    if func in _SHAPES:
        start = kwargs.get("start_dim", rest[0] if rest else 0)
        return func(lazy.rows, *rest, **kwargs) if func is Tensor.contiguous or start != 0 else None
    if func in _VIEWS:
        shape = rest[0] if len(rest) == 1 and not isinstance(rest[0], int) else rest
        if kwargs or not shape or shape[0] not in (-1, lazy.shape[0]):
            return None
        wanted = torch.Size(shape[1:])
        inner = lazy.rows[0].numel()
        known = -1 not in wanted
        if known and wanted.numel() != inner:
            return None
        return lazy.rows.reshape(len(lazy.rows), *wanted) if known or shape[0] != -1 else None
    if func in _ARITHMETIC:
        return func(lazy.rows, *rest, **kwargs) if all(_constant(a, lazy.rows) for a in rest) and not kwargs else None
    return None


def _constant(value: Any, rows: Tensor) -> bool:
    """A number, or a tensor that is the same for every row."""
    if isinstance(value, int | float):
        return True
    return isinstance(value, Tensor) and (value.dim() < rows.dim() or len(value) == 1) and value.dim() <= rows.dim()


def _plain(value: Any, changed: bool) -> Any:
    """Arguments with real tensors in place of `CrossPolytope`, which forgets its rows when it is changed in place."""
    if isinstance(value, CrossPolytope):
        real = value.spell_out()
        if changed:
            _forget(value)
        return real
    if isinstance(value, list | tuple):
        return type(value)(_plain(v, changed) for v in value)
    return value


def _forget(changed: CrossPolytope) -> None:
    """A tensor that is changed in place, and those it is a view of, are their real tensor from now on."""
    real, tensor = changed.spell_out(), changed
    while tensor is not None:
        tensor.rows, tensor.dense = None, real.reshape(tensor.shape)
        tensor = tensor.view_of
