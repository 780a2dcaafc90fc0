"""Neural activation patterns on MNIST (Geng et al., arXiv 2210.16114): coverage, precision, and what patterns
verify."""

from __future__ import annotations

import torch
from torch import nn

from cutaway.reproductions.row import Row

TITLE = "Neural activation patterns: coverage of MNIST and verified labels"
SOURCE = "arXiv 2210.16114"


def _train(inputs, labels, seed: int, epochs: int) -> nn.Sequential:
    """The paper's shape of network: dense, four hidden layers (256 each in the VNN-COMP family; 128 here)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(256):
            loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model.eval()


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """Mined on training data, measured on test data; one box round a test image verified with and without its
    pattern."""
    from cutaway.data import load_data
    from cutaway.robustness.bounds.network import bound_network
    from cutaway.robustness.patterns import contradict, count_activations, coverage_and_precision, mine, verify_pattern
    from cutaway.robustness.query import robustness_query
    from cutaway.robustness.verify.replay import module_replay
    from cutaway.robustness.verify.verdict import VerifySettings, verify
    from cutaway.status import Status

    train, test = load_data("mnist", split="train"), load_data("mnist", split="test")
    assert train.labels is not None and test.labels is not None
    count = 10_000 if short else 60_000
    model = _train(train.inputs[:count], train.labels[:count], seed, 3 if short else 8)
    bounded = bound_network(model, test.inputs[:1])
    counts = count_activations(bounded, train.inputs[:count], train.labels[:count], 10)
    rows = []
    for delta in ("0.9", "0.95", "0.99", "1.0"):
        patterns = [mine(counts, c, delta) for c in range(10)]
        measured = [coverage_and_precision(bounded, p, test.inputs, test.labels) for p in patterns]
        weights = torch.bincount(test.labels, minlength=10).double() / len(test)
        recalled = sum(float(w) * m[0] for w, m in zip(weights, measured))
        followers = sum(m[2] for m in measured)
        precision = sum(m[1] * m[2] for m in measured if m[2]) / max(followers, 1)
        pairs = sum(contradict(a, b) for i, a in enumerate(patterns) for b in patterns[:i])
        progress(
            f"delta {delta}: {recalled:.1%} of test images recalled, precision {precision:.2%}, {pairs}/45 disjoint"
        )
        paper = "84 % (their networks)" if delta == "0.99" else None
        rows.append(
            Row(
                quantity=f"delta {delta}: test images that follow their class's pattern",
                paper=paper,
                reference="own" if paper is None else "published",
                ours=recalled,
                tolerance="depends on network and delta",
                verdict="report",
            )
        )
        rows.append(
            Row(
                quantity=f"delta {delta}: followers that have the pattern's class",
                paper=None,
                ours=precision,
                tolerance="",
                verdict="report",
            )
        )
        rows.append(
            Row(
                quantity=f"delta {delta}: pairs of classes with contradicting patterns",
                paper=45,
                reference="published",
                ours=pairs,
                tolerance="all 45",
                verdict="pass" if pairs == 45 else "report",
            )
        )
    rows.append(_followed(bounded, counts, train.inputs[:count], train.labels[:count]))
    pattern_wins = plain_wins = 0
    radii = (0.05, 0.1) if short else (0.03, 0.05, 0.1, 0.2)
    patterns = [mine(counts, c, "0.99") for c in range(10)]
    examples = [i for i in range(200) if int(model(test.inputs[i : i + 1]).argmax()) == int(test.labels[i])][
        : 3 if short else 10
    ]
    replay = module_replay(model, test.input_shape)
    for i in examples:
        label = int(test.labels[i])
        for radius in radii:
            query = robustness_query(test.inputs[i], label, radius, 10, 0.0, 1.0)
            limit = 3.0 if short else 15.0
            plain = verify(bounded, query, replay, VerifySettings(timeout=limit)).status
            with_pattern = verify_pattern(
                bounded, query, patterns[label], replay, known=test.inputs[i : i + 1].flatten(1), timeout=limit
            )
            plain_wins += plain is Status.CERTIFIED
            pattern_wins += with_pattern.status is Status.CERTIFIED and not with_pattern.vacuous
            progress(f"image {i} radius {radius}: plain {plain.value}, with pattern {with_pattern.status.value}")
    total = len(examples) * len(radii)
    rows.append(
        Row(
            quantity=f"boxes certified with the pattern, of {total} (plain: {plain_wins})",
            paper="patterns verify larger boxes",
            reference="published",
            ours=pattern_wins,
            tolerance="at least as many",
            verdict="pass" if pattern_wins >= plain_wins else "fail",
        )
    )
    return rows


def _followed(bounded, counts, inputs, labels) -> Row:
    """By definition: with delta 1 a neuron is fixed only where all training images of the class agree."""
    from cutaway.robustness.patterns import coverage_and_precision, mine

    least = min(coverage_and_precision(bounded, mine(counts, c, "1.0"), inputs, labels)[0] for c in range(10))
    return Row(
        quantity="delta 1.0: training images that follow their class's pattern, least of ten classes",
        paper=1.0,
        reference="theory",
        ours=least,
        tolerance="all",
        verdict="pass" if least == 1.0 else "fail",
    )
