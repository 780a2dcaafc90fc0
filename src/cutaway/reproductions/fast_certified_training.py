"""Fast certified robust training (Shi et al., arXiv 2103.17268) on MNIST at l-infinity 0.3, verified by the bound
engine."""

from __future__ import annotations

import torch

from cutaway.reproductions.row import Row

TITLE = "IBP training with a short warm-up on MNIST"
SOURCE = "arXiv 2103.17268"


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """The full form trains 15 minutes at radius 0.3; the short one half a minute at 0.1, to see the machinery work."""
    from cutaway.data import load_data
    from cutaway.robustness.certified_training import CertifiedTrainingSettings, small_cnn, train_certified

    radius, seconds = (0.1, 30.0) if short else (0.3, 900.0)
    train, test = load_data("mnist", split="train"), load_data("mnist", split="test")
    assert train.labels is not None and test.labels is not None
    count = 12_000 if short else 60_000
    model = small_cnn(width=4 if short else 8)
    settings = CertifiedTrainingSettings(
        radius=radius, epochs=5 if short else 15, seconds=seconds, seed=seed, learning_rate=2e-3 if short else 5e-4
    )
    record = train_certified(model, train.inputs[:count], train.labels[:count], settings, progress)
    num = 500 if short else 10_000
    seconds = Row(quantity="seconds of training", paper=None, ours=record.seconds, tolerance="", verdict="report")
    return [*_judged(model, test.inputs[:num], test.labels[:num], radius, short, progress), seconds]


def _judged(model, inputs, labels, radius: float, short: bool, progress) -> list[Row]:
    """Errors of a trained network on test images, clean and verified by two bounds."""
    clean, interval, engine = _errors(model, inputs, labels, radius)
    progress(f"clean {clean:.2%}, interval {interval:.2%}, CROWN with IBP {engine:.2%} on {len(inputs)} test images")
    consistent = engine <= interval + 1e-12
    target = 0.9 if short else 0.15
    return [
        Row(
            quantity=f"clean error, radius {radius}",
            paper=None if short else 0.0207,
            reference="own" if short else "published",
            ours=clean,
            tolerance="paper: radius 0.4, 70 epochs, larger network",
            verdict="report",
        ),
        Row(
            quantity=f"verified error by the engine, radius {radius}",
            paper=None if short else 0.1098,
            reference="own" if short else "published",
            ours=engine,
            tolerance=f"at most {target:.0%}" + (" (untrained: 100 %)" if short else " (paper: radius 0.4)"),
            verdict="pass" if engine <= target else "fail",
        ),
        Row(
            quantity="verified error by the training bound",
            paper=None,
            ours=interval,
            tolerance="never below the engine's",
            verdict="pass" if consistent else "fail",
        ),
    ]


def _errors(model, inputs, labels, radius: float) -> tuple[float, float, float]:
    """Clean error; error by interval bounds with the last layer merged; by CROWN for what those leave open."""
    from cutaway.robustness.bounds.network import bound_network
    from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep
    from cutaway.robustness.certified_share import margin_rows
    from cutaway.robustness.certified_training import bound_loss
    from cutaway.robustness.regions import ball

    with torch.no_grad():
        low, high = (inputs - radius).clamp(0, 1), (inputs + radius).clamp(0, 1)
        _, worst, scores, _ = bound_loss(model, inputs, labels, low, high)
    right = scores.argmax(1) == labels
    claimed = ~(worst.scatter(1, labels[:, None], -1.0) >= 0).any(1)
    bounded = bound_network(model, inputs[:1])
    proved = torch.zeros_like(right)
    for rows in right.nonzero().squeeze(1).split(100):
        region = ball(inputs[rows].double(), radius, float("inf"), low=0.0, high=1.0)
        for method in ("crown-ibp", "crown"):
            left = ~proved[rows]
            if method == "crown" and not bool((left & ~claimed[rows]).any()):
                continue
            part = rows[left] if method == "crown-ibp" else rows[left & ~claimed[rows]]
            piece = ball(inputs[part].double(), radius, float("inf"), low=0.0, high=1.0)
            how = SweepSettings(method=method)
            found = bound_rows(
                bounded,
                sweep(bounded, piece, how),
                piece,
                margin_rows(labels[part], 10, bounded.graph.output.shape),
                how,
            )
            proved[part] = (found > 0).all(1)
        del region
    return float((~right).double().mean()), float((~claimed).double().mean()), float((~proved).double().mean())
