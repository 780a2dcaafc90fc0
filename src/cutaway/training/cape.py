"""CaPE, calibrated probability estimation: a phase after early stopping that now and then trains on measured chances.

    found = calibrated_phase(model, train_set, validation_set, epochs=30)
    found.epoch, found.log_losses            # the epoch that was kept (0: the model as it came), and all of them

Most epochs are ordinary; every sixth takes soft targets, the share of events among training rows of about the same
forecast, so that the network is pulled towards what its own probabilities were worth. The network of least held-out log
loss is kept, so that it is never worse there than before. Source: Liu et al. 2022 (arXiv 2111.10734), CaPE.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.network import first_tensor

EPOCHS_BETWEEN = 6  # epochs from one on soft targets to the next
PATIENT_EPOCHS = 5  # epochs without a lower held-out log loss before the rate is halved
KINDS = ("bins", "kernel", "labels")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibratedPhase:
    """`epoch` whose network was kept (0: as it came) and `log_losses` (epochs + 1,), held-out, nats a row."""

    epoch: int
    log_losses: Floats


def bin_targets(probability: Floats, happened: Floats, *, bins: int = 10) -> Floats:
    """Soft targets (n,): the share of events `happened` (n,) in the bin of equal count that `probability` (n,) falls
    into. Exact. Cost: one sort. Source: Liu et al. 2022 (arXiv 2111.10734), CaPE (bin).

    >>> import numpy as np
    >>> bin_targets(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.0, 1.0, 0.0, 0.0]), bins=2).tolist()
    [0.0, 0.5, 0.0, 0.5]
    """
    targets = np.empty(len(probability))
    for part in np.array_split(np.argsort(probability, kind="stable"), min(bins, len(probability))):
        targets[part] = happened[part].mean()
    return targets


def kernel_targets(probability: Floats, happened: Floats, *, width: float = 0.1, neighbours: int = 500) -> Floats:
    """Soft targets (n,): the mean of `happened` (n,) with Gaussian weights of `width` in the probability, over so many
    rows to each side in its order. Exact. Cost: n neighbours numbers. Source: Liu et al. 2022, CaPE (kernel)."""
    order = np.argsort(probability, kind="stable")
    p, y = probability[order], happened[order]
    total, weight = y.astype(np.float64).copy(), np.ones(len(p))
    for shift in range(1, min(neighbours, len(p) - 1) + 1):
        near = np.exp(-0.5 * ((p[shift:] - p[:-shift]) / width) ** 2)
        for to, other in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
            total[to] += near * y[other]
            weight[to] += near
    targets = np.empty(len(p))
    targets[order] = total / weight
    return targets


def calibrated_phase(
    model: nn.Module,
    data: Dataset,
    held_out: Dataset,
    *,
    epochs: int = 30,
    targets: str = "bins",
    bins: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> CalibratedPhase:
    """Train `model`, a classifier of two classes that was stopped early, on `data` in place, and keep its best epoch.

    Epochs 1, 7, 13, ... take soft targets (`bin_targets` of so many bins, or `kernel_targets`), the others labels (with
    targets "labels" all of them: the control that tells what more training alone would do);
    Adam, whose rate is halved after five epochs without a lower log loss on `held_out`. The model is left in evaluation
    mode. Cost: a training epoch each, and a forward pass of all rows for soft targets and for the held-out loss. Raises
    `InputError` for data without labels, other than two classes, or unknown targets. Source: see the file's head.
    """
    if targets not in KINDS:
        raise InputError("targets", found=repr(targets), expected=", ".join(KINDS), remedy="give one of these")
    (x, y), (seen, happened) = (_event(part) for part in (data, held_out))
    optimiser, generator = torch.optim.Adam(model.parameters(), learning_rate), seeds.generator(seed, "cape")
    losses, kept, best, last = [_log_loss(model, seen, happened)], copy.deepcopy(model.state_dict()), 0, 0
    for epoch in range(1, epochs + 1):
        goal = y
        if epoch % EPOCHS_BETWEEN == 1 and targets != "labels":
            p, came = _probability(model, x), y.numpy()
            soft = bin_targets(p, came, bins=bins) if targets == "bins" else kernel_targets(p, came)
            goal = torch.as_tensor(soft)
        _epoch(model, optimiser, x, goal, torch.randperm(len(x), generator=generator).split(batch_size))
        losses.append(_log_loss(model, seen, happened))
        if losses[-1] < losses[best]:
            best, last, kept = epoch, epoch, copy.deepcopy(model.state_dict())
        elif epoch - last >= PATIENT_EPOCHS:
            last = epoch
            for group in optimiser.param_groups:
                group["lr"] /= 2
    model.load_state_dict(kept)
    model.eval()
    return CalibratedPhase(epoch=best, log_losses=np.array(losses))


def _event(data: Dataset) -> tuple[Tensor, Tensor]:
    """Inputs, and whether the second class came (float64)."""
    if data.labels is None or data.num_classes != 2:
        found = "no labels" if data.labels is None else f"{data.num_classes} classes"
        raise InputError(
            f"data {data.name!r} of a calibrated phase",
            found=found,
            expected="labels of two classes: the event came, or it did not",
            remedy="name one event, or calibrate after training: cutaway.outputs.TemperatureCalibrator",
        )
    return data.inputs, data.labels.double()


def _logit(model: nn.Module, inputs: Tensor) -> Tensor:
    """Of the second class (n,), of a network with one score or two."""
    scores = first_tensor(model(inputs)).flatten(1)
    if scores.shape[1] not in (1, 2):
        raise InputError(
            "network of a calibrated phase",
            found=f"{scores.shape[1]} scores",
            expected="one, the event's logit, or two",
            remedy="give a classifier of two classes",
        )
    return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]


def _epoch(model: nn.Module, optimiser, x: Tensor, goal: Tensor, parts) -> None:
    model.train()
    place = next(model.parameters())
    for rows in parts:
        optimiser.zero_grad()
        logit = _logit(model, x[rows].to(place.device))
        nn.functional.binary_cross_entropy_with_logits(logit, goal[rows].to(logit)).backward()
        optimiser.step()


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    place = next(model.parameters())
    return torch.cat([_logit(model, part.to(place.device)).double().cpu() for part in x.split(4096)])


def _probability(model: nn.Module, x: Tensor) -> Floats:
    return torch.sigmoid(_logits(model, x)).numpy()


def _log_loss(model: nn.Module, x: Tensor, happened: Tensor) -> float:
    loss = float(nn.functional.binary_cross_entropy_with_logits(_logits(model, x), happened))
    return loss if math.isfinite(loss) else math.inf
