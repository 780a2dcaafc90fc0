"""Experts don't cheat: who is told one outcome and learns from it did not know; claimed variance against the error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cutaway.reproductions.row import Row

TITLE = "Experts don't cheat: learning what you don't know by predicting pairs"
SOURCE = "Johnson et al. 2024, arXiv 2402.08733"
QUERIES, CLASSES, CODE = 400, 10, 16
BETA = 0.05


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Answers to queries of Zipf's frequencies by a network too small to learn them (3 draws; short: one); tweets with
    two coders each."""
    return [*zipf(short, seed, progress), *tweets(short, seed, progress)]


def zipf(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Each query has a distribution over one to five of ten answers; true probabilities are known."""
    from scipy.stats import spearmanr

    claims, errors, wrong, kept, share = [], [], [], [], []
    for draw in range(1 if short else 3):
        variance, error, impossible, given = _answered(seed + draw, 60_000)
        parts = np.array_split(np.argsort(variance, kind="stable"), 5)
        claims.append([float(variance[p].mean()) for p in parts])
        errors.append([float(error[p].mean()) for p in parts])
        wrong.append(float(impossible.mean()))
        kept.append(float(impossible[given].mean()))
        share.append(float(given.mean()))
        progress(f"draw {draw}: claimed {_said(claims[-1])}, error {_said(errors[-1])}")
    claim, error = np.mean(claims, axis=0), np.mean(errors, axis=0)
    found: Any = spearmanr(claim, error)
    rank, ratio = float(found.statistic), float(claim[-1] / error[-1])
    before, after, answered = (float(np.mean(values)) for values in (wrong, kept, share))
    return [
        Row(quantity="claimed variance by quintile", ours=_said(claim), verdict="report"),
        Row(quantity="squared error by quintile of claimed variance", ours=_said(error), verdict="report"),
        _held("rank correlation of the two over quintiles", "rises", rank, "at least 0.9", rank >= 0.9),
        _held("claimed variance by error, top quintile", "calibrated", ratio, "0.5 to 2", 0.5 <= ratio <= 2),
        Row(quantity="impossible answers among all", ours=before, verdict="report"),
        _held(f"impossible answers among those given at beta {BETA}", "falls", after, f"at most {BETA}", after <= BETA),
        Row(quantity=f"share of rows answered at beta {BETA}", ours=answered, verdict="report"),
    ]


def _answered(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of 20,000 answers drawn from p1: claimed variance, squared error, whether it is impossible, whether given."""
    from cutaway.outputs import PairPredictor

    rng = np.random.default_rng(seed)
    codes, truth = rng.standard_normal((QUERIES, CODE)), np.zeros((QUERIES, CLASSES))
    for row in truth:
        count = rng.integers(1, 6)
        row[rng.choice(CLASSES, count, replace=False)] = rng.dirichlet(np.ones(count))
    often = 1 / np.arange(1, QUERIES + 1)
    asked = rng.choice(QUERIES, rows, p=often / often.sum())
    first, second = _drawn(truth[asked], rng), _drawn(truth[asked], rng)
    predictor = PairPredictor(hidden=32, epochs=15, seed=seed).fit(codes[asked], first, second)
    pairs = predictor.pairs(codes)
    tested = rng.choice(QUERIES, 20_000, p=often / often.sum())
    answers = _drawn(pairs.first[tested], rng)
    true, said = truth[tested, answers], pairs.first[tested, answers]
    given = 1 - pairs.confidence[tested, answers] < BETA
    return pairs.variance[tested, answers], (said - true) ** 2, true == 0, given


def _drawn(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sums = chances.cumsum(axis=1)
    return (rng.random((len(chances), 1)) > sums / sums[:, -1:]).sum(axis=1)


def tweets(short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Two coders a tweet: a logistic regression for the first, one for each of its values for the second."""
    from cutaway.outputs import check_pairs
    from cutaway.reproductions._coders import CLASSES as NAMES
    from cutaway.reproductions._coders import coders

    data = coders(seed, 12_000 if short else None)
    if data is None:
        return [Row(quantity="tweets with two coders", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    pairs, rows = _logistic_pairs(data), []
    for column, judged in ((2, True), (0, False)):
        found = check_pairs(pairs, *data.test_labels.T, column=column)
        name = f"class {NAMES[column]}"
        progress(f"{name}: claimed {_said(found.claimed)}, error {_said(found.error)}")
        rows.append(Row(quantity=f"{name}: claimed variance by quintile", ours=_said(found.claimed), verdict="report"))
        rows.append(Row(quantity=f"{name}: paired error by quintile", ours=_said(found.error), verdict="report"))
        apart = float(found.error[-1] - found.error[:2].max())
        ratio = float(found.claimed[-1] / found.error[-1])
        rows.append(
            _held(f"{name}: error of the top quintile less that of the two below", "above", apart, "above 0", apart > 0)
        )
        off = float(np.average(found.claimed - found.error, weights=found.rows))
        words = f"{name}: claimed variance less error, all rows"
        rows.append(_held(words, "calibrated", off, "within 0.03", abs(off) <= 0.03))
        words = f"{name}: claimed variance by error, top quintile"
        rows.append(_held(words, "calibrated", ratio, "0.5 to 2", 0.5 <= ratio <= 2, judged))
    return rows


def _logistic_pairs(data):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from cutaway.outputs import PairProbabilities

    a, b = data.train_labels.T
    both = np.concatenate([np.arange(len(a))] * 2)  # each pair in both orders
    told, answer = np.concatenate([a, b]), np.concatenate([b, a])

    def fitted(rows, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=1.0, max_iter=100).fit(data.train[rows], labels).predict_proba(data.test)

    second = [fitted(both[told == y], answer[told == y]) for y in range(3)]
    return PairProbabilities(first=fitted(both, told), second=np.stack(second, axis=1))


def _said(values) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _held(quantity: str, paper: str, ours: float, tolerance: str, holds: bool, judged: bool = True) -> Row:
    verdict = "report" if not judged else "pass" if holds else "fail"
    return Row(quantity=quantity, paper=paper, reference="published", ours=ours, tolerance=tolerance, verdict=verdict)
