"""Instrument `intrinsic-dimension`: how many tokens every attention head mixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import ModelError
from cutaway.instrument import Findings, Instrument, Tile, not_applicable
from cutaway.language.dimension import intrinsic_dimension
from cutaway.network import Network
from cutaway.settings import at_least, between, means
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class IntrinsicDimension(Instrument):
    """ID of every head at the last token (see `cutaway.language.dimension`): `dimension` (sample, block,
    head), a count of tokens. Figures: the sum over heads in the last block and its mean over blocks, means over
    samples with bootstrap intervals. One forward pass a sample."""

    threshold: float = field(default=0.1, metadata=between(0, 1, "attention above which a token counts as mixed in"))
    relative: bool = field(default=True, metadata=means("threshold relative to the head's largest attention"))
    batch_size: int = field(default=16, metadata=at_least(1, "rows of tokens in one pass"))

    name: ClassVar[str] = "intrinsic-dimension"
    tiles: ClassVar[tuple[Tile, ...]] = (
        Tile("last_block", "Tokens mixed, last block", 11),
        Tile("mean_block", "Tokens mixed, mean block", 12),
    )
    question: ClassVar[str] = "How many tokens does each attention head mix at the end of a prompt?"
    source: ClassVar[str] = "Balestriero et al. 2023, arXiv 2312.01648, section 3; arXiv 2407.02678"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    formula: ClassVar[str] = r"ID^h = \# \{ j : A^h_{Tj} > \epsilon \, \max_k A^h_{Tk} \}"
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "Grows with the length of the prompt; compare prompts of equal length only."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        with not_applicable(ModelError):
            parts = [
                intrinsic_dimension(network.model, rows, threshold=self.threshold, relative=self.relative).cpu()
                for rows in sample.passes(self.batch_size)
            ]
        dimension = torch.cat(parts).numpy()
        table = context.table()
        dims = ["sample", "block", "head"]
        table.keep("dimension", dimension, dims, unit="tokens", long_name="tokens above the threshold")
        total = dimension.sum(2).astype(float)
        long_name = "tokens that the last block's heads mix, mean over prompts"
        table.mean("last_block", total[:, -1], unit="tokens", long_name=long_name)
        long_name = "tokens that a block's heads mix, mean over blocks and prompts"
        table.mean("mean_block", total.mean(1), unit="tokens", long_name=long_name)
        return Findings.of(table)

    def draw(self, reading):
        from cutaway.language.charts import head_map

        return head_map(reading.values)

    def brief(self, reading):
        return f"its last block's heads mix {said(reading.figure('last_block').value)} tokens at a prompt's end"

    def describe(self, reading):
        last, mean = reading.figure("last_block").value, reading.figure("mean_block").value
        return (
            f"At the end of a prompt the heads of the last block mix {said(last)} tokens in all, those of an average "
            f"block {said(mean)}."
        )
