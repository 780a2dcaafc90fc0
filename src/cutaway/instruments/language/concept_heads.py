"""Instrument `concept-heads`: which attention heads write a concept, and what happens without them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import InputError, ModelError
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile, not_applicable
from cutaway.language.concepts import Events, HeadReader
from cutaway.language.heads import find_heads
from cutaway.language.reading_out import find_tail
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.settings import at_least, one_of
from cutaway.wording import said

SCALES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Factors by which a concept's heads are scaled."""
DRAWS = 999
"""Draws of a set of random heads a concept, from the pool of sets that were run."""


@dataclass(frozen=True, kw_only=True)
class ConceptHeads(Instrument):
    """Cosine of what each attention head writes with a concept's direction, and the effect of turning such heads off.

    Concepts: the most frequent classes, or next tokens of a language model. Head (l, h) writes a = z_h W_h^T into the
    residual stream. `score` (concept, layer, head): mean cosine of a with the concept's direction, over rows or tokens
    whose answer it is; direction: its unembedding row less the mean row, or the mean last residual stream at the
    concept less that elsewhere. Beside it `attribution`, what a adds to the concept's logit directly (last
    normalisation frozen), and `effect`, by how much the concept's logit falls without the head. A concept's
    `num_heads` heads of highest score are scaled by -2 to 3: `target_effect`, change of accuracy (language models:
    mean log-probability, nat) at the concept with them at 0, mean over concepts, `other_effect` everywhere else,
    `selective_effect` their difference; bootstrap over rows. `random_heads_p`: how often as many random heads, drawn
    for each concept from `num_random` sets, are as selective. `lens(block)`: accuracy or log-probability of each
    block's stream put through the tail. Source: SAMD and SAMI, Su et al., ICLR 2026; Elhage et al. 2021 (attribution);
    nostalgebraist 2020 (lens). The score is a correlate: read the effect. Cost: (5 concepts + heads + num_random)
    passes a row.
    """

    num_heads: int = field(default=3, metadata=at_least(1, "heads of highest score that are scaled"))
    num_concepts: int = field(default=10, metadata=at_least(1, "most frequent classes or next tokens"))
    num_points: int = field(default=256, metadata=at_least(2, "rows"))
    num_random: int = field(default=39, metadata=at_least(1, "sets of as many random heads that are turned off"))
    direction: str = field(
        default="unembedding", metadata=one_of(("unembedding", "mean-difference"), "what stands for a concept")
    )

    name: ClassVar[str] = "concept-heads"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("selective_effect", "Without a concept's heads", 48),)
    question: ClassVar[str] = "Which attention heads write a concept, and what happens without them?"
    source: ClassVar[str] = "SAMD and SAMI, ICLR 2026; Elhage et al. 2021; nostalgebraist 2020"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "about a hundred forward passes a row"
    formula: ClassVar[str] = r"\langle \cos(z_h W_h^\top, v_c) \rangle_{x \in c}, \quad a_{-H}(c) - a(c)"
    expense: ClassVar[str] = "(5 concepts + heads + num_random) forward passes a row"
    limits: ClassVar[str] = (
        "The score is a correlate of the effect, not the effect: their rank correlation stands beside it. What a head "
        "does through later layers is in the effect and not in the attribution."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        inputs = sample.inputs
        with not_applicable(ModelError):
            layers = find_heads(network.model, lambda: network.forward(inputs[:1]))
            tail = find_tail(network.model, lambda: network.forward(inputs[:2]), layers)
        total = sum(layer.heads for layer in layers)
        if self.num_heads >= total:
            raise InputError(
                "num_heads", found=str(self.num_heads), expected=f"fewer than all {total}", remedy="ask of fewer heads"
            )
        with torch.no_grad():
            outputs = network.outputs(inputs, budget=context.budget)
        labels = None if data.labels is None else torch.from_numpy(sample.labels)
        events = Events.of(inputs, labels, outputs, self.num_concepts)
        if len(events.concepts) < 2:
            raise NotApplicable("the rows hold one concept only: nothing to tell it from")
        width = sum(layer.heads * layer.width for layer in layers) + (len(layers) + 2) * tail.rows.shape[1]
        tokens = inputs.shape[1] if events.tokens else 64
        size = int(max(1, min(64, context.budget // (32 * tokens * (width + 4 * len(tail.rows))))))
        reader = HeadReader(network, layers, tail, events, size)
        names = [str(c) for c in events.concepts.tolist()]
        table = context.table({"concept": names, "layer": [f"{k} {x.path}" for k, x in enumerate(layers)]})
        scores = self._written(reader, table)
        base, logit = reader.quality()
        heads = [(k, h) for k, layer in enumerate(layers) for h in range(layer.heads)]
        self._alone(reader, heads, logit, scores, table)
        self._together(reader, heads, base, scores[0], table, context)
        return Findings.of(table)

    def _written(self, reader: HeadReader, table: Table) -> NDArray[np.float64]:
        if self.direction == "unembedding":
            rows = reader.tail.rows.double().cpu()
            directions = (rows - rows.mean(dim=0))[reader.events.concepts]
        else:
            directions = reader.mean_difference()
        found = reader.written(directions)
        table.coordinate("head", np.arange(found.score.shape[2]))
        dims = ["concept", "layer", "head"]
        table.keep("score", found.score.numpy(), dims, long_name="cosine with the concept's direction")
        words = "added to the concept's logit directly, over the mean logit"
        table.keep("attribution", found.attribution.numpy(), dims, long_name=words)
        table.coordinate("block", list(found.blocks))
        unit = "nat" if reader.events.tokens else "1"
        table.keep("lens", found.lens.numpy(), ["block"], unit=unit, long_name="quality of the stream as logits")
        return np.stack([found.score.numpy(), found.attribution.numpy()])

    def _alone(
        self,
        reader: HeadReader,
        heads: list[tuple[int, int]],
        logit: torch.Tensor,
        scores: NDArray[np.float64],
        table: Table,
    ) -> None:
        """The effect of every head alone, and how score and attribution go with it."""
        effect = np.full(scores.shape[1:], np.nan)
        for layer, head in heads:
            effect[:, layer, head] = (logit - reader.quality([(layer, head)], 0.0)[1]).numpy()
        words = "fall of the concept's logit without the head, over the mean logit"
        table.keep("effect", effect, ["concept", "layer", "head"], long_name=words)
        for name, one in zip(("score", "attribution"), scores, strict=True):
            there = np.isfinite(effect)
            each = [_spearman(o[t], e[t]) for o, e, t in zip(one, effect, there, strict=True)]
            words = f"rank correlation over heads of {name} with the fall without the head, mean over concepts"
            table.figure(f"{name}_effect_correlation", float(np.mean(each)), long_name=words)

    def _together(
        self,
        reader: HeadReader,
        heads: list[tuple[int, int]],
        base: torch.Tensor,
        score: NDArray[np.float64],
        table: Table,
        context: Context,
    ) -> None:
        """Each concept's heads scaled together, against random heads."""
        events = reader.events
        mine = np.stack([events.at(int(c)).numpy() for c in events.concepts])
        chosen = [_best(one, heads, self.num_heads) for one in score]
        curve = np.zeros((2, len(SCALES)))
        for at, scale in enumerate(SCALES):
            if scale == 1:
                continue
            moved = np.stack([(reader.quality(some, scale)[0] - base).numpy() for some in chosen])
            curve[:, at] = [_mean(moved, mine), _mean(moved, ~mine)]
            if scale == 0:
                self._selective(moved, mine, table, events.tokens)
        unit = "nat" if events.tokens else "1"
        table.coordinate("scale", list(SCALES))
        table.keep("target_curve", curve[0], ["scale"], unit=unit, long_name="change at the concept")
        table.keep("other_curve", curve[1], ["scale"], unit=unit, long_name="change elsewhere")
        draw = np.random.default_rng(context.generator().initial_seed())
        pool = np.zeros((self.num_random, len(mine)))
        for k in range(self.num_random):
            some = [heads[i] for i in draw.choice(len(heads), self.num_heads, replace=False)]
            moved = (reader.quality(some, 0.0)[0] - base).numpy()
            pool[k] = [moved[m].mean() - moved[~m].mean() for m in mine]
        draws = pool[draw.integers(len(pool), size=(DRAWS, len(mine))), np.arange(len(mine))].mean(axis=1)
        value = curve[0, SCALES.index(0.0)] - curve[1, SCALES.index(0.0)]
        words = "share of draws of as many random heads a concept that are as selective"
        p = (1 + int((draws <= value + 1e-12).sum())) / (1 + DRAWS)
        table.figure("random_heads_p", p, long_name=words, alternative="none")
        table.keep("random_heads", draws, ["draw"], unit=unit, long_name="selective effect of random heads")

    def _selective(self, moved: NDArray[np.float64], mine: NDArray[np.bool_], table: Table, tokens: bool) -> None:
        what, unit = ("log-probability", "nat") if tokens else ("accuracy", "1")

        def target(rows: NDArray[np.int64]) -> float:
            return _mean(moved[:, rows], mine[:, rows])

        def other(rows: NDArray[np.int64]) -> float:
            return _mean(moved[:, rows], ~mine[:, rows])

        count = moved.shape[1]
        words = f"change of {what} at a concept without its {self.num_heads} heads"
        table.statistic("target_effect", target, count, unit=unit, long_name=words)
        words = f"change of {what} elsewhere without them"
        table.statistic("other_effect", other, count, unit=unit, long_name=words)
        words = f"change of {what} at a concept less elsewhere, without its {self.num_heads} heads"
        table.statistic("selective_effect", lambda r: target(r) - other(r), count, unit=unit, long_name=words)

    def draw(self, reading):
        from cutaway.pictures.heads import heads_chart

        return heads_chart(reading)

    def describe(self, reading):
        value = {f.name: f.value for f in reading.figures}
        unit = " nat" if reading.figure("selective_effect").unit == "nat" else ""
        text = (
            f"Without the {self.num_heads} heads that write a concept most, it loses "
            f"{said(-value['target_effect'])}{unit} where it is the answer and {said(-value['other_effect'])}{unit} "
            f"elsewhere (p {said(value['random_heads_p'])} against random heads). The score's rank correlation with "
            f"the effect of a head alone is {said(value['score_effect_correlation'])}, that of direct attribution "
            f"{said(value['attribution_effect_correlation'])}"
        )
        low = value["score_effect_correlation"] < 0.5
        return text + (": the score is no effect." if low else ".")


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.asarray(stats.spearmanr(a, b))[0])


def _best(score: NDArray[np.float64], heads: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    return sorted(heads, key=lambda p: -score[p])[:count]


def _mean(moved: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    """Mean over concepts of the mean over their places, of moved and where (C, rows, k)."""
    times = where.sum(axis=(1, 2))
    each = (moved * where).sum(axis=(1, 2)) / np.maximum(times, 1)
    return float(each[times > 0].mean()) if (times > 0).any() else float("nan")
