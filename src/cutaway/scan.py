"""The main job: every instrument that applies, with nulls, on one network and one data set, into a run folder.

    observe   each instrument measures the network
    null      the same instruments measure draws of their null, in waves; an instrument stops when all its p-values
    are settled judge     p-values by rank, q-values over all figures of the scan

Null replicates are independent jobs for any executor. Waves have a fixed size, so the result does not depend on the
engine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutaway import registry
from cutaway.evidence.multiplicity import q_values
from cutaway.evidence.null import NULLS, null_seed
from cutaway.files import write_text
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.reading import Figure, Reading
from cutaway.reading.provenance import now, package_versions
from cutaway.reading.rank import undecided
from cutaway.reading.store import SUFFIX
from cutaway.run import FORMAT, Run, start
from cutaway.status import Status

if TYPE_CHECKING:
    from cutaway.data import Dataset

WAVE = 10  # replicates between two decisions to stop
LIMIT = 10  # exceedances after which a figure's p-value is settled (Besag and Clifford 1991)
DEFAULT_NULLS = 39

Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to scan: number of null replicates, which null (None: each instrument's own), seed, budget in bytes,
    engine."""

    nulls: int = DEFAULT_NULLS
    null: str | None = None
    seed: int = 0
    budget: int | None = None
    engine: str = "inline"
    workers: int | None = None
    address: str | None = None
    resume: bool = False


def scan(
    network: Network,
    data: Dataset,
    out: str | Path,
    *,
    instruments: Sequence[Instrument] | None = None,
    settings: Settings | None = None,
    note: Note = lambda _text: None,
) -> Run:
    """Scan `network` on `data` into the folder `out` and return the run; `report` writes its page.

    What is finished is kept if the scan is interrupted; `Settings(resume=True)` goes on. `note` is called with a line
    of text as the work moves on. Raises `InputError` for a folder that holds another run.
    """
    settings = settings or Settings()
    chosen = list(instruments) if instruments is not None else default_instruments(data)
    folder, began = Path(out), time.perf_counter()
    network = network.with_example(data.inputs[:2])
    for instrument in chosen:  # before anything is written
        if not _lacks_labels(instrument, data):
            instrument.check(network, data)
    record = _record(network, data, chosen, settings)
    start(folder, record, resume=settings.resume)
    observed = {i.name: _observe(i, network, data, folder, settings, note) for i in chosen}
    usable = [i for i in chosen if observed[i.name].figures and _null_name(i, settings) and settings.nulls > 0]
    draws = _draw_nulls(usable, observed, network, data, folder, settings, note) if usable else {}
    readings = _judge(chosen, observed, draws, settings)
    for reading in readings:
        reading.save(folder / "readings" / f"{reading.instrument}{SUFFIX}")
    seconds = time.perf_counter() - began
    record["seconds"] = seconds
    write_text(folder / "run.json", json.dumps(record, indent=1))
    return Run(folder=folder, record=record, readings=readings)


def default_instruments(data: Dataset) -> list[Instrument]:
    """Every registered instrument that takes part in scans, with settings that suit the data."""
    kinds = [registry.instrument(name) for name in registry.names()]
    return [suited(kind, data) for kind in kinds if kind.in_scan]


def suited(kind: type[Instrument], data: Dataset) -> Instrument:
    """An instrument with its default settings, but an attack radius that suits the data.

    Radii: 8/255 for colour images, 0.1 for other data in a known range, a tenth of the inputs' spread where none is
    known.
    """
    if not kind.attacks or not data.inputs.is_floating_point():
        return kind()
    if data.value_range is None:
        radius = 0.1 * float(data.inputs.double().std())
    else:
        colour = data.inputs.dim() == 4 and data.inputs.shape[1] == 3
        radius = (8 / 255 if colour else 0.1) * (data.value_range[1] - data.value_range[0])
    return kind(radius=radius)  # pyright: ignore[reportCallIssue]


def _record(network: Network, data: Dataset, chosen: Sequence[Instrument], settings: Settings) -> dict[str, Any]:
    parts = {
        "model": network.fingerprint(),
        "data": data.fingerprint(),
        "instruments": {i.name: i.parameters for i in chosen},
        "nulls": settings.nulls,
        "null": settings.null,
        "seed": settings.seed,
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return {
        "format": FORMAT,
        "key": key,
        "instruments": [i.name for i in chosen],
        "network": network.describe() | {"fingerprint": parts["model"]},
        "skipped": [dataclasses.asdict(s) for s in network.skipped],
        "data": {
            "name": data.name,
            "rows": len(data.inputs),
            "shape": list(data.inputs.shape[1:]),
            "classes": data.num_classes,
            "note": data.note,
            "fingerprint": parts["data"],
            "units": data.units,
        },
        "nulls": settings.nulls,
        "seed": settings.seed,
        "versions": package_versions(),
        "time": now(),
    }


def _observe(
    instrument: Instrument, network: Network, data: Dataset, folder: Path, settings: Settings, note: Note
) -> Reading:
    file = folder / "observed" / f"{instrument.name}{SUFFIX}"
    if file.exists():
        note(f"{instrument.name}: kept from before")
        return Reading.load(file)
    note(f"{instrument.name}: measuring")
    reading = _measure_or_tell(instrument, network, data, settings.seed, settings.budget)
    reading.save(file)
    return reading


def _measure_or_tell(instrument: Instrument, network: Network, data: Dataset, seed: int, budget: int | None) -> Reading:
    """The reading; an instrument that needs labels which are not there gives an unsupported one in a scan."""
    if _lacks_labels(instrument, data):
        return instrument.unsupported(network, data, "needs labels; this data set has none", seed=seed)
    return instrument.measure(network, data, seed=seed, budget=budget)


def _lacks_labels(instrument: Instrument, data: Dataset) -> bool:
    return "labels" in instrument.needs and data.labels is None


def _null_name(instrument: Instrument, settings: Settings) -> str:
    return settings.null if settings.null and instrument.null else instrument.null


def null_figures(
    instruments: Sequence[tuple[Instrument, str]],
    network: Network,
    data: Dataset,
    seed: int,
    budget: int | None,
) -> dict[str, dict[str, float]]:
    """One null replicate: figures by instrument and name. Each null is drawn once and measured by all instruments
    that want it."""
    made: dict[str, tuple[Network, Dataset]] = {}
    found = {}
    for instrument, name in instruments:
        if name not in made:
            made[name] = NULLS[name].draw(network, data, seed)
        null_network, null_data = made[name]
        reading = instrument.measure(null_network, null_data, seed=seed, budget=budget, intervals=False)
        found[instrument.name] = {figure.name: figure.value for figure in reading.figures}
    return found


def _draw_nulls(
    usable: Sequence[Instrument],
    observed: dict[str, Reading],
    network: Network,
    data: Dataset,
    folder: Path,
    settings: Settings,
    note: Note,
) -> dict[str, list[dict[str, float]]]:
    from cutaway.engines.executor import get_executor, map_jobs

    draws: dict[str, list[dict[str, float]]] = {i.name: [] for i in usable}
    open_instruments = list(usable)
    cached = [_read_null(folder, r) for r in range(settings.nulls)]
    executor = None
    try:
        for first in range(0, settings.nulls, WAVE):
            wave = range(first, min(first + WAVE, settings.nulls))
            wanted = [(i, _null_name(i, settings)) for i in open_instruments]
            todo = [r for r in wave if not {i.name for i in open_instruments} <= set(cached[r] or {})]
            if todo:
                names = ", ".join(i.name for i in open_instruments)
                note(f"nulls {first + 1} to {wave[-1] + 1} of {settings.nulls}: {names}")
                executor = executor or get_executor(settings.engine, settings.workers, settings.address)
                jobs = [(wanted, network, data, null_seed(settings.seed, r), settings.budget) for r in todo]

                def keep(index: int, result: dict[str, dict[str, float]], todo: list[int] = todo) -> None:
                    replicate = todo[index]
                    cached[replicate] = {**(cached[replicate] or {}), **result}
                    write_text(_null_file(folder, replicate), json.dumps(cached[replicate]))

                map_jobs(executor, null_figures, jobs, on_done=keep)
            for instrument in open_instruments:
                draws[instrument.name] += [(cached[r] or {})[instrument.name] for r in wave]
            open_instruments = [i for i in open_instruments if _open(observed[i.name], draws[i.name])]
            if not open_instruments:
                break
    finally:
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
    return draws


def _open(reading: Reading, draws: list[dict[str, float]]) -> bool:
    """Whether some figure's p-value can still change."""
    return any(
        undecided(f.value, np.array([d.get(f.name, np.nan) for d in draws]), f.alternative, LIMIT)
        for f in reading.figures
        if np.isfinite(f.value)
    )


def _null_file(folder: Path, replicate: int) -> Path:
    return folder / "nulls" / f"{replicate:04d}.json"


def _read_null(folder: Path, replicate: int) -> dict[str, dict[str, float]] | None:
    file = _null_file(folder, replicate)
    return json.loads(file.read_text()) if file.exists() else None


def _judge(
    chosen: Sequence[Instrument],
    observed: dict[str, Reading],
    draws: dict[str, list[dict[str, float]]],
    settings: Settings,
) -> tuple[Reading, ...]:
    judged = []
    for instrument in chosen:
        reading = observed[instrument.name]
        if draws.get(instrument.name):
            null_readings = [_as_reading(reading, values) for values in draws[instrument.name]]
            reading = reading.against(null_readings, null=_null_name(instrument, settings), limit=LIMIT)
        judged.append(reading)
    tested = {f"{r.instrument}/{f.name}": f.p_value for r in judged for f in r.figures if f.p_value is not None}
    adjusted = q_values(tested)
    return tuple(
        r.with_q_values({f.name: adjusted[f"{r.instrument}/{f.name}"] for f in r.figures if f.p_value is not None})
        for r in judged
    )


def _as_reading(reading: Reading, values: dict[str, float]) -> Reading:
    figures = tuple(Figure(name=name, value=value) for name, value in values.items())
    return dataclasses.replace(reading, figures=figures, status=Status.ESTIMATE)
