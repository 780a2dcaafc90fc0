"""Nulls: what the same instrument says of networks that have learned nothing, and the p-value that follows.

A null makes, from a network and its data and a seed, a pair of the same shapes in which there is nothing to find. The
whole measurement, search included, is run on each, so the search budget is the same by construction (Dead Salmons,
arXiv 2512.18792).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.instrument import Instrument
    from cutaway.network import Network
    from cutaway.reading import Reading

Alternative = Literal["greater", "less", "two-sided", "none"]


@dataclass(frozen=True, kw_only=True)
class Null(ABC):
    """A way to make a network, or labels, that have learned nothing."""

    name: ClassVar[str]
    words: ClassVar[str]

    @abstractmethod
    def draw(self, network: Network, data: Dataset, seed: int) -> tuple[Network, Dataset]:
        """One draw; the arguments are left as they are."""


@dataclass(frozen=True, kw_only=True)
class Reinitialised(Null):
    """The same architecture, initialised anew by its modules' own initialisers."""

    name: ClassVar[str] = "reinitialised"
    words: ClassVar[str] = "untrained networks of the same architecture"

    def draw(self, network, data, seed):
        return network.twin(seed), data


@dataclass(frozen=True, kw_only=True)
class MatchedSpectrum(Null):
    """Weights with the same singular values and random singular vectors."""

    name: ClassVar[str] = "matched-spectrum"
    words: ClassVar[str] = "networks with the same singular values and random singular vectors"

    def draw(self, network, data, seed):
        return network.spectrum_twin(seed), data


@dataclass(frozen=True, kw_only=True)
class PermutedLabels(Null):
    """The network as it is, the labels in random order."""

    name: ClassVar[str] = "permuted-labels"
    words: ClassVar[str] = "the same network with the labels in random order"

    def draw(self, network, data, seed):
        if data.labels is None:
            raise InputError(f"data {data.name!r}", found="no labels", expected="labels to permute")
        order = np.random.default_rng(seed).permutation(len(data.labels))
        return network, dataclasses.replace(data, labels=data.labels[order])


NULLS: dict[str, Null] = {null.name: null for null in (Reinitialised(), MatchedSpectrum(), PermutedLabels())}


def null_seed(seed: int, replicate: int) -> int:
    """The seed of a replicate: distinct for distinct `(seed, replicate)` of any practical size, and never the scan's
    own."""
    return (seed + 1) * 1_000_003 + replicate


def replicates(
    instrument: Instrument,
    network: Network,
    data: Dataset,
    null: Null,
    *,
    count: int,
    seed: int = 0,
    budget: int | None = None,
) -> Iterator[Reading]:
    """`count` readings of `instrument` on draws of `null`, lazily, one after the other.

    Every replicate is measured with its own seed, so that directions and noise vary as they would for another user.
    """
    for replicate in range(count):
        own = null_seed(seed, replicate)
        null_network, null_data = null.draw(network, data, own)
        yield instrument.measure(null_network, null_data, seed=own, budget=budget, intervals=False)


def p_value(value: float, draws: np.ndarray, alternative: Alternative, *, limit: int | None = None) -> float:
    """Monte-Carlo p-value of `value` among `draws` of the null, shape `(B,)`.

    Without `limit`: (1 + #{exceedances}) / (B + 1), valid for any B (Phipson and Smyth 2010). With `limit` h:
    counting stops at the h-th exceedance, at draw l, and p = h / l (Besag and Clifford 1991), also valid. Two-sided
    is twice the smaller one-sided value, at most 1. NaN draws count as exceedances on both sides. A draw equal to the
    value up to rounding (1e-12 relative) is an exceedance.
    """
    draws = np.asarray(draws, dtype=float)
    slack = 1e-12 * max(1.0, abs(value))
    bad = np.isnan(draws)
    above = _one_sided(bad | (draws >= value - slack), limit)
    below = _one_sided(bad | (draws <= value + slack), limit)
    if alternative == "greater":
        return above
    if alternative == "less":
        return below
    return min(1.0, 2.0 * min(above, below))


def undecided(value: float, draws: np.ndarray, alternative: Alternative, limit: int) -> bool:
    """Whether more draws can still change this figure's p-value under sequential stopping at `limit` exceedances."""
    if alternative == "none":
        return False
    slack = 1e-12 * max(1.0, abs(value))
    bad = np.isnan(draws)
    above = int(np.sum(bad | (draws >= value - slack))) < limit
    below = int(np.sum(bad | (draws <= value + slack))) < limit
    return {"greater": above, "less": below}.get(alternative, above or below)


def _one_sided(exceeds: np.ndarray, limit: int | None) -> float:
    total = np.cumsum(exceeds)
    if limit is not None and total.size and total[-1] >= limit:
        return limit / (int(np.searchsorted(total, limit)) + 1)
    return (1 + int(exceeds.sum())) / (exceeds.size + 1)
