"""Boxes in an embedding space round sentences of one class.

- `cubes`: centre +- epsilon.
- `perturbation_boxes`: the smallest box round a sentence and its perturbations whose cosine to it exceeds 0.6, where at
  least two points remain.
- `shrink`: one box round all positives, cut until no negative is inside. Ours, exact greedy: while a negative is
inside,
  among the 2d cuts that exclude it take the one that loses fewest positives, then least width, midway between the
  negative and the nearest kept positive.
- `cluster_boxes`: k-means clusters of the positives, each box shrunk by itself.

A rotation (V of the training positives' SVD) goes in front of all of them; before PCA it would change nothing, since
PCA scores do not depend on a rotation, so here it is applied behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """`lower`, `upper` (k, d), `owner` (k,): the training row each box belongs to, -1 for none."""

    lower: np.ndarray
    upper: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.lower)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(n, k) booleans: which of the points (n, d) lie in which box."""
        out = np.empty((len(points), len(self)), dtype=bool)
        for start in range(0, len(points), 256):
            part = points[start : start + 256, None, :]
            out[start : start + 256] = ((part >= self.lower) & (part <= self.upper)).all(2)
        return out

    def subset(self, keep: np.ndarray) -> Boxes:
        """The boxes that `keep` (k,) marks."""
        return Boxes(lower=self.lower[keep], upper=self.upper[keep], owner=self.owner[keep])


def cubes(points: np.ndarray, epsilon: float) -> Boxes:
    """A cube of half-width `epsilon` round every point (n, d).

    Raises `InputError` for an epsilon that is not above 0.
    """
    if epsilon <= 0:
        raise InputError("epsilon", found=str(epsilon), expected="above 0", remedy="give a number above 0")
    return Boxes(lower=points - epsilon, upper=points + epsilon, owner=np.arange(len(points)))


def perturbation_boxes(points: np.ndarray, perturbed: Sequence[np.ndarray], *, cosine: float = 0.6) -> Boxes:
    """Boxes round each point (n, d) and those of its perturbations (k_i, d) whose cosine to it exceeds `cosine`; rows
    with no such perturbation get no box."""
    lower, upper, owner = [], [], []
    for row, (centre, others) in enumerate(zip(points, perturbed, strict=True)):
        scale = np.linalg.norm(others, axis=1) * np.linalg.norm(centre)
        near = others[others @ centre > cosine * scale] if len(others) else others
        if len(near):
            group = np.vstack([centre, near])
            lower.append(group.min(0))
            upper.append(group.max(0))
            owner.append(row)
    empty = np.empty((0, points.shape[1]))
    return Boxes(
        lower=np.array(lower) if lower else empty, upper=np.array(upper) if upper else empty, owner=np.array(owner, int)
    )


def shrink(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) (d,) of a box of positives (n, d) without any of the negatives (m, d) inside.

    At most m cuts of cost O(d n) each. A negative that equals a positive costs that positive.
    """
    lower, upper = positives.min(0), positives.max(0)
    kept = positives
    while True:
        inside = ((negatives >= lower) & (negatives <= upper)).all(1)
        if not inside.any() or not len(kept):
            break
        bad = negatives[np.flatnonzero(inside)[0]]
        side, axis = _best_cut(kept, bad, lower, upper)
        keep = kept[:, axis] < bad[axis] if side == "upper" else kept[:, axis] > bad[axis]
        kept = kept[keep]
        if not len(kept):
            break
        if side == "upper":
            upper = upper.copy()
            upper[axis] = (kept[:, axis].max() + bad[axis]) / 2
        else:
            lower = lower.copy()
            lower[axis] = (kept[:, axis].min() + bad[axis]) / 2
    if not len(kept):  # nothing is left: an empty box at the first positive, one rounding step wide
        return positives[0].copy(), np.nextafter(positives[0], -np.inf)
    return lower, upper


def _best_cut(kept: np.ndarray, bad: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[str, int]:
    above, below = (kept >= bad).sum(0), (kept <= bad).sum(0)
    width = np.maximum(upper - lower, 1e-300)
    costs = [(int(above[j]), float((upper[j] - bad[j]) / width[j]), "upper", j) for j in range(len(bad))]
    costs += [(int(below[j]), float((bad[j] - lower[j]) / width[j]), "lower", j) for j in range(len(bad))]
    _, _, side, axis = min(costs)
    return side, axis


def cluster_boxes(positives: np.ndarray, negatives: np.ndarray, *, count: int = 50, seed: int = 0) -> Boxes:
    """Shrunk boxes of k-means clusters of the positives; empty ones are left out.

    `positives` (n, d), `negatives` (m, d); the boxes (k, d).
    """
    from sklearn.cluster import KMeans

    count = min(count, len(np.unique(positives, axis=0)))
    names = KMeans(count, n_init=1, random_state=seed).fit_predict(positives)  # pyright: ignore[reportArgumentType]
    made = [shrink(positives[names == k], negatives) for k in range(count)]
    lower, upper = (np.array(side) for side in zip(*made, strict=True))
    boxes = Boxes(lower=lower, upper=upper, owner=np.full(count, -1))
    return boxes.subset(np.asarray((lower <= upper).all(1)))
