"""A labelled set of inputs, checked once when it is made, so that nothing behind it has to check again.

`inputs` has shape (N, ...): images are NCHW float32 in [0, 1], tables are (N, columns), token sets are int64 (N,
length). `labels` has shape (N,) int64 in 0..num_classes-1, or is None; so has `labels2`, a second label of the same
classes. `groups` (N,) int64 numbers `group_names`. Pixel units: an attack radius r is meant in
the units of `value_range` (0 to 1 for the named image sets, so 8/255 is eight grey levels); `radius_in_inputs` and
`bounds` turn it into the units of the inputs when these were normalised.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cutaway._compat import own_device
from cutaway.data.columns import checked_groups
from cutaway.errors import InputError

INPUT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Inputs with optional labels; raises InputError when they are not usable.

    name: how the set is called in reports. value_range: (low, high) of the data before normalisation, None where
    there is none. mean, std: per channel (dimension 1), set by `normalised`; the inputs are then (raw - mean) / std.
    note: a caveat that belongs into every report on this set. groups: which part of the population a row is of, any
    categories (numbers or words, made numbers of `group_names`). labels2: another answer for each row, where a first
    one is there.
    """

    name: str
    inputs: Tensor
    labels: Tensor | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    note: str = ""
    groups: Tensor | None = None
    group_names: tuple[str, ...] | None = None
    labels2: Tensor | None = None

    @own_device()
    def __post_init__(self) -> None:
        _check_inputs(self.name, self.inputs)
        self._check_labels()
        if self.groups is not None:
            groups, names = checked_groups(self.name, self.groups, len(self.inputs), self.group_names)
            object.__setattr__(self, "groups", groups)
            object.__setattr__(self, "group_names", names)
        if self.class_names is not None and self.num_classes not in (None, len(self.class_names)):
            raise InputError(
                f"class names of data set {self.name!r}",
                found=f"{len(self.class_names)} names",
                expected=f"one for each of the {self.num_classes} classes",
                remedy="give a name for every class",
            )
        if (self.mean is None) != (self.std is None):
            raise InputError(
                f"data set {self.name!r}",
                found="one of mean and std",
                expected="both or none",
                remedy="give the other one too, or neither",
            )

    def _check_labels(self) -> None:
        if self.labels is None:
            if self.labels2 is not None:
                raise InputError(
                    f"data set {self.name!r}",
                    found="second labels without first ones",
                    expected="labels beside labels2",
                    remedy="give labels, or leave labels2 out",
                )
            return
        num_classes = self.num_classes or (len(self.class_names) if self.class_names else None)
        both = ("labels", "labels2") if self.labels2 is not None else ("labels",)
        found = {
            kind: _checked_labels(self.name, getattr(self, kind), len(self.inputs), num_classes, what=kind)
            for kind in both
        }
        for kind, labels in found.items():
            object.__setattr__(self, kind, labels)
        object.__setattr__(self, "num_classes", num_classes or max(int(v.max()) for v in found.values()) + 1)

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        classes = f", {self.num_classes} classes" if self.labels is not None else ", no labels"
        classes += ", second labels" if self.labels2 is not None else ""
        classes += f", {len(self.group_names)} groups" if self.group_names else ""
        return f"Dataset({self.name!r}, {tuple(self.inputs.shape)} {str(self.inputs.dtype)[6:]}{classes})"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch dimension."""
        return tuple(self.inputs.shape[1:])

    @property
    def units(self) -> str:
        """In which unit an attack radius on this set is given, in words."""
        if self.value_range is None:
            return "radii are in the units of the inputs"
        low, high = self.value_range
        scaled = " (before normalisation)" if self.mean is not None else ""
        return f"radii are in the units of the data range {low:g} to {high:g}{scaled}"

    def fingerprint(self) -> str:
        """sha256 (hex) of dtype, shape and bytes of inputs and labels and of the number of classes, and of
        second labels and groups (numbers and words) where there are any; the name does not count."""
        digest = hashlib.sha256(f"{self.num_classes}".encode())
        _update(digest, self.inputs)
        digest.update(b"none") if self.labels is None else _update(digest, self.labels)
        for kind in ("labels2", "groups"):
            if getattr(self, kind) is not None:
                digest.update(kind.encode())
                _update(digest, getattr(self, kind))
        if self.group_names is not None:
            digest.update(json.dumps(self.group_names).encode())
        return digest.hexdigest()

    def subset(self, indices) -> Dataset:
        """The rows `indices` (any integer sequence), in that order.

        Raises `InputError` for row numbers that are not there.
        """
        chosen = torch.from_numpy(np.ascontiguousarray(indices).astype(np.int64))
        if chosen.numel() and (int(chosen.min()) < 0 or int(chosen.max()) >= len(self)):
            raise InputError(
                f"row numbers for data set {self.name!r}",
                found=f"{int(chosen.min())} to {int(chosen.max())}",
                expected=f"0 to {len(self) - 1}",
                remedy="give row numbers in this range",
            )
        rows = {kind: getattr(self, kind) for kind in ("labels", "labels2", "groups")}
        kept = {kind: None if values is None else values[chosen] for kind, values in rows.items()}
        return replace(self, inputs=self.inputs[chosen], **kept)

    def first(self, num: int) -> Dataset:
        """The first `num` rows. Raises `InputError` for more rows than there are."""
        _check_num(self.name, num, len(self))
        return self.subset(np.arange(num))

    def take(self, num: int, seed: int = 0, balanced: bool = True) -> Dataset:
        """`num` rows without replacement, the same for the same seed, in their original order.

        With labels and `balanced`, every class gives equally many (they differ by at most one, except where a class
        has no more rows); otherwise a uniform draw. Raises InputError when num is below 1 or above the number of rows.
        """
        _check_num(self.name, num, len(self))
        labels = self.labels.cpu().numpy() if self.labels is not None and balanced else None
        return self.subset(choose_rows(len(self), num, seed, labels))

    def normalised(self, mean=None, std=None) -> Dataset:
        """(inputs - mean) / std per channel; mean and std (tuples over dimension 1) are measured on this set when not
        given.

        Raises `InputError` for tokens, a set that is normalised already, and means or deviations that are no finite
        numbers, one a channel.
        """
        if self.mean is not None:
            raise InputError(
                f"data set {self.name!r}",
                found="a set that is normalised already",
                expected="raw inputs",
                remedy="give the set before it was normalised",
            )
        if not self.inputs.is_floating_point():
            raise InputError(
                f"data set {self.name!r}",
                found="token inputs",
                expected="floating-point inputs to normalise",
                remedy="leave normalisation out for tokens",
            )
        dims = [dim for dim in range(self.inputs.ndim) if dim != 1]
        raw = self.inputs.double()
        mean = tuple(raw.mean(dims).tolist()) if mean is None else tuple(float(m) for m in mean)
        std = tuple(raw.std(dims, correction=0).tolist()) if std is None else tuple(float(s) for s in std)
        if len(mean) != len(std) or len(mean) not in (1, self.inputs.shape[1]) or min(std) <= 0:
            raise InputError(
                f"normalisation of data set {self.name!r}",
                found=f"mean {mean}, std {std}",
                expected=f"{self.inputs.shape[1]} numbers each (or one), every std above 0",
                remedy="drop the constant channels, or give std yourself",
            )
        scaled = (raw - self.channels(mean)) / self.channels(std)
        return replace(self, inputs=scaled.to(self.inputs.dtype), mean=mean, std=std)

    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest legal input, in the units of the inputs, broadcastable over them; None without a value
        range.

        Shape (1, channels, 1, ...) or a scalar each.
        """
        if self.value_range is None:
            return None
        low, high = (torch.tensor(v, dtype=torch.float64) for v in self.value_range)
        if self.mean is not None and self.std is not None:
            low, high = ((v - self.channels(self.mean)) / self.channels(self.std) for v in (low, high))
        return low.to(self.inputs.dtype), high.to(self.inputs.dtype)

    def radius_in_inputs(self, radius: float) -> Tensor:
        """A radius in data units as a tensor in the units of the inputs (radius / std per channel), broadcastable
        over them.

        Shape (1, channels, 1, ...) or a scalar.
        """
        value = torch.tensor(float(radius), dtype=torch.float64)
        if self.std is not None:
            value = value / self.channels(self.std)
        return value.to(self.inputs.dtype)

    def channels(self, values: tuple[float, ...]) -> Tensor:
        """One value a channel, float64, shaped to stand beside the inputs: (1, channels, 1, ...)."""
        return torch.tensor(values, dtype=torch.float64).reshape(1, -1, *[1] * (self.inputs.ndim - 2))


def _update(digest, tensor: Tensor) -> None:
    """Feed type, shape and bytes of a tensor to a hash."""
    plain = tensor.detach().cpu().contiguous()
    digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)


def choose_rows(num_rows: int, num: int, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
    """`num` sorted row numbers out of num_rows, as equal over the classes as the class sizes allow when labels are
    given.

    A random permutation is stably ordered by each row's rank within its class, and the first `num` are kept. Only as
    much of the permutation is looked at as can hold them. Memory: the permutation, 8 bytes a row.
    """
    order = np.random.default_rng(seed).permutation(num_rows)
    if labels is None:
        return np.sort(order[:num])
    labels = np.asarray(labels)
    classes, there = np.unique(labels, return_counts=True)
    looked_at = 8 * num * len(classes)
    while True:
        part = order[:looked_at]
        shuffled = labels[part]
        rank, seen = np.empty(len(part), dtype=np.int64), np.zeros(len(classes), dtype=np.int64)
        for k, value in enumerate(classes):
            (where,) = np.nonzero(shuffled == value)
            rank[where], seen[k] = np.arange(len(where)), len(where)
        chosen = np.argsort(rank, kind="stable")[:num]
        if len(part) == num_rows or (len(chosen) == num and (seen >= np.minimum(there, rank[chosen].max())).all()):
            return np.sort(part[chosen])  # whatever comes later has a higher rank, or its place after them
        looked_at *= 4


def _check_num(name: str, num: int, available: int) -> None:
    if not 1 <= num <= available:
        raise InputError(
            f"data set {name!r}",
            found=f"a request for {num} rows",
            expected=f"1 to {available}, the number of rows there are",
            remedy=f"ask for at most {available}",
        )


def _check_inputs(name: str, inputs: Tensor) -> None:
    if not isinstance(inputs, Tensor):
        raise InputError(
            f"inputs of data set {name!r}",
            found=type(inputs).__name__,
            expected="a torch tensor",
            remedy="convert them with torch.as_tensor",
        )
    if inputs.dtype not in INPUT_DTYPES:
        raise InputError(
            f"inputs of data set {name!r}",
            found=f"dtype {str(inputs.dtype)[6:]}",
            expected="float32 (or another float), int64 for tokens",
            remedy="convert them; images are float32 in [0, 1]",
        )
    if inputs.ndim < 2:
        raise InputError(
            f"inputs of data set {name!r}",
            found=f"shape {tuple(inputs.shape)}",
            expected="(N, ...), one row for each input",
            remedy="add a dimension for the rows",
        )
    if inputs.numel() == 0:
        raise InputError(
            f"data set {name!r}",
            found=f"no data, shape {tuple(inputs.shape)}",
            expected="at least one row and one feature",
            remedy="give at least one row with one number",
        )
    if inputs.is_floating_point():
        bad = ~torch.isfinite(inputs).flatten(1).all(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            kind = "NaN" if bool(torch.isnan(inputs[row]).any()) else "an infinite value"
            raise InputError(
                f"row {row} of data set {name!r}",
                found=f"{kind} ({int(bad.sum())} of {len(inputs)} rows are not finite)",
                expected="finite inputs",
                remedy="drop or repair these rows",
            )


def _checked_labels(name: str, labels: Tensor, num_rows: int, num_classes: int | None, what: str = "labels") -> Tensor:
    labels = torch.as_tensor(labels)
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise InputError(
            f"{what} of data set {name!r}",
            found=f"dtype {str(labels.dtype)[6:]}",
            expected="integer class numbers",
            remedy="number the classes with whole numbers",
        )
    if tuple(labels.shape) != (num_rows,):
        raise InputError(
            f"{what} of data set {name!r}",
            found=f"shape {tuple(labels.shape)}",
            expected=f"({num_rows},), one label for each of the {num_rows} rows",
            remedy="give one label a row",
        )
    labels = labels.to(torch.int64)
    highest = (num_classes or 2**31) - 1
    bad = (labels < 0) | (labels > highest)
    if bool(bad.any()):
        row, told = int(bad.nonzero()[0]), f"{int(bad.sum())} of {num_rows} {what} are outside the classes"
        expected = f"0 to {highest} ({num_classes} classes)" if num_classes else "class numbers from 0"
        raise InputError(
            f"row {row} of data set {name!r}",
            found=f"label {int(labels[row])} ({told})",
            expected=expected,
            remedy="correct the label, or set num_classes",
        )
    return labels


def spread_rows(total: int, wanted: int, labels: Tensor | None) -> Tensor:
    """Evenly spread row numbers (sorted by label first, so that every class is there), at most `wanted`."""
    order = torch.arange(total) if labels is None else torch.argsort(labels.cpu(), stable=True)
    if wanted >= total:
        return torch.arange(total)
    pick = torch.linspace(0, total - 1, wanted, dtype=torch.float64).round().long()
    return order[pick].sort().values
