"""Instrument `effective-sparsity`: how much of a pruned network is alive."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import ClaimError, ModelError
from cutaway.instrument import Findings, Instrument, NotApplicable, not_applicable
from cutaway.network import Network
from cutaway.reading import Skipped
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.status import Status
from cutaway.structure.live import Live, live_connections
from cutaway.structure.wiring import Wiring, wire
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class EffectiveSparsity(Instrument):
    """How much of a network with zeros among its weights lies on a path from an input to an output.

    With N weights (of linear layers, convolutions, embeddings; biases and normalisations left out): direct compression
    N / #{w != 0}, effective compression N / #{w on a path of non-zero weights}, infinite where no path is left. Per
    layer the weights that are zero, inactive (kept, on no path) and active, and the units that are dead (no input
    reaches them, or they reach no output; one that only its bias feeds is dead, its value being constant). Exact, from
    the operator graph: sums, concatenations, groups and normalisations are followed, position by position. Zeros may
    be in the weights or in masks of `torch.nn.utils.prune`. That outputs found to be without inputs are constant is
    checked on rows of the data. Source: Vysogorets and Kempe, arXiv 2107.02306, whose channel graph of a convolution is
    here followed exactly. Cost: one export, about three passes of one sample.
    """

    num_points: int = field(default=8, metadata=at_least(1, "rows on which constant outputs are checked"))

    name: ClassVar[str] = "effective-sparsity"
    question: ClassVar[str] = "How much of this pruned network is alive?"
    source: ClassVar[str] = "Vysogorets and Kempe, arXiv 2107.02306"
    null: ClassVar[str] = "random-mask"
    formula: ClassVar[str] = r"\frac{N}{\# \{ w \ne 0 \mathrm{\ on\ a\ path\ of\ weights\ that\ are\ not\ zero} \}}"
    expense: ClassVar[str] = "one export and about three passes of one sample"
    limits: ClassVar[str] = (
        "Paths are counted, not values: an active weight may still be too small to matter, and a unit on a path may "
        "never fire on data."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        with not_applicable(ModelError):
            wiring = wire(network, context.budget)
        if not wiring.weights:
            raise NotApplicable("the network has no weight matrix or kernel that is a parameter of its own")
        live = live_connections(wiring)
        rows = context.sample(network, data, self.num_points, balanced=False)
        _check_constant(live, network.outputs(rows.inputs, budget=context.budget))
        table = context.table({"layer": list(live.kept)})
        self._tell(wiring, live, table)
        skipped = tuple(Skipped(what=s.what, reason=s.reason) for s in wiring.skipped)
        return Findings.of(table, status=Status.EXACT, sites=network.sites, skipped=skipped)

    def _tell(self, wiring: Wiring, live: Live, table: Table) -> None:
        exact = {"dims": ["layer"], "kind": "exact"}
        total = torch.tensor([math.prod(shape) for shape in wiring.shapes.values()])
        kept = torch.tensor(list(live.kept.values()))
        active = torch.tensor([int(a.sum()) for a in live.active.values()])
        alive, units = torch.tensor(list(live.units.values())).T
        for name, numbers, words in (
            ("weights", total, "weights of the layer"),
            ("active", active, "weights on a path from an input to an output"),
            ("inactive", kept - active, "weights that are not zero but on no path"),
            ("units", units, "units that the layer leads to"),
            ("dead_units", units - alive, "of them on no path"),
        ):
            table.keep(name, numbers.numpy(), **exact, long_name=words)
        sparse = int(kept.sum()) < int(total.sum())
        side = "less" if sparse else "none"  # without zeros there is nothing to place at random
        cut = math.isinf(live.effective)
        end = ", infinite: the network is disconnected" if cut else ""
        reached = f"outputs, of {live.outputs.numel()}, that no input reaches"
        for name, value, words in (
            ("direct_compression", live.direct, "direct compression (weights over those that are not zero)"),
            ("effective_compression", live.effective, f"effective compression (weights over those on a path){end}"),
            ("inactive_share", _share(int((kept - active).sum()), int(kept.sum())), "share of kept weights on no path"),
            ("dead_unit_share", _share(int((units - alive).sum()), int(units.sum())), "share of units on no path"),
            ("outputs_cut_off", int((~live.outputs).sum()), reached),
            ("disconnected", int(cut), "disconnected (1: no input reaches any output; 0: some do)"),
        ):
            judged = name.endswith("_share") or name == "disconnected"  # the others follow, or are infinite
            alternative = side if judged else "none"
            table.number(
                name,
                value,
                kind="exact",
                status=Status.EXACT,
                alternative=alternative,
                long_name=words,
            )

    def draw(self, reading):
        from cutaway.pictures.structure import connections_chart

        return connections_chart(reading)

    def describe(self, reading):
        value = {f.name: f.value for f in reading.figures}
        direct, effective = value["direct_compression"], value["effective_compression"]
        if math.isinf(direct):
            return "Every weight is zero, so no input is connected to any output: both compressions are infinite."
        if math.isinf(effective):
            return (
                f"No input is connected to any output: compressed {said(direct)} times by its zeros, the network is "
                "cut in two, and its effective compression is infinite."
            )
        if effective == 1 and not value["dead_unit_share"] and not value["outputs_cut_off"]:
            return "Nothing of it is pruned: no weight is zero, and every weight and every unit lies on a path."
        text = f"Counting zeros the network is compressed {said(direct)} times, counting what lies on no path as well "
        text += f"{said(effective)} times: {said(value['inactive_share'], '.1%')} of the weights that are left do "
        text += f"nothing, and {said(value['dead_unit_share'], '.1%')} of the units are dead."
        cut = int(value["outputs_cut_off"])
        return text + (f" {cut} of its outputs depend on no input." if cut else "")

    def brief(self, reading):
        share = reading.figure("inactive_share").value
        return f"{said(share, '.0%')} of its non-zero weights lie on no path" if share > 0.005 else ""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _check_constant(live: Live, outputs: torch.Tensor) -> None:
    """What no input reaches is the same on every row, or the reading of the graph was wrong."""
    cut = ~live.outputs.flatten()
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] != len(cut) or not bool(cut.any()):
        return
    spread = (flat - flat[:1]).abs()[:, cut.to(flat.device)]
    if bool((spread > 1e-4 * flat.abs().max().clamp(min=1e-30)).any()):
        raise ClaimError(
            "outputs that no input was found to reach",
            found=f"a difference of {float(spread.max()):.3g} between rows",
            expected="constant outputs",
            remedy="please report the network: an operator was followed wrongly",
        )
