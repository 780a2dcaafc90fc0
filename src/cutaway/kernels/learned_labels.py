"""What a kernel learns of labels, beside what it learns of the same labels in random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cutaway import seeds
from cutaway.kernels.learned_rows import Rows
from cutaway.kernels.regression import solve
from cutaway.kernels.shape import target_alignment
from cutaway.reading.intervals import proportion_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFit:
    """`alignment` with the labels, centred; `right` of `judged` rows that a regression did not learn from, a share with
    its Clopper-Pearson interval; `floor` of that regression (0: none). `permuted_alignment` and `permuted_right` are
    medians over labels in random order."""

    alignment: float
    right: float
    interval: tuple[float, float]
    judged: int
    floor: float
    permuted_alignment: float
    permuted_right: float


def label_fit(
    kernel: torch.Tensor,
    labels: torch.Tensor,
    learn: Rows,
    judge: Rows,
    *,
    ridge: float = 1e-4,
    orders: int = 19,
    seed: int = 0,
    budget: int | None = None,
) -> LabelFit:
    """What `kernel` (n, n) tells of `labels` (n,): its alignment with them, and how often a regression on the rows
    `learn` is right on the rows `judge`; and the same of the labels in `orders` random orders.

    `ridge` : as a share of the mean diagonal. Figures of one split and Monte Carlo over orders: estimates. Cost: one
    factorisation for all orders and `orders` alignments. Raises what `solve` raises. Source: Cortes, Mohri and
    Rostamizadeh 2012 for the alignment; the null is ours.
    """
    labels, classes = labels.to(kernel.device), int(labels.max()) + 1
    shuffled = np.random.default_rng(seeds.stream(seed, "labels in random order"))
    by_order = [labels, *(labels[torch.from_numpy(shuffled.permutation(len(labels)))] for _ in range(orders))]
    targets = [torch.nn.functional.one_hot(each, classes).double() for each in by_order]
    inner = kernel[learn][:, learn]
    means = [each[learn].mean(dim=0) for each in targets]
    wanted = torch.cat([each[learn] - mean for each, mean in zip(targets, means)], dim=1)
    found = solve(inner, wanted, ridge=ridge * float(inner.diagonal().mean()), budget=budget)
    scores = (kernel[judge][:, learn] @ found.coefficients + torch.cat(means)).view(len(judge), -1, classes)
    right = torch.stack([scores[:, k].argmax(dim=1) == each[judge] for k, each in enumerate(by_order)]).cpu().numpy()
    alignments = np.array([target_alignment(kernel, each) for each in targets])
    shares = right.mean(axis=1)
    return LabelFit(
        alignment=float(alignments[0]),
        right=float(shares[0]),
        interval=proportion_interval(int(right[0].sum()), len(judge)),
        judged=len(judge),
        floor=found.floor,
        permuted_alignment=float(np.median(alignments[1:])) if orders else float("nan"),
        permuted_right=float(np.median(shares[1:])) if orders else float("nan"),
    )
