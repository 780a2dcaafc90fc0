"""LipSDP (Fazlyab et al., arXiv 1906.04893): the neuron-wise bound without a semidefinite solver."""

from __future__ import annotations

import time
from itertools import pairwise

import torch

from cutaway.reproductions.row import Row

TITLE = "Lipschitz constants by LipSDP multipliers, found by gradient descent"
SOURCE = "arXiv 1906.04893 (LipSDP), arXiv 2404.04375 (ECLipsE-Fast)"
CASES = ((10, 32, 32, 2), (30, 128, 2), (20, 64, 64, 64, 5), (784, 256, 256, 10))  # layer sizes


def gaussian_weights(sizes: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    """N(0, 1 / fan-in) weights, float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, a, generator=generator, dtype=torch.float64) / a**0.5 for a, b in pairwise(sizes)]


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """Order of the bounds on every case, distance to the semidefinite optimum where cvxpy is there, CPU seconds of
    the largest."""
    rows = [row for sizes in CASES for row in bounds_of(sizes, short, seed, progress)]
    return rows + _against_solver(seed, progress)


def bounds_of(sizes: tuple[int, ...], short: bool, seed: int, progress) -> list[Row]:
    """All bounds of one network; of the largest also the seconds."""
    from cutaway.robustness.lipschitz import lipschitz_bounds

    rows = []
    begin = time.process_time()
    found = lipschitz_bounds(gaussian_weights(sizes, seed), steps=100 if short or sizes[0] > 500 else 400, seed=seed)
    spent = time.process_time() - begin
    name = "-".join(map(str, sizes))
    progress(f"{name}: {found.product:.4f} >= {found.fast:.4f} >= {found.optimised:.4f}, {spent:.1f} s")
    ordered = found.product >= found.fast >= found.optimised >= found.sampled
    rows.append(
        Row(
            quantity=f"{name}: product >= fast >= optimised >= slope seen",
            paper="order",
            reference="theory",
            ours=found.optimised,
            low=found.sampled,
            high=found.fast,
            tolerance="order holds",
            verdict="pass" if ordered else "fail",
        )
    )
    if sizes[0] > 500:
        rows.append(
            Row(
                quantity=f"{name}: CPU seconds",
                ours=spent,
                tolerance="limit",
                verdict="pass" if spent <= 20 else "fail",
            )
        )
    return rows


def _against_solver(seed: int, progress) -> list[Row]:
    from cutaway.errors import MissingExtra
    from cutaway.robustness.lipschitz import lipschitz_bounds, sdp_bound

    weights = gaussian_weights((10, 32, 32, 2), seed)
    ours = lipschitz_bounds(weights, steps=600, seed=seed).optimised
    try:
        solver = sdp_bound(weights)
    except MissingExtra as error:
        progress(f"no semidefinite solver: {error}")
        return [Row(quantity="10-32-32-2: against SCS", paper=None, ours=ours, tolerance=str(error), verdict="not run")]
    verdict = "pass" if 0.995 * solver <= ours <= 1.02 * solver else "fail"
    return [
        Row(
            quantity="10-32-32-2: against SCS (same weights)",
            paper=solver,
            reference="theory",
            ours=ours,
            tolerance="2 %",
            verdict=verdict,
        )
    ]
