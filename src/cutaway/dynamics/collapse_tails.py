"""Scaling laws of a memory that learns from data whose tail was cut, narrowed, or made by a model: exact sums.

An item i comes with probability p_i proportional to i^-beta; what was seen is known, what was not is an error. Source:
Dohmatob, Feng, Yang, Charton and Kempe 2024 (arXiv 2402.07043).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from cutaway.arrays import Floats
from cutaway.dynamics.collapse_regression import check_generations
from cutaway.errors import InputError

ALONE = 20_000
"""Items that are summed one by one; beyond them blocks within which p changes by a thousandth stand for their items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TailModel:
    """What a memory learns from.

    beta : exponent of the truth, p_i ~ i^-beta, above 1.
    cut : the generated data hold the first `cut` items alone; None for all.
    narrowed : exponent of the generated data, at least beta; None for beta.
    real_share : share of the data that is real; the rest is generated.
    generations, generator_rows : labels of n models before, each of which knew what it had seen in T_0 rows.

    Raises `InputError` for numbers outside their range.
    """

    beta: float = 2.0
    cut: int | None = None
    narrowed: float | None = None
    real_share: float = 0.0
    generations: int = 0
    generator_rows: int = 1000

    def __post_init__(self) -> None:
        check_generations(self.generations)
        right = 1 < self.beta < math.inf and 0 <= self.real_share <= 1 and self.generator_rows >= 1
        right = right and (self.cut is None or self.cut >= 1)
        if not right or not (self.narrowed is None or self.beta <= self.narrowed < math.inf):
            raise InputError(
                "tail model",
                found=f"beta {self.beta:g}, cut {self.cut}, narrowed {self.narrowed}, real share {self.real_share:g}",
                expected="beta above 1, cut at least 1, narrowed at least beta, a share in [0, 1]",
                remedy="give such numbers",
            )

    @property
    def exponent(self) -> float:
        """How fast the error falls with the rows before it meets a floor: (beta - 1) / beta', beta' the exponent of
        what is learned from. Exact asymptotics. Source: arXiv 2402.07043."""
        return (self.beta - 1) / (self.narrowed or self.beta)

    def error(self, rows: Sequence[int]) -> Floats:
        """Probability (r,) that a real item is not known after `rows` (r,) = T rows: sum_i p_i [1 - (1 - (1 -
        p_i)^T_0)^n (1 - (1 - q_i)^T)], q the mixture that is learned from.

        Exact up to 1e-3 relative (blocks of far items; the rest of the sum by the Hurwitz zeta function). Cost: some
        40,000 terms a value. Raises `InputError` for fewer than one row. Source: Dohmatob et al. 2024 (arXiv
        2402.07043): T^-c, c = 1 - 1 / beta; a floor k^-(beta - 1) for a cut at k, n T_0^-c for generations.
        """
        counts = np.asarray(rows, dtype=float)
        if counts.ndim != 1 or not len(counts) or not (counts >= 1).all():
            raise InputError("rows of a memory", found=f"{list(rows)}", expected="at least 1", remedy="give row counts")
        items, mass, rest = _items(self.beta)
        p = items**-self.beta / special.zeta(self.beta)
        made = self.narrowed or self.beta
        total = special.zeta(made) - (special.zeta(made, self.cut + 1) if self.cut else 0.0)
        q = items**-made / total * (items <= self.cut if self.cut else 1.0)
        q = self.real_share * p + (1 - self.real_share) * q
        kept = -np.expm1(self.generator_rows * np.log1p(-np.minimum(p, 1 - 1e-16)))
        known = kept**self.generations * -np.expm1(counts[:, None] * np.log1p(-np.minimum(q, 1 - 1e-16)))
        return ((1 - known) * mass).sum(axis=1) + rest

    def slope(self, rows: Sequence[int]) -> float:
        """Slope of log error against log `rows` (r,), by least squares; r of at least two. Exact for these rows.
        Raises `InputError` as `error`. Source: definition."""
        return float(np.polyfit(np.log(np.asarray(rows, dtype=float)), np.log(self.error(rows)), 1)[0])

    def real_share_needed(self, rows: int) -> float | None:
        """Share of real data above which `rows` rows reach past the cut: k^beta / T, where their real part sees the
        item at the cut about once. None without a cut. Asymptotic. Source: Dohmatob et al. 2024 (arXiv 2402.07043):
        the error stays on its plateau until real_share T passes k^beta."""
        return None if self.cut is None else min(1.0, self.cut**self.beta / rows)


def _items(beta: float) -> tuple[Floats, Floats, float]:
    """Items, the probability that each stands for, and that of all beyond them."""
    edges = [float(ALONE + 1)]
    last = max(1e9, 1e12 ** (1 / min(beta, 2.0)))
    while edges[-1] < last:
        edges.append(max(edges[-1] + 1, math.floor(edges[-1] * 1.002)))
    starts = np.array(edges)
    whole = special.zeta(beta)
    beyond = special.zeta(beta, starts) / whole
    alone = np.arange(1.0, ALONE + 1)
    middles = np.sqrt(starts[:-1] * (starts[1:] - 1))
    masses = np.concatenate([alone**-beta / whole, beyond[:-1] - beyond[1:]])
    return np.concatenate([alone, middles]), masses, float(beyond[-1])
