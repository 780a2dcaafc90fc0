"""Which rows a step takes, and the data in memory as the loop wants it (`loop`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cutaway import seeds
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.training.loop import TrainingSettings


def smallest_batch(model: nn.Module, inputs: Tensor, settings: TrainingSettings, total: int) -> int:
    """2 where batch norm has a single value a channel in one row `(1, ...)` of `inputs`, else 1.

    Tried by a forward pass, and only if `total` rows leave a batch of one. Raises `InputError` if all batches are.
    """
    size = min(settings.batch_size, total)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if (size > 1 and total % size != 1) or not any(isinstance(module, norms) for module in model.modules()):
        return 1
    try:
        with torch.random.fork_rng(), torch.no_grad():
            copy.deepcopy(model).train()(inputs[:1])  # a copy, for its running statistics move
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        if size > 1:
            return 2
        raise InputError(
            "batch of the training",
            found=f"1 row ({total} in the data) under batch norm",
            expected="at least 2",
            remedy="raise batch, or leave batch norm out",
        ) from error
    return 1


def step_batches(
    total: int, settings: TrainingSettings, first: int = 0, repeats: int = 1, *, least: int = 1
) -> Iterator[tuple[int, Tensor]]:
    """(step, row numbers on the CPU) from step `first` on; each batch is given `repeats` times in a row.

    A last batch of an epoch with fewer than `least` rows joins the one before it.
    """
    size = min(settings.batch_size, total)
    per_epoch = -(-total // size)
    if 0 < total % size < least:
        per_epoch -= 1
    epoch, order = -1, torch.empty(0, dtype=torch.int64)
    for step in range(first, settings.steps):
        number, position = divmod(step // repeats, per_epoch)
        if number != epoch:
            which = (settings.order, number) if settings.order else (number,)
            generator = seeds.generator(settings.seed, "training", "order", *which)
            epoch, order = number, torch.randperm(total, generator=generator)
        yield step, order[position * size : (position + 1) * size if position + 1 < per_epoch else total]


def in_memory(data: Dataset, settings: TrainingSettings, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inputs in the training's type and labels, on its device; token sets stand in for their own labels."""
    inputs = data.inputs.to(settings.device)
    if settings.loss == "next-token":
        if inputs.is_floating_point():
            raise InputError(
                f"data set {data.name!r}",
                found="inputs that are not tokens",
                expected="int64 tokens",
                remedy="give tokens, or take the loss cross-entropy or mse",
            )
        return inputs, inputs
    if data.labels is None:
        raise InputError(
            f"data set {data.name!r}",
            found="no labels",
            expected=f"labels to train with {settings.loss}",
            remedy="give a labelled set, or loss = 'next-token' for tokens",
        )
    return inputs.to(kind) if inputs.is_floating_point() else inputs, data.labels.to(settings.device)
