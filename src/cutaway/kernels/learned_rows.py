"""Which rows a kernel regression learns from and which it is judged on, and which rows are there twice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def class_halves(labels: NDArray[np.int64], first: Rows) -> tuple[Rows, Rows]:
    """Numbers of the rows to learn from and of those to judge, both ascending: every other row of each class, a row
    that equals an earlier one left out.

    `labels` (n,), `first` (n,) of `first_equal`. By class, since rows that come in turns (0, 1, 2, ... again and again)
    would leave every other class unlearned. Exact. Source: ours.

    >>> [rows.tolist() for rows in class_halves(np.array([0, 1, 0, 1, 0]), np.array([0, 1, 2, 3, 0]))]
    [[0, 1], [2, 3]]
    """
    once = np.flatnonzero(first == np.arange(len(first)))
    order = once[np.argsort(labels[once], kind="stable")]
    return np.sort(order[::2]), np.sort(order[1::2])


def first_equal(inputs: torch.Tensor) -> Rows:
    """The number of the first row that each of `inputs` (n, ...) equals, (n,): its own where no earlier one does.

    Exact. Cost: a sort of the rows. Source: definition.

    >>> first_equal(torch.tensor([[1.0], [2.0], [1.0]])).tolist()
    [0, 1, 0]
    """
    _, group = torch.unique(inputs.flatten(1), dim=0, return_inverse=True)
    _, first, where = np.unique(group.cpu().numpy(), return_index=True, return_inverse=True)
    return first[where]
