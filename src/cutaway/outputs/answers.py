"""What a classifier says of labelled samples: its choice, its confidence, its loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Per sample (n,): `predicted` class, `confidence` (its softmax probability), `correct` (0 or 1) and `loss`, minus
    the log-probability of the label, in nats."""

    predicted: NDArray[np.int64]
    confidence: Floats
    correct: Floats
    loss: Floats


def predictions(scores: torch.Tensor, labels: NDArray[np.int64]) -> Predictions:
    """Of logits `scores` (n, classes) and `labels` (n,) in 0 .. classes - 1; softmax in float64. Exact.

    Source: definition.
    """
    log_probability = torch.log_softmax(scores.double().cpu(), dim=1)
    confidence, predicted = (t.numpy() for t in log_probability.exp().max(dim=1))
    return Predictions(
        predicted=predicted,
        confidence=confidence,
        correct=(predicted == labels).astype(float),
        loss=-log_probability.numpy()[np.arange(len(labels)), labels],
    )
