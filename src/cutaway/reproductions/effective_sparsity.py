"""Effective sparsity of pruned networks, layer quotas, and pruning to an effective target (LeNet-300-100)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.network import Network
from cutaway.reproductions.row import Row
from cutaway.structure.densities import QUOTA_KINDS, quotas, random_masks
from cutaway.structure.live import live_connections
from cutaway.structure.pruning import apply_masks, keep_best, magnitude, prune_to_effective, synflow
from cutaway.structure.wiring import Wiring, wire

SOURCE = "arXiv 2107.02306"
TITLE = "Connectivity matters: effective against direct sparsity"

EXPECTED = {
    (100, "uniform"): (1054, 0.2),
    (100, "erk"): (116, 0.05),
    (100, "igq"): (102, 0.02),
    (300, "uniform"): (24402, 0.4),
    (300, "erk"): (864, 0.15),
    (300, "igq"): (440, 0.08),
    (1000, "igq"): (6120, 0.2),
}
"""Medians of eight draws by an independent calculation, and how far ours may be (draws vary that much)."""


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Random, magnitude and SynFlow masks of an untrained 784-300-100-10. Full: also trained on digits."""
    rows = random_rows(seed, 8, progress) + score_rows(seed, short, progress)
    return rows if short else rows + _trained(seed, progress)


def lenet(inputs: int, seed: int) -> nn.Sequential:
    """inputs-300-100-10, He's normal initialisation."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(inputs, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    for layer in layers[::2]:
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))  # pyright: ignore
            layer.bias.zero_()  # pyright: ignore
    return nn.Sequential(*layers).eval()


def _wired(inputs: int, seed: int) -> Wiring:
    return wire(Network(lenet(inputs, seed), torch.zeros(2, inputs)))


def random_rows(seed: int, draws: int, progress: Callable[[str], None]) -> list[Row]:
    """Random masks by uniform densities, ERK and ideal gas quotas at direct compressions 100, 300, 1000."""
    wiring, rows = _wired(784, seed), []
    medians: dict[tuple[int, str], float] = {}
    for compression in (100, 300, 1000):
        for kind in reversed(QUOTA_KINDS):
            densities = quotas(kind, wiring.shapes, compression)
            found = [
                live_connections(wiring, random_masks(densities, wiring.shapes, seed=seed + k)).effective
                for k in range(draws)
            ]
            cut = sum(math.isinf(f) for f in found)
            middle = medians[compression, kind] = float(np.median(found))
            progress(f"{compression}x, {kind}: effective {middle:,.0f} ({cut} of {draws} disconnected)")
            expected = EXPECTED.get((compression, kind))
            rows.append(
                Row(
                    quantity=f"random pruning, {kind}, direct {compression}x: median effective compression of {draws}",
                    ours=f"{middle:,.0f} ({cut} of {draws} disconnected)",
                    low=None if cut else min(found),
                    high=None if cut else max(found),
                    tolerance=f"{expected[0]:,} within {expected[1]:.0%}" if expected else "draws differ too much",
                    verdict=_near(middle, *expected) if expected else "report",
                )
            )
    ordered = all(medians[c, "uniform"] > medians[c, "erk"] > medians[c, "igq"] for c in (100, 300, 1000))
    rows.append(
        Row(
            quantity="effective compression at equal direct compression: uniform > ERK > ideal gas quotas",
            paper="ideal gas quotas keep the most connected",
            reference="published",
            ours="at 100, 300 and 1000" if ordered else "not at every compression",
            tolerance="the order, at all three",
            verdict="pass" if ordered else "fail",
        )
    )
    return rows


def _near(value: float, expected: float, share: float):
    return "pass" if abs(value / expected - 1) <= share else "fail"


def score_rows(seed: int, short: bool, progress: Callable[[str], None]) -> list[Row]:
    """Magnitude at initialisation, SynFlow, and pruning to an effective target."""
    wiring = _wired(784, seed)
    scores, rows = magnitude(wiring), []
    live = live_connections(wiring, keep_best(scores, round(wiring.total / 100)))
    rows.append(
        Row(
            quantity="magnitude at initialisation, direct 100x: effective compression",
            ours=live.effective,
            tolerance="109 (an independent calculation) within 10%",
            verdict=_near(live.effective, 109, 0.1),
        )
    )
    for compression in (100, 1000, 5000):
        kept = live_connections(wiring, synflow(wiring, compression, rounds=100))
        idle = 1 - kept.num_active / sum(kept.kept.values())
        progress(f"SynFlow {compression}x: direct {kept.direct:,.0f}, effective {kept.effective:,.0f}")
        rows.append(
            Row(
                quantity=f"SynFlow, 100 rounds, direct {kept.direct:,.0f}x: share of what is kept that is on no path",
                paper=0.0,
                reference="published",
                ours=idle,
                tolerance="at most 1% (what the last round cuts loose)",
                verdict="pass" if idle <= 0.01 else "fail",
            )
        )
    for target in (100,) if short else (100, 1000):
        reached = live_connections(wiring, prune_to_effective(wiring, scores, target))
        rows.append(
            Row(
                quantity=f"magnitude pruned to an effective {target}x: effective compression reached",
                ours=reached.effective,
                tolerance="the target or just above, up to one path's weights (5%)",
                verdict="pass" if target <= reached.effective <= 1.05 * target else "fail",
            )
        )
    return rows


def _trained(seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Test accuracy on digits of five pruners at direct 100x and at effective 100x."""
    accuracy = {
        matched: {
            name: [_accuracy(name, matched, seed + k) for k in range(3)]
            for name in ("uniform", "erk", "igq", "magnitude")
        }
        for matched in ("direct", "effective")
    }
    rows = []
    for matched, found in accuracy.items():
        order = sorted(found, key=lambda name: -float(np.mean(found[name])))
        words = ", ".join(f"{name} {np.mean(found[name]):.3f}" for name in order)
        progress(f"{matched} 100x: {words}")
        rows.append(
            Row(
                quantity=f"digits, accuracy after training at {matched} compression 100 (3 seeds), best first",
                paper="rankings change" if matched == "effective" else None,
                reference="published" if matched == "effective" else "own",
                ours=words,
                tolerance="other data and size than the paper's: shown as it is",
                verdict="report",
            )
        )
    return rows


def _accuracy(name: str, matched: str, seed: int) -> float:
    from cutaway.data import load_data

    model = lenet(64, seed)
    wiring = wire(Network(model, torch.zeros(2, 64)))
    masks = _masks(wiring, name, matched, seed)
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert train.labels is not None and test.labels is not None
    generator, optimiser = torch.Generator().manual_seed(seed), torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(1500):
        apply_masks(model, masks)
        rows = torch.randint(len(train.inputs), (128,), generator=generator)
        loss = nn.functional.cross_entropy(model(train.inputs[rows].flatten(1)), train.labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    apply_masks(model, masks)
    with torch.no_grad():
        return float((model(test.inputs.flatten(1)).argmax(dim=1) == test.labels).double().mean())


def _masks(wiring: Wiring, name: str, matched: str, seed: int) -> dict[str, Tensor]:
    """A mask of 100x: directly, or effectively by the score that the pruner gives (random ones: the quota's)."""
    if name == "magnitude":
        scores = magnitude(wiring)
        direct = keep_best(scores, round(wiring.total / 100))
        return direct if matched == "direct" else prune_to_effective(wiring, scores, 100)
    direct = random_masks(quotas(name, wiring.shapes, 100), wiring.shapes, seed=seed)  # pyright: ignore[reportArgumentType]
    if matched == "direct":
        return direct
    low, high = 1.0, 100.0  # random masks of a seed are nested, so the compression is found by bisection
    for _ in range(20):
        middle = math.sqrt(low * high)
        masks = random_masks(quotas(name, wiring.shapes, middle), wiring.shapes, seed=seed)  # pyright: ignore[reportArgumentType]
        low, high = (low, middle) if live_connections(wiring, masks).effective >= 100 else (middle, high)
    return random_masks(quotas(name, wiring.shapes, high), wiring.shapes, seed=seed)  # pyright: ignore[reportArgumentType]
