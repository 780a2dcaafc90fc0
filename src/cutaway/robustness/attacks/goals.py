"""What an attack searches for: a goal, as a function of the answers of one network, several networks or random draws.

Notation: z_k `(n, classes)` are the scores of member k = 1 .. K of a row x with label y, p_k = softmax z_k, and
p = mean_k p_k. Members are the networks of a list times the random draws. One network alone has K = 1; for class goals
its draws are averaged as scores (expectation over transformation, see `oracle`), so s = mean of z there and s = log p
for a list of networks (the mean of *probabilities*: a mean of logits is another predictor). With H(q) = -sum_j q_j
log q_j in nats:

    Label               reached where argmax s != y; ascends max_{j != y} s_j - s_y
    Target(t)           reached where argmax s = t;  ascends s_t - max_{j != t} s_j
    Entropy             H(p), from 0 to log classes: total uncertainty
    MutualInformation   H(p) - mean_k H(p_k), from 0 to log K: on what the members disagree
    OwnLoss(f)          f(z, y), any differentiable loss

Sources: Gal, Islam and Ghahramani, arXiv 1703.02910, equation (2) (mutual information, BALD); Smith and Gal, arXiv
1803.08533 (attacks on uncertainty). Where a goal has no limit, no point reaches it: the search goes on to the end.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cutaway.errors import InputError


def mean_log_probabilities(members: Tensor) -> Tensor:
    """log p `(n, classes)` of members' scores `(K, n, classes)`: log of the mean of softmax z_k, by log-sum-exp."""
    return torch.logsumexp(torch.log_softmax(members, dim=-1), dim=0) - math.log(len(members))


def entropy(log_probabilities: Tensor) -> Tensor:
    """-sum_j p_j log p_j in nats over the last axis."""
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)


def mutual_information(members: Tensor) -> Tensor:
    """H(p) - mean_k H(p_k) in nats `(n,)` of members' scores `(K, n, classes)`; 0 up to rounding where all agree."""
    return entropy(mean_log_probabilities(members)) - entropy(torch.log_softmax(members, dim=-1)).mean(dim=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal(ABC):
    """What an attack makes large, `value`, and above which `threshold` it has got there (None: nowhere)."""

    name: ClassVar[str]
    of_classes: ClassVar[bool] = False  # reads the scores s alone; losses by name stand in for its value
    needs_labels: ClassVar[bool] = False
    members: ClassVar[int] = 1  # fewest members that give it a meaning

    @property
    def threshold(self) -> float | None:
        """A row is won where the value is above this."""
        return None

    @abstractmethod
    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """`(n,)`, differentiable, of the members' scores `(K, n, classes)`.

        Exact up to rounding. Source: definition, that of the goal.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class _ClassGoal(Goal):
    of_classes: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    @property
    def threshold(self) -> float:
        return 0.0

    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        raise NotImplementedError("class goals are read from the scores, see `Aim`")


@dataclass(frozen=True, kw_only=True, eq=False)
class Label(_ClassGoal):
    """Any class but the label: reached where argmax s != y, by ascent of max_{j != y} s_j - s_y."""

    name: ClassVar[str] = "label"


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetClass(_ClassGoal):
    """The class `classes`, one for all rows or one a row `(n,)`: reached where argmax s = t, by ascent of
    s_t - max_{j != t} s_j."""

    classes: Tensor | int

    name: ClassVar[str] = "target"

    def of_rows(self, count: int) -> Tensor:
        """`(count,)` int64."""
        return torch.full((count,), self.classes) if isinstance(self.classes, int) else self.classes


@dataclass(frozen=True, kw_only=True, eq=False)
class _Uncertainty(Goal):
    """`lower`: make it small instead of large. `limit` in nats: a row is won above it (below it with `lower`)."""

    lower: bool = False
    limit: float | None = None

    @property
    def threshold(self) -> float | None:
        return None if self.limit is None else -self.limit if self.lower else self.limit

    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        measured = self._measure(answers)
        return -measured if self.lower else measured

    @abstractmethod
    def _measure(self, answers: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Entropy(_Uncertainty):
    """H(p) = -sum_j p_j log p_j with p = mean_k softmax z_k, in nats, from 0 to log classes: raised, or lowered."""

    name: ClassVar[str] = "entropy"

    def _measure(self, answers: Tensor) -> Tensor:
        return entropy(mean_log_probabilities(answers))


@dataclass(frozen=True, kw_only=True, eq=False)
class MutualInformation(_Uncertainty):
    """I = H(mean_k p_k) - mean_k H(p_k), in nats, from 0 to log K: raised, or lowered. Needs two members."""

    name: ClassVar[str] = "mutual-information"
    members: ClassVar[int] = 2

    def _measure(self, answers: Tensor) -> Tensor:
        return mutual_information(answers)


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnLoss(Goal):
    """`loss(scores (K, n, classes), labels (n,) or None)` of shape `(n,)`, ascended as it is; a row is won where it is
    above `limit`. Raises `InputError` for another shape."""

    loss: Callable[[Tensor, Tensor | None], Tensor]
    limit: float | None = None

    name: ClassVar[str] = "own-loss"

    @property
    def threshold(self) -> float | None:
        return self.limit

    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """The loss (n,) of scores (K, n, classes), exact as it is given. Raises `InputError` for another shape. Source:
        definition.
        """
        found = self.loss(answers, labels)
        if not isinstance(found, Tensor) or tuple(found.shape) != (answers.shape[1],):
            raise InputError(
                "the loss of goal 'own-loss'",
                found=f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__,
                expected=f"({answers.shape[1]},), one number a row",
                remedy="reduce over members and classes, not over rows",
            )
        return found
