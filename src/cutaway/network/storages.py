"""Numbers for the memory of tensors: equal where two tensors share it, and never given twice.

An address alone will not do: when a tensor goes, the next may lie where it lay. Here it is forgotten with its storage,
so that nothing has to be kept alive to tell tensors apart.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from torch import Tensor

Identity = tuple[Any, ...]
"""Storage, place in it and version: two tensors with the same identity hold the same values."""


class Storages:
    """The numbers of one run."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}
        self._next = itertools.count()

    def number(self, tensor: Tensor) -> int:
        """The number of the tensor's storage, a new one where it has none."""
        key, storage = _address(tensor)
        if key not in self._known:
            known = self._known
            self._known[key] = next(self._next), weakref.ref(storage, lambda _: known.pop(key, None))
        return self._known[key][0]

    def seen(self, tensor: Tensor) -> int | None:
        """The number of the tensor's storage; None where it was never asked for."""
        known = self._known.get(_address(tensor)[0])
        return None if known is None else known[0]

    def identity(self, tensor: Tensor) -> Identity:
        """What two tensors share that hold the same values at the same time."""
        try:
            version: Any = tensor._version
            place = tensor.storage_offset(), tuple(tensor.stride())
        except (RuntimeError, NotImplementedError):  # inference and sparse tensors: equal to nothing
            version, place = object(), ()
        return (self.number(tensor), tuple(tensor.shape), place, version)


def _address(tensor: Tensor) -> tuple[int, Any]:
    """Where the tensor's values lie, and the object that lives as long as they."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr() or id(storage), storage
    except (RuntimeError, NotImplementedError):  # sparse and opaque tensors have none
        return id(tensor), tensor
