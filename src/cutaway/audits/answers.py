"""Audit `answer-agreement`: do a model's own answers to a prompt agree."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.audits.table_audit import TableAudit
from cutaway.errors import InputError
from cutaway.reading import Reading
from cutaway.reading.intervals import bootstrap_interval
from cutaway.reading.table import Table
from cutaway.settings import at_least, check_settings
from cutaway.status import Status
from cutaway.text.spread import isotropy, shuffled_scores, unit_rows
from cutaway.wording import counted, said

UNLIKELY = 0.05
CAUTION = "This is agreement, not truth: answers that are confidently wrong agree as well as those that are right."


@dataclass(frozen=True, kw_only=True)
class AnswerAudit(TableAudit):
    """Semantic isotropy of the answers to each prompt, with a jackknife interval, and its percentile among answers
    dealt anew to the prompts.

    Small where a model's answers to a prompt say the same, large where they scatter. Its scale is the embedder's and
    that of the number of answers, so a prompt is judged by its percentile among shuffled answers of the same embedder
    and number, never by a limit. Where the table says which answers are right, their rank correlation with the score.
    Estimates. Source: Bhattacharya et al. 2025, whose score this is; percentile, interval and null are ours.
    """

    draws: int = field(default=199, metadata=at_least(19, "times that the answers are dealt anew"))

    name: ClassVar[str] = "answer-agreement"
    question: ClassVar[str] = "Do the model's own answers to a prompt agree?"
    source: ClassVar[str] = "Bhattacharya et al. 2025, arXiv 2510.21891"
    null: ClassVar[str] = "shuffled-answers"
    limits: ClassVar[str] = (
        CAUTION
        + " An embedder that cuts long answers compares their beginnings; one that does not know the subject finds "
        "all answers alike. Answers must be drawn, not decoded greedily."
    )

    def measure(
        self,
        embeddings: Any,
        prompts: Sequence[Any],
        *,
        right: Any = None,
        data: str = "table",
        seed: int = 0,
    ) -> Reading:
        """Audit `embeddings` (m, d) of m answers and `prompts` (m,), which prompt each answers; `right` (m,), booleans
        or shares, where it is known.

        Raises `InputError` for a prompt with one answer, zero vectors, and columns of other lengths.
        """
        began = time.perf_counter()
        check_settings(self)
        unit, asked = unit_rows(embeddings), np.asarray(prompts, dtype=str)
        good = None if right is None else np.asarray(right, dtype=float)
        names, groups = _groups(asked, len(unit), good)
        scores = [isotropy(unit[rows]) for rows in groups]
        values = np.array([s.value for s in scores])
        table = Table({"prompt": names}, seed=seed)
        for name, words in (("value", "isotropy"), ("low", "its lower end"), ("high", "its upper end")):
            column = "prompt_isotropy" if name == "value" else f"prompt_isotropy_{name}"
            table.keep(column, [getattr(s, name) for s in scores], ["prompt"], unit="nats", long_name=words)
        table.keep("prompt_cosine", [s.mean_cosine for s in scores], ["prompt"], long_name="mean cosine of all pairs")
        table.keep("prompt_answers", [s.answers for s in scores], ["prompt"], long_name="answers", kind="exact")
        draws: dict[str, NDArray[np.float64]] = {}
        if len(groups) > 1:
            shuffled = shuffled_scores(unit, [len(g) for g in groups], draws=self.draws, seed=seed)
            draws["isotropy"] = shuffled.mean(axis=0)
            _percentiles(table, values, shuffled, np.array([len(g) for g in groups]))
        words = "isotropy of the answers to a prompt, mean over prompts"
        table.mean("isotropy", values, unit="nats", long_name=words, alternative="less")
        words = "cosine of two answers to a prompt, mean over prompts"
        table.mean("mean_cosine", np.array([s.mean_cosine for s in scores]), long_name=words, alternative="none")
        if good is not None:
            draws |= _with_truth(table, values, np.array([good[g].mean() for g in groups]), self.draws, seed)
        columns = {"prompt": asked, "embedding": np.round(unit.sum(axis=1), 9)}
        same = all(np.ptp(unit[g], axis=0).max() < 1e-9 for g in groups)
        reason = "all answers to every prompt are the same: nothing was drawn" if same else ""
        status = Status.UNKNOWN if same else Status.ESTIMATE
        return self._reading(
            table, columns, data=data, seed=seed, began=began, draws=draws, status=status, reason=reason
        )

    def verdict(self, reading: Reading) -> str:
        """`agree` where the answers to a prompt are more alike than answers to different ones (5 %), `scattered` where
        that cannot be told, `unknown` for a single prompt and where nothing was drawn."""
        score = reading.figure("isotropy")
        if reading.reason or score.p_value is None:
            return Status.UNKNOWN.value
        return "agree" if score.p_value <= UNLIKELY else "scattered"

    def describe(self, reading: Reading) -> list[str]:
        values, score = reading.values, reading.figure("isotropy")
        count = values.sizes["prompt"]
        told = [_sentence(reading, self.verdict(reading)), CAUTION]
        text = f"Isotropy is {said(score.value)} nats over {counted(count, 'prompt')}"
        text += "" if score.low is None or not np.isfinite(score.low) else f" ({said(score.low)} to {said(score.high)})"
        chance = "" if score.null_median is None else f", {said(score.null_median)} for answers dealt at random"
        told.append(f"{text}{chance}; the mean cosine of two answers is {said(reading.figure('mean_cosine').value)}.")
        if "prompt_percentile" in values:
            order = np.argsort(-values["prompt_isotropy"].values, kind="stable")[:3]
            names = [f"{str(values['prompt'].values[k])[:60]!r} ({_percent(values, k)})" for k in order]
            told.append(f"They scatter most for {', '.join(names)}; in brackets the percentile among shuffled answers.")
        if "right" in values:
            found = reading.figure("correlation")
            text = "Over prompts the score and the share of right answers have a rank correlation of "
            text += said(found.value, ".2f")
            band = "" if found.low is None or not np.isfinite(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
            told.append(f"{text}{band}.")
        return told

    def more(self, reading: Reading) -> dict[str, Any]:
        """`prompts`: isotropy, interval, cosine and percentile of each."""
        values = reading.values
        columns = [str(v) for v in values.data_vars if values[v].dims == ("prompt",)]
        return {
            "prompts": [
                {"prompt": str(p), **{c.removeprefix("prompt_"): values[c].values[k].item() for c in columns}}
                for k, p in enumerate(values["prompt"].values)
            ]
        }

    def draw(self, reading: Reading) -> Any:
        from cutaway.pictures.table_audits import prompts_chart

        return prompts_chart(reading)


def _sentence(reading: Reading, found: str) -> str:
    if reading.reason:
        return f"{reading.reason}; draw answers at a temperature above 0."
    if found == Status.UNKNOWN.value:
        return "one prompt has no other answers to be compared with; give answers to several prompts."
    if found == "scattered":
        return "the answers to a prompt are no more alike than answers to different prompts."
    share = float((reading.values["prompt_percentile"].values <= 100 * UNLIKELY).mean())
    return f"for {share:.0%} of the prompts the answers are more alike than 95% of shuffled ones."


def _percent(values: Any, place: int) -> str:
    return f"{float(values['prompt_percentile'].values[place]):.0f} %"


def _groups(asked: NDArray[Any], rows: int, good: Any) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
    if asked.shape != (rows,) or (good is not None and good.shape != (rows,)):
        raise InputError(
            "columns of answers",
            found=f"{rows} embeddings, {len(asked)} prompts" + ("" if good is None else f", {len(good)} of right"),
            expected="one length",
            remedy="give one value an answer",
        )
    names, place = np.unique(asked, return_inverse=True)
    groups = [np.flatnonzero(place == k) for k in range(len(names))]
    lone = next((str(n) for n, g in zip(names, groups) if len(g) < 2), None)
    if lone is not None:
        raise InputError(
            f"prompt {lone[:80]!r}",
            found="one answer",
            expected="at least two, better six to eight",
            remedy="sample more answers to it, or leave the prompt out",
        )
    return names, groups


def _percentiles(
    table: Table, values: NDArray[np.float64], shuffled: NDArray[np.float64], sizes: NDArray[np.int64]
) -> None:
    """Where each prompt stands among shuffled answers of as many; the band of 95 % of these, by prompt."""
    found, low, high = (np.empty(len(values)) for _ in range(3))
    for size in np.unique(sizes):
        own = sizes == size
        pool = np.sort(shuffled[own].ravel())
        found[own] = 100 * (np.searchsorted(pool, values[own] + 1e-12, side="right") + 1) / (len(pool) + 1)
        low[own], high[own] = np.quantile(pool, [0.025, 0.975])
    table.keep("prompt_percentile", found, ["prompt"], unit="%", long_name="percentile among shuffled answers")
    table.keep("prompt_null_low", low, ["prompt"], unit="nats", long_name="2.5 % of shuffled answers lie below")
    table.keep("prompt_null_high", high, ["prompt"], unit="nats", long_name="2.5 % of shuffled answers lie above")


def _with_truth(
    table: Table, values: NDArray[np.float64], share: NDArray[np.float64], draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Rank correlation of the score with the share of right answers, and of shares in random order."""
    table.keep("right", share, ["prompt"], long_name="share of the prompt's answers that are right")

    def correlation(rows: NDArray[np.int64]) -> float:
        a, b = values[rows], share[rows]
        return rank_correlation(a, b)

    every = np.arange(len(values))
    band = bootstrap_interval(correlation, len(values), seed=seed)
    words = "rank correlation over prompts of isotropy and the share of right answers"
    table.figure("correlation", correlation(every), band, long_name=words, alternative="less")
    rng = np.random.default_rng(seeds.stream(seed, "right answers in random order"))
    return {"correlation": np.array([rank_correlation(values, rng.permutation(share)) for _ in range(draws)])}


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's, of values (n,); NaN where one of them does not vary."""
    from scipy.stats import rankdata

    first, second = rankdata(a), rankdata(b)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
