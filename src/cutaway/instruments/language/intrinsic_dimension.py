"""Instrument `intrinsic-dimension`: how many tokens every attention head mixes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import xarray as xr

from cutaway.errors import ModelError
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.language.intrinsic_dimension import intrinsic_dimension
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class IntrinsicDimension(Instrument):
    """ID of every head at the last token (see `cutaway.language.intrinsic_dimension`): `dimension` (sample, block,
    head), a count of tokens. Figures: the sum over heads in the last block and its mean over blocks, means over
    samples with bootstrap intervals. One forward pass a sample."""

    threshold: float = 0.1
    relative: bool = True
    batch_size: int = 16

    name: ClassVar[str] = "intrinsic-dimension"
    tiles: ClassVar[tuple[Tile, ...]] = (
        Tile("last_block", "Tokens mixed, last block", 11),
        Tile("mean_block", "Tokens mixed, mean block", 12),
    )
    question: ClassVar[str] = "How many tokens does each attention head mix at the end of a prompt?"
    source: ClassVar[str] = "Balestriero et al. 2023, arXiv 2312.01648, section 3; arXiv 2407.02678"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "Grows with the length of the prompt; compare prompts of equal length only."

    def _measure(self, network, data, context):
        parts = []
        for start in range(0, len(data.inputs), self.batch_size):
            rows = network.place(data.inputs[start : start + self.batch_size])
            try:
                got = intrinsic_dimension(network.model, rows, threshold=self.threshold, relative=self.relative)
            except ModelError as error:
                raise NotApplicable(str(error)) from error
            parts.append(got.cpu())
            network.forward_passes += len(rows)
        dimension = torch.cat(parts).numpy()
        values = xr.Dataset(
            {
                "dimension": variable(
                    dimension, ["sample", "block", "head"], unit="tokens", long_name="tokens above the threshold"
                )
            }
        )
        total = dimension.sum(2).astype(float)
        return Findings(
            values=values,
            figures=(
                self._figure("last_block", total[:, -1], "sum over heads in the last block", context),
                self._figure("mean_block", total.mean(1), "sum over heads, mean over blocks", context),
            ),
        )

    def _figure(self, name, numbers, text, context):
        low, high = mean_interval(numbers, seed=context.seed, resamples=context.resamples)
        return Figure(
            name=name,
            value=float(numbers.mean()),
            low=low,
            high=high,
            unit="tokens",
            long_name=f"intrinsic dimension, {text}",
        )

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
