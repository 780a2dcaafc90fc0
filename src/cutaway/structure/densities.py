"""How a pruning budget is shared out over layers, and random masks of given densities.

With n_l weights in layer l and a share s to keep, density q_l is, for every kind, such that sum q_l n_l = s N:

    uniform  q_l = s
    erk      q_l = min(1, c (sum of the shape) / (product of the shape))    Evci et al., arXiv 1911.11134
    igq      q_l = 1 / (1 + F n_l), ideal gas quotas                         Vysogorets and Kempe, arXiv 2107.02306

c and F are found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from cutaway import seeds
from cutaway.errors import InputError

QuotaKind = Literal["igq", "erk", "uniform"]
QUOTA_KINDS: tuple[QuotaKind, ...] = ("igq", "erk", "uniform")
Shapes = Mapping[str, tuple[int, ...]]


def quotas(kind: QuotaKind, shapes: Shapes, compression: float) -> dict[str, float]:
    """Density of every layer, in (0, 1], such that the whole is compressed `compression` times (>= 1).

    Raises `InputError` for an unknown kind or a compression below 1.

    >>> found = quotas("igq", {"a": (300, 784), "b": (10, 300)}, 10)
    >>> round((found["a"] * 235200 + found["b"] * 3000) * 10)
    238200
    """
    if kind not in QUOTA_KINDS:
        raise InputError(
            "kind of quotas", found=repr(kind), expected=", ".join(QUOTA_KINDS), remedy="give one of these"
        )
    if not (math.isfinite(compression) and compression >= 1):
        raise InputError(
            "compression",
            found=str(compression),
            expected="a finite number, at least 1",
            remedy="give how many times smaller the network is to be, such as 10",
        )
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    wanted = sum(sizes.values()) / compression
    if kind == "uniform":
        return dict.fromkeys(shapes, 1 / compression)
    if kind == "igq":
        return _solved(lambda f: {n: 1 / (1 + f * size) for n, size in sizes.items()}, sizes, wanted, falling=True)
    own = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    return _solved(lambda c: {n: min(1.0, c * share) for n, share in own.items()}, sizes, wanted, falling=False)


def _solved(densities, sizes: dict[str, int], wanted: float, *, falling: bool) -> dict[str, float]:
    """Bisection on the logarithm of the one number that `densities` takes."""
    low, high = -60.0, 60.0
    for _ in range(200):
        middle = (low + high) / 2
        found = densities(math.exp(middle))
        above = sum(found[name] * size for name, size in sizes.items()) > wanted
        low, high = (middle, high) if above == falling else (low, middle)
    return densities(math.exp((low + high) / 2))


def random_masks(densities: Mapping[str, float], shapes: Shapes, *, seed: int) -> dict[str, Tensor]:
    """Boolean masks that keep round(q_l n_l) weights of each layer at places drawn without replacement.

    Masks have their layer's shape.
    """
    masks = {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        order = torch.randperm(size, generator=seeds.generator(seed, "random mask", name))
        mask = torch.zeros(size, dtype=torch.bool)
        mask[order[: round(densities[name] * size)]] = True
        masks[name] = mask.reshape(shape)
    return masks
