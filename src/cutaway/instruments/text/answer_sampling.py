"""Instrument `answer-sampling`: what does sampling its answers cost, and what does it win?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least, between
from cutaway.text.answering import answer_probabilities, falls_against_first
from cutaway.wording import said

GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class AnswerSampling(Instrument):
    """Accuracy of answers drawn at temperatures 0 to 2, what k draws win and what a right greedy answer hides.

    A row is a question and, in its last `answer` tokens, the right answer, which is right when it is drawn word for
    word. With q the chance of that at temperature 1, exact from the logits: `sampled` = mean q; `pass_at_k` = mean
    1 - (1 - q)^k, that one of k draws is right; `sampling_gain` = pass_at_k - greedy; `hidden_risk` = mean 1 - q^k over
    rows whose greedy answer is right, that one of k draws is wrong. `drop_temperature`: the first of the grid at which
    accuracy is lower than greedy (paired, exact by sign flips, Holm over the grid, level .05). Exact given the rows;
    intervals are over rows. Cost: one forward pass a row. Raises `InputError` for answers as long as the rows. Source:
    Chen et al. 2021 (arXiv 2107.03374) for pass@k; Holm 1979; hidden risk is ours.
    """

    answer: int = field(default=1, metadata=at_least(1, "last tokens of a row, which are the right answer"))
    k: int = field(default=10, metadata=at_least(1, "draws"))
    alpha: float = field(default=0.05, metadata=between(0, 1, "level of the drop temperature"))

    name: ClassVar[str] = "answer-sampling"
    question: ClassVar[str] = "What does sampling its answers cost and win?"
    source: ClassVar[str] = "Chen et al. 2021, arXiv 2107.03374; hidden risk derived here"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    formula: ClassVar[str] = r"\mathrm{pass@}k = \frac{1}{n} \sum_i 1 - (1 - q_i)^k, \quad \mathrm{risk} = 1 - q_i^k"
    expense: ClassVar[str] = "1 forward pass a row"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "rows must end with an answer: --set answer=TOKENS"
    limits: ClassVar[str] = (
        "An answer is right only word for word; where many wordings are right, draw, judge and use text.pass_at_k."
    )
    better: ClassVar[Mapping[str, str]] = {"greedy": "higher", "sampled": "higher", "hidden_risk": "lower"}

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        tokens = sample.data.inputs
        if self.answer >= tokens.shape[1]:
            raise InputError(
                f"setting 'answer' of instrument {self.name!r}",
                found=f"{self.answer}",
                expected=f"fewer than the {tokens.shape[1]} tokens of a row",
                remedy="give rows of question and answer, and how many tokens the answer has",
            )
        chance = answer_probabilities(network, tokens, self.answer, GRID, budget=context.budget)
        table = context.table({"sample": sample.rows, "temperature": list(GRID)})
        skipped = self._draws(chance[:, 0] > 0.5, chance[:, GRID.index(1.0)], table)
        table.means(
            "accuracy", chance, ["temperature"], long_name="chance that a drawn answer is right, mean over rows"
        )
        return Findings.of(table, skipped=(*skipped, *self._drop(chance, context.seed, table)))

    def _draws(self, greedy: np.ndarray, q: np.ndarray, table: Table) -> tuple[Skipped, ...]:
        table.rate("greedy", greedy, alternative="greater", long_name="share of greedy answers that are right")
        words = "chance that an answer drawn at temperature 1 is right"
        table.mean("sampled", q, dims=["sample"], alternative="greater", long_name=words)
        one = 1 - (1 - q) ** self.k
        table.mean("pass_at_k", one, alternative="greater", long_name=f"chance that one of {self.k} draws is right")
        words = f"that chance for {self.k} draws less the greedy accuracy"
        table.mean("sampling_gain", one - greedy, alternative="greater", long_name=words)
        if not greedy.any():
            return (Skipped(what="hidden_risk", reason="no greedy answer is right"),)
        words = f"chance that one of {self.k} draws is wrong where the greedy answer is right"
        table.mean("hidden_risk", 1 - q[greedy] ** self.k, alternative="less", long_name=words)
        return ()

    def _drop(self, chance: np.ndarray, seed: int, table: Table) -> tuple[Skipped, ...]:
        p = falls_against_first(chance, seed=seed)
        words = "p-value of: no lower than greedy; for all temperatures at once"
        table.keep("drop_p", np.concatenate([[1.0], p]), ["temperature"], long_name=words)
        low = np.flatnonzero(p <= self.alpha)
        if not len(low):
            return (Skipped(what="drop_temperature", reason=f"accuracy does not fall up to temperature {GRID[-1]:g}"),)
        words = "first temperature at which accuracy is below the greedy one"
        table.figure("drop_temperature", GRID[1 + int(low[0])], alternative="none", long_name=words)
        return ()

    def draw(self, reading: Reading):
        from cutaway.pictures.text import temperature_chart

        return temperature_chart(reading)

    def describe(self, reading: Reading) -> str:
        greedy, drawn, one = (reading.figure(n).value for n in ("greedy", "sampled", "pass_at_k"))
        names = {figure.name for figure in reading.figures}
        text = f"Its greedy answer is right in {said(greedy, '.0%')} of the rows, one drawn at temperature 1 in "
        text += f"{said(drawn, '.0%')}, one of {self.k} draws in {said(one, '.0%')}. "
        if "hidden_risk" in names:
            risk = reading.figure("hidden_risk").value
            text += (
                f"Where the greedy answer is right, one of {self.k} draws is wrong with chance {said(risk, '.0%')}. "
            )
        if "drop_temperature" in names:
            first = reading.figure("drop_temperature").value
            return text + f"The first temperature at which it is right less often than greedy is {first:g}."
        return text + "At no temperature up to 2 is it shown to be right less often than greedy."

    def brief(self, reading: Reading) -> str:
        return f"greedy answers are right in {said(reading.figure('greedy').value, '.0%')} of the rows"
