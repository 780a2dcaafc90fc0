"""Audit `tuning`: may one trust the score of what was tuned on these rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.audits.table_audit import TableAudit
from cutaway.engines.parts import in_draws
from cutaway.errors import InputError
from cutaway.evidence.comparison import comparison_bound, rounds_within
from cutaway.reading import Reading
from cutaway.reading.intervals import proportion_interval
from cutaway.reading.table import Table
from cutaway.settings import above, at_least, check_settings
from cutaway.status import Status
from cutaway.wording import said

IMPROVED, BOUNDED, VACUOUS = "improved", "bounded", "vacuous"


@dataclass(frozen=True, kw_only=True)
class TuningAudit(TableAudit):
    """How far the score of what a search by comparisons ended at may be from fresh rows, and whether its gain is more
    than the search alone gives.

    b comparisons of k outcomes on n rows end at no more than k^b models; the score is off by at most sqrt((b ln k +
    ln(2 / delta)) / (2 n)), for all of them at once. With the answers of the candidates, in the order they were tried
    in, also the gain over the first, its interval (the bound and Hoeffding's for the first, delta / 2 each), and the
    gain of the same candidates on permuted labels. The bound is sound for losses in [0, 1]. Source: Labiad et al. 2025.
    """

    ways: int = field(default=2, metadata=at_least(2, "outcomes of a comparison; 3 where a tie is one"))
    delta: float = field(default=0.05, metadata=above(0, "chance that the bound does not hold"))
    draws: int = field(default=199, metadata=at_least(19, "times that labels are permuted"))

    name: ClassVar[str] = "tuning"
    question: ClassVar[str] = "May I trust the score of what I tuned on these rows?"
    source: ClassVar[str] = "Labiad et al. 2025, arXiv 2507.01752"
    null: ClassVar[str] = "permuted-rows"
    limits: ClassVar[str] = (
        "It counts what it is told: every comparison ever made on these rows belongs to the rounds, restarts, "
        "thresholds and hyper-parameters included, and one look at the test rows voids it. The rows must be "
        "independent draws. A search that saw more than comparisons (gradients, the scores themselves) is not covered."
    )

    def measure(
        self,
        answers: Any = None,
        labels: Any = None,
        *,
        rounds: int | None = None,
        rows: int | None = None,
        score: float | None = None,
        names: Sequence[str] = (),
        data: str = "tuning",
        seed: int = 0,
    ) -> Reading:
        """Audit `answers` (n, c) of candidates in the order in which they were tried, and `labels` (n,); or the numbers
        alone: `rounds` comparisons on `rows` rows, the `score` in [0, 1] that came out.

        With answers `rounds` is c - 1 where none is given, and at least that. Raises `InputError` for fewer rounds, a
        score outside [0, 1], neither answers nor rounds and rows.
        """
        began = time.perf_counter()
        check_settings(self)
        table, draws, columns = Table(seed=seed), {}, {"rounds": [rounds], "rows": [rows], "score": [score]}
        coded = None
        if answers is not None:
            given, truth = coded = _coded(answers, labels)
            columns = {"label": truth, **{f"candidate {k}": given[:, k] for k in range(given.shape[1])}}
            rounds, rows = _rounds(rounds, given.shape[1]), len(truth)
            score = float((given == truth[:, None]).mean(axis=0).max())
        if rounds is None or rows is None:
            raise InputError(
                "audit of a tuning",
                found="no table, and no --rounds and --rows",
                expected="the answers of the candidates, or how many comparisons were made on how many rows",
                remedy="give the table, or both numbers",
            )
        if score is not None and not 0 <= score <= 1:
            raise InputError(
                "score of a tuning",
                found=f"{score:g}",
                expected="a share in [0, 1], higher is better",
                remedy="scale it to [0, 1]: the bound is in its units",
            )
        bound = comparison_bound(rounds, self.ways, rows, self.delta)
        self._numbers(table, rounds, rows, score, bound)
        if coded is not None:
            draws = self._course(table, *coded, rounds, list(names), seed)
        found = self._reading(table, columns, data=data, seed=seed, began=began, draws=draws, status=Status.BOUND)
        level = {"score": 1 - self.delta, "gain": 1 - self.delta}
        figures = (dataclasses.replace(f, level=level.get(f.name, f.level)) for f in found.figures)
        return dataclasses.replace(found, figures=tuple(figures))

    def _numbers(self, table: Table, rounds: int, rows: int, score: float | None, bound: float) -> None:
        table.figure(
            "rounds", rounds, unit="comparisons", status=Status.EXACT, alternative="none", long_name="comparisons made"
        )
        table.figure(
            "rows", rows, unit="samples", status=Status.EXACT, alternative="none", long_name="rows compared on"
        )
        words = "largest gap between the score on these rows and on fresh ones"
        table.figure("bound", bound, status=Status.BOUND, alternative="none", long_name=words)
        if score is not None:
            band = (max(0.0, score - bound), min(1.0, score + bound))
            words = "score of what was chosen, and what it may be on fresh rows"
            table.figure("score", score, band, status=Status.BOUND, alternative="none", long_name=words)
        words = "comparisons that would keep the gap at five points"
        few = max(0, rounds_within(0.05, self.ways, rows, self.delta))
        table.figure(
            "rounds_for_five_points", few, unit="comparisons", status=Status.EXACT, alternative="none", long_name=words
        )
        grid = np.unique(np.geomspace(1, max(10, 10 * rounds), 60).astype(int))
        table.coordinate("comparisons", grid)
        curve = [comparison_bound(int(b), self.ways, rows, self.delta) for b in grid]
        table.keep("bound_by_rounds", curve, ["comparisons"], long_name="bound on the gap", kind="upper_bound")

    def _course(
        self,
        table: Table,
        given: NDArray[np.int64],
        truth: NDArray[np.int64],
        rounds: int,
        names: list[str],
        seed: int,
    ) -> dict[str, NDArray[np.float64]]:
        """Scores of the candidates in order, the gain, and the gains on permuted labels."""
        right, rows = given == truth[:, None], len(truth)
        scores = right.mean(axis=0)
        table.coordinate("candidate", names or [f"candidate {k}" for k in range(len(scores))])
        table.keep("candidate_score", scores, ["candidate"], long_name="share of rows right", kind="exact")
        words = "score of the first candidate, on fresh rows"
        band = proportion_interval(int(right[:, 0].sum()), rows)
        table.figure("start_score", float(scores[0]), band, alternative="none", long_name=words)
        half = comparison_bound(rounds, self.ways, rows, self.delta / 2) + comparison_bound(0, 2, rows, self.delta / 2)
        gain = float(scores.max() - scores[0])
        words = "score of the chosen candidate above the first, on fresh rows"
        table.figure(
            "gain", gain, (gain - half, gain + half), status=Status.BOUND, alternative="greater", long_name=words
        )
        return {"gain": in_draws(_chance_gains, self.draws, given, truth, seed=seed, path=("permuted labels",))}

    def verdict(self, reading: Reading) -> str:
        """`vacuous` where the bound allows any score; `improved` where the gain is above 0 beyond it; `bounded` for the
        numbers alone; else `unknown`."""
        found = {figure.name: figure for figure in reading.figures}
        score = found.get("score")
        if found["bound"].value >= 1 or (score is not None and (score.low or 0) <= 0):
            return VACUOUS
        if "gain" not in found:
            return BOUNDED
        return IMPROVED if (found["gain"].low or 0) > 0 else Status.UNKNOWN.value

    def describe(self, reading: Reading) -> list[str]:
        found = {figure.name: figure for figure in reading.figures}
        rounds, rows, bound = (found[name].value for name in ("rounds", "rows", "bound"))
        sentence = {
            VACUOUS: "so many comparisons on so few rows allow any score on fresh ones: the score says nothing.",
            IMPROVED: "what was chosen is better than the first candidate on fresh rows too.",
            BOUNDED: "the score holds on fresh rows but for the gap below.",
            Status.UNKNOWN.value: "whether what was chosen is better on fresh rows than the first candidate is open.",
        }[self.verdict(reading)]
        text = f"{rounds:,.0f} comparisons on {rows:,.0f} rows: the score may be off by {said(bound, '.3f')}"
        told = [sentence, f"{text} ({1 - self.delta:.0%} certain)."]
        ties = "" if self.ways > 2 else "; where ties counted as an outcome of their own there are 3 (--ways)"
        told.append(f"Each had {self.ways} outcomes{ties}. Every comparison ever made on these rows counts.")
        if "score" in found:
            score = found["score"]
            told.append(
                f"It is {score.value:.3f}, on fresh rows {said(score.low, '.3f')} to {said(score.high, '.3f')}."
            )
        if "gain" in found:
            gain = found["gain"]
            text = f"The gain over the first candidate is {gain.value:.3f} ({gain.low:.3f} to {gain.high:.3f}); on "
            chance = f"permuted labels the same search gains {said(gain.null_median, '.3f')} (p = {gain.p_value:.2g})."
            told.append(text + chance)
        few = found["rounds_for_five_points"].value
        told.append(f"A gap of five points allows {few:,.0f} comparisons on so many rows.")
        return told

    def draw(self, reading: Reading) -> Any:
        from cutaway.pictures.table_audits import tuning_chart

        return tuning_chart(reading)


def _chance_gains(
    rng: np.random.Generator, count: int, given: NDArray[np.int64], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(count,): what the search among candidates `given` (n, c) gains on permuted labels."""
    scores = np.array([(given == rng.permutation(truth)[:, None]).mean(axis=0) for _ in range(count)])
    return scores.max(axis=1) - scores[:, 0]


def _rounds(rounds: int | None, candidates: int) -> int:
    if rounds is not None and rounds < candidates - 1:
        raise InputError(
            "comparisons of a tuning",
            found=f"{rounds} for {candidates} candidates",
            expected=f"at least {candidates - 1}: each was compared with the best before it",
            remedy="leave the rounds out, or count all that were made on these rows",
        )
    return candidates - 1 if rounds is None else rounds


def _coded(answers: Any, labels: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers (n, c) and labels (n,) as numbers of the words that they are."""
    given, truth = np.asarray(answers, dtype=str), np.asarray(labels, dtype=str)
    if given.ndim != 2 or given.shape[1] < 2 or truth.shape != given.shape[:1] or not len(truth):
        raise InputError(
            "answers of candidates",
            found=f"answers of shape {given.shape}, labels of shape {truth.shape}",
            expected="(n, c) of at least two candidates, and (n,)",
            remedy="give a row for each row that was compared on, a column for each candidate, the first one first",
        )
    numbers = np.unique(np.concatenate([given.ravel(), truth]), return_inverse=True)[1].reshape(-1)
    return numbers[: given.size].reshape(given.shape), numbers[given.size :]
