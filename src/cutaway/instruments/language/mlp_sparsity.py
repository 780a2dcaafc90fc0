"""Instrument `mlp-sparsity`: how much of what a language model's MLP blocks compute could be cut, and at what cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError, ModelError
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile, not_applicable
from cutaway.language.cett import ActivationCutter, Cut
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import above, at_least, between
from cutaway.wording import said

KEPT = (1.0, 0.5, 0.25, 0.125)
"""Shares of the entries kept in the curve of perplexity."""


@dataclass(frozen=True, kw_only=True)
class MlpSparsity(Instrument):
    """Share of MLP entries that are needed: at a fixed error of the blocks' outputs, and at a fixed rise of perplexity.

    Of every MLP block the entries a_j that go into its map back contribute |a_j| |w_j|. `ratio_at_cett`: share of
    entries above the block's threshold at which cutting the rest costs `cett` of the output's norm, mean over tokens;
    compared with untrained networks at the same CETT. `ratio_at_perplexity`: the same at the largest common CETT at
    which perplexity rises by at most `rise`; not given where the model without its blocks is as good (an untrained one:
    everything may go, which says nothing). Thresholds come from the first half of the rows, shares and perplexities
    from the second; interval: bootstrap over its rows. `curve(kept)`: perplexity over the whole model's with the
    largest entries of every token kept. Source: Luo et al., arXiv 2411.02335; Li et al., arXiv 2210.06313 (curve).
    Every token of a row counts, padding too. Cost: about 20 forward passes a row.
    """

    cett: float = field(default=0.2, metadata=between(1e-6, 1.0, "error of a block's output that the cut may cost"))
    rise: float = field(default=0.01, metadata=above(0, "rise of perplexity that the cut may cost, as a share"))
    num_points: int = field(default=64, metadata=at_least(4, "rows of tokens, half of them for the thresholds"))

    name: ClassVar[str] = "mlp-sparsity"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("ratio_at_cett", "MLP entries needed", 13, percent=True),)
    question: ClassVar[str] = "How many entries of its MLP blocks does a language model need?"
    source: ClassVar[str] = "Luo et al. 2024, arXiv 2411.02335 (CETT, PPL-p % sparsity)"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "about 20 forward passes a row"
    formula: ClassVar[str] = (
        r"\frac{1}{T} \sum_t \frac{\| \sum_{j : |a_{tj}| |w_j| \le \tau} a_{tj} w_j \|}{\| \sum_j a_{tj} w_j \|} = CETT"
    )
    expense: ClassVar[str] = "about 20 forward passes a row"
    limits: ClassVar[str] = (
        "An untrained network is sparse at a fixed error too: read the share beside its null. On token rows that the "
        "model finds unlikely perplexity says little."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        if len(sample) < 4:
            raise NotApplicable("needs four rows of tokens, half of them for the thresholds")
        tokens = sample.inputs
        first, second = tokens[: len(tokens) // 2], tokens[len(tokens) // 2 :]
        with not_applicable(ModelError):
            cutter = ActivationCutter(network.model, tokens[:1], passes=network.passes)
            whole = cutter.loss(second)
        needed = 8 * len(second) * second.shape[1] * sum(m.weight.shape[1] for m in cutter.maps)
        if needed > context.budget:
            raise BudgetError(
                f"activations of {len(second)} rows",
                found=format_bytes(needed),
                expected=f"at most {format_bytes(context.budget)}",
                remedy="take fewer rows (num_points), or give a larger --budget",
            )
        table = context.table({"block": [b.name for b in cutter.blocks]})
        with torch.no_grad():
            entries = cutter.activations(second)
            self._at_fixed_error(cutter, cutter.calibrate(first, self.cett), entries, second, whole, table)
            skipped = self._at_perplexity(cutter, first, entries, len(second), table)
        self._curve(cutter, second, whole, table)
        return Findings.of(table, skipped=skipped)

    def _at_fixed_error(
        self,
        cutter: ActivationCutter,
        cut: Cut,
        entries: list[torch.Tensor],
        tokens: torch.Tensor,
        whole: float,
        table: Table,
    ) -> None:
        shares = _shares(cutter, cut, entries, len(tokens))
        words = f"share of MLP entries above the threshold at CETT {self.cett:g}"
        widths = [m.weight.shape[1] for m in cutter.maps]
        table.mean("ratio_at_cett", np.average(shares, axis=1, weights=widths), dims=["row"], long_name=words)
        table.means("block_ratio", shares, ["block"], long_name="share of the block's entries above the threshold")
        zeros = sum(float((a == 0).double().sum()) for a in entries) / sum(a.numel() for a in entries)
        table.figure("exact_zeros", zeros, long_name="share of entries that are exactly 0", alternative="none")
        with cutter.cutting(cut.thresholds):
            rise = math.exp(cutter.loss(tokens) - whole)
        words = f"perplexity at CETT {self.cett:g} over that of the whole model"
        table.figure("perplexity_at_cett", rise, long_name=words, alternative="none")

    def _at_perplexity(
        self, cutter: ActivationCutter, tokens: torch.Tensor, entries: list[torch.Tensor], rows: int, table: Table
    ) -> tuple[Skipped, ...]:
        cut = cutter.at_perplexity(tokens, self.rise)
        if cut is None:
            reason = f"without any MLP block perplexity is within {self.rise:.0%} of the model's: nothing to find"
            return (Skipped(what="ratio_at_perplexity", reason=reason),)
        widths = [m.weight.shape[1] for m in cutter.maps]
        shares = np.average(_shares(cutter, cut, entries, rows), axis=1, weights=widths)
        words = f"share of MLP entries needed for perplexity within {self.rise:.1%}"
        table.mean("ratio_at_perplexity", shares, long_name=words, alternative="none")
        words = f"CETT at which perplexity rises by {self.rise:.1%}"
        table.figure("cett_at_perplexity", cut.cett, long_name=words, alternative="none")
        return ()

    def _curve(self, cutter: ActivationCutter, tokens: torch.Tensor, whole: float, table: Table) -> None:
        curve = []
        for share in KEPT:
            with cutter.keeping(share):
                curve.append(math.exp(cutter.loss(tokens) - whole))
        table.coordinate("kept", list(KEPT))
        table.keep("curve", curve, ["kept"], long_name="perplexity over the whole model's, largest entries kept")

    def describe(self, reading):
        share, rise = reading.figure("ratio_at_cett"), reading.figure("perplexity_at_cett")
        text = (
            f"{said(share.value, '.0%')} of the MLP entries are needed for an error of {self.cett:g} of the blocks' "
            f"outputs, which multiplies perplexity by {said(rise.value)}"
        )
        found = {f.name: f.value for f in reading.figures}
        if "ratio_at_perplexity" in found:
            return text + f"; {said(found['ratio_at_perplexity'], '.0%')} keep it within {self.rise:.1%}."
        return text + ". Without any MLP block the model is as good: it has learned nothing there."


def _shares(cutter: ActivationCutter, cut: Cut, entries: list[torch.Tensor], rows: int) -> np.ndarray:
    """(rows, L): share of a row's entries above each block's threshold."""
    found = [
        (a.abs() * m.weight.norm(dim=0) > t).double().reshape(rows, -1).mean(dim=1)
        for a, m, t in zip(entries, cutter.maps, cut.thresholds.tolist(), strict=True)
    ]
    return torch.stack(found, dim=1).cpu().numpy()
