"""The null replicates of a scan: in waves, on any executor, kept as they come.

A replicate is one job for all instruments at once, so that a twin is made once. Waves have a fixed size and an
instrument stops when all its p-values are settled, so the result does not depend on the engine. An instrument that
raises on a replicate loses that replicate only.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cutaway.errors import FileError, failure
from cutaway.evidence.decision import LIMIT
from cutaway.evidence.null import NULLS, null_seed
from cutaway.files import read_json, write_text
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.reading import Figure, Reading, Skipped
from cutaway.reading.rank import undecided
from cutaway.scan_cost import duration
from cutaway.status import Status

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.engines.base import Executor
    from cutaway.scanning import ScanSettings

WAVE = 10  # replicates between two decisions to stop
FAILED = "failed"  # no instrument's name: where a replicate keeps the reasons of those that raised

Figures = dict[str, float]
Subjects = Sequence[tuple[Instrument, str]]


@dataclasses.dataclass(slots=True)
class Draws:
    """figures: what the replicates gave, by instrument. failures: why replicates failed, by instrument."""

    figures: dict[str, list[Figures]] = dataclasses.field(default_factory=dict)
    failures: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def with_failures(self, reading: Reading) -> Reading:
        """The reading, with failed replicates in its coverage."""
        reasons = self.failures.get(reading.instrument, [])
        if not reasons:
            return reading
        many = f"{len(reasons)} of {len(self.figures[reading.instrument])} null replicates of {reading.instrument}"
        skipped = (*reading.coverage.skipped, Skipped(what=many, reason=f"failed: {reasons[0]}"))
        return dataclasses.replace(reading, coverage=dataclasses.replace(reading.coverage, skipped=skipped))


def null_figures(instruments: Subjects, network: Network, data: Dataset, seed: int, budget: int | None) -> dict:
    """One null replicate: figures by instrument and name. Each null is drawn once and measured by all instruments
    that want it. An instrument that raises has no figures and its reason under `FAILED`."""
    made: dict[str, tuple[Network, Dataset]] = {}
    found: dict[str, dict] = {}
    for instrument, name in instruments:
        found[instrument.name] = {}
        try:
            if name not in made:
                made[name] = NULLS[name].within(budget).draw(network, data, seed)
            null_network, null_data = made[name]
            reading = instrument.measure(null_network, null_data, seed=seed, budget=budget, intervals=False)
            found[instrument.name] = {figure.name: figure.value for figure in reading.figures}
        except Exception as error:
            found.setdefault(FAILED, {})[instrument.name] = failure(error)
    return found


def draw_nulls(
    usable: Subjects,
    observed: dict[str, Reading],
    network: Network,
    data: Dataset,
    folder: Path,
    settings: ScanSettings,
    progress: Callable[[str], None],
    tell: Callable[[str], None],
    until: float | None = None,
    executor: Executor | None = None,
) -> Draws:
    """Figures of up to `settings.nulls` replicates for every instrument of `usable` (with the name of its null); no
    wave begins after `until` (as `time.perf_counter` counts). A kept replicate that cannot be read is told of and drawn
    again. Without an `executor` the one of `settings` is opened."""
    from cutaway.engines.executor import get_executor, map_jobs

    draws = Draws(figures={i.name: [] for i, _ in usable})
    still = list(usable)
    cached = [_read_null(folder, r, tell) for r in range(settings.nulls)]
    opened, began, drawn = None, time.perf_counter(), 0
    try:
        for first in range(0, settings.nulls, WAVE):
            if until is not None and time.perf_counter() >= until:
                break
            wave = range(first, min(first + WAVE, settings.nulls))
            todo = [r for r in wave if not {i.name for i, _ in still} <= set(cached[r] or {})]
            if todo:
                names = ", ".join(i.name for i, _ in still)
                left = _left(time.perf_counter() - began, drawn, settings.nulls - first)
                progress(f"nulls {first + 1} to {wave[-1] + 1} of {settings.nulls}{left}: {names}")
                drawn += len(todo)
                if executor is None:
                    executor = opened = get_executor(
                        settings.engine, settings.workers, settings.address, expected=settings.nulls
                    )
                wanted = list(still)
                jobs = [(wanted, network, data, null_seed(settings.seed, r), settings.budget) for r in todo]

                def keep(index: int, result: dict, todo: list[int] = todo) -> None:
                    replicate = todo[index]
                    before = cached[replicate] or {}
                    failed = {**before.get(FAILED, {}), **result.get(FAILED, {})}
                    cached[replicate] = {**before, **result, **({FAILED: failed} if failed else {})}
                    write_text(_null_file(folder, replicate), json.dumps(cached[replicate]))

                map_jobs(executor, null_figures, jobs, on_done=keep)
            for instrument, _ in still:
                results = [cached[r] or {} for r in wave]
                draws.figures[instrument.name] += [result[instrument.name] for result in results]
                reasons = [r[FAILED][instrument.name] for r in results if instrument.name in r.get(FAILED, {})]
                draws.failures.setdefault(instrument.name, []).extend(reasons)
            still = [(i, name) for i, name in still if _open(observed[i.name], draws.figures[i.name])]
            if not still:
                break
    finally:
        if opened is not None:
            opened.shutdown(wait=True, cancel_futures=True)
    return draws


def _left(seconds: float, drawn: int, to_come: int) -> str:
    """The time that the nulls to come take at most, by what those drawn took."""
    return f", at most {duration(seconds / drawn * to_come)} left" if drawn else ""


def as_reading(reading: Reading, values: Figures) -> Reading:
    """What a replicate gave, as a reading beside the observed one."""
    figures = tuple(Figure(name=name, value=value) for name, value in values.items())
    return dataclasses.replace(reading, figures=figures, status=Status.ESTIMATE)


def _open(reading: Reading, draws: list[Figures]) -> bool:
    """Whether some figure's p-value can still change."""
    return any(
        undecided(f.value, np.array([d.get(f.name, np.nan) for d in draws]), f.alternative, LIMIT)
        for f in reading.figures
        if np.isfinite(f.value)
    )


def _null_file(folder: Path, replicate: int) -> Path:
    return folder / "nulls" / f"{replicate:04d}.json"


def _read_null(folder: Path, replicate: int, tell: Callable[[str], None]) -> dict | None:
    file = _null_file(folder, replicate)
    if not file.exists():
        return None
    try:
        found = read_json(file, "null replicate", remedy="it is drawn again")
        for name, values in found.items():
            kind = str if name == FAILED else float
            if not isinstance(values, dict) or not all(type(value) in (kind, int) for value in values.values()):
                raise FileError(
                    f"null replicate {str(file)!r}",
                    found=f"no numbers under {name!r}",
                    expected="a number a figure",
                    remedy="it is drawn again",
                )
    except FileError as error:
        tell(f"warning: {error}")
        return None
    return found
