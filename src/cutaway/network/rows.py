"""Which axis of a site's values holds the rows of the batch, found by passing two rows and one.

Most sites have one row for each input first. Where a model permutes (`batch_first=False`, a stack of candidates) or
folds other axes into the rows, one axis has another length in the two passes; entries that several times as many as
the rows must come row by row, which their values show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from cutaway.network.sites import RowLayout, Site, SiteVisitor, first_result


class SiteShapes(SiteVisitor):
    """Shapes of what the sites read and give in one pass of `rows` rows; values too, where rows do not come first."""

    lenient = True

    def __init__(self, sites: tuple[Site, ...], rows: int) -> None:
        super().__init__(sites)
        self.rows = rows
        self.found: dict[int, list[tuple[tuple[int, ...], torch.Tensor | None]]] = {}

    def before(self, k: int, site: Site, operand: Any) -> None:
        self.found[site.ordinal] = [self._note(operand)]

    def after(self, k: int, site: Site, post: Any, operands: Sequence[Any]) -> None:
        self.found[site.ordinal].append(self._note(first_result(post, operands, site.argument)))

    def _note(self, value: torch.Tensor) -> tuple[tuple[int, ...], torch.Tensor | None]:
        first = value.dim() > 0 and value.shape[0] == self.rows
        return tuple(value.shape), None if first else value.detach().clone()


def with_layouts(sites: tuple[Site, ...], some: SiteShapes, one: SiteShapes) -> Iterator[Site]:
    """The sites with the layouts that passes of several rows (the first of them that of `one`) and of one show."""
    for site in sites:
        both = [
            _layout(some.rows, *a, *b)
            for a, b in zip(some.found.get(site.ordinal, ()), one.found.get(site.ordinal, ()), strict=False)
        ]
        if len(both) < 2 or all(layout == RowLayout() for layout, _ in both):
            yield site
            continue
        (before, shape), (after, given) = both
        yield dataclasses.replace(site, before=before, after=after, input_shape=shape, output_shape=given)


def _layout(
    rows: int,
    shape: tuple[int, ...],
    value: torch.Tensor | None,
    one_shape: tuple[int, ...],
    one_value: torch.Tensor | None,
) -> tuple[RowLayout, tuple[int, ...]]:
    """The layout, and the shape of one row."""
    rest = tuple(shape[1:])
    if len(shape) != len(one_shape):
        return RowLayout(axis=-1), rest
    axes = [i for i, (a, b) in enumerate(zip(shape, one_shape)) if a != b]
    if len(axes) != 1 or shape[axes[0]] != rows * one_shape[axes[0]]:
        return RowLayout(axis=-1), rest
    axis, per = axes[0], one_shape[axes[0]]
    rest = (*(() if per == 1 else (per,)), *shape[:axis], *shape[axis + 1 :])
    if per > 1 and (value is None or one_value is None or not _row_by_row(value, one_value, axis, per)):
        return RowLayout(axis=-1), rest
    return RowLayout(axis=axis, per=per), rest


def _row_by_row(value: torch.Tensor, one: torch.Tensor, axis: int, per: int) -> bool:
    first = value.narrow(axis, 0, per).double()
    return bool((first - one.double()).abs().max() <= 1e-3 * first.abs().max())
