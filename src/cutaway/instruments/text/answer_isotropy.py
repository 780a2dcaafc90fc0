"""Instrument `answer-isotropy`: do a language model's own answers to a prompt agree?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.settings import above, at_least, between
from cutaway.text.sampling import sample_tokens
from cutaway.text.scoring import Decoding
from cutaway.text.spread import isotropy, shuffled_scores, token_counts, unit_rows
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class AnswerIsotropy(Instrument):
    """How widely several answers of the network to the same prompt spread, prompt by prompt.

    The first `prompt` tokens of a row are given; `answers` continuations of `length` tokens are drawn at the stated
    temperature and embedded by the tokens they hold (TF-IDF, order aside). Isotropy = -sum lambda ln lambda of the Gram
    matrix of the unit embeddings plus 1e-3 I, over the number of answers: 0.0077 for eight that are the same, 2.08 for
    eight that share nothing. Each prompt's percentile is that among the same answers dealt anew to the prompts. An
    estimate; intervals are over prompts, those of a prompt by the jackknife. Cost: one pass a token of each answer.
    Source: Bhattacharya et al. 2025 (arXiv 2510.21891), who embed by a sentence encoder (`cutaway audit answers
    --embed hf:FOLDER` does).
    """

    prompt: int = field(default=8, metadata=at_least(1, "tokens of a row that are given"))
    answers: int = field(default=8, metadata=at_least(3, "answers to a prompt"))
    length: int = field(default=24, metadata=at_least(1, "tokens of an answer"))
    temperature: float = field(default=0.7, metadata=above(0, "of the decoding"))
    top_p: float = field(default=1.0, metadata=between(0.01, 1.000001, "of the decoding"))
    draws: int = field(default=50, metadata=at_least(19, "times that answers are dealt anew"))

    name: ClassVar[str] = "answer-isotropy"
    question: ClassVar[str] = "Do the model's own answers to a prompt agree?"
    source: ClassVar[str] = "Bhattacharya et al. 2025, arXiv 2510.21891"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    formula: ClassVar[str] = (
        r"-\sum_i \lambda_i \ln \lambda_i, \quad \lambda = \mathrm{eig} \left( (E E^T + 10^{-3} I) / N \right)"
    )
    expense: ClassVar[str] = "answers x length forward passes a row"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "it draws answers x length tokens a row"
    limits: ClassVar[str] = (
        "Agreement, not truth: answers that are confidently wrong agree as well. The scale is that of the embedding, "
        "the number of answers and their length; only readings of equal settings compare."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        given = sample.data.inputs[:, : self.prompt]
        if sample.data.inputs.shape[1] < self.prompt:
            raise NotApplicable(f"the rows have {sample.data.inputs.shape[1]} tokens; a prompt takes {self.prompt}")
        unit = unit_rows(token_counts(self._drawn(network, given, context).numpy()))
        sizes = [self.answers] * len(given)
        scores = [isotropy(part) for part in np.split(unit, len(given))]
        values = np.array([s.value for s in scores])
        table = context.table({"sample": sample.rows})
        text = "isotropy of the answers to a prompt, mean over prompts"
        table.mean("isotropy", values, dims=["sample"], unit="nat", alternative="less", long_name=text)
        for side in ("low", "high"):
            ends = [getattr(s, side) for s in scores]
            table.keep(
                f"isotropy_{side}", ends, ["sample"], unit="nat", long_name=f"{side} end of its jackknife interval"
            )
        cosines = np.array([s.mean_cosine for s in scores])
        text = "cosine of two answers to a prompt, mean over prompts"
        table.mean("mean_cosine", cosines, dims=["sample"], alternative="greater", long_name=text)
        if len(given) > 1:
            pool = np.sort(shuffled_scores(unit, sizes, draws=self.draws, seed=context.seed).ravel())
            places = 100 * (np.searchsorted(pool, values + 1e-12, side="right") + 1) / (len(pool) + 1)
            table.keep("percentile", places, ["sample"], unit="%", long_name="percentile among shuffled answers")
            text = "share of prompts whose answers are more alike than 95 % of shuffled ones"
            table.rate("agreeing", (places <= 5).astype(float), alternative="greater", long_name=text)
        return Findings.of(table)

    def _drawn(self, network: Network, given: torch.Tensor, context: Context) -> torch.Tensor:
        """Answers (prompts x answers, length), prompt after prompt."""
        decoding = Decoding(temperature=self.temperature, top_p=min(self.top_p, 1.0))
        rows = sample_tokens(
            network,
            given.repeat_interleave(self.answers, dim=0),
            self.prompt + self.length,
            generator=context.generator(),
            decoding=decoding,
            budget=context.budget,
        )
        return rows[:, self.prompt :]

    def describe(self, reading: Reading) -> str:
        score = reading.figure("isotropy")
        count = reading.values.sizes["sample"]
        text = f"{self.answers} answers to each of {count} prompts have an isotropy of {said(score.value)} nats"
        text += "" if score.low is None else f" ({said(score.low)} to {said(score.high)})"
        if "percentile" in reading.values:
            share = reading.figure("agreeing")
            text += f"; for {said(share.value, '.0%')} of them they are more alike than 95 % of shuffled answers"
        return text + ". This is agreement, not truth."
