"""Whom data pruning hurts, and DRoP's quotas against it: Fashion-MNIST at a tenth and three tenths of the rows; wrong
labels found by the same scores: digits with a tenth of the labels flipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.outputs.example_scores import hardness
from cutaway.outputs.pruning_study import QUOTAS, RANDOM, SAME_COUNTS, PruningStudy, plain_trainer, study_pruning
from cutaway.reading.intervals import bootstrap_interval
from cutaway.reproductions.row import Row
from cutaway.robustness.aware import detection_auroc
from cutaway.training.models import build_model

SOURCE = "arXiv 2404.05579"
TITLE = "DRoP: distributionally robust data pruning"

GAIN, COST, FOUND = 0.10, 0.03, 0.85
"""What has to come out: points that the worst class gains on random rows at a tenth of the rows, for how many of the
mean; the area under the curve of wrong labels against right ones."""

CLAIM = "quotas raise the worst class for little of the mean"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PruningForm:
    """Pruners, shares, seeds, test rows, channels of the first convolution, steps and rate of Adam on batches of 64."""

    pruners: tuple[str, ...] = (QUOTAS, "el2n")
    keep: tuple[float, ...] = (0.1, 0.3)
    num_seeds: int = 5
    test: int = 10_000
    width: int = 8
    steps: int = 600
    rate: float = 2e-3


SHORT = PruningForm(keep=(0.1,), num_seeds=2, test=2000, steps=180, rate=3e-3)


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Five seeds and two shares; short: two seeds, a tenth of the rows, a quarter of the steps, the gain of the quotas
    shown and not judged."""
    form = SHORT if short else PruningForm()
    rows = label_rows(1 if short else 3, seed, progress)
    study = studied(form, seed)
    for arm in study.arms:
        told = f"{arm.keep:.0%} {arm.called}: mean {arm.mean.mean():.3f}, worst class {arm.worst.mean():.3f}, "
        progress(told + f"sd over classes {arm.spread.mean():.3f}, follows its rows {arm.follows:+.2f}")
    return rows + pruning_rows(study, form, judged=not short)


def studied(form: PruningForm, seed: int) -> PruningStudy:
    """7,000 rows to prune, 2,000 for the recalls, rows of the test split to judge by; images of 14 x 14."""
    train, test = (_halved(load_data("fashion-mnist", split=s)) for s in ("train", "test"))
    chosen, order = train.take(9000, seed=0), np.random.default_rng(0).permutation(9000)
    trainer = plain_trainer(
        lambda start: _network(start, form.width), steps=form.steps, batch_size=64, learning_rate=form.rate
    )
    return study_pruning(
        trainer,
        chosen.subset(np.sort(order[:7000])),
        chosen.subset(np.sort(order[7000:])),
        test.take(form.test),
        pruners=form.pruners,
        keep=form.keep,
        num_seeds=form.num_seeds,
        seed=seed,
    )


def _network(start: int, width: int) -> nn.Module:
    """Pixels standardised, two convolutions with pooling, a dense layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        return nn.Sequential(
            nn.BatchNorm2d(1, affine=False),
            *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(18 * width, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


def _halved(data: Dataset) -> Dataset:
    """Images of half the side: means of two by two pixels."""
    return dataclasses.replace(data, inputs=nn.functional.avg_pool2d(data.inputs, 2))


def pruning_rows(study: PruningStudy, form: PruningForm, *, judged: bool) -> list[Row]:
    """The quotas against random rows, then what pruning by scores does, and both nulls."""
    rows = []
    for share in form.keep:
        own, chance = study.arm(QUOTAS, share), study.arm("", share, RANDOM)
        gain, cost, even = own.worst - chance.worst, chance.mean - own.mean, chance.spread - own.spread
        where, tenth = f"{share:.0%} of the rows", judged and share <= 0.1
        what = f"{where}: worst class by quotas above random rows"
        rows.append(_paired(what, gain, CLAIM, f"at least {GAIN}", float(gain.mean()) >= GAIN, tenth))
        what = f"{where}: mean recall that the quotas cost"
        rows.append(_paired(what, cost, CLAIM, f"at most {COST}", float(cost.mean()) <= COST, tenth))
        what = f"{where}: standard deviation over classes, random rows minus quotas"
        rows.append(_paired(what, even, CLAIM, "above 0", float(even.mean()) > 0, judged))
        for pruner in form.pruners:
            rows += [] if pruner == QUOTAS else _score_rows(study, pruner, share)
    return rows


def _score_rows(study: PruningStudy, pruner: str, share: float) -> list[Row]:
    own, chance, same = (study.arm(p, share, n) for p, n in ((pruner, ""), ("", RANDOM), (pruner, SAME_COUNTS)))
    what, lost = f"{share:.0%} of the rows: worst class by {pruner} above random rows", own.worst - chance.worst
    claim = "pruning by scores takes from the worst class"
    rows = [_paired(what, lost, claim, "below 0", float(lost.mean()) < 0, True)]
    what = f"{share:.0%} of the rows: worst class by {pruner} above random rows of its class counts"
    return [*rows, _paired(what, own.worst - same.worst, None, "which rows, given which classes", True, False)]


def _paired(what: str, values: np.ndarray, claim: str | None, tolerance: str, holds: bool, judged: bool) -> Row:
    """A mean over seeds with Student's interval."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Row(
        quantity=what,
        paper=claim,
        reference="own" if claim is None else "published",
        ours=float(values.mean()),
        low=float(values.mean()) - half,
        high=float(values.mean()) + half,
        tolerance=tolerance,
        verdict="report" if not judged else "pass" if holds else "fail",
    )


def label_rows(draws: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """A tenth of the labels of digits are another class: how well each score tells them from the others."""
    data = load_data("digits", split="train")
    assert data.labels is not None
    rows = []
    for draw in range(draws):
        rng = np.random.default_rng(seed + draw)
        wrong = rng.random(len(data)) < 0.1
        labels = data.labels.numpy().copy()
        labels[wrong] = (labels[wrong] + rng.integers(1, 10, int(wrong.sum()))) % 10
        flipped = dataclasses.replace(data, labels=torch.tensor(labels))
        trainer = plain_trainer(
            lambda start: build_model("mlp", (1, 8, 8), 10, seed=start, width=100, depth=3),
            steps=600,
            batch_size=64,
            learning_rate=1e-3,
        )
        table = trainer(flipped, seed + draw, True)[1]
        assert table is not None
        for score in ("margin_area", "forgetting", "loss_variance"):
            doubt = hardness(table, score)
            area = _area(doubt, wrong)
            value = area(np.arange(len(wrong)))
            low, high = bootstrap_interval(area, len(wrong), seed=seed, resamples=200)
            progress(f"wrong labels, draw {draw}, {score}: {value:.3f}")
            judged = score == "margin_area"
            verdict = "report" if not judged else "pass" if value >= FOUND else "fail"
            what = (
                f"digits, draw {draw}: wrong labels told from right ones by {score.replace('_', ' ')} (0.5 is guessing)"
            )
            tolerance = f"at least {FOUND}" if judged else "shown"
            rows.append(Row(quantity=what, ours=value, low=low, high=high, tolerance=tolerance, verdict=verdict))
    return rows


def _area(doubt: np.ndarray, wrong: np.ndarray) -> Callable[[np.ndarray], float]:
    """The chance that a wrong label is doubted more than a right one, of some rows."""
    return lambda rows: float(detection_auroc(doubt[rows[wrong[rows]]], doubt[rows[~wrong[rows]]]))
