"""What is known of where a model comes from: weights that nobody trained, and the range of the inputs it learned on.

While a factory runs, what every random fill gave is noted by size, sum and sum of squares. A weight whose values are
among these has not been trained or loaded since. Weights that are made by more than one step (`0.1 * torch.randn(...)`)
are not found: the answer errs on the side of silence.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLS = frozenset(
    {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"}
    | {"orthogonal_", "sparse_", "rand", "randn", "rand_like", "randn_like", "normal"}
)

_ranges: weakref.WeakKeyDictionary[nn.Module, tuple[float, float]] = weakref.WeakKeyDictionary()
_seen: weakref.WeakKeyDictionary[nn.Module, frozenset[tuple]] = weakref.WeakKeyDictionary()


class _Noting(TorchFunctionMode):
    """Notes the values that every random fill gives."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in FILLS and isinstance(result, Tensor) and result.dim() > 1:
            self.found.add(_mark(result))
        return result


@contextlib.contextmanager
def noting_fills() -> Iterator[list[nn.Module]]:
    """Notes random fills of what runs inside; put the model made there into the list that is given."""
    made: list[nn.Module] = []
    with _Noting() as noted:
        yield made
    for model in made:
        _seen[model] = frozenset(noted.found)


def fresh_weights(model: nn.Module) -> tuple[list[str], int]:
    """Names of the weights (two dimensions and more) that are as a random fill left them, and how many there are in
    all. Nothing is known, and no name given, of a model that was not made under `noting_fills`."""
    weights = [(name, p) for name, p in model.named_parameters() if p.dim() > 1 and p.numel() > 1]
    marks = _seen.get(model, frozenset())
    return [name for name, p in weights if marks and _mark(p) in marks], len(weights)


def note_range(model: nn.Module, value_range: tuple[float, float] | None) -> None:
    """Keep the smallest and largest input value that `model` was trained on."""
    if value_range is not None:
        _ranges[model] = value_range


def trained_range(model: nn.Module) -> tuple[float, float] | None:
    """What `note_range` kept, else None."""
    return _ranges.get(model)


def _mark(values: Tensor) -> tuple:
    if values.device.type == "meta" or not values.is_floating_point():
        return ()
    wide = values.detach().double()
    return tuple(values.shape), float(wide.sum()), float(wide.square().sum())
