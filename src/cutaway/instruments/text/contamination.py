"""Instrument `contamination`: has the model seen these texts?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway import seeds
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.reading.rank import Alternative, p_value
from cutaway.reading.table import Table
from cutaway.settings import at_least, means
from cutaway.text.completion import complete, rouge_l_recall
from cutaway.text.scoring import score_tokens
from cutaway.wording import said

SHOWN = (0.4, 0.6, 0.8)
LEAST = 5  # rows of either kind


@dataclass(frozen=True, kw_only=True)
class Contamination(Instrument):
    """How much of the rest of a row the network recalls when it is shown 40, 60 and 80 % of it and goes on greedily,
    for rows that it may have seen against rows that it has not.

    `recall` = ROUGE-L recall of the rest (tokens), mean over the three shares; `exact` = share of rows of which some
    rest comes word for word; `loss` = nats a token of the whole row. `*_excess` is of the group `suspect` less the
    others, with bootstrap intervals over rows of either kind; `contamination_p` (recall) and `loss_p` (loss, lower) are
    exact by permuting the groups, one-sided: p of "the suspect rows are as the others". They are evidence of training
    only where the others are alike but for it: same source, same length, written later or held back
    (`random_calculations` are fresh for sure, and alike only to calculations). Loss sees fewer repetitions than recall.
    Estimates. Cost: one pass a row and, with the model's cache, 1.2 passes a token. Raises `InputError` for a group
    that is not there. Source: Golchin and Surdeanu 2024 (arXiv 2308.08493); Wu et al. 2025 (arXiv 2507.10532).
    """

    suspect: str = field(default="", metadata=means("group of the rows in question; empty: the first group"))
    draws: int = field(default=999, metadata=at_least(19, "permutations for the p-values"))

    name: ClassVar[str] = "contamination"
    question: ClassVar[str] = "Has it seen these texts?"
    source: ClassVar[str] = "Golchin and Surdeanu 2024, arXiv 2308.08493; Wu et al. 2025, arXiv 2507.10532"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "groups"})
    formula: ClassVar[str] = r"\mathrm{recall} = \mathrm{LCS}(\hat{y}_{>s}, y_{>s}) / |y_{>s}|, \quad s = .4, .6, .8"
    expense: ClassVar[str] = "1 forward pass a row and 1.2 passes a token"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "it asks about a group of rows: name it with --set suspect=NAME"
    limits: ClassVar[str] = (
        "Only against rows that are alike but for the training. Small networks do not recall rows that they saw a few "
        "times: no excess does not mean unseen."
    )
    exact_texts: ClassVar[bool] = True
    null: ClassVar[str] = "permuted-groups"
    better: ClassVar[Mapping[str, str]] = {"recall_excess": "lower"}

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        tokens, named = sample.data.inputs, self._suspect(data)
        mine = sample.groups == (data.group_names or ()).index(named)
        if min(mine.sum(), (~mine).sum()) < LEAST:
            raise NotApplicable(
                f"needs {LEAST} rows of group {named!r} and {LEAST} others; found {mine.sum()} and {(~mine).sum()}"
            )
        recall, exact = np.zeros((len(tokens), len(SHOWN))), np.zeros(len(tokens), dtype=bool)
        for k, shown in enumerate(SHOWN):
            told, wanted = complete(network, tokens, shown, budget=context.budget)
            recall[:, k] = rouge_l_recall(told, wanted)
            exact |= (told == wanted).all(dim=1).numpy()
        loss = -score_tokens(network, tokens, budget=context.budget).log_probability.mean(axis=1)
        table = context.table({"sample": sample.rows, "shown": list(SHOWN)})
        table.keep("suspect", mine.astype(float), ["sample"], long_name=f"whether the row is of {named}", kind="exact")
        table.keep("recall", recall, ["sample", "shown"], long_name="share of the rest that is recalled, in its order")
        table.keep("loss", loss, ["sample"], unit="nat", long_name="loss of the row, mean over tokens")
        _curves(recall, mine, table)
        self._figures(recall.mean(axis=1), exact, loss, mine, context.seed, table)
        return Findings.of(table)

    def _suspect(self, data: Dataset) -> str:
        names = list(data.group_names or ())
        if self.suspect and self.suspect not in names:
            raise InputError(
                f"setting 'suspect' of instrument {self.name!r}",
                found=f"{self.suspect!r}",
                expected=f"a group of data {data.name!r}: {', '.join(names)}",
                remedy="name the rows that the network may have seen",
            )
        return self.suspect or names[0]

    def _figures(self, recall, exact, loss, mine: np.ndarray, seed: int, table: Table) -> None:
        ways: tuple[tuple[str, np.ndarray, str, str, Alternative], ...] = (
            ("recall", recall, "1", "share of the rest of a row that is recalled", "greater"),
            ("loss", loss, "nat", "loss of a row, mean over tokens", "less"),
        )
        for name, values, unit, text, way in ways:
            for group, rows in (("suspect", mine), ("others", ~mine)):
                words = f"{text}, {'suspect rows' if group == 'suspect' else 'others'}"
                table.mean(f"{name}_{group}", values[rows], unit=unit, alternative="none", long_name=words)
            words = f"{text}: suspect rows less others"
            table.statistic(
                f"{name}_excess",
                lambda rows, v=values: _excess(v[rows], mine[rows]),
                len(mine),
                unit=unit,
                alternative=way,
                long_name=words,
            )
            p = _permuted_p(values, mine, way, self.draws, seed)
            words = f"p-value of: the {name} of suspect rows is as that of the others"
            table.figure(f"{'contamination' if name == 'recall' else name}_p", p, alternative="none", long_name=words)
        text = "share of suspect rows of which a rest comes word for word"
        table.rate("exact_suspect", exact[mine], alternative="greater", long_name=text)
        text = "share of other rows of which a rest comes word for word"
        table.rate("exact_others", exact[~mine], alternative="none", long_name=text)

    def draw(self, reading: Reading):
        from cutaway.pictures.text import recall_chart

        return recall_chart(reading)

    def describe(self, reading: Reading) -> str:
        mine, others, p = (reading.figure(n).value for n in ("recall_suspect", "recall_others", "contamination_p"))
        text = f"Shown the beginning, it recalls {said(mine, '.0%')} of the rest of the suspect rows and "
        text += f"{said(others, '.0%')} of that of the others"
        text += f"; word for word {said(reading.figure('exact_suspect').value, '.0%')} and "
        text += f"{said(reading.figure('exact_others').value, '.0%')}. "
        if p <= 0.05:
            return text + f"It has seen them, if the others are alike but for that (p = {said(p)})."
        if (loss := reading.figure("loss_p").value) <= 0.05:
            return text + f"It does not recall them, but their loss is lower than the others' (p = {said(loss)})."
        return text + "Nothing shows that it has seen them; that does not show that it has not."

    def brief(self, reading: Reading) -> str:
        p = reading.figure("contamination_p").value
        return "it recalls the suspect texts" if p <= 0.05 else "it does not recall the suspect texts"


def _excess(values: np.ndarray, mine: np.ndarray) -> float:
    if mine.all() or not mine.any():  # a resample of one kind
        return 0.0
    return float(values[mine].mean() - values[~mine].mean())


def _permuted_p(values: np.ndarray, mine: np.ndarray, way, draws: int, seed: int) -> float:
    rng = np.random.default_rng(seeds.stream(seed, "contamination"))
    drawn = np.array([_excess(values, rng.permutation(mine)) for _ in range(draws)])
    return p_value(_excess(values, mine), drawn, way)


def _curves(recall: np.ndarray, mine: np.ndarray, table: Table) -> None:
    for group, rows in (("suspect", mine), ("others", ~mine)):
        text = f"mean recall of {'suspect rows' if group == 'suspect' else 'the others'} by the share shown"
        table.means(f"recall_{group}_by_share", recall[rows], ["shown"], long_name=text)
