"""What the softmax does to the Gauss-Newton part: its gain, its entropy, and the excess that these alone predict.

With p_s the softmax of row s and A = mean_s (diag p_s - p_s p_s^T), the gain is Gamma = tr A / |A|_F: sqrt(c - 1) for
uniform rows over c classes, 1 where one direction of the logits is left (Vysogorets, Dawid and Kempe 2024).
"""

from __future__ import annotations

import math

import torch


def _probabilities(outputs: torch.Tensor) -> torch.Tensor:
    """Of logits (n, c); a single one is that of class 1 against 0 for class 0."""
    logits = outputs.double()
    return (torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits).softmax(dim=1)


def softmax_gain(outputs: torch.Tensor) -> float:
    """Gamma of logits (n, c), one column being two classes; NaN where every row is saturated. Exact up to rounding.
    Source: Vysogorets, Dawid and Kempe 2024.

    >>> round(softmax_gain(torch.zeros(4, 10)), 6)
    3.0
    """
    p = _probabilities(outputs)
    bend = -(p.T @ p) / len(p)
    bend.fill_diagonal_(0)
    bend.diagonal().sub_(bend.sum(dim=1))  # rows of A sum to 0: of certain rows mean p - mean p^2 would be rounding
    bend = bend / bend.abs().max()
    return float(bend.trace() / bend.norm())


def softmax_entropy(outputs: torch.Tensor) -> float:
    """Mean entropy of the rows' softmax, in nats: log c for uniform rows, 0 for certain ones.

    `outputs` are logits (n, c), one column being two classes. Exact up to rounding. Source: definition.
    """
    return float(torch.special.entr(_probabilities(outputs)).sum(dim=1).mean())


def predicted_excess(own: float, shared: float, gain: float, dimension: int) -> float:
    """tr G / |G|_F in d dimensions where the logits' gradients are independent normal numbers: a part of variance
    `own` for each row and a part of variance `shared` for all rows of a class. To leading order in d,

        sqrt(d) (own + shared) / sqrt(own^2 + 2 own shared + d shared^2 / gain^2).
    """
    return (
        math.sqrt(dimension) * (own + shared) / math.sqrt(own**2 + 2 * own * shared + dimension * (shared / gain) ** 2)
    )
