"""Does an ensemble, or a network with dropout, know when it is attacked: accuracy and detection on digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.instruments.robustness.uncertainty_under_attack import UncertaintyUnderAttack
from cutaway.outputs.posterior import Ensemble, laplace_ensemble
from cutaway.reading import Reading
from cutaway.reproductions.row import Row

SOURCE = "arXiv 2404.19640"
TITLE = "Attacking Bayes: on the adversarial robustness of Bayesian neural networks"

CLEAN, BLIND, LOSS, HOLDS = 0.96, 0.35, 0.2, 0.8
"""What has to come out: accuracy without attack, detection by the aware attack at 0.25 and how far below the plain
one, and detection at 0.1, where it survives."""


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """A five-member ensemble; full: also a dropout network and Laplace's approximation, three seeds."""
    rows: list[Row] = []
    for draw in range(1 if short else 3):
        for name, model in predictors(seed + draw, all_kinds=not short).items():
            for radius in (0.1, 0.25):
                test = load_data("digits", split="test")
                reading = UncertaintyUnderAttack(radius=radius, num_points=250).measure(model, test, seed=seed + draw)
                figures = ", ".join(f"{f.name} {f.value:.3f}" for f in reading.figures)
                progress(f"{name}, radius {radius}: {figures}")
                rows += judged(reading, f"{name}, draw {draw}", radius)
    return rows


def predictors(seed: int, *, all_kinds: bool) -> dict[str, nn.Module]:
    """Trained on digits: five networks from different starts, one with dropout, Laplace draws of the first's last
    layer."""
    train = load_data("digits", split="train")
    networks = [_trained(train, 10 * seed + k, dropout=0.0) for k in range(5)]
    found: dict[str, nn.Module] = {"ensemble of 5": Ensemble(networks).eval()}
    if all_kinds:
        found["dropout"] = _trained(train, 10 * seed + 5, dropout=0.2)
        found["last-layer Laplace"] = laplace_ensemble(networks[0], train.inputs, members=10, seed=seed)
    return found


def _trained(train: Dataset, seed: int, *, dropout: float, epochs: int = 40) -> nn.Module:
    assert train.labels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Dropout(dropout)]
        layers += [nn.Linear(100, 100), nn.ReLU(), nn.Dropout(dropout), nn.Linear(100, 10)]
        model = nn.Sequential(*layers)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(train)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows]).backward()
                optimiser.step()
    return model.eval()


def judged(reading: Reading, name: str, radius: float) -> list[Row]:
    """The rows of one predictor at one radius."""
    clean, plain, aware = (reading.figure(n) for n in ("clean_accuracy", "attacked_detection", "aware_detection"))
    lead = reading.figure("lead_over_weaker")
    rows = [
        Row(
            quantity=f"{name}, radius {radius}: lead of the attack over weaker ones",
            ours=lead.value,
            low=lead.low,
            high=lead.high,
            tolerance="not below 0 beyond its interval",
            verdict="pass" if lead.high is not None and lead.high >= 0 else "fail",
        )
    ]
    if radius < 0.2:
        enough = clean.value >= CLEAN
        text = f"at least {CLEAN}"
        what = f"{name}: accuracy without attack"
        rows.append(_row(what, clean, None, text, enough))
        what = f"{name}, radius {radius}: detection under the aware attack (0.81 to 0.87 by an independent calculation)"
        rows.append(_row(what, aware, None, f"at least {HOLDS}: it survives here", aware.value >= HOLDS))
        return rows
    claim = "detection fails against attacks that know of it"
    what = f"{name}, radius {radius}: detection under the aware attack"
    rows.append(_row(what, aware, claim, f"at most {BLIND}", aware.value <= BLIND))
    what = f"{name}, radius {radius}: detection lost to the aware attack"
    lost = plain.value - aware.value
    verdict = "pass" if lost >= LOSS else "fail"
    rows.append(
        Row(quantity=what, paper=claim, reference="published", ours=lost, tolerance=f"at least {LOSS}", verdict=verdict)
    )
    return rows


def _row(what: str, figure, claim: str | None, tolerance: str, holds: bool) -> Row:
    reference = "own" if claim is None else "published"
    return Row(
        quantity=what,
        paper=claim,
        reference=reference,
        ours=figure.value,
        low=figure.low,
        high=figure.high,
        tolerance=tolerance,
        verdict="pass" if holds else "fail",
    )
