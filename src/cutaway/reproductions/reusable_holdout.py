"""The reusable hold-out: a validation score after thousands of looks, asked plainly and through Thresholdout."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cutaway.evidence.holdout import HoldoutNoise, guaranteed_questions, thresholdout
from cutaway.reproductions.row import Row

TITLE = "The reusable hold-out: selection and a leaderboard, plainly and through Thresholdout"
SOURCE = "Dwork et al. 2015, Science 349, arXiv 1506.02629"
CHOSEN, GUESSES = 500, 500
THRESHOLD, TOLERANCE = 0.04, 0.01
WIDE = 0.1  # the leaderboard's threshold: below the gap that the attack makes at 1,000 rows, above that at 4,000
CLOSE = 0.06  # to accuracy on fresh rows
STRONG = 20  # features with signal


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Selecting features without and with signal, 12 draws (short: 1); the leaderboard at 1,000 and at 4,000 rows."""
    draws = 1 if short else 12
    rows = [*selection_rows(0.0, draws, seed, progress), *selection_rows(6.0, draws, seed, progress)]
    return rows + leaderboard_rows(draws, seed, progress) + promise_rows()


def selection_rows(signal: float, draws: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """A classifier of the 500 features that agree best with training and held-out labels, of 4,000."""
    found = np.array([selection(4000, signal, seed + draw) for draw in range(draws)])
    naive, ours, fresh_naive, fresh_ours, _ = found.mean(axis=0)
    told = f"naive {naive:.3f} (fresh {fresh_naive:.3f}), ours {ours:.3f} (fresh {fresh_ours:.3f})"
    spent = f"{found[:, 4].mean():.0f} of 4001 answers came from the held-out rows"
    progress(f"signal {signal:g}: {told}; {spent}")
    if signal:
        return [
            Row(
                quantity=f"with signal, accuracy on fresh rows of the plain selection and of ours ({told})",
                ours=f"{fresh_naive:.3f}, {fresh_ours:.3f}: Thresholdout costs power",
                verdict="report",
            )
        ]
    gaps = np.abs(found[:, 1] - found[:, 3])
    beyond = f"{gaps.max():.3f}; {int((gaps > CLOSE).sum())} of {draws}"
    return [
        Row(
            quantity="no signal, accuracy on held-out rows that chose the features (truth .5)",
            paper="well above .5",
            reference="published",
            ours=float(naive),
            tolerance="at least 0.60",
            verdict="pass" if naive >= 0.60 else "fail",
        ),
        Row(
            quantity=f"no signal, Thresholdout: distance from fresh rows, mean over draws ({told})",
            paper=0.0,
            reference="published",
            ours=float(gaps.mean()),
            tolerance=f"at most {CLOSE}",
            verdict="pass" if gaps.mean() <= CLOSE else "fail",
        ),
        Row(quantity=f"the largest of these distances; draws beyond {CLOSE}", ours=beyond, verdict="report"),
    ]


def selection(n: int, signal: float, seed: int) -> tuple[float, float, float, float, int]:
    """Held-out accuracy of the plain selection, what Thresholdout answers for its own, both on fresh rows, and how many
    answers came from the held-out rows. Labels are +-1; correlations are means of y x; the first 20 features carry
    `signal` / sqrt(n) y."""
    rng = np.random.default_rng(seed)
    sets = [_drawn(rng, n, signal) for _ in range(3)]
    (train, train_y), (held, held_y), (fresh, fresh_y) = sets
    c_train, c_held = train_y @ train / n, held_y @ held / n
    noises = rng.normal(size=(n + 1, 2)) * TOLERANCE
    answered, spent = c_held.copy(), 0
    for j in range(n):
        noise = HoldoutNoise(threshold=0.0, comparison=noises[j, 0] / TOLERANCE, answer=noises[j, 1] / TOLERANCE)
        answered[j], took = thresholdout(c_train[j], c_held[j], THRESHOLD, TOLERANCE, noise)
        spent += took
    accuracies = []
    for told in (c_held, answered):
        good = (np.minimum(np.abs(c_train), np.abs(told)) > 1 / math.sqrt(n)) & (c_train * told > 0)
        top = np.flatnonzero(good)[np.argsort(-np.abs(c_train[good]))][:CHOSEN]
        weights = np.sign(c_train[top])
        accuracies.append(
            [
                float((np.sign(x[:, top] @ weights) == y).mean())
                for x, y in ((train, train_y), (held, held_y), (fresh, fresh_y))
            ]
        )
    (_, naive, fresh_naive), (ours_train, ours_held, fresh_ours) = accuracies
    last = HoldoutNoise(threshold=0.0, comparison=noises[n, 0] / TOLERANCE, answer=noises[n, 1] / TOLERANCE)
    ours, took = thresholdout(ours_train, ours_held, THRESHOLD, TOLERANCE, last)
    return naive, ours, fresh_naive, fresh_ours, spent + took


def _drawn(rng: np.random.Generator, n: int, signal: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y = rng.choice([-1.0, 1.0], n).astype(np.float32)
    x = rng.standard_normal((n, n), dtype=np.float32)
    x[:, :STRONG] += np.float32(signal / math.sqrt(n)) * y[:, None]
    return x, y


def leaderboard_rows(draws: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """The majority of those of 500 random guesses that score above .5, at 1,000 and at 4,000 held-out rows."""
    rows = []
    for n in (1000, 4000):
        naive, ours = np.mean([leaderboard(n, seed + draw) for draw in range(draws)], axis=0)
        _, narrow = np.mean([leaderboard(n, seed + draw, THRESHOLD) for draw in range(draws)], axis=0)
        told = f"Thresholdout {ours:.3f}, with T = {THRESHOLD} {narrow:.3f}"
        progress(f"leaderboard, {n} rows: naive {naive:.3f}, {told}, truth .5")
        if n == 1000:
            judged = naive >= 0.6 and ours <= naive - 0.05
            words, tolerance = "stopped", "naive at least 0.6, ours lower by 0.05"
        else:
            judged, words, tolerance = (
                ours >= 0.53,
                "not stopped: no single gap exceeds the threshold",
                "ours above 0.53",
            )
        rows.append(
            Row(
                quantity=f"leaderboard, {n} rows, T = {WIDE}: majority (plainly {naive:.3f}, truth .5); {words}",
                ours=float(ours),
                tolerance=tolerance,
                verdict="pass" if judged else "fail",
            )
        )
        words = "the threshold of the selection above (stopped where it answers about .5)"
        rows.append(
            Row(
                quantity=f"leaderboard, {n} rows, T = {THRESHOLD}: {words}",
                ours=float(narrow),
                verdict="report",
            )
        )
    return rows


def leaderboard(n: int, seed: int, threshold: float = WIDE) -> tuple[float, float]:
    """What the held-out rows say of the majority vote, plainly and through Thresholdout; the truth is .5."""
    rng = np.random.default_rng(seed)
    sandbox_y, held_y = rng.integers(0, 2, (2, n))
    guesses = rng.integers(0, 2, (GUESSES + 1, 2, n), dtype=np.int8)
    scores = []
    for plain in (True, False):
        kept = []
        for guess in guesses[:GUESSES]:
            held, train = float((guess[1] == held_y).mean()), float((guess[0] == sandbox_y).mean())
            score = held if plain else _asked(train, held, threshold, rng)
            if score > 0.5:
                kept.append(guess)
        vote = (np.mean(kept, axis=0) > 0.5).astype(int) if kept else guesses[GUESSES]
        held, train = float((vote[1] == held_y).mean()), float((vote[0] == sandbox_y).mean())
        scores.append(held if plain else _asked(train, held, threshold, rng))
    return scores[0], scores[1]


def _asked(train: float, held: float, threshold: float, rng: np.random.Generator) -> float:
    noise = HoldoutNoise(threshold=0.0, comparison=float(rng.normal()), answer=float(rng.normal()))
    return thresholdout(train, held, threshold, TOLERANCE, noise)[0]


def promise_rows() -> list[Row]:
    """For how many questions anything is proved, beside what was asked above."""
    counts = [guaranteed_questions(n, 1, THRESHOLD, TOLERANCE) for n in (1000, 4000, 16_000)]
    return [
        Row(
            quantity="questions that are covered with one unit of budget at 1,000, 4,000 and 16,000 rows, T = .04",
            ours=", ".join(f"{c:,}" for c in counts),
            verdict="report",
        )
    ]
