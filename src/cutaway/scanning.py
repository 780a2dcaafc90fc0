"""The main job: every instrument that applies, with nulls, on one network and one data set, into a run folder.

observe   each instrument measures the network; one that raises gives a reading of status `failed`
null      the same instruments measure draws of their null (`scan_nulls.py`)
judge     p-values by rank, q-values over all figures of the scan
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cutaway import registry, scan_cost
from cutaway._compat import own_device
from cutaway.data.anything import as_dataset
from cutaway.engines.executor import get_executor
from cutaway.engines.parts import working_on
from cutaway.errors import CutawayError, FileError, InputError, did_you_mean, failure
from cutaway.evidence.decision import LIMIT, reach
from cutaway.evidence.looks import LookLog
from cutaway.evidence.multiplicity import q_values
from cutaway.evidence.null import null_effort
from cutaway.files import TemporaryFolder, write_text
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.reading.provenance import now, package_versions
from cutaway.reading.store import SUFFIX
from cutaway.running import FORMAT, Run, kept_reading, read_record, start
from cutaway.scan_nulls import Draws, as_reading, draw_nulls
from cutaway.scan_words import cautions, looked_at, not_run
from cutaway.status import Status

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.engines.base import Executor

DEFAULT_NULLS = 39

Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScanSettings:
    """How to scan: number of null replicates, which null (None: each instrument's own), seed, budget in bytes,
    engine (one that is named, not auto, also takes what an instrument can split). within: seconds to keep to, for which
    rows and replicates are cut (`scan_cost`); estimate: say the cost beforehand, for one small pass of every
    instrument. holdout: folder in which looks at these rows are counted."""

    nulls: int = DEFAULT_NULLS
    null: str | None = None
    seed: int = 0
    budget: int | None = None
    engine: str = "auto"
    workers: int | None = None
    address: str | None = None
    resume: bool = False
    within: float | None = None
    estimate: bool = False
    holdout: str | Path | None = None


@own_device()
def scan(
    network: Network | torch.nn.Module,
    data: Any,
    out: str | Path | None = None,
    *,
    instruments: Sequence[Instrument | str] | None = None,
    settings: ScanSettings | None = None,
    progress: Note = lambda _text: None,
    tell: Note | None = None,
    **options: Any,
) -> Run:
    """Scan `network` (a module will do) on `data` (what `cutaway.data.as_dataset` takes) into the folder `out`, by
    default a temporary one that goes with the run, and return the run: `run.report()` writes its page, `run.to_frame()`
    gives the figures, and a notebook shows the first screen. `instruments`: which, by name or as made; by default all
    that take part in scans. `options` are fields of `ScanSettings`, given one by one: `scan(model, data, nulls=0)`.

    What is finished is kept if the scan is interrupted; `ScanSettings(resume=True)` goes on. `progress` is called with
    a line of text as the work moves on, `tell` (by default `progress`) with what a reader has to know: cautions on
    network and data, what that many nulls can tell. Raises `InputError` for a folder that holds another run and for an
    option that is none.
    """
    settings, tell = _with_options(settings or ScanSettings(), options), tell or progress
    data, keeper = as_dataset(data), None
    network = network if isinstance(network, Network) else Network(network, data.inputs[:2])
    if out is None:
        keeper = TemporaryFolder()
        out = keeper.path / "run"
    chosen = default_instruments(data) if instruments is None else [_made(i, data) for i in instruments]
    folder, began = Path(out), time.perf_counter()
    network = network.with_example(data.inputs[:2])
    for instrument in chosen:  # before anything is written
        _check(instrument, network, data)
    log = None if settings.holdout is None else LookLog(settings.holdout, data)
    plan = _planned(chosen, network, data, folder, settings, tell)
    if plan is not None:
        chosen, data = scan_cost.with_share(chosen, data, plan.share, settings.seed)
    record = _record(network, data, chosen, settings)
    record["plan"] = dataclasses.asdict(plan) if plan is not None else None
    record["warnings"] += looked_at(log)
    for text in record["warnings"]:
        tell(f"warning: {text}")
    start(folder, record, resume=settings.resume)
    with _named_engine(settings, tell) as executor:
        kept = {i.name: _kept(i.name, record, folder, tell) for i in chosen}
        observed = {i.name: _observe(i, network, data, folder, settings, progress, log, kept[i.name]) for i in chosen}
        usable = [(i, name) for i in chosen if observed[i.name].figures and (name := _null_name(i, settings))]
        draws, until = Draws(), None
        if settings.within is not None:
            until = began + settings.within
            each = sum((1 + null_effort(name)) * observed[i.name].cost.seconds for i, name in usable)
            most = scan_cost.nulls_in(until - time.perf_counter(), each, settings.nulls)
            settings = dataclasses.replace(settings, nulls=most)
            record["nulls"] = settings.nulls
        if usable and settings.nulls > 0:
            record["reach"] = reach([f for i, _ in usable for f in observed[i.name].figures], settings.nulls)
            tell(record["reach"])
            draws = draw_nulls(usable, observed, network, data, folder, settings, progress, tell, until, executor)
    readings = _judge(chosen, observed, draws, settings)
    for reading in readings:
        reading.save(folder / "readings" / f"{reading.instrument}{SUFFIX}")
    seconds = time.perf_counter() - began
    record["seconds"] = seconds
    write_text(folder / "run.json", json.dumps(record, indent=1))
    return Run(folder=folder, record=record, readings=readings, keeper=keeper)


@contextlib.contextmanager
def _named_engine(settings: ScanSettings, tell: Note) -> Iterator[Executor | None]:
    """The executor of an engine that was named, for what instruments can split and for nulls; None for `inline`, and
    for `auto`, which the nulls open where it pays."""
    executor = get_executor(settings.engine, settings.workers, settings.address)
    if settings.engine in ("inline", "auto"):
        yield None
        return
    try:
        with working_on(executor) as at:
            yield executor
            told = at.told(settings.engine)
            if told and not settings.nulls:
                tell(told)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _planned(
    chosen: Sequence[Instrument], network: Network, data: Dataset, folder: Path, settings: ScanSettings, tell: Note
) -> scan_cost.ScanPlan | None:
    """The plan of the scan, said; that of the run which is gone on with. None where no cost is asked for."""
    if settings.resume and (folder / "run.json").exists():
        return _kept_plan(folder)
    if settings.within is None and not settings.estimate:
        return None
    began, within = time.perf_counter(), settings.within
    found = scan_cost.cost_lines(chosen, network, data, patience=(within or 5.0) / (50 * len(chosen)))
    left = None if within is None else within - (time.perf_counter() - began)
    plan = scan_cost.planned(found, chosen, len(data.inputs), settings.nulls, left)
    tell(plan.told())
    if within is not None and (text := scan_cost.cut_words(plan, settings.nulls, within, len(data.inputs))):
        tell(text)
    return plan


def _kept_plan(folder: Path) -> scan_cost.ScanPlan | None:
    kept = read_record(folder).get("plan")
    try:
        return scan_cost.ScanPlan(**kept) if kept else None
    except TypeError as error:
        raise FileError(
            f"record of run {str(folder)!r}",
            found=f"a plan that is none ({error})",
            expected="what `cutaway scan` wrote",
            remedy="restore its run.json, or scan again in another folder",
        ) from error


def _with_options(settings: ScanSettings, options: dict[str, Any]) -> ScanSettings:
    names = [f.name for f in dataclasses.fields(ScanSettings)]
    for option in options:
        if option not in names:
            raise InputError(
                f"option {option!r} of scan",
                found="no such option",
                expected="one of " + ", ".join(names),
                remedy=did_you_mean(option, names, "settings of an instrument: scan(instruments=[Accuracy(...)])"),
            )
    return dataclasses.replace(settings, **options)


def _made(instrument: Instrument | str, data: Dataset) -> Instrument:
    return registry.instrument(instrument).suited(data) if isinstance(instrument, str) else instrument


def default_instruments(data: Dataset) -> list[Instrument]:
    """Every registered instrument that takes part in scans, with settings that suit the data."""
    kinds = [kind for name in registry.names() if (kind := _loaded(name)) is not None]
    return [kind.suited(data) for kind in kinds if kind.in_scan]


def _loaded(name: str) -> type[Instrument] | None:
    """The instrument; None where another package's code cannot be loaded (it is listed as not run)."""
    try:
        return registry.instrument(name)
    except Exception:
        return None


def _record(network: Network, data: Dataset, chosen: Sequence[Instrument], settings: ScanSettings) -> dict[str, Any]:
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
        "warnings": cautions(network, data, trained_anew=all(i.trains_anew for i in chosen)),
        "not_run": not_run({i.name for i in chosen}),
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


def _check(instrument: Instrument, network: Network, data: Dataset) -> None:
    """Bad input ends the scan before it has begun; an instrument whose own check breaks is told of when it measures."""
    if instrument.lacks(data):
        return
    try:
        instrument.check(network, data)
    except CutawayError:
        raise
    except Exception as error:
        del error


def _observe(
    instrument: Instrument,
    network: Network,
    data: Dataset,
    folder: Path,
    settings: ScanSettings,
    progress: Note,
    log: LookLog | None,
    kept: Reading | None,
) -> Reading:
    file = folder / "observed" / f"{instrument.name}{SUFFIX}"
    if kept is not None:
        progress(f"{instrument.name}: kept from before")
        return kept
    progress(f"{instrument.name}: measuring")
    try:
        reading = _measure_or_tell(instrument, network, data, settings)
    except Exception as error:
        reading = instrument.unsupported(network, data, failure(error), seed=settings.seed, status=Status.FAILED)
        progress(f"{instrument.name}: failed: {reading.reason}")
    if log is not None and reading.figures:
        look = log.look(instrument.name, lambda _before: {"model": reading.provenance.model_fingerprint})["look"]
        reading = dataclasses.replace(reading, provenance=dataclasses.replace(reading.provenance, looks=look))
    reading.save(file)  # a full disk is no fault of the instrument: it ends the scan
    return reading


def _kept(name: str, record: dict[str, Any], folder: Path, tell: Note) -> Reading | None:
    """The reading that an earlier call left; None where there is none, it failed, or cannot be used (which is said)."""
    prints = {"model": record["network"]["fingerprint"], "data": record["data"]["fingerprint"]}
    try:
        kept = kept_reading(folder, "observed", name, **prints)
    except FileError as error:
        tell(f"warning: {name} is measured again: {error}")
        return None
    return None if kept is None or kept.status == Status.FAILED else kept


def _measure_or_tell(instrument: Instrument, network: Network, data: Dataset, settings: ScanSettings) -> Reading:
    """The reading; an instrument that needs labels or groups which are not there gives an unsupported one in a scan."""
    if lacking := instrument.lacks(data):
        return instrument.unsupported(network, data, f"needs {lacking}; this data set has none", seed=settings.seed)
    return instrument.measure(network, data, seed=settings.seed, budget=settings.budget)


def _null_name(instrument: Instrument, settings: ScanSettings) -> str:
    return settings.null if settings.null and instrument.null else instrument.null


def _judge(
    chosen: Sequence[Instrument], observed: dict[str, Reading], draws: Draws, settings: ScanSettings
) -> tuple[Reading, ...]:
    judged = []
    for instrument in chosen:
        reading = observed[instrument.name]
        if draws.figures.get(instrument.name):
            null_readings = [as_reading(reading, values) for values in draws.figures[instrument.name]]
            reading = reading.against(null_readings, null=_null_name(instrument, settings), limit=LIMIT)
            reading = draws.with_failures(reading)
        judged.append(reading)
    tested = {f"{r.instrument}/{f.name}": f.p_value for r in judged for f in r.figures if f.p_value is not None}
    adjusted = q_values(tested)
    return tuple(
        r.with_q_values({f.name: adjusted[f"{r.instrument}/{f.name}"] for f in r.figures if f.p_value is not None})
        for r in judged
    )
