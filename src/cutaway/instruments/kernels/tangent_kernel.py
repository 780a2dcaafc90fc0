"""Instrument `tangent-kernel`: what the network's own kernel finds alike, and how far it is from where it began."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.kernels import (
    class_halves,
    effective_rank,
    first_equal,
    kernel_distance,
    solve,
    tangent_kernel,
    target_alignment,
    top_mass,
)
from cutaway.kernels.learned_rows import Rows
from cutaway.kernels.regression import FLOOR
from cutaway.needs import held_statistics
from cutaway.network import Network
from cutaway.network.weights import load_weights
from cutaway.reading.table import Table
from cutaway.settings import at_least, means
from cutaway.status import Status
from cutaway.wording import said

TOP = 20


@dataclass(frozen=True, kw_only=True)
class TangentKernel(Instrument):
    """The tangent kernel K = mean over outputs of <df(x)/dtheta, df(x')/dtheta> on `num_points` rows.

    Centred alignment with the labels (bootstrap interval over rows), effective rank (sum l)^2 / sum l^2, share of sum
    l^2 in the 20 largest eigenvalues, and how often a regression with K on every other row of each class is right on
    the rest (Clopper-Pearson; rows that equal an earlier one left out). With `start`, weights of the same
    network, the distance 1 - cos(K_start, K): near 0 means that training stayed where the network is linear in its
    parameters. Where rows are equal, without a gradient or gradients dependent, how many of these there are, and how
    many eigenvalues lie under the floor n 1e-12 of the largest. Computed in float64; the rows are taken as given,
    statistics of batch normalisation as stored.
    """

    num_points: int = field(default=120, metadata=at_least(8, "rows of the kernel"))
    start: str = field(default="", metadata=means("weights (.safetensors) to measure the distance from"))

    name: ClassVar[str] = "tangent-kernel"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("alignment", "Kernel's alignment with the labels", 90),)
    question: ClassVar[str] = "What do the network's gradients find alike, and has training changed it?"
    source: ClassVar[str] = "Jacot et al. 2018, arXiv 1806.07572; Tsilivis and Kempe 2022, arXiv 2210.05577"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    one_logit: ClassVar[bool] = True
    formula: ClassVar[str] = (
        r"K(x, x') = \frac{1}{C} \sum_c \langle \nabla_\theta f_c(x), \nabla_\theta f_c(x') \rangle"
    )
    expense: ClassVar[str] = "1 forward and (classes) backward passes a row, rows squared"
    limits: ClassVar[str] = (
        "Says what a linearised network would find easy; a network that leaves its kernel may find something else."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        labels, rows = sample.labels, sample.data.inputs
        if len(np.unique(labels)) < 2 or len(rows) < 4:
            raise NotApplicable("it takes four rows and two classes to compare a kernel with labels")
        kernel = tangent_kernel(network, rows, double=True, budget=context.budget).cpu()
        if not float(kernel.norm()) > 0:
            raise NotApplicable("no gradient: no output depends on a parameter on these rows")
        targets = torch.nn.functional.one_hot(torch.from_numpy(labels)).double()
        if math.isnan(target_alignment(kernel, targets)):
            raise NotApplicable("every row has the same gradient: nothing tells rows apart")
        table = context.table({"row": sample.rows, "column": sample.rows})
        table.keep("kernel", kernel.numpy(), ["row", "column"], long_name="tangent kernel, mean over outputs")
        table.keep("label", labels, ["row"], long_name="class of the row", kind="exact")
        values = torch.linalg.eigvalsh(kernel).flip(0)
        table.coordinate("rank", np.arange(1, len(values) + 1))
        table.keep("eigenvalue", values.numpy(), ["rank"], long_name="eigenvalues of the tangent kernel")
        self._figures(kernel, values, targets, table)
        first = first_equal(rows)
        copies, silent = int((first != np.arange(len(first))).sum()), int((kernel.diagonal() <= 0).sum())
        self._floor(values, copies, silent, table)
        self._regression(kernel, targets, first, table)
        if self.start:
            began = self._beginning(network, rows, context)
            words = "distance of the kernel from where training began"
            table.figure("drift", kernel_distance(kernel, began), long_name=words)
        return Findings.of(table, sites=network.sites, skipped=held_statistics(network.model))

    def _figures(self, kernel: torch.Tensor, values: torch.Tensor, targets: torch.Tensor, table: Table) -> None:
        def aligned(index: Any) -> float:
            chosen = torch.from_numpy(np.asarray(index))
            return target_alignment(kernel[chosen][:, chosen], targets[chosen])

        words = "alignment of the tangent kernel with the labels"
        table.statistic(
            "alignment", aligned, len(targets), fewer=4, rescaled=True, alternative="greater", long_name=words
        )
        table.figure("effective_rank", effective_rank(values), unit="directions", long_name=_RANK)
        table.figure(
            "top_mass",
            top_mass(values, TOP),
            long_name=f"share of the kernel's squared eigenvalues in the {TOP} largest",
        )

    def _floor(self, values: torch.Tensor, copies: int, silent: int, table: Table) -> None:
        """Figures where eigenvalues are rounding: rows that are there twice or have no gradient, or gradients that
        depend on each other."""
        under = int((values <= len(values) * FLOOR * float(values[0])).sum())
        if copies:
            words = "rows that equal an earlier row"
            table.figure("equal_rows", copies, status=Status.EXACT, alternative="none", long_name=words)
        if silent:
            words = "rows without a gradient, whose kernel with every row is 0"
            table.figure("silent_rows", silent, status=Status.EXACT, alternative="none", long_name=words)
        if under:
            words = f"eigenvalues under the floor ({len(values) * FLOOR:.0e} of the largest), which are rounding"
            table.figure("eigenvalues_under_floor", under, alternative="none", long_name=words)

    def _regression(self, kernel: torch.Tensor, targets: torch.Tensor, first: Rows, table: Table) -> None:
        learn, judge = class_halves(targets.argmax(dim=1).numpy(), first)
        words = "share of held-out rows that a regression with the kernel gets right"
        if not len(judge):
            words += " (all rows are equal)"
            table.figure("kernel_accuracy", math.nan, status=Status.UNKNOWN, long_name=words)
            return
        inner = kernel[learn][:, learn]
        middle = targets[learn].mean(dim=0)
        found = solve(inner, targets[learn] - middle, ridge=1e-4 * float(inner.diagonal().mean()))
        scores = kernel[judge][:, learn] @ found.coefficients + middle
        right = scores.argmax(dim=1) == targets[judge].argmax(dim=1)
        table.rate("kernel_accuracy", right.numpy(), alternative="greater", long_name=words)

    def _beginning(self, network: Network, rows: torch.Tensor, context: Context) -> torch.Tensor:
        model = copy.deepcopy(network.model)
        load_weights(model, self.start)
        before = Network(model, network.example, name=f"{network.name} at the start", probe=False)
        before.passes = network.passes
        return tangent_kernel(before, rows, double=True, budget=context.budget).cpu()

    def draw(self, reading: Any) -> Any:
        from cutaway.kernels.chart import kernel_chart

        return kernel_chart(reading)

    def over_training(self, steps: Sequence[int], readings: Sequence[Any]) -> Any:
        """The distances between the kernels of all steps that read the same rows."""
        from cutaway.kernels.chart import distances, motion_marks
        from cutaway.pictures.charts import Course

        kept = [(s, r.values["kernel"].values) for s, r in zip(steps, readings, strict=True) if "kernel" in r.values]
        kept = [(s, k) for s, k in kept if k.shape == kept[-1][1].shape]
        if len(kept) < 2:
            return None
        found = distances([kernel for _, kernel in kept])
        words = (
            f"From the first to the last measurement the kernel moved by {said(float(found[0, -1]))} (0: not at all, "
        )
        words += f"1: nothing in common); by {said(float(found[-2, -1]))} since the last but one."
        chart = motion_marks([step for step, _ in kept], found)
        return Course(title="Distance between the kernels of two steps", words=words, chart=chart)

    def describe(self, reading: Any) -> str:
        value = {f.name: f.value for f in reading.figures}
        degree, rank = said(value["alignment"], ".2f"), said(value["effective_rank"])
        text = f"The network's gradients are alike where labels are to a degree of {degree} (1 is perfectly), in about "
        text += f"{rank} directions"
        if math.isfinite(value["kernel_accuracy"]):
            text += f"; regression with them is right on {said(value['kernel_accuracy'], '.0%')} of held-out rows"
        text += "."
        if "equal_rows" in value:
            copies = said(value["equal_rows"], ".0f")
            text += f" {copies} rows equal an earlier one: they add nothing to the kernel, and the regression leaves "
            text += "them out."
        if "silent_rows" in value:
            rows = said(value["silent_rows"], ".0f")
            text += f" On {rows} rows no output depends on a parameter (rows of zeros, or dead units)."
        if "drift" not in value:
            return text
        stays = "stayed near its start" if value["drift"] < 0.05 else "has left its start"
        return f"{text} The kernel {stays} (distance {said(value['drift'], '.2f')})."


_RANK = "directions that the tangent kernel spreads over"
