"""Tuning by comparisons alone: a (1+1) evolution strategy on the scales of a network's channels.

Source: Labiad et al. 2025 (arXiv 2507.01752), of whose BBoxER this is a small form; the 1/5 rule is Rechenberg's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway import seeds
from cutaway.errors import InputError, ModelError
from cutaway.evidence.comparison import comparison_bound
from cutaway.network.preserve import preserved

Scalable = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

WHATS = ("channel", "layer")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """`model`, a copy with the scales put in; `scales` (m,), each multiplies the weights and the bias of a channel (or
    layer); `accepted` (b,), which rounds were better; `rounds`, `ways`: what the search saw of its rows."""

    model: nn.Module
    scales: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    ways: int = 2

    @property
    def rounds(self) -> int:
        return len(self.accepted)

    def bound(self, rows: int, *, delta: float = 0.05, before: int = 0) -> float:
        """`comparison_bound` of this search on `rows` rows, `before` comparisons made on them earlier included: a
        number."""
        return comparison_bound(self.rounds + before, self.ways, rows, delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonTuner:
    """(1+1) evolution with the 1/5 rule on log scales x of channels: x + step N(0, I) is kept where it is better.

    rounds : comparisons, b. The gap to fresh rows is at most `comparison_bound(rounds, 2, rows, delta)`.
    step : standard deviation of the first proposals, in log scale.
    what : `channel` (a scale a row of each linear or convolutional weight, its bias with it) or `layer`.
    seed : of the proposals.
    """

    rounds: int = 150
    step: float = 0.3
    what: str = "channel"
    seed: int = 0
    growth: float = field(default=1.5)

    def __post_init__(self) -> None:
        usable = self.rounds >= 1 and 0 < self.step < math.inf and 1 < self.growth < math.inf and self.what in WHATS
        if not usable:
            raise InputError(
                "ComparisonTuner",
                found=f"rounds {self.rounds}, step {self.step:g}, growth {self.growth:g}, what {self.what!r}",
                expected=f"rounds at least 1, step above 0, growth above 1, what one of {', '.join(WHATS)}",
                remedy="give such settings",
            )

    def tune(self, model: nn.Module, loss: Callable[[nn.Module], float]) -> Tuned:
        """A copy of `model` whose `loss` (a number, lower is better, of all rows that are tuned on) got lower; `model`
        stays as it is.

        Of the losses nothing but "lower or not" is used, one comparison a round; ties are no success. Cost: `rounds` +
        1 calls of `loss`, memory of one copy of the model. A heuristic: no optimum is promised, the bound on the gap is
        (`Tuned.bound`). A scale of a channel before a BatchNorm or a scale-free output changes nothing. Raises
        `ModelError` for a model without linear or convolutional layers, `InputError` for a first loss that is not
        finite. Source: Labiad et al. 2025 (arXiv 2507.01752), simplified: one proposal a round, scales in place of
        low-rank updates.
        """
        with preserved(model):
            tuned = copy.deepcopy(model)
        layers = scalable_layers(tuned)
        sizes = [len(layer.weight) if self.what == "channel" else 1 for layer in layers]
        start = [_weights(layer) for layer in layers]
        best, x, step = float(loss(tuned)), np.zeros(sum(sizes)), self.step
        if not math.isfinite(best):
            raise InputError(
                "loss of the model that is tuned",
                found=f"{best}",
                expected="a finite number",
                remedy="mend the model or the rows before tuning",
            )
        rng = np.random.default_rng(seeds.stream(self.seed, "comparison tuner"))
        accepted = np.zeros(self.rounds, dtype=bool)
        for k in range(self.rounds):
            proposal = x + step * rng.standard_normal(len(x))
            _put(layers, start, np.exp(proposal), sizes)
            found = float(loss(tuned))
            accepted[k] = found < best  # a loss that is not finite is not lower
            if accepted[k]:
                x, best = proposal, found
            step *= self.growth if accepted[k] else self.growth**-0.25  # steady at one success in five
        _put(layers, start, np.exp(x), sizes)
        return Tuned(model=tuned, scales=np.exp(x), accepted=accepted)


def scalable_layers(model: nn.Module) -> list[Scalable]:
    """Linear and convolutional layers of `model`, in its order, each once. Raises `ModelError` for none."""
    found = [module for module in model.modules() if isinstance(module, Scalable)]
    if not found:
        raise ModelError(
            f"model {type(model).__name__}",
            found="no linear or convolutional layer",
            expected="at least one, whose channels are scaled",
            remedy="tune a network with such layers",
        )
    return found


def scaled_channels(model: nn.Module, scales: NDArray[np.float64]) -> nn.Module:
    """A copy of `model` whose channels (rows of linear and convolutional weights, their biases with them) are
    multiplied by `scales` (m,), layer after layer. Exact up to rounding. Raises `ModelError` as `scalable_layers`,
    `InputError` for another number of scales. Source: definition."""
    changed = copy.deepcopy(model)
    layers = scalable_layers(changed)
    sizes = [len(layer.weight) for layer in layers]
    if len(scales) != sum(sizes):
        raise InputError(
            "scales of channels", found=f"{len(scales)}", expected=f"{sum(sizes)}", remedy="give one a channel"
        )
    start = [_weights(layer) for layer in layers]
    _put(layers, start, np.asarray(scales, dtype=float), sizes)
    return changed


def _weights(layer: Scalable) -> tuple[Tensor, Tensor | None]:
    """Copies of weight and bias."""
    return layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone()


@torch.no_grad()
def _put(
    layers: list[Scalable],
    start: list[tuple[Tensor, Tensor | None]],
    scales: NDArray[np.float64],
    sizes: list[int],
) -> None:
    """The weights at the start times their scales, in place."""
    parts = np.split(scales, np.cumsum(sizes)[:-1])
    for layer, (weight, bias), part in zip(layers, start, parts):
        scale = torch.as_tensor(part, dtype=weight.dtype, device=weight.device)
        layer.weight.copy_(weight * scale.reshape(-1, *([1] * (weight.ndim - 1))))
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias * scale)
