"""What the softmax does to the Gauss-Newton part: its gain, its entropy, and the excess that these alone predict.

With p_s the softmax of row s and A = mean_s (diag p_s - p_s p_s^T), the gain is Gamma = tr A / |A|_F: sqrt(c - 1) for
uniform rows over c classes, 1 where one direction of the logits is left (Vysogorets, Dawid and Kempe 2024).
"""

from __future__ import annotations

import math

import torch


def softmax_gain(outputs: torch.Tensor) -> float:
    """Gamma of logits (n, c); NaN where every row is saturated. Exact up to rounding. Source: Vysogorets, Dawid and
    Kempe 2024.

    >>> round(softmax_gain(torch.zeros(4, 10)), 6)
    3.0
    """
    p = outputs.double().softmax(dim=1)
    bend = torch.diag(p.mean(dim=0)) - p.T @ p / len(p)
    norm = float(bend.norm())
    return float(bend.trace()) / norm if norm > 1e-300 else float("nan")


def softmax_entropy(outputs: torch.Tensor) -> float:
    """Mean entropy of the rows' softmax, in nats: log c for uniform rows, 0 for certain ones.

    `outputs` are logits (n, c). Exact up to rounding. Source: definition.
    """
    return float(torch.distributions.Categorical(logits=outputs.double()).entropy().mean())


def predicted_excess(own: float, shared: float, gain: float, dimension: int) -> float:
    """tr G / |G|_F in d dimensions where the logits' gradients are independent normal numbers: a part of variance
    `own` for each row and a part of variance `shared` for all rows of a class. To leading order in d,

        sqrt(d) (own + shared) / sqrt(own^2 + 2 own shared + d shared^2 / gain^2).
    """
    return (
        math.sqrt(dimension) * (own + shared) / math.sqrt(own**2 + 2 * own * shared + dimension * (shared / gain) ** 2)
    )
