"""Nulls: what the same instrument says of networks that have learned nothing.

A null makes, from a network and its data and a seed, a pair of the same shapes in which there is nothing to find. The
whole measurement, search included, is run on each, so the search budget is the same by construction (Dead Salmons,
arXiv 2512.18792). Noise of an attack's size on the same rows is a control and no null, since the network under it has
learned all it has: instruments with an attack read it beside (`noise_accuracy`, `noise_robustness`, the view `noised`);
kernels and curvature move no input, so it would change nothing there.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cutaway import seeds
from cutaway.engines.jobs import map_jobs
from cutaway.errors import InputError
from cutaway.wording import NULL_WORDS, NullWords

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.engines.base import Executor
    from cutaway.instrument import Instrument
    from cutaway.network import Network
    from cutaway.reading import Reading


@dataclass(frozen=True, kw_only=True)
class Null(ABC):
    """A way to make a network, or labels, that have learned nothing.

    Class attributes: `name`, `words` (a noun phrase for sentences) and `short` (for table heads and legends).
    """

    name: ClassVar[str]
    words: ClassVar[str]
    short: ClassVar[str]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "words" in vars(cls):
            NULL_WORDS[cls.name] = NullWords(cls.words, vars(cls).get("short", cls.name))
        elif cls.name in NULL_WORDS:
            cls.words, cls.short = NULL_WORDS[cls.name]

    @abstractmethod
    def draw(self, network: Network, data: Dataset, seed: int) -> tuple[Network, Dataset]:
        """One draw; the arguments are left as they are.

        An exact draw of the null, reproducible from `seed`. Cost: a copy of the network or of the labels, no pass.
        Source: the argument of Dead Salmons (arXiv 2512.18792).
        """


@dataclass(frozen=True, kw_only=True)
class Reinitialised(Null):
    """The same architecture, initialised anew by its modules' own initialisers."""

    name: ClassVar[str] = "reinitialised"

    def draw(self, network, data, seed):
        return network.twin(seed), data


@dataclass(frozen=True, kw_only=True)
class MatchedSpectrum(Null):
    """Weights with the same singular values and random singular vectors."""

    name: ClassVar[str] = "matched-spectrum"

    def draw(self, network, data, seed):
        return network.spectrum_twin(seed), data


@dataclass(frozen=True, kw_only=True)
class PermutedLabels(Null):
    """The network as it is, the labels in random order."""

    name: ClassVar[str] = "permuted-labels"

    def draw(self, network, data, seed):
        """The same network, labels in another order. Raises `InputError` for data without labels."""
        if data.labels is None:
            raise _nothing_to_permute(data, "labels", "give labelled data, or take the null reinitialised")
        order = np.random.default_rng(seeds.stream(seed, "labels")).permutation(len(data.labels))
        second = None if data.labels2 is None else data.labels2[order]  # a row's answers stay together
        return network, dataclasses.replace(data, labels=data.labels[order], labels2=second)


@dataclass(frozen=True, kw_only=True)
class PermutedGroups(Null):
    """The network as it is, the groups in random order among the rows of each class (of all rows without labels)."""

    name: ClassVar[str] = "permuted-groups"

    def draw(self, network, data, seed):
        """The same network, groups in another order. Raises `InputError` for data without groups."""
        if data.groups is None:
            raise _nothing_to_permute(data, "groups", "name the array or column with --groups, or take another null")
        rng, groups = np.random.default_rng(seeds.stream(seed, "groups")), data.groups.clone()
        labels = np.zeros(len(groups)) if data.labels is None else data.labels.cpu().numpy()
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            groups[rows] = groups[rng.permutation(rows)]
        return network, dataclasses.replace(data, groups=groups)


@dataclass(frozen=True, kw_only=True)
class RandomMask(Null):
    """As many zeros in every layer, at random places."""

    name: ClassVar[str] = "random-mask"

    def draw(self, network, data, seed):
        return network.mask_twin(seed), data


def _nothing_to_permute(data: Dataset, kind: str, remedy: str) -> InputError:
    return InputError(f"data {data.name!r}", found=f"no {kind}", expected=f"{kind} to permute", remedy=remedy)


NULLS: dict[str, Null] = {
    null.name: null for null in (Reinitialised(), MatchedSpectrum(), PermutedLabels(), PermutedGroups(), RandomMask())
}
"""Name -> null."""


def null_seed(seed: int, replicate: int) -> int:
    """The seed of a replicate, of a stream that is neither the scan's own nor another replicate's; below 2^63."""
    return seeds.number(seed, "null", replicate)


def replicates(
    instrument: Instrument,
    network: Network,
    data: Dataset,
    null: Null,
    *,
    count: int,
    seed: int = 0,
    budget: int | None = None,
    executor: Executor | None = None,
) -> Iterator[Reading]:
    """`count` readings of `instrument` on draws of `null`, lazily, one after the other, or all at once on the workers
    of an `executor` (`cutaway.engines.get_executor`), with the same result.

    Every replicate is measured with its own seed, so that directions and noise vary as they would for another user.
    Draws of the null, so statistics of them are estimates. Cost: `count` measurements, and a copy of the network each.
    Source: the argument of Dead Salmons (arXiv 2512.18792).
    """
    jobs = [(instrument, network, data, null, null_seed(seed, replicate), budget) for replicate in range(count)]
    if executor is None:
        yield from (replicate(*job) for job in jobs)
    else:
        yield from map_jobs(executor, replicate, jobs)


def replicate(
    instrument: Instrument, network: Network, data: Dataset, null: Null, seed: int, budget: int | None
) -> Reading:
    """One draw of `null`, measured."""
    null_network, null_data = null.draw(network, data, seed)
    reading = instrument.measure(null_network, null_data, seed=seed, budget=budget, intervals=False)
    return dataclasses.replace(reading, null=null.name)
