"""How good a guardrail is on rows that it has not seen: overall, by source and by group, with intervals.

AUROC is the probability that a harmful prompt scores above a harmless one (ties count half), from scores and never from
verdicts; percentile bootstrap intervals over prompts, stratified by class. Rates at the calibrated threshold carry
Clopper-Pearson intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from cutaway.guard.obfuscation import Flagged, obfuscated
from cutaway.guard.rows import PromptRows
from cutaway.reading.intervals import proportion_interval

if TYPE_CHECKING:
    from cutaway.guard.guardrail import Guardrail


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """On `rows` prompts, `harmful` of them harmful. NaN where a class is missing. Intervals at 95 %."""

    rows: int
    harmful: int
    auroc: float
    auroc_low: float
    auroc_high: float
    tpr: float
    tpr_low: float
    tpr_high: float
    fpr: float
    fpr_low: float
    fpr_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """`overall`, `by_source` and `by_group` (a part with one class only is judged against the other class of all rows
    for AUROC; none without groups), `threshold` (logit), `asked` (the false-positive rate it was set for),
    `obfuscated`: what is still flagged of harmful prompts that are disguised (none unless asked for), and `notes` on
    what was left out and on sources where the rate seen is not the one asked."""

    overall: Rates
    by_source: dict[str, Rates]
    threshold: float
    asked: float = float("nan")
    by_group: dict[str, Rates] = field(default_factory=dict)
    obfuscated: dict[str, Flagged] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), NaN with one class only.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    positive = np.asarray(labels) == 1
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def auroc_interval(
    scores: np.ndarray, labels: np.ndarray, *, seed: int = 0, resamples: int = 400, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the AUROC, drawing harmful and harmless rows apart."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = np.concatenate([rng.choice(positive, len(positive)), rng.choice(negative, len(negative))])
        draws.append(auroc(scores[rows], labels[rows]))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rates(
    scores: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    *,
    others: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    resamples: int = 400,
) -> Rates:
    """Rates of scores (n,) against labels; `others` (scores, labels) lends the missing class to the AUROC."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    wide, known = scores, labels
    if others is not None and len(np.unique(labels)) == 1:
        lend = others[1] != labels[0]
        wide, known = np.concatenate([scores, others[0][lend]]), np.concatenate([labels, others[1][lend]])
    low, high = auroc_interval(wide, known, seed=seed, resamples=resamples)
    flagged = scores > threshold
    found = {}
    for name, value in (("tpr", 1), ("fpr", 0)):
        hits, total = int(flagged[labels == value].sum()), int((labels == value).sum())
        found[name] = hits / total if total else float("nan")
        found[f"{name}_low"], found[f"{name}_high"] = proportion_interval(hits, total)
    return Rates(
        rows=len(labels),
        harmful=int((labels == 1).sum()),
        auroc=auroc(wide, known),
        auroc_low=low,
        auroc_high=high,
        **found,
    )


def evaluate_scores(
    scores: np.ndarray, rows: PromptRows, threshold: float, *, seed: int = 0, notes: Sequence[str] = ()
) -> Evaluation:
    """An evaluation from scores that are there already."""
    labels = rows.labels

    def parted(names: Sequence[str]) -> dict[str, Rates]:
        given = np.array(names)
        return {
            str(name): rates(
                scores[given == name], labels[given == name], threshold, others=(scores, labels), seed=seed
            )
            for name in np.unique(given)
        }

    overall = rates(scores, labels, threshold, seed=seed)
    groups = parted(rows.groups) if rows.groups else {}
    return Evaluation(
        overall=overall,
        by_source=parted(rows.sources),
        by_group=groups,
        threshold=threshold,
        notes=(*rows.notes, *notes),
    )


def evaluate_guardrail(guard: Guardrail, rows: PromptRows, *, seed: int = 0, disguised: int = 0) -> Evaluation:
    """Evaluate on rows that were not used for fitting: repeats among them and rows seen in fitting are left out, and
    the notes say how many. `disguised`: at most so many of either class are disguised
    as well, in nine ways."""
    own = rows.deduplicated().without(set(guard.seen_), "in the fitting data", plain=guard.plain)
    _, scores, read = guard._read(own.texts)
    found = evaluate_scores(scores, own, guard.threshold_.logit, seed=seed, notes=read.notes())
    harmless, harmful = (own.subset(np.flatnonzero(own.labels == label)).texts for label in (0, 1))
    asked = guard.threshold_.rate
    told = (*found.notes, *off_rate(found.by_source, asked))
    disguises = obfuscated(guard, harmful, harmless, most=disguised, seed=seed)
    return replace(found, asked=asked, notes=told, obfuscated=disguises)


def off_rate(by_source: dict[str, Rates], asked: float) -> list[str]:
    """A sentence for every source on whose harmless rows the rate seen is not the one asked (its interval leaves it
    out)."""
    return [
        f"{name}: asked for {asked:g} of the harmless rows, seen {r.fpr:.3f} ({r.fpr_low:.3f} to {r.fpr_high:.3f}); "
        "cutaway guard calibrate sets the threshold from harmless prompts of that source"
        for name, r in by_source.items()
        if r.fpr_low > asked or r.fpr_high < asked
    ]
