"""The four steps of a long training at which every attack is tried, and what stands there.

Robustness late in training can only be compared with robustness early if both ends meet the same attacks. The steps:
start and end of the clean plateau (the first and the last measuring step at which test accuracy is within a point of
its highest), the peak of local complexity near training points, and the last step. The attacks, l-infinity: PGD with 10
steps (the paper's strength); PGD with 100 steps and 2 restarts on the margin; APGD with 50 steps on cross-entropy and
DLR; targeted APGD (9 targets, 50 steps, 2 restarts); Square (500 queries, no gradients). A sample stands if none of
them breaks it: an upper bound on robust accuracy. The proof (`proved`) is the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from cutaway.data import Dataset
from cutaway.network import Network
from cutaway.robustness.attacks import APGD, PGD, Attack, Square
from cutaway.robustness.certified_share import certified_accuracy

MARKS = ("start of the clean plateau", "end of the clean plateau", "peak of the count", "last step")
JUDGES: dict[str, Callable[[float], Attack]] = {
    "PGD-10": lambda r: PGD(radius=r, steps=10),
    "margin PGD": lambda r: PGD(radius=r, steps=100, restarts=2, stop_early=True),
    "APGD": lambda r: APGD(radius=r, steps=50),
    "targeted APGD": lambda r: APGD(radius=r, steps=50, loss="targeted-dlr", restarts=2),
    "Square": lambda r: Square(radius=r, steps=500),
}
PROOF_RADII = (0.005, 0.01, 0.02, 0.03, 0.1)


def marks(steps: np.ndarray, clean: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The four steps, from the measuring steps `(T,)`, which samples are right `(T, n)` and the count `(T, points)`."""
    from cutaway.training.phases import down_up_down

    accuracy = clean.mean(axis=1)
    plateau = np.flatnonzero(accuracy >= accuracy.max() - 0.01)
    peak = down_up_down(count.mean(axis=1))[2]
    return np.array([steps[plateau[0]], steps[plateau[-1]], steps[peak], steps[-1]])


def judged_marks(
    model: nn.Module, data: Dataset, radii: tuple[float, ...], progress: Callable[[str], None] = print
) -> np.ndarray:
    """`(attacks, radii, n)` bool: right and not broken by each of `JUDGES`; a sample broken by an earlier attack is
    left out of the later ones and counts as broken by them too, for they would have to be tried for nothing.

    PGD-10 comes first and sees all samples, so its rows are its own.
    """
    network = Network(model, data.inputs[:2], probe=False)
    found = np.zeros((len(JUDGES), len(radii), len(data)), dtype=bool)
    for column, radius in enumerate(radii):
        standing = np.ones(len(data), dtype=bool)
        for row, make in enumerate(JUDGES.values()):
            left = np.flatnonzero(standing)
            if left.size:
                attacked = make(radius).attack(network, data.subset(left.tolist()), seed=3, batch_size=500)
                standing[left] = ~attacked.success.numpy()
            found[row, column] = standing
        progress(f"radius {radius:g}: " + ", ".join(f"{n} {v:.3f}" for n, v in zip(JUDGES, found[:, column].mean(1))))
    return found


def proved(model: nn.Module, data: Dataset) -> np.ndarray:
    """`(len(PROOF_RADII), n)` bool: proved right over the l-infinity ball, after rounding."""
    return np.array([certified_accuracy(model, data, radius=radius).certified for radius in PROOF_RADII])


def paired(late: np.ndarray, early: np.ndarray) -> tuple[float, float, float]:
    """Mean of late - early over the same samples `(n,)` and its 95 % interval (normal, from the paired differences)."""
    difference = late.astype(float) - early.astype(float)
    half = 1.96 * float(difference.std(ddof=1)) / np.sqrt(difference.size)
    mean = float(difference.mean())
    return mean, mean - half, mean + half
