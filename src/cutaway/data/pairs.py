"""Which samples a segment or a plane goes through."""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.errors import InputError


def same_class_pairs(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """(P, 2) rows: random pairs of different samples of one class, `per_class` a class (fewer where it is small)."""
    found = []
    for c in labels.unique():
        rows = (labels == c).nonzero().flatten()
        if len(rows) < 2:
            continue
        count = min(per_class, len(rows) * (len(rows) - 1) // 2)
        first = torch.randint(len(rows), (count,), generator=generator)
        second = (first + 1 + torch.randint(len(rows) - 1, (count,), generator=generator)) % len(rows)
        found.append(torch.stack([rows[first], rows[second]], dim=1))
    if not found:
        raise InputError(
            "labels", found="no class with two samples", expected="at least one", remedy="give more samples a class"
        )
    return torch.cat(found)


def random_pairs(inputs: Tensor, labels: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """(P, 2) rows of `inputs` (n, ...), n >= 2: about `count` pairs of different points, within the classes of `labels`
    where a class has two samples; none where all points are the same."""
    num = len(inputs)
    if labels is not None and bool((labels.unique(return_counts=True)[1] > 1).any()):
        pairs = same_class_pairs(labels.cpu(), max(2, count // len(labels.unique())), generator)
    else:
        first = torch.randint(num, (count,), generator=generator)
        step = 1 + torch.randint(num - 1, (count,), generator=generator)
        pairs = torch.stack([first, (first + step) % num], dim=1)
    return pairs[(inputs[pairs[:, 0]] - inputs[pairs[:, 1]]).flatten(1).abs().amax(dim=1) > 0]


def pairs_between(classes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(P, 2) rows of `classes` (n,): about `count` random pairs of different classes, as many from every class."""
    found = []
    for c in classes.unique():
        mine, others = (classes == c).nonzero().flatten(), (classes != c).nonzero().flatten()
        if not len(others):
            break
        drawn = max(1, round(count / len(classes.unique())))
        first = torch.randint(len(mine), (drawn,), generator=generator)
        second = torch.randint(len(others), (drawn,), generator=generator)
        found.append(torch.stack([mine[first], others[second]], dim=1))
    return torch.cat(found) if found else torch.zeros(0, 2, dtype=torch.int64)


def distinct_rows(labels: Tensor | None, total: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` random rows of `total` (fewer where there are not so many), of different classes as far as they go."""
    order = torch.randperm(total, generator=generator)
    if labels is not None:
        first: dict[int, int] = {}
        for row in order.tolist():
            first.setdefault(int(labels[row]), row)
        kept = list(first.values())
        order = torch.tensor(kept + [r for r in order.tolist() if r not in set(kept)])
    return order[: min(count, total)]
