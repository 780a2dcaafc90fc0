"""Whether an ONNX graph computes every row of a batch by itself, so that many rows may run together.

Each layer is tried alone: on three rows given together it must give what it gives row by row, along one dimension.
Its inputs are those of three examples, and then random numbers of the same shapes, so that nothing which happens to
agree upstream (a saturated Sign, a rounded number) hides what mixes rows. Sizes that the number of rows changes may be
shapes; arithmetic that says another thing at another number of rows (N // 4, N == 5), or a size as data, may not be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import CutawayError
from cutaway.network.onnx.host import columns, is_host
from cutaway.network.onnx.model import OnnxModel

ROWS = 3
ROW_TOLERANCE = 1e-4  # float32, relative to the largest output: wrong batching misses by far more
FEW_ROWS = 8  # whole numbers and truth values of so few entries can agree by chance, so they are drawn as often
POLYNOMIAL = ("Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Identity")
POLYNOMIAL += ("Add", "Sub", "Mul", "Neg", "ReduceProd")
SHAPED = ("Reshape", "Expand", "ConstantOfShape", "Tile")
FAULTS = (RuntimeError, ValueError, IndexError, TypeError, CutawayError)


class RowsMixed(Exception):
    """A layer that does not keep rows apart."""


def rows_are_independent(model: OnnxModel) -> bool:
    """Whether N rows together give what each gives alone, for any N. Estimate, of random inputs to every layer; it says
    no where rows end up inside another dimension. Cost: about twelve small forward passes."""
    examples = model.example(ROWS, seed=1)
    state = _State([{model.input_name: row[None]} for row in examples], {model.input_name: 0}, {})
    try:
        for name, takes, gives, drops in model.steps:
            _step(getattr(model, name), takes, gives, state)
            for value in drops:
                state.drop(value)
    except RowsMixed:
        return False
    single = state.alone[0][model.output_name]
    return isinstance(single, Tensor) and state.axes[model.output_name] == 0 and single.shape[0] == 1


class _State:
    """`alone`: for each row, its values; `axes`: the dimension of a tensor along which rows lie (None: the same for
    all rows); `sizes`: what a host value is when the rows are together."""

    def __init__(self, alone: list[dict[str, Any]], axes: dict[str, int | None], sizes: dict[str, Any]) -> None:
        self.alone, self.axes, self.sizes = alone, axes, sizes

    def drop(self, name: str) -> None:
        for values in self.alone:
            values.pop(name, None)
        self.axes.pop(name, None)
        self.sizes.pop(name, None)

    def inputs(self, takes: tuple[str, ...]) -> list[list[Any]]:
        return [[values[name] for name in takes] for values in self.alone]

    def joined(self, takes: tuple[str, ...], rows: list[list[Any]]) -> list[Any]:
        """The inputs of a layer for all rows together."""
        found = []
        for k, name in enumerate(takes):
            axis = self.axes.get(name)
            value = rows[0][k] if axis is None else torch.cat([row[k] for row in rows], axis)
            found.append(self.sizes.get(name, value))
        return found

    def random(self, takes: tuple[str, ...], rows: list[list[Any]], generator: torch.Generator) -> list[list[Any]]:
        """Other numbers of the same shapes; the same for all rows where they have the same."""
        found = [list(row) for row in rows]
        for k, name in enumerate(takes):
            if isinstance(rows[0][k], Tensor):
                for r, row in enumerate(found):
                    row[k] = found[0][k] if r and self.axes[name] is None else _random_like(row[k], generator)
        return found


def _random_like(value: Tensor, generator: torch.Generator) -> Tensor:
    if value.is_floating_point():
        return torch.randn(value.shape, generator=generator, dtype=torch.float32).to(value)
    low, high = (0, 2) if value.dtype in (torch.bool, torch.uint8) else (-5, 6)
    return torch.randint(low, high, value.shape, generator=generator).to(value)


def _step(layer: nn.Module, takes: tuple[str, ...], gives: tuple[str, ...], state: _State) -> None:
    """Add a layer's values to the state; Mixed where it does not keep rows apart."""
    rows = state.inputs(takes)
    alone, together = _run(layer, rows), None
    try:
        together = _listed(layer(*state.joined(takes, rows)))
    except FAULTS as error:
        raise RowsMixed from error
    has_rows = any(state.axes.get(name) is not None for name in takes)
    _check_sizes(layer, takes, rows[0], state)
    places = [_place([row[k] for row in alone], value, has_rows) for k, value in enumerate(together)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(_draws(rows[0], together)):
        other = state.random(takes, rows, generator)
        try:
            again = _run(layer, other)
        except FAULTS:  # whole numbers that are positions somewhere
            break
        try:
            both = _listed(layer(*state.joined(takes, other)))
        except FAULTS as error:
            raise RowsMixed from error
        if [_place([row[k] for row in again], value, has_rows) for k, value in enumerate(both)] != places:
            raise RowsMixed
    for k, name in enumerate(gives):
        for values, row in zip(state.alone, alone):
            values[name] = row[k]
        if is_host(together[k]):
            state.sizes[name] = together[k]
        else:
            state.axes[name] = places[k]


def _draws(row: list[Any], results: list[Any]) -> int:
    """How many random inputs a layer is given: none where it takes no tensor, one where its numbers are real."""
    tensors = [v for v in row if isinstance(v, Tensor)]
    if not tensors:
        return 0
    whole = [v for v in (*tensors, *results) if isinstance(v, Tensor) and not v.is_floating_point()]
    return FEW_ROWS if any(v.numel() <= ROWS * FEW_ROWS for v in whole) else 1


def _run(layer: nn.Module, rows: list[list[Any]]) -> list[list[Any]]:
    return [_listed(layer(*row)) for row in rows]


def _listed(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


def _place(alone: list[Any], together: Any, has_rows: bool) -> int | None:
    """The dimension along which the rows' values make up the value of all; None for one value for all, or a size.
    Mixed where neither is so."""
    first = alone[0]
    if is_host(first):
        if not is_host(together):
            raise RowsMixed
        return None
    shape = tuple(together.shape)
    for axis in range(first.ndim):
        whole = list(first.shape)
        whole[axis] *= len(alone)
        if tuple(whole) == shape and shape[axis] and _same(torch.cat(alone, axis), together):
            return axis
    if has_rows or not all(_same(value, together) for value in alone):
        raise RowsMixed
    return None


def _same(expected: Tensor, found: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    finite = torch.isfinite(expected)
    scale = expected[finite].abs().max().clamp_min(1e-30) if bool(finite.any()) else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=float(ROW_TOLERANCE * scale), equal_nan=True)


def _check_sizes(layer: Any, takes: tuple[str, ...], row: list[Any], state: _State) -> None:
    """Sizes that change with the number of rows are shapes, or arithmetic on them means the same for any number."""
    word = getattr(layer, "op_type", "Identity")
    many = state.joined(takes, [row])
    if word in POLYNOMIAL or word in SHAPED or not all(is_host(value) for value in row) or row == many:
        return
    one, many = (columns(layer.operands(*given)) for given in (row, many))
    if not all(_means_the_same(word, a, b) for a, b in zip(one, many)):
        raise RowsMixed


def _means_the_same(word: str, one: tuple, many: tuple) -> bool:
    """For entries of sizes at one row and at more: a division without a rest, a comparison of a growing size with a
    number below 1, a choice that stays."""
    if one == many:
        return True
    if word == "Div":
        return all(b != 0 and a % b == 0 for a, b in (one, many))
    if word == "Where":
        return one[0] == many[0]
    if word in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        pairs = list(zip(one, many))
        return any(0 < a < b for a, b in pairs) and any(a == b <= 0 for a, b in pairs)
    return False
