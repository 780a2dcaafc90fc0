"""Instrument `authorship`: did this model write these texts?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.evidence import q_values
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.records import Skipped
from cutaway.settings import at_least, between, means
from cutaway.text.authorship import POWERS, any_time_p_values, e_values, monte_carlo_p_values
from cutaway.text.sampling import sample_tokens
from cutaway.text.scoring import Decoding, score_tokens
from cutaway.wording import said

LARGEST = 700.0  # of log E in a file: a token that the decoding never draws makes it infinite


@dataclass(frozen=True, kw_only=True)
class Authorship(Instrument):
    """Whether rows of tokens may be draws of the network under a stated decoding, row by row.

    D = mean over tokens of surprisal less entropy (nats), which has mean 0 for the network's own texts; log E of the
    e-process of `cutaway.text.authorship`; p = 1 / max_t E_t, valid at any length; `rejected` = share of rows with
    q <= alpha (Benjamini-Hochberg). With `samples` also the rank of |D| among as many texts drawn from the network.
    Exact tests of "the network wrote this, by this decoding, from the given tokens on"; another decoding is another
    author. The intervals are over rows. Cost: one forward pass a row, and one a sample. Source: derived here; Radvand
    et al. 2025 (arXiv 2501.02406) ask the question.
    """

    prompt: int = field(default=1, metadata=at_least(1, "tokens of a row that are given, not judged"))
    begin: bool = field(default=True, metadata=means("put the model's begin-of-text token in front where it is not"))
    temperature: float = field(default=1.0, metadata=at_least(0, "of the decoding in question"))
    top_k: int = field(default=0, metadata=at_least(0, "of the decoding in question; 0: all tokens"))
    top_p: float = field(default=1.0, metadata=between(0.01, 1.000001, "of the decoding in question"))
    alpha: float = field(default=0.05, metadata=between(0.0001, 0.5, "share of false rejections among rejections"))
    samples: int = field(default=0, metadata=at_least(0, "texts to draw for the rank of |D|; 0: none"))

    name: ClassVar[str] = "authorship"
    question: ClassVar[str] = "Did this model write these texts?"
    source: ClassVar[str] = "derived here, after Radvand et al. 2025, arXiv 2501.02406"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    formula: ClassVar[str] = (
        r"E_t = \frac{1}{|\Lambda|} \sum_{\lambda} \prod_{s \le t} "
        r"\frac{p(y_s \mid y_{<s})^{-\lambda}}{\sum_y p(y \mid y_{<s})^{1-\lambda}}, \quad p = 1 / \max_t E_t"
    )
    expense: ClassVar[str] = "1 forward pass a row"
    limits: ClassVar[str] = (
        "It asks for this network and this decoding: its own greedy text is rejected as well. Text must be cut into "
        "the tokens it was drawn in (round_trip); a text that is not rejected may still be another's."
    )
    exact_texts: ClassVar[bool] = True
    null: ClassVar[str] = ""

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        tokens, prompt = self._begun(sample.data.inputs, network)
        decoding = Decoding(temperature=self.temperature, top_k=self.top_k, top_p=min(self.top_p, 1.0))
        settings = {"prompt": prompt, "decoding": decoding, "budget": context.budget}
        scores = score_tokens(network, tokens, powers=POWERS, **settings)
        log_e, deviation = e_values(scores), np.minimum(scores.surplus, LARGEST).mean(axis=1)
        table = context.table({"sample": sample.rows})
        text = "surprisal less entropy, mean over tokens"
        table.mean("deviation", deviation, dims=["sample"], unit="nat", alternative="none", long_name=text)
        capped = np.minimum(log_e[:, -1], LARGEST)
        text = "log of the e-value at the end of the row"
        table.median("log_e", capped, dims=["sample"], unit="nat", alternative="none", long_name=text)
        p = any_time_p_values(log_e)
        table.keep("p_any_time", p, ["sample"], long_name="p-value of: the network wrote this row, at any length")
        self._rejected("rejected", p, table, "rows that the network did not write")
        grown = np.minimum(np.median(log_e, axis=0), LARGEST)
        table.keep("growth", grown, ["token"], unit="nat", long_name="median over rows of log E after so many tokens")
        skipped = self._by_rank(network, tokens, deviation, settings, context, table) if self.samples else ()
        return Findings.of(table, skipped=skipped)

    def _begun(self, tokens: torch.Tensor, network: Network) -> tuple[torch.Tensor, int]:
        begin = getattr(getattr(network.model, "config", None), "bos_token_id", None)
        if not self.begin or not isinstance(begin, int) or bool((tokens[:, 0] == begin).all()):
            return tokens, self.prompt
        return torch.cat([torch.full((len(tokens), 1), begin), tokens.cpu()], dim=1), self.prompt

    def _rejected(self, name: str, p: np.ndarray, table, text: str) -> None:
        adjusted = q_values({str(row): float(value) for row, value in enumerate(p)})
        hits = np.array([q <= self.alpha for q in adjusted.values()], dtype=float)
        table.rate(name, hits, alternative="none", long_name=f"share of {text}, at this false-discovery rate")

    def _by_rank(self, network: Network, tokens, deviation, settings, context: Context, table) -> tuple[Skipped, ...]:
        given = tokens[:, : settings["prompt"]]
        if not bool((given == given[:1]).all()):
            return (Skipped(what="rejected_by_rank", reason="the rows begin with different given tokens"),)
        own = sample_tokens(
            network,
            given[:1].expand(self.samples, -1),
            tokens.shape[1],
            generator=context.generator(1),
            decoding=settings["decoding"],
            budget=context.budget,
        )
        drawn = np.minimum(score_tokens(network, own, **settings).surplus, LARGEST).mean(axis=1)
        p = monte_carlo_p_values(deviation, drawn)
        table.keep("p_rank", p, ["sample"], long_name="rank of |D| among the network's own texts")
        self._rejected("rejected_by_rank", p, table, "rows rejected by rank")
        return ()

    def draw(self, reading: Reading):
        from cutaway.pictures.text import evidence_chart

        return evidence_chart(reading, -np.log(self.alpha))

    def describe(self, reading: Reading) -> str:
        rejected, deviation = reading.figure("rejected"), reading.figure("deviation")
        rows = reading.values.sizes["sample"]
        text = f"Of {rows} texts {said(rejected.value, '.0%')} are not this network's, at a false-discovery rate of "
        text += f"{self.alpha:g}. "
        if deviation.low is None or deviation.high is None or deviation.low <= 0 <= deviation.high:
            return text + "On average they surprise it as much as its own would."
        how = "more" if deviation.value > 0 else "less"
        return text + f"They surprise it {how} than its own would, by {said(abs(deviation.value))} nats a token."
