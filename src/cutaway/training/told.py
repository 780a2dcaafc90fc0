"""What a tracker is told and asks of a model: plain numbers, shapes, which instrument runs on which set, warnings that
end no training.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.files import atomic
from cutaway.instrument import Instrument


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights as safetensors, atomically; tied weights are stored once. `FileError` when the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    with atomic(path) as temporary:
        try:
            save_model(model, str(temporary), metadata=dict(metadata))
        except SafetensorError as error:  # its own kind for a full disk, which is no OSError
            raise OSError(str(error)) from error


def named(instruments: Sequence[Instrument] | Mapping[str, Instrument]) -> dict[str, Instrument]:
    if isinstance(instruments, Mapping):
        return dict(instruments)
    names = [i.name for i in instruments]
    double = next((n for n in names if names.count(n) > 1), None)
    if double is not None:
        raise InputError(
            f"instrument {double!r}",
            found="it twice",
            expected="each once",
            remedy=f"give a mapping of labels, such as {{'{double}-a': ..., '{double}-b': ...}}",
        )
    return dict(zip(names, instruments, strict=True))


def pairs(
    instruments: Mapping[str, Instrument], data: Mapping[str, Dataset]
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Which instrument runs on which set, and which do not, with the reason."""
    if not data:
        raise InputError(
            "tracker data", found="no data set", expected="at least one", remedy="give the data to measure on"
        )
    pairs, left_out = [], []
    for name, instrument in instruments.items():
        fitting = [label for label, d in data.items() if d.labels is not None or "labels" not in instrument.needs]
        if not fitting:
            raise InputError(
                f"instrument {name!r}",
                found="data without labels (" + ", ".join(data) + ")",
                expected="labelled data",
                remedy="add a labelled set, or leave this instrument out",
            )
        pairs += [(label, name) for label in fitting]
        left_out += [(name, label, "needs labels") for label in data if label not in fitting]
    return pairs, left_out


def unwrapped(model: nn.Module) -> nn.Module:
    """The module under torch.compile and DistributedDataParallel, so that measuring takes no part in collectives."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def shapes(model: nn.Module) -> list[list[Any]]:
    return [[name, list(p.shape)] for name, p in model.named_parameters()]


def same_shapes(model: nn.Module, first: list[list[Any]] | None, step: int) -> None:
    """Raises `InputError` where the model's parameters are not those of the first step (their names and shapes)."""
    signature = shapes(model)
    if first is None or signature == first:
        return
    old, new = dict(map(tuple, first)), dict(map(tuple, signature))
    changed = next(n for n in [*new, *old] if old.get(n) != new.get(n))
    raise InputError(
        f"model at step {step}",
        found=f"parameter {changed!r} of shape {new.get(changed)}",
        expected=f"{old.get(changed)}, as at the first step",
        remedy="track each model with a tracker of its own",
    )


def later(step: int, last: int | None) -> None:
    """Raises `InputError` for a step that does not come after the last one told."""
    if last is not None and step <= last:
        again = "twice" if step == last else "out of order"
        raise InputError(
            f"step {step} told {again}",
            found=f"step {step} after step {last}",
            expected="steps that increase",
            remedy="call tracker.step once after every optimisation step",
        )


def closed(step: int) -> InputError:
    """What to say of a step that is told to a closed tracker."""
    return InputError(
        f"step {step}",
        found="a tracker that was closed",
        expected="a new one",
        remedy="make a new Tracker for what follows",
    )


def plain_number(name: str, value: float | torch.Tensor | None, step: int) -> float | None:
    try:
        if value is None:
            return None
        if isinstance(value, np.ndarray | torch.Tensor):
            value = value.item()
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"shape {tuple(value.shape)}" if isinstance(value, np.ndarray | torch.Tensor) else repr(value)[:80]
        raise InputError(
            f"{name!r} told at step {step}", found=kind, expected="one number", remedy="give float(value), or its mean"
        ) from error


def price(costs: Sequence[float]) -> float | None:
    """What the next measurement will take: the dearest of the last three. The first one, which also pays for what
    happens once (imports, caches), counts half for the second and not at all later."""
    if len(costs) < 2:
        return costs[0] / 2 if costs else None
    return max(costs[1:][-3:])


def value_digest(value: Any) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return jsonable(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable(dataclasses.asdict(value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def warn(warning: Warning | str, stacklevel: int = 3) -> None:
    """`warnings.warn` that never ends a training: where the caller turns warnings into errors, it is logged."""
    try:
        warnings.warn(warning, stacklevel=stacklevel)
    except Warning as error:
        logging.getLogger("cutaway").warning("%s", error)


def numbers(scalars: Mapping[str, Any], step: int) -> dict[str, float]:
    """The scalars that were given, as numbers."""
    known = {name: plain_number(name, value, step) for name, value in scalars.items()}
    return {name: value for name, value in known.items() if value is not None}


def whole_step(step: Any) -> int:
    """A step of any kind of number as Python's; `InputError` for what is no whole number, 0 or more."""
    try:
        number = step.item() if hasattr(step, "item") else step
        if number == int(number) and number >= 0:
            return int(number)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise InputError(
        f"step {step}", found=str(step), expected="a whole number, 0 or more", remedy="count optimisation steps from 0"
    )


def next_folder(folder: Path) -> Path:
    """The first of NAME-2, NAME-3, ... that does not exist."""
    number = 2
    while (found := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return found
