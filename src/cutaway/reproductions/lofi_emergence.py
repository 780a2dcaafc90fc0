"""When label-weighted directions leave the noise: overlap 1 - n_c/n in 256 dimensions, and what our estimate says of
it."""

from __future__ import annotations

from collections.abc import Callable

from cutaway.reproductions.row import Row

SOURCE = "arXiv 2605.13612 (criterion); threshold by random matrices, derived here: n_c = 1,024"
TITLE = "Emergence of features: detachment of the moment operator's eigenvalues"

SIZES = (1200, 1600, 2400, 4800, 9600, 19200)
CRITICAL = 1024.0


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Overlap at n = 1,200 .. 19,200 (short: 4,800) against theory; the predicted one from data alone; false alarms
    below threshold."""
    sizes = [num for num in SIZES if num <= 4800 or not short]
    return [row for num in sizes for row in overlaps_at(num, short, seed, progress)]


def overlaps_at(num: int, short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Overlaps with n = `num` samples, found and predicted."""
    import numpy as np

    from cutaway.features.lofi.spectral_emergence import emergence

    rows = []
    overlaps, predicted = [], []
    for each in range(seed, seed + (2 if short else 4)):
        rng = np.random.default_rng(each)
        directions = np.linalg.qr(rng.standard_normal((256, 4)))[0]
        x = rng.standard_normal((num, 256))
        y = np.sign((x @ directions) ** 2 @ np.array([1.0, 1.0, -1.0, -1.0]))
        found = emergence(x, y, num_permutations=0, num_directions=4)
        overlaps.append(float(np.sum((directions.T @ found.directions) ** 2) / 4))
        predicted.append(float(found.overlaps.mean()))
    theory = max(0.0, 1.0 - CRITICAL / num)
    tolerance = 0.03 if num >= 4 * CRITICAL else 0.1
    mean = float(np.mean(overlaps))
    progress(f"n = {num}: {mean:.3f}, theory {theory:.3f}")
    rows.append(
        Row(
            quantity=f"squared overlap with the true directions, n = {num}",
            paper=theory,
            reference="theory",
            ours=mean,
            low=min(overlaps),
            high=max(overlaps),
            tolerance=f"{tolerance} of the theory",
            verdict="report" if num < 1.5 * CRITICAL else "pass" if abs(mean - theory) <= tolerance else "fail",
        )
    )
    if num >= 2400:
        guess = float(np.mean(predicted))
        allowed = 0.05 if num >= 4 * CRITICAL else 0.15
        rows.append(
            Row(
                quantity=f"overlap predicted from the data alone, n = {num}",
                paper=theory,
                reference="theory",
                ours=guess,
                tolerance=allowed,
                verdict="pass" if abs(guess - theory) <= allowed else "fail",
            )
        )
    return rows
