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
import torch

from cutaway import seeds
from cutaway.engines.jobs import map_jobs
from cutaway.errors import InputError
from cutaway.evidence.memorised import fit_of, memorise
from cutaway.network.calculus import Parameters
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

    Class attributes: `name`, `words` (a noun phrase for sentences), `short` (for table heads and legends) and `effort`,
    what a draw costs beside its measurement, in measurements, about.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    short: ClassVar[str]
    effort: ClassVar[float] = 0.0

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

    def within(self, budget: int | None) -> Null:
        """This null, its draws within `budget` bytes; for those that work with the data. Exact. Source: ours."""
        return self


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


@dataclass(frozen=True, kw_only=True)
class MemorisedLabels(Null):
    """The same architecture, initialised anew and trained on the labels in random order, by Adam on all rows, until its
    mean loss is as low as the network's own on the true labels, and every row right if the network's are.

    A network that does not come so far in 6,000 steps stands as it is. Another optimiser would end elsewhere.
    """

    budget: int | None = None

    name: ClassVar[str] = "memorised-labels"
    effort: ClassVar[float] = 300.0

    def draw(self, network, data, seed):
        """A network that has learned labels in random order, and these. Cost: up to 6,000 forward and backward passes a
        row. Raises `InputError` for data without labels."""
        _, shuffled = PermutedLabels().draw(network, data, seed)
        assert data.labels is not None and shuffled.labels is not None
        twin = network.twin(seed)
        twin = twin.double() if twin.dtype in (torch.float16, torch.bfloat16) else twin
        loss, wrong = fit_of(Parameters(network), data.inputs, data.labels, self.budget)
        memorise(twin, data.inputs, shuffled.labels, goal=loss, all_right=not wrong, budget=self.budget)
        return twin, shuffled

    def within(self, budget):
        return dataclasses.replace(self, budget=budget)


def _nothing_to_permute(data: Dataset, kind: str, remedy: str) -> InputError:
    return InputError(f"data {data.name!r}", found=f"no {kind}", expected=f"{kind} to permute", remedy=remedy)


NULLS: dict[str, Null] = {
    null.name: null
    for null in (
        Reinitialised(),
        MatchedSpectrum(),
        PermutedLabels(),
        PermutedGroups(),
        RandomMask(),
        MemorisedLabels(),
    )
}
"""Name -> null."""


def null_effort(name: str) -> float:
    """What a draw of the null called `name` costs beside its measurement, in measurements; 0 for one that is not
    known. An estimate. Source: ours."""
    return NULLS[name].effort if name in NULLS else 0.0


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
    null_network, null_data = null.within(budget).draw(network, data, seed)
    reading = instrument.measure(null_network, null_data, seed=seed, budget=budget, intervals=False)
    return dataclasses.replace(reading, null=null.name)
