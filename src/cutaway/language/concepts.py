"""Concepts of a transformer and what it makes of them: classes of a classifier, next tokens of a language model.

An *event* is a place where an answer is given: a row of a classifier, a token of a language model (each but the last of
a row). Its concept is the row's class or the token that comes next; its quality is 1 where the class is right, or the
log-probability (nat) of the token that comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.language.heads import HeadLayer, Heads, read_matrix, scaled_heads, watched
from cutaway.language.reading_out import Tail
from cutaway.network import Network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Events:
    """`inputs` (n, ...) of a network, the `answer` (n, k) of its k events a row, the `concepts` (C,) asked of.
    `tokens`: whether rows are tokens."""

    inputs: Tensor
    answer: Tensor
    concepts: Tensor
    tokens: bool

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor | None, outputs: Tensor, count: int) -> Events:
        """Of rows, their labels (None: the network's own answers) and its outputs on them: the `count` most frequent
        concepts, ascending."""
        tokens = outputs.ndim == 3
        if tokens:
            answer = inputs[:, 1:].cpu()
        else:
            answer = (outputs.argmax(dim=1) if labels is None else labels).cpu()[:, None]
        values, times = answer.unique(return_counts=True)
        frequent = values[times.argsort(descending=True, stable=True)[:count]]
        return cls(inputs=inputs, answer=answer, concepts=frequent.sort().values, tokens=tokens)

    def at(self, concept: int) -> Tensor:
        """(n, k): where the answer is the concept."""
        return self.answer == concept

    def quality(self, logits: Tensor, rows: slice) -> Tensor:
        """(rows, k) float64 of logits (rows, C) or (rows, T, C)."""
        answer = self.answer[rows].to(logits.device)
        if not self.tokens:
            return (logits.argmax(dim=1, keepdim=True) == answer).double().cpu()
        likely = logits[:, :-1].double().log_softmax(dim=-1)
        return likely.gather(-1, answer[..., None])[..., 0].cpu()

    def events(self, values: Tensor) -> Tensor:
        """(rows, k, ...) of values (rows, ...) or (rows, T, ...) at the places where answers are given."""
        return values[:, :-1] if self.tokens else values[:, None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Written:
    """`score`, `attribution` (C, L, H): mean over a concept's events of the cosine of what a head writes with the
    concept's direction, and of what it adds directly to the concept's logit, over the mean logit; `lens` (blocks + 1):
    mean quality of the logits of each block's stream, embedding's first; `blocks`: their names. Layers with fewer heads
    have NaN."""

    score: Tensor
    attribution: Tensor
    lens: Tensor
    blocks: tuple[str, ...]


class HeadReader:
    """Runs a network with its heads read or scaled, in batches; leaves it as it was."""

    def __init__(self, network: Network, layers: Sequence[HeadLayer], tail: Tail, events: Events, batch_size: int):
        self.network, self.layers, self.tail = network, tuple(layers), tail
        self.events, self.batch_size = events, batch_size

    def batches(self):
        """Slices of the rows."""
        n = len(self.events.inputs)
        return [slice(b, min(b + self.batch_size, n)) for b in range(0, n, self.batch_size)]

    @torch.no_grad()
    def quality(self, heads: Heads = (), scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """(n, k) quality of the events, and (C,) mean logit of each concept over the mean logit at its events, with
        some heads scaled. Exact. Cost: one pass a row."""
        found, total, concepts = [], torch.zeros(len(self.events.concepts), dtype=torch.float64), self.events.concepts
        with scaled_heads(self.network.model, self.layers, heads, scale):
            for rows in self.batches():
                logits = self.network.forward(self.events.inputs[rows])
                found.append(self.events.quality(logits, rows))
                centred = self.events.events(logits - logits.mean(dim=-1, keepdim=True)).double().cpu()
                for k, concept in enumerate(concepts.tolist()):
                    total[k] += (centred[..., concept] * (self.events.answer[rows] == concept)).sum()
        return torch.cat(found), total / self._times()

    def _times(self) -> Tensor:
        return torch.stack([self.events.at(int(c)).sum() for c in self.events.concepts]).double()

    @torch.no_grad()
    def mean_difference(self) -> Tensor:
        """(C, D): mean last residual stream at each concept's events less that at all others."""
        sums = torch.zeros(len(self.events.concepts), 2, self.tail.rows.shape[1], dtype=torch.float64)
        with watched(self.network.model, (), (self.tail.norm,)) as seen:
            for rows in self.batches():
                self.network.forward(self.events.inputs[rows])
                stream = self.events.events(self.tail.pooled(seen[f"{self.tail.norm}<"])).double().cpu()
                for k, concept in enumerate(self.events.concepts.tolist()):
                    mine = self.events.answer[rows] == concept
                    sums[k, 0] += stream[mine].sum(dim=0)
                    sums[k, 1] += stream[~mine].sum(dim=0)
        times = self._times()
        return sums[:, 0] / times[:, None] - sums[:, 1] / (self.events.answer.numel() - times)[:, None]

    @torch.no_grad()
    def written(self, directions: Tensor) -> Written:
        """What the heads write, against `directions` (C, D). Exact. Cost: one pass a row and the heads' products."""
        model, concepts, tail = self.network.model, self.events.concepts, self.tail
        blocks = tuple(dict.fromkeys(layer.block for layer in self.layers if layer.block))
        most = max(layer.heads for layer in self.layers)
        found = torch.full((2, len(concepts), len(self.layers), most), float("nan"), dtype=torch.float64)
        for k, layer in enumerate(self.layers):
            found[:, :, k, : layer.heads] = 0.0
        lens, unit = torch.zeros(len(blocks) + 1, dtype=torch.float64), directions / directions.norm(dim=1)[:, None]
        rows_out = (tail.rows - tail.rows.mean(dim=0)).double().cpu()
        with watched(model, self.layers, (tail.norm, *blocks)) as seen:
            for rows in self.batches():
                self.network.forward(self.events.inputs[rows])
                got = dict(seen)
                stream = got[f"{tail.norm}<"]
                for at, lensed in enumerate([got[f"{blocks[0]}<"], *(got[b] for b in blocks)] if blocks else []):
                    lens[at] += self.events.quality(tail.logits(model, lensed), rows).sum()
                for index, layer in enumerate(self.layers):
                    matrix, mixed = read_matrix(model, layer.out), got[layer.out]
                    for head in range(layer.heads):
                        columns = layer.columns(head)
                        a = mixed[..., columns] @ matrix[:, columns].T
                        plain = self.events.events(tail.pooled(a)).double().cpu()
                        direct = self.events.events(tail.frozen(model, stream, a)).double().cpu()
                        size = plain.norm(dim=-1).clamp(min=1e-300)
                        for k, concept in enumerate(concepts.tolist()):
                            mine = self.events.answer[rows] == concept
                            found[0, k, index, head] += ((plain @ unit[k]) / size)[mine].sum()
                            found[1, k, index, head] += (direct @ rows_out[concept])[mine].sum()
        found /= self._times()[None, :, None, None]
        return Written(
            score=found[0], attribution=found[1], lens=lens / self.events.answer.numel(), blocks=("embedding", *blocks)
        )
