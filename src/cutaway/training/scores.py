"""Losses by name, and how well a model does on a set: share right with its interval, and mean loss.

For token sets (`next-token`) the model gives logits (n, length, vocabulary) and position t is judged by token t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutaway.errors import InputError
from cutaway.network import first_tensor
from cutaway.network.preserve import evaluated
from cutaway.reading.intervals import mean_interval, proportion_interval

if TYPE_CHECKING:
    from cutaway.data import Dataset

TASK_LOSSES = ("cross-entropy", "mse", "next-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Share right `accuracy` with a 95 % interval (Clopper-Pearson over rows; for tokens the bootstrap over rows, as
    tokens of one row are not independent), mean loss in the loss's unit, number of rows."""

    accuracy: float
    low: float
    high: float
    loss: float
    rows: int


def task_loss(outputs: Tensor, inputs: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The mean loss of a batch: outputs (n, classes) with labels (n,), or logits (n, length, vocabulary) of tokens."""
    if loss == "mse":
        return functional.mse_loss(outputs, functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype))
    if loss == "next-token":
        return functional.cross_entropy(outputs[:, :-1].flatten(0, 1), inputs[:, 1:].flatten())
    return functional.cross_entropy(outputs, labels)


@torch.no_grad()
def score_model(model: nn.Module, data: Dataset, *, loss: str = "cross-entropy", batch_size: int = 500) -> Score:
    """Score of `model` on `data`, in evaluation mode (its mode is put back). One forward pass a row."""
    if loss != "next-token" and data.labels is None:
        raise InputError(
            f"data set {data.name!r}", found="no labels", expected="labels to score with", remedy="give labelled data"
        )
    first = next(iter(model.parameters()))
    with evaluated(model):
        right, losses = [], []
        for start in range(0, len(data), batch_size):
            inputs = data.inputs[start : start + batch_size].to(first.device)
            inputs = inputs.to(first.dtype) if inputs.is_floating_point() else inputs
            labels = inputs if data.labels is None else data.labels[start : start + batch_size].to(first.device)
            outputs = first_tensor(model(inputs))
            losses.append(float(task_loss(outputs, inputs, labels, loss)) * len(inputs))
            if loss == "next-token":
                right.append((outputs[:, :-1].argmax(dim=2) == inputs[:, 1:]).double().mean(dim=1).cpu())
            else:
                right.append((outputs.argmax(dim=1) == labels).double().cpu())
    hits = torch.cat(right).numpy()
    low, high = (
        mean_interval(hits, seed=0) if loss == "next-token" else proportion_interval(int(np.sum(hits)), len(hits))
    )
    return Score(accuracy=float(hits.mean()), low=low, high=high, loss=sum(losses) / len(data), rows=len(data))
