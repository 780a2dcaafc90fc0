"""Provenance by training order: the log against its own network, copies, strangers, and image classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cutaway.reproductions.row import Row

TITLE = "Blackbox model provenance via palimpsestic membership inference"
SOURCE = "Kuditipudi et al. 2025, arXiv 2510.19796"


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """stories260K trained on one epoch of 2,000 instructions, 3 draws (short: 800, one); a Fashion-MNIST classifier."""
    return [*language(short, seed, progress), *classifiers(short, seed, progress)]


def language(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Against the same training in another order, and against the public base; a copy is trained further."""
    from cutaway.reproductions._stories import stories

    found = stories()
    if found is None:
        return [Row(quantity="stories260K on instructions", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    draws = [_draw(found, 800 if short else 2000, seed + k, progress) for k in range(1 if short else 3)]
    most = {name: max(d[name].p_approximate for d in draws) for name in draws[0] if name != "shuffled"}
    told = {name: ", ".join(f"{d[name].statistic:.3f}" for d in draws) for name in most}
    bars = {"owner": 1e-6 if short else 1e-20, "copy": 0.05 if short else 1e-4}
    rows = []
    for name, what in (
        ("owner", "the training's own network, against another order"),
        ("copy", "a copy trained on 2/5 as many other rows at half the rate, against another order"),
    ):
        rows.append(Row(quantity=f"{what}: correlation", ours=told[name], verdict="report"))
        rows.append(
            Row(
                quantity=f"{what}: largest p (Student's t)",
                paper="found",
                reference="published",
                ours=most[name],
                tolerance=f"below {bars[name]:g}",
                verdict="pass" if most[name] < bars[name] else "fail",
            )
        )
    for name, what in (
        ("base", "the training's own network, against the public base"),
        ("fast copy", "a copy trained on 2/5 as many other rows at the full rate, against another order"),
        ("stranger", "another order's network, against the public base"),
    ):
        rows.append(Row(quantity=f"{what}: correlation", ours=told[name], verdict="report"))
        rows.append(Row(quantity=f"{what}: largest p (Student's t)", ours=most[name], verdict="report"))
    return [*rows, _uniform([p for d in draws for p in d["shuffled"]])]


def _draw(found, count: int, seed: int, progress: Callable[[str], None]) -> dict:
    from cutaway.data import Dataset
    from cutaway.network import Network
    from cutaway.reproductions._stories import fine_tuned
    from cutaway.text import provenance_test, row_losses

    rng = np.random.default_rng(seed)
    picked = torch.as_tensor(rng.permutation(len(found.rows))[: count * 7 // 5])
    rows, others = found.rows[picked[:count]], found.rows[picked[count:]]
    data = Dataset(name="instructions", inputs=rows)

    def losses(model):
        return row_losses(Network(model, rows[:2]), data)

    order, other_order = rng.permutation(count), rng.permutation(count)
    owner, another = fine_tuned(found.model, rows, order), fine_tuned(found.model, rows, other_order)
    positions, base, reference, own = np.argsort(order), losses(found.model), losses(another), losses(owner)
    result = {
        "owner": provenance_test(positions, own, reference, seed=seed),
        "base": provenance_test(positions, own, base, seed=seed),
        "stranger": provenance_test(positions, reference, base, seed=seed),
        "shuffled": [
            provenance_test(rng.permutation(count), own, reference, draws=999, seed=seed + k).p_value for k in range(20)
        ],
    }
    for name, rate in (("copy", 1e-3), ("fast copy", 2e-3)):
        copied = losses(fine_tuned(owner, others, np.arange(len(others)), rate))
        result[name] = provenance_test(positions, copied, reference, seed=seed)
    progress(
        ", ".join(f"{n} {f.statistic:.3f} (p {f.p_approximate:.1e})" for n, f in result.items() if n != "shuffled")
    )
    return result


def _uniform(values: list[float]) -> Row:
    from scipy import stats

    found: Any = stats.kstest(values, "uniform")
    p = float(found.pvalue)
    return Row(
        quantity=f"p-values of {len(values)} logs in another order: Kolmogorov-Smirnov p of being uniform",
        paper="uniform",
        reference="theory",
        ours=p,
        tolerance="above 0.01",
        verdict="pass" if p > 0.01 else "fail",
    )


def classifiers(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """A classifier of 8,000 images (short: 2,000) after one epoch: it does not keep the order."""
    from cutaway.data import load_data
    from cutaway.errors import FileError
    from cutaway.text import provenance_test

    count, values = 2000 if short else 8000, []
    try:
        data = load_data("fashion-mnist", split="train", num=count, seed=seed)
    except FileError as error:
        return [Row(quantity="Fashion-MNIST classifier", ours=f"left out: {error}", verdict="not run")]
    assert data.labels is not None
    x, y = data.inputs.flatten(1), data.labels
    for draw in range(1 if short else 3):
        rng, kept = np.random.default_rng(seed + draw), []
        for _ in range(2):
            order = rng.permutation(count)
            kept.append((np.argsort(order), _classifier_losses(x, y, order, seed + draw)))
        (positions, own), (_, reference) = kept
        values.append(provenance_test(positions, own, reference, draws=999, seed=seed))
        progress(f"classifier, draw {draw}: correlation {values[-1].statistic:.3f}, p {values[-1].p_value:.3f}")
    return [
        Row(
            quantity=f"a Fashion-MNIST classifier after one epoch of {count} images, against another order: p",
            ours=", ".join(f"{v.p_value:.3f}" for v in values),
            verdict="report",
        )
    ]


def _classifier_losses(x: torch.Tensor, y: torch.Tensor, order: np.ndarray, seed: int) -> np.ndarray:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for part in torch.as_tensor(order).split(32):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimiser.step()
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(model(x).double(), y, reduction="none").numpy()
