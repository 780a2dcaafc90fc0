"""Is a randomised defence real: attacks that average over more and more of its draws, until that gains no more.

A network that answers at random hides its gradients behind its draws; the mean over k of them (expectation over
transformation, Athalye, Carlini and Wagner 2018, arXiv 1802.00420) brings them back. Every point is judged on fresh
draws, by the mean of their scores, whatever found it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.network import Network
from cutaway.reading.intervals import normal_interval
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.square import Square

JUDGED = 16
"""Fresh draws whose mean score answers."""
QUERIES, QUERY_DRAWS = 200, 4
"""Queries of the black box, and draws a query."""

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawSweep:
    """Which rows a network that answers at random gets right (n,): `clean`, without attack; `stands` (k, n), under the
    attack averaged over each of `draws`; `frozen`, under points found against one draw held fast (a transfer attack);
    `black_box`, under `Square`."""

    draws: tuple[int, ...]
    clean: Hits
    stands: Hits
    frozen: Hits
    black_box: Hits

    @property
    def attacks(self) -> dict[str, Hits]:
        """Rows that stand (n,), by attack, in words."""
        averaged = {
            f"by the mean of {k} draws" if k > 1 else "by single draws": hits
            for k, hits in zip(self.draws, self.stands, strict=True)
        }
        return averaged | {"from one frozen draw": self.frozen, "as a black box": self.black_box}

    @property
    def strongest(self) -> str:
        """Under which of `attacks` the fewest rows stand."""
        return min(self.attacks, key=lambda name: self.attacks[name].mean())

    @property
    def last_fall(self) -> tuple[float, float, float]:
        """By how much the share of rows that stand fell in the last step of the sweep, with its interval over rows (95
        %, paired). An estimate. Source: ours."""
        fall = self.stands[-2].astype(float) - self.stands[-1]
        low, high = normal_interval(fall)
        return float(fall.mean()), low, high

    @property
    def flat(self) -> bool:
        """Whether the last step of the sweep gained nothing beyond its interval."""
        return self.last_fall[1] <= 0


class FrozenDraw(nn.Module):
    """A network that answers at random, with the same draw in every pass."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        self.model, self.seed = model, seed

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return self.model(*inputs)


def sweep_draws(
    network: Network, data: Dataset, attack: Attack, *, most: int = 64, seed: int = 0, batch_size: int = 256
) -> DrawSweep:
    """Attack `data` with `attack`, averaged over 1, 4, 16, ... draws until four times as many gain nothing beyond their
    interval, at `most` so many; beside it points of one frozen draw and a black box; all judged on fresh draws.

    Each share is an upper bound of the robust accuracy of the network that answers by the mean of 16 draws. Repeatable
    where the network draws from torch's own stream. Cost: the attack's passes times 22 to 86, and 800 passes a
    row for the black box. Raises `InputError` as the attack. Source: Athalye, Carlini and Wagner 2018 (arXiv
    1802.00420) for the average; Tramèr et al. 2020 (arXiv 2002.08347) for the sweep and the attacks beside it.
    """
    frozen = Network(FrozenDraw(network.model, seed % 2**31), data.inputs[:2], probe=False)
    frozen.passes = network.passes
    blind = Square(radius=attack.radius, norm=attack.norm, steps=QUERIES, draws=QUERY_DRAWS)

    def standing(by: Attack, number: int, others: Network = network) -> Hits:
        found = by.attack(others, data, seed=seeds.number(seed, "draws", number), batch_size=batch_size)
        return _right(network, dataclasses.replace(data, inputs=found.inputs), batch_size)

    with torch.random.fork_rng():
        torch.manual_seed(seeds.number(seed, "randomised") % 2**31)
        sweep = DrawSweep(
            draws=(),
            frozen=standing(attack, 0, frozen),  # first: an attack says what it cannot be asked
            clean=_right(network, data, batch_size),
            stands=np.empty((0, len(data)), dtype=bool),
            black_box=standing(blind, -1),
        )
        for k in (4**power for power in range(32)):
            if k > most or (len(sweep.draws) > 2 and sweep.flat):
                return sweep
            hits = standing(dataclasses.replace(attack, draws=k, stop_early=False), k)
            sweep = dataclasses.replace(sweep, draws=(*sweep.draws, k), stands=np.vstack([sweep.stands, hits]))
        raise AssertionError(most)


@torch.no_grad()
def _right(network: Network, data: Dataset, batch_size: int) -> Hits:
    """Which rows the mean score of fresh draws gets right."""
    assert data.labels is not None
    said = []
    for start in range(0, len(data), batch_size):
        rows = network.place(data.inputs[start : start + batch_size])
        total = torch.stack([network.forward(rows) for _ in range(JUDGED)]).mean(dim=0)
        said.append(total.argmax(dim=1).cpu())
    return (torch.cat(said) == data.labels.cpu()).numpy()
