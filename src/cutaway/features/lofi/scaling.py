"""What is done to the inputs before the first lift, learned on the training rows and said in notes.

In order: (1) a common factor, a power of two, for numbers beyond 1e+-100, whose squares would overflow; (2) rows
farther than 100 times the median distance from the columns' medians are drawn back, along the line to the medians, to
the farthest row that is not: one such row would set the scale that all others are seen at; (3) columns are centred and
divided by their spreads where these hide the labels. Every step is the identity on ordinary data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.arrays import Array

WIDE = 100.0  # ratio of the largest to the median column spread, or of neighbours in order, that `auto` scales away
UNEVEN = 10.0  # the same ratio from which the notes speak of it
OFFSET = 5.0  # |mean row| over the root of the summed column variances from which `auto` removes the mean
WILD = 100.0  # distance of a row from the medians, over the median distance, from which it is drawn back
EXTREME = 332  # exponent of two, about 1e100, from which a common factor is taken out


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """x -> (drawn_back(2^-exponent x) - shift) / spread; `notes` say what was done and how to have it left undone.

    medians (d,) and `bound`, `reach` (distances): a row farther than `bound` is drawn back to `reach`; none if inf.
    """

    exponent: int = 0
    medians: Any = 0.0
    bound: float = np.inf
    reach: float = np.inf
    shift: Any = 0.0
    spread: Any = 1.0
    notes: tuple[str, ...] = ()

    def __call__(self, inputs: Array) -> Array:
        """Rows (n, d) as the first lift sees them."""
        if self.exponent:
            inputs = np.ldexp(inputs, -self.exponent)
        inputs = self._drawn_back(inputs)
        return inputs if np.ndim(self.shift) == 0 else (inputs - self.shift) / self.spread

    def _drawn_back(self, inputs: Array) -> Array:
        if not np.isfinite(self.bound):
            return inputs
        away = inputs - self.medians
        distance = row_lengths(away)
        far = distance > self.bound
        if not far.any():
            return inputs
        inputs = np.array(inputs, dtype=np.float64)
        inputs[far] = self.medians + away[far] * (self.reach / distance[far])[:, None]
        return inputs


def learn_scaling(inputs: Array, standardize: Any) -> Scaling:
    """From the training rows (n, d); `standardize` "auto", True or False (nothing is done). Cost: a few passes."""
    if standardize is False:
        return Scaling()
    notes: list[str] = []
    exponent = _exponent(inputs, notes)
    rows = Scaling(exponent=exponent, **_wild_rows(np.ldexp(inputs, -exponent) if exponent else inputs, notes))
    shift, spread = _columns(rows(inputs), standardize, notes)
    return Scaling(
        exponent=exponent,
        medians=rows.medians,
        bound=rows.bound,
        reach=rows.reach,
        shift=shift,
        spread=spread,
        notes=tuple(notes),
    )


def row_lengths(rows: Array) -> Array:
    """Euclidean lengths (n,) without overflow."""
    top = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    safe = np.where(top > 0, top, 1.0)
    return top * np.sqrt(np.square(rows / safe[:, None], dtype=np.float64).sum(axis=1))


def _exponent(inputs: Array, notes: list[str]) -> int:
    sizes = np.abs(inputs).max(axis=1, initial=0.0)
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    exponent = int(np.frexp(typical)[1]) if typical > 0 else 0
    if abs(exponent) < EXTREME:
        return 0
    notes.append(f"all inputs divided by 2^{exponent}: their squares would leave the range of float64")
    return exponent


def _wild_rows(inputs: Array, notes: list[str]) -> dict[str, Any]:
    """Keyword arguments of `Scaling` for rows far out; empty where there are none to draw back."""
    medians = np.median(inputs, axis=0)
    distance = row_lengths(inputs - medians)
    bound = WILD * float(np.median(distance))
    ordinary = distance <= bound
    if bound == 0 or ordinary.all():
        return {}
    far = distance.max() / bound * WILD
    notes.append(
        f"{np.count_nonzero(~ordinary)} of {len(inputs)} rows drawn back: they lie up to {far:.1e} median distances "
        "from the medians and would set the scale for all others; standardize=False leaves them"
    )
    return {"medians": medians, "bound": bound, "reach": float(distance[ordinary].max())}


def _columns(inputs: Array, standardize: Any, notes: list[str]) -> tuple[Any, Any]:
    """Shift and spread (d,), or 0 and 1 where columns are left."""
    mean, spread = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
    spread = np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)  # less is rounding of a constant
    total = float(np.linalg.norm(spread))
    ratio = _unevenness(spread[spread > 0])
    offset = float(np.linalg.norm(mean)) / total if total > 0 else 0.0
    scaled = centred = bool(standardize)
    if standardize == "auto":
        scaled = ratio > WIDE
        centred = scaled or offset > OFFSET
        if scaled:
            notes.append(
                f"columns standardised: spreads {ratio:.1e} times apart, of which the kernel would see the widest "
                "only; standardize=False leaves them"
            )
        elif ratio > UNEVEN:
            notes.append(
                f"columns left as they are: spreads {ratio:.1e} times apart, of which the kernel sees mostly the "
                "widest; standardize=True scales them"
            )
        if centred and not scaled:
            notes.append(
                f"columns centred: their mean is {offset:.1e} times their spread and would be most of what the "
                "kernel sees; standardize=False leaves them"
            )
    return (mean if centred else 0.0), (np.where(spread > 0, spread, 1.0) if scaled else 1.0)


def _unevenness(spread: Array) -> float:
    """Largest of: widest over median spread, ratio of neighbours in order (units that differ leave a gap)."""
    if not spread.size:
        return 1.0
    ordered = np.sort(spread)
    return float(max(ordered[-1] / np.median(ordered), np.max(ordered[1:] / ordered[:-1], initial=1.0)))
