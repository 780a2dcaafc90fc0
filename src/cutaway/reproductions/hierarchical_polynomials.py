"""Three layers learn g(p(x)) with the samples that p needs; a kernel stops at the part that is linear in p."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cutaway.reproductions.row import Row

SOURCE = "arXiv 2311.13774; arXiv 2305.06986"
TITLE = "Hierarchical polynomials: three layers against kernels"


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Relative test error at n = 4, 12 and 30 d^2 (kernels to 12 d^2), d = 16 (full: also 24); LoFi beside them."""
    import numpy as np

    from cutaway.dynamics.hierarchical import hierarchical_target

    rows = []
    for dim in (16,) if short else (16, 24):
        rng = np.random.default_rng(seed)
        goal = hierarchical_target(dim, rng)
        test = rng.standard_normal((2000, dim))
        for multiple in (4, 12, 30):
            rows += _rows_at(goal, test, multiple, rng, short, progress)
    return rows


def _rows_at(goal: Any, test: Any, multiple: int, rng: Any, short: bool, progress: Callable[[str], None]) -> list[Row]:
    """All methods with n = `multiple` d^2 samples."""
    import numpy as np

    from cutaway.dynamics.hierarchical import fit_three_layer, kernel_ridge_error, polynomial_kernel
    from cutaway.features.lofi import LoFiRegressor

    rows, dim, truth = [], test.shape[1], goal(test)
    ridges = 10.0 ** (np.arange(-1, 3) if short else np.arange(-3, 4))
    num = multiple * dim**2
    inputs = rng.standard_normal((num, dim))
    labels = goal(inputs)
    net = fit_three_layer(inputs, labels, rng)
    error = float(np.mean((net.predict(test) - truth) ** 2) / truth.var())
    found = float(np.corrcoef(net.feature(test), goal.inner(test))[0, 1])
    progress(f"d = {dim}, n = {multiple} d^2: three layers {error:.3f}, correlation with p {found:.3f}")
    rows.append(
        Row(
            quantity=f"correlation of the learned feature with p, d = {dim}, n = {multiple} d^2",
            paper="to 1",
            reference="published",
            ours=found,
            tolerance="at least 0.85 from 12 d^2 (our threshold)",
            verdict="report" if multiple < 12 else ("pass" if found >= 0.85 else "fail"),
        )
    )
    kernels = {}
    if num <= 3200:
        for degree in (2, 6):
            kernels[degree] = kernel_ridge_error(
                polynomial_kernel(degree), (inputs, labels), (test, truth), ridges
            ) / float(truth.var())
        progress(f"  kernels of degree 2 and 6: {kernels}")
        best = min(kernels.values())
        rows.append(
            Row(
                quantity=f"relative error, three layers against the best kernel, d = {dim}, n = {multiple} d^2",
                paper="three layers below",
                reference="published",
                ours=f"{error:.3f} against {best:.3f}",
                tolerance="at least 0.1 lower from 12 d^2 (our threshold)",
                verdict="report" if multiple < 12 else ("pass" if error <= best - 0.1 else "fail"),
            )
        )
        if multiple == 12:
            lofi = LoFiRegressor(n_layers=3, n_directions=2 * dim, alpha=1e-2, validation_fraction=0)
            score = 1.0 - lofi.fit(inputs, labels).score(test, truth)
            rows.append(
                Row(
                    quantity=f"relative error of LoFi with {2 * dim} directions, same data",
                    paper=None,
                    ours=float(score),
                    verdict="report",
                )
            )
    if multiple == 30:
        floor = _kernel_floor(goal, rng)
        rows.append(
            Row(
                quantity=f"relative error, three layers, d = {dim}, n = 30 d^2, against the floor of a kernel "
                "that has learned degree 2",
                paper=floor,
                reference="theory",
                ours=error,
                tolerance="at least 0.1 below",
                verdict="pass" if error <= floor - 0.1 else "fail",
            )
        )
    return rows


def _kernel_floor(goal, rng) -> float:
    """Share of the target's variance that is not of degree 2: 1 - corr(g(p), p)^2, from 200,000 draws."""
    import numpy as np

    draws = rng.standard_normal((200_000, goal.form.shape[0]))
    return float(1.0 - np.corrcoef(goal(draws), goal.inner(draws))[0, 1] ** 2)
