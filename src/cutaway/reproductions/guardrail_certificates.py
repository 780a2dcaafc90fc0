"""Guardrail certificates: what the paper's shapes certify, with the faults of its code avoided.

The paper's classifiers and data are not to be had; its claims that do not need them are: why every box is falsified,
that K = 1 full is a normal fit of the logits, that the mixture's coverage is not conservative, how large the
distribution-free limits are for its own counts. The table on our own detector (the 260k-parameter decoder, safety
prompts against instructions) stands beside its figures as a report.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from cutaway.guard.certificate import certify
from cutaway.guard.detector import Detector, make_head
from cutaway.guard.head_regions import HullRegion, box_region, ellipsoid_region
from cutaway.guard.mixture import coverage, dkw_band, lower_limit, mixture_report
from cutaway.reproductions.row import Row

TITLE = "Formal guarantees of guardrail classifiers"
SOURCE = "arXiv 2605.10901"


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """The rows; `short` leaves out the detector on real text."""
    progress("slack of shapes, d = 768")
    rows = [*_slack(seed), *_normal_fit(seed), *_limits(), *_not_conservative(seed)]
    progress("our own detector")
    return rows + _own_detector(short, seed, progress)


def _slack(seed: int) -> list[Row]:
    """Harmful points all above the threshold, in d = 768: the lowest logit of hull, chi-square ellipsoid and box."""
    rng = np.random.default_rng(seed)
    d, n = 768, 2000
    weight = rng.normal(size=d)
    weight /= np.linalg.norm(weight)
    points = rng.normal(size=(n, d))
    logits = points @ weight
    points += np.outer(np.abs(logits) - logits, weight)  # reflected: every logit is 0 or more
    held = points[:500]
    hull = HullRegion(points=points).minimum(weight, 0.0)
    box = box_region(points).minimum(weight, 0.0)
    ball = ellipsoid_region(points, held)
    chi = float(weight @ ball.mean) - np.sqrt(stats.chi2.ppf(0.95, d)) * ball.spread(weight)
    return [
        Row(
            quantity="lowest logit of the hull, all points flagged",
            paper="at least 0",
            reference="theory",
            ours=hull,
            tolerance=">= 0",
            verdict="pass" if hull >= 0 else "fail",
        ),
        Row(
            quantity="box alone is falsified by geometry",
            paper="every box SAT",
            reference="published",
            ours=box,
            tolerance="< hull - sqrt(d)",
            verdict="pass" if box < hull - np.sqrt(d) else "fail",
        ),
        Row(
            quantity="order box < chi-square ellipsoid < hull",
            paper="box loosest",
            reference="published",
            ours=f"{box:.1f} < {chi:.1f} < {hull:.2f}",
            tolerance="order",
            verdict="pass" if box < chi < hull else "fail",
        ),
    ]


def _normal_fit(seed: int) -> list[Row]:
    """K = 1 full pushed through the head against the normal fit of the logits."""
    rng = np.random.default_rng(seed + 1)
    points = rng.standard_t(4, size=(600, 24)) @ rng.normal(size=(24, 24)) / 5
    weight = rng.normal(size=24)
    logits = points @ weight + 0.3
    report = mixture_report(points, points, weight, 0.3, 0.5, components=1)
    fit = float(stats.norm.sf(0.5, logits.mean(), logits.std()))
    difference = abs(report.coverage - fit)
    return [
        Row(
            quantity="|coverage (K = 1, full) - normal fit of the logits|",
            paper=0.0,
            reference="theory",
            ours=difference,
            tolerance=1e-4,
            verdict="pass" if difference <= 1e-4 else "fail",
        )
    ]


def _limits() -> list[Row]:
    """Distribution-free statements for the paper's own counts."""
    low, band = lower_limit(537, 1000), dkw_band(1000)
    rows = [("lower limit of recall, BERT (537 of 1,000)", 0.511, low), ("DKW half-width, 1,000 rows", 0.043, band)]
    made = [
        Row(
            quantity=q,
            paper=p,
            reference="theory",
            ours=o,
            tolerance=5e-4,
            verdict="pass" if abs(o - p) <= 5e-4 else "fail",
        )
        for q, p, o in rows
    ]
    for name, predicted, held, n in (
        ("GPT-2, threshold .15", 0.980, 0.943, 1000),
        ("Llama, K = 2", 0.800, 0.750, 1000),
    ):
        limit = lower_limit(round(held * n), n)
        made.append(
            Row(
                quantity=f"published coverage exceeds the certified recall: {name}",
                paper=predicted,
                reference="published",
                ours=limit,
                tolerance="coverage > limit",
                verdict="pass" if predicted > limit else "fail",
            )
        )
    return made


def _not_conservative(seed: int) -> list[Row]:
    """Share of draws in which the mixture promises more than the population has; logits 2 - 2 Exp(1), a long lower
    tail of rows that the head misses, threshold -3."""
    rng = np.random.default_rng(seed + 2)
    over, sound, trials, truth = 0, 0, 200, float(stats.expon.cdf(2.5))
    for _ in range(trials):
        logits = 2 - 2 * rng.exponential(size=300)
        predicted = coverage(np.ones(1), np.array([logits.mean()]), np.array([logits.var()]), 0.0, -3.0)
        over += predicted > truth
        sound += lower_limit(int((2 - 2 * rng.exponential(size=300) > -3.0).sum()), 300) <= truth
    low, high = stats.binomtest(sound, trials).proportion_ci()
    return [
        Row(
            quantity="draws in which coverage exceeds the truth",
            paper="happens (.980 against .943)",
            reference="published",
            ours=over / trials,
            tolerance="> 0",
            verdict="pass" if over else "fail",
        ),
        Row(
            quantity="draws in which the Clopper-Pearson limit holds",
            paper=0.95,
            reference="theory",
            ours=sound / trials,
            low=low,
            high=high,
            tolerance=">= 0.95 within its interval",
            verdict="pass" if high >= 0.95 else "fail",
        ),
    ]


def _own_detector(short: bool, seed: int, progress) -> list[Row]:
    """Certificate of a detector of ours; on real text where the data are there."""
    from cutaway.reproductions.llm_geometry import corpora, skipped

    texts = None if short else corpora(seed, 600)
    if texts is None:
        rng = np.random.default_rng(seed + 3)
        weight = rng.normal(size=(1, 64)) / 4
        points = rng.normal(size=(400, 64)) + 0.5 * weight
        head = Detector(mean=np.zeros(64), scale=np.ones(64), head=make_head([(weight, np.zeros(1))]))
        made = certify(head, -1.0, points[:300], points[300:], seed=seed)
        what = "Gaussian features, d = 64"
    else:
        from cutaway.guard import Guardrail, certificate_file

        folder, rows = texts
        made = certificate_file.certify_guardrail(Guardrail(folder, seed=seed).fit(rows), seed=seed)
        what = "260k decoder, safety prompts"
    table = [
        Row(
            quantity=f"{r.name}: worst logit ({what})",
            paper="SAT" if "box" in r.name else None,
            reference="published" if "box" in r.name else "own",
            ours=f"{r.worst:.2f} {r.status.value}"
            + ("" if r.containment is None else f", holds {r.containment:.2f} of held-out rows"),
            verdict="report",
        )
        for r in made.regions
    ]
    order = made.region("box").worst <= made.region("hull").worst
    note = [] if short or texts is not None else [skipped("the detector on real text")]
    return [
        *table,
        Row(
            quantity="box at most hull",
            paper="box loosest",
            reference="published",
            ours=str(order),
            tolerance="order",
            verdict="pass" if order else "fail",
        ),
        *note,
    ]
