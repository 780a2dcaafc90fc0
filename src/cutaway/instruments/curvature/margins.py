"""Instrument `margins`: which margin a homogeneous network has grown, in four norms of its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cutaway.context import Context
from cutaway.curvature.norm_margins import NORMS, NormMargins, margins
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.network.scaling import homogeneity
from cutaway.reading import Figure
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.status import Status
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class Margins(Instrument):
    """Normalised margin min_i m_i / |theta|^L, soft margin and distance from stationarity, in l1, l2, linf and the
    spectral norm of the weights.

    m_i is the true output minus the best other one on row i (of a single output: it, or minus it for class 0); L the
    degree of homogeneity in the weights, found by doubling and halving them. Needs a network that is homogeneous (no
    biases, no curved activation) and classifies every row rightly; for any other the answer is `unsupported` with the
    reason. The residual 1 - <theta, -grad L> / (|theta| |grad L|_*) with L = sum exp(-m_i) is 0 exactly at the
    stationary points of the margin in that norm: the norm whose residual falls is the one whose margin is being grown.
    The null are networks of this shape that learned labels in random order as well as this one its own: margins that
    memory alone grows. In float64. Exact for the rows given, but for the median, whose interval is by order statistics.
    Source: arXiv 2410.22069 (its residuals are ours in form). Cost: five forward and one backward pass a row, and a
    singular value decomposition of every weight; a draw of the null, some thousand passes a row.
    """

    num_points: int = field(default=10_000, metadata=at_least(1, "rows over which the smallest margin is taken"))

    name: ClassVar[str] = "margins"
    tiles: ClassVar[tuple[Tile, ...]] = ()
    question: ClassVar[str] = "Which margin is the optimiser growing?"
    source: ClassVar[str] = "Tsilivis, Vardi and Kempe 2024, arXiv 2410.22069; Lyu and Li 2020, arXiv 1906.05890"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "classifier"})
    one_logit: ClassVar[bool] = True
    null: ClassVar[str] = "memorised-labels"  # a network that has learned nothing separates nothing: no margin
    formula: ClassVar[str] = (
        r"\gamma = \frac{1}{\|\theta\|^L} \min_i \left( f_{y_i}(x_i) - \max_{k \ne y_i} f_k(x_i) \right)"
    )
    expense: ClassVar[str] = "5 forward and 1 backward passes a sample, in float64; a null, thousands"
    limits: ClassVar[str] = (
        "The smallest margin of the rows given: more rows can only lower it, so give the training rows. Margins of "
        "networks of different shape cannot be compared. Stationary need not be largest. Networks of the null are "
        "trained by Adam: the same network trained otherwise would have another margin on true labels too."
    )
    in_scan: ClassVar[bool] = False

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points, balanced=False)
        parameters = Parameters(network, double=True)
        labels = sample.data.labels
        assert labels is not None
        found = homogeneity(parameters, sample.data.inputs[:64], tolerance=1e-6)
        if found.deviation != found.deviation:
            raise NotApplicable(
                "every output is zero on these rows, with weights twice as large too: no margin to grow"
            )
        if found.degree is None or found.degree < 1:
            raise NotApplicable(
                "the network is not homogeneous in its weights, so its margins cannot be normalised: with weights "
                f"twice as large the outputs are off by {100 * found.deviation:.2g}% from a power of two (biases and "
                "curved activations do that)"
            )
        result = margins(parameters, sample.data.inputs, labels, found.degree, budget=context.budget)
        wrong = int((result.rows <= 0).sum())
        if wrong:
            raise NotApplicable(
                f"{wrong} of {len(result.rows)} rows are not classified rightly, so there is no margin yet: "
                "normalising a negative one would turn the order round"
            )
        table = context.table({"sample": sample.rows, "norm": list(NORMS)})
        self._tell(result, found.degree, table)
        return Findings.of(table, status=Status.EXACT, sites=network.sites)

    def _tell(self, result: NormMargins, degree: float, table: Table) -> None:
        exact = {"kind": "exact", "long_name": "margin of the sample over the l2 norm of the weights to the degree"}
        table.keep("margin", result.rows.cpu().numpy() / result.size["l2"] ** degree, ["sample"], **exact)
        for column, values, words in (
            ("size", result.size, "size of the weights"),
            ("margin_of", result.hard, "smallest margin, normalised"),
            ("soft_margin_of", result.soft, "soft margin, normalised"),
            ("residual_of", result.residual, "distance from stationarity"),
        ):
            table.keep(column, [values[n] for n in NORMS], ["norm"], kind="exact", long_name=words)
        exact = {"status": Status.EXACT, "alternative": "none"}
        table.number("degree", degree, kind="exact", long_name="degree of homogeneity", **exact)
        words = "median over the rows of their margins, the l2 norm of the weights"
        table.median("median_margin_l2", table.values["margin"].values, alternative="greater", long_name=words)
        for norm in NORMS:
            pairs = (("margin", result.hard, "smallest margin"), ("soft_margin", result.soft, "soft margin"))
            for name, values, words in (*pairs, ("residual", result.residual, "distance from stationarity")):
                table.figure(
                    f"{name}_{norm}",
                    values[norm],
                    status=Status.EXACT,
                    alternative="greater" if name == "margin" else "none",  # a soft one below 0 turns the order
                    long_name=f"{words}, {_SAID[norm]}",
                )

    def draw(self, reading):
        from cutaway.curvature.chart import margins_chart

        return margins_chart(reading, _SAID)

    def describe(self, reading):
        value = {f.name: f.value for f in reading.figures}
        best = min(NORMS, key=lambda norm: value[f"residual_{norm}"])
        return (
            f"All rows are separated; of the four norms the weights are nearest to a stationary margin in "
            f"{_SAID[best]} (residual {said(value[f'residual_{best}'])}, 0 is stationary), where the smallest margin "
            f"is {said(value[f'margin_{best}'])} of the weights' size to the power {said(value['degree'], '.0f')}."
        ) + _beside(reading.figure(f"margin_{best}"))


_SAID = {"l1": "the l1 norm", "l2": "the l2 norm", "linf": "the largest entry", "spectral": "the spectral norm"}


def _beside(figure: Figure) -> str:
    """The margin beside that of memory."""
    null, value = figure.null_median, figure.value
    if null is None or not null > 0:
        return ""
    times = f"{said(value / null)} times" if value >= null else f"only {said(value / null)} of"
    return f" That is {times} what networks of this shape grow that memorise labels in random order ({said(null)})."
