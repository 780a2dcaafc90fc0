"""The narrow waist: one base class for every question that Cutaway asks of a network.

An instrument is a frozen dataclass of parameters with class attributes that say what it is, and one method
`_measure`. The public `measure` checks the inputs, keeps the model as it was, counts the cost, records coverage and
provenance, and turns "does not apply" into a reading of status `unsupported`. To write one: subclass, decorate,
implement `_measure`, in a file of its own under `instruments/`. See CONTRIBUTING.
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from cutaway._compat import own_device
from cutaway.context import DEFAULT_BUDGET, Context
from cutaway.data.anything import as_dataset
from cutaway.engines.budget import parse_budget, peak_bytes
from cutaway.engines.threads import threads_for
from cutaway.errors import InputError, NoGradient
from cutaway.jsonable import plain
from cutaway.needs import COLUMNS_NEEDED, unmet, without_column
from cutaway.network import Network, Site, preserved
from cutaway.network.gradient import derivatives
from cutaway.network.preserve import alone
from cutaway.reading import Cost, Coverage, Figure, Provenance, Reading, Skipped
from cutaway.reading.provenance import now, package_versions
from cutaway.reading.table import Table
from cutaway.settings import check_settings
from cutaway.status import Status

if TYPE_CHECKING:
    import altair

    from cutaway.data import Dataset
    from cutaway.pictures.charts import Course


class NotApplicable(Exception):
    """Raised inside `_measure` when the question has no meaning for this network; the text is the reason."""


@contextmanager
def not_applicable(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these `kinds` inside mean that the question has no meaning for this network."""
    try:
        yield
    except kinds as error:
        raise NotApplicable(str(error)) from error


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure for a report's first screen: its name, a title of a few words, its place there (smaller comes first),
    and whether it is said in per cent."""

    figure: str
    title: str
    rank: int
    percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What `_measure` returns: the dataset, the figures, a status, and what was read or left out."""

    values: xr.Dataset
    figures: tuple[Figure, ...]
    status: Status = Status.ESTIMATE
    sites: tuple[Site, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(
        cls,
        table: Table,
        *,
        status: Status = Status.ESTIMATE,
        sites: tuple[Site, ...] = (),
        skipped: tuple[Skipped, ...] = (),
    ) -> Findings:
        """What a table has collected."""
        return cls(values=table.values, figures=table.figures, status=status, sites=sites, skipped=skipped)


@dataclass(frozen=True, kw_only=True)
class Instrument(ABC):
    """One question about a network.

    Class attributes
    ----------------
    name : kebab-case, the word on the command line.
    question : one sentence with a question mark.
    source : where the formula comes from.
    needs : any of `labels`, `labels2` (a second label a row), `groups` (a group a row), `inputs` (floating-point
        inputs), `tokens` (token ids `(n, length)`), `classifier` (output `(n, classes)`), `generator` (latents `(n, d)`
        in, samples out that have more dimensions or are longer).
    expense : the cost in words, e.g. "2P forward passes a sample".
    formula : the quantity in LaTeX, for the documentation.
    limits : what the figures do not tell, for the report.
    null : which null suits it, a name in `cutaway.evidence.NULLS`, or "".
    in_scan : whether `cutaway scan` runs it without being asked (leave out what takes minutes).
    left_out : why not, where `in_scan` is False; its expense where nothing is said.
    tiles : its figures for a report's first screen.
    better : for figures that a user wants "higher" or "lower", which; a comparison judges these.
    attacks : whether its `radius` is an attack's, to be chosen by the data's range.
    trains_anew : whether it begins the network's training anew, so that the weights at hand do not count.
    takes_random : whether it can read a network that answers at random.
    exact_texts : whether it judges texts by their tokens, which must then say the text again.
    one_logit : whether a classifier may have one output, the logit of class 1 against class 0.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    expense: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    limits: ClassVar[str] = ""
    null: ClassVar[str] = "reinitialised"
    in_scan: ClassVar[bool] = True
    left_out: ClassVar[str] = ""
    attacks: ClassVar[bool] = False
    trains_anew: ClassVar[bool] = False
    takes_random: ClassVar[bool] = False
    one_logit: ClassVar[bool] = False
    exact_texts: ClassVar[bool] = False
    tiles: ClassVar[tuple[Tile, ...]] = ()
    better: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def suited(cls, data: Dataset) -> Self:
        """This instrument with its default settings, but an attack radius that suits the data.

        Radii: 8/255 for colour images, 0.1 for other data in a known range, a tenth of the inputs' spread where none
        is known.
        """
        if not cls.attacks or not data.inputs.is_floating_point():
            return cls()
        if data.value_range is None:
            radius = 0.1 * float(data.inputs.double().std())
        else:
            colour = data.inputs.dim() == 4 and data.inputs.shape[1] == 3
            radius = (8 / 255 if colour else 0.1) * (data.value_range[1] - data.value_range[0])
        return cls(radius=radius)  # pyright: ignore[reportCallIssue]  # what attacks has a radius

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):  # numbers of NumPy and torch are numbers, lists are tuples
            value = getattr(self, setting.name)
            kept = tuple(map(plain, value)) if isinstance(value, list | tuple) else plain(value)
            object.__setattr__(self, setting.name, kept)

    def measure(
        self,
        network: Network | torch.nn.Module,
        data: Any,
        *,
        seed: int = 0,
        budget: int | str | None = None,
        intervals: bool = True,
    ) -> Reading:
        """Measure `network` on `data` (rows are samples; a pair (inputs, labels), or what else
        `cutaway.data.as_dataset` takes).

        The model is left as it was, also after an exception. The same seed gives the same reading; the budget
        (bytes, or "2GB") bounds the memory and never changes the numbers beyond rounding. A question that has no
        meaning for this network gives a reading with status `unsupported` and the reason. `intervals=False` leaves out
        bootstrap intervals (null replicates do). Raises `InputError` when labels or inputs needed are not there, a
        setting has no sense, or the budget is no size.
        `NotApplicable` does not come out: the reading then says why.
        """
        data = as_dataset(data)
        if not isinstance(network, Network):
            network = Network(network, data.inputs[:2])
        network = network.with_example(data.inputs[:2])
        seed, room = plain(seed), DEFAULT_BUDGET if budget is None else parse_budget(str(plain(budget)))
        self.check(network, data)
        context = Context(seed=seed, budget=room, resamples=400 if intervals else 0, name=self.name)
        before = (network.forward_passes, network.backward_passes)
        peak, start = peak_bytes(), time.perf_counter()
        reason = ""
        with own_device(network.model), alone(), derivatives(), threads_for(network.flops), preserved(network.model):
            for parameter in network.model.parameters():
                parameter.requires_grad_(False)
            try:
                reason = self._applies(network)
                if reason:
                    raise NotApplicable(reason)
                findings = self._measure(network, data, context)
            except (NotApplicable, NoGradient) as error:
                reason = str(error)
                findings = Findings(values=xr.Dataset(), figures=(), status=Status.UNSUPPORTED)
        cost = Cost(
            seconds=time.perf_counter() - start,
            forward_passes=network.forward_passes - before[0],
            backward_passes=network.backward_passes - before[1],
            peak_bytes=max(0, peak_bytes() - peak),
        )
        return Reading(
            values=findings.values,
            figures=findings.figures,
            status=findings.status,
            coverage=Coverage(
                sites=tuple(site.name for site in findings.sites),
                samples=0 if reason else findings.values.sizes.get("sample", len(data.inputs)),
                skipped=network.skipped + network.twin_skipped + findings.skipped,
            ),
            cost=cost,
            provenance=self._provenance(network, data, seed),
            reason=reason,
        )

    def unsupported(
        self, network: Network, data: Dataset, reason: str, *, seed: int = 0, status: Status = Status.UNSUPPORTED
    ) -> Reading:
        """The reading that says why this question has no answer here."""
        return Reading(
            values=xr.Dataset(),
            figures=(),
            status=status,
            provenance=self._provenance(network, data, seed),
            reason=reason,
        )

    @abstractmethod
    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        """Do the work; raise `NotApplicable(reason)` where the question has no meaning."""

    def draw(self, reading: Reading) -> altair.TopLevelMixin:
        """The picture of a reading; the default draws every figure with its interval and its null."""
        from cutaway.pictures.charts import figures_chart

        return figures_chart(reading)

    def describe(self, reading: Reading) -> str:
        """What the figures of this reading say, in a sentence or two for the report; empty for nothing to add."""
        return ""

    def brief(self, reading: Reading) -> str:
        """A clause for the verdict of a report, lower case and without a full stop; empty to take no part."""
        return ""

    def over_training(self, steps: Sequence[int], readings: Sequence[Reading]) -> Course | None:
        """What readings of the same rows at `steps` of a training show together, beside the lines of their figures."""
        return None

    def beside(self, figure: str, scalars: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """What to draw beside a figure over a training, by words: values (T,) made of the training's `scalars` (T,) at
        the steps measured, such as `learning_rate`."""
        return {}

    @property
    def parameters(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def _applies(self, network: Network) -> str:
        """The reason why the question has no meaning for this network, or an empty string."""
        return unmet(self.needs, network)

    def lacks(self, data: Dataset) -> str:
        """Which of `labels`, `labels2` and `groups` is needed and not in the data; empty for none."""
        return next((kind for kind in COLUMNS_NEEDED if kind in self.needs and getattr(data, kind) is None), "")

    def check(self, network: Network, data: Dataset) -> None:
        """Raise `InputError` for settings without sense, data that does not fit the network, or labels that are needed
        and not there or outside the classes; what `measure` does first."""
        check_settings(self)
        if network.draws and not self.takes_random:
            raise InputError(
                f"instrument {self.name!r}",
                found=f"network {network.name!r}, which answers at random",
                expected="one function of the input",
                remedy="call model.eval(), or measure robust-accuracy",
            )
        if network.example is not None and tuple(data.inputs.shape[1:]) != tuple(network.example.shape[1:]):
            raise InputError(
                f"data {data.name!r}",
                found=f"inputs of shape {tuple(data.inputs.shape[1:])}",
                expected=f"{tuple(network.example.shape[1:])}, the network's example",
                remedy="check the shape and the order of the channels",
            )
        lacking = self.lacks(data)
        if lacking and not self._applies(network):
            raise without_column(self.name, data.name, lacking)
        if "classifier" in self.needs and data.labels is not None and len(network.output_shape) == 1:
            self._check_classes(int(data.labels.max()), network.output_shape[0], data.name)

    def _check_classes(self, top: int, outputs: int, name: str) -> None:
        logit = outputs == 1 and top == 1
        if top < outputs or (logit and self.one_logit):
            return
        remedy = "use the data set that the network was trained for"
        if logit:
            remedy = "of a single logit make two outputs, torch.cat([0 * logit, logit], dim=1), at the model's end"
        raise InputError(
            f"labels of data {name!r}",
            found=f"class {top}",
            expected=f"0 to {outputs - 1}, the network's outputs" if outputs > 1 else "two outputs or more",
            remedy=remedy,
        )

    def _provenance(self, network: Network, data: Dataset, seed: int) -> Provenance:
        return Provenance(
            instrument=self.name,
            parameters=self.parameters,
            model=network.name,
            model_fingerprint=network.fingerprint(),
            data=data.name,
            data_fingerprint=data.fingerprint(),
            seed=seed,
            device=str(network.device),
            dtype=str(network.dtype).removeprefix("torch."),
            versions=package_versions(),
            time=now(),
        )
