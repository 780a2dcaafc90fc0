"""A run: the folder that a scan fills, piece by piece, so that one that was cut off goes on where it stood.

    run.json                what was scanned and how (written first)
    observed/NAME.zarr.zip  readings as measured
    nulls/KIND-0003.json    figures of one null replicate, every instrument that was still open
    readings/NAME.zarr.zip  readings with p- and q-values (written last)
    report.html

Every file is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cutaway._late import attached
from cutaway.errors import FileError, InputError
from cutaway.files import is_unfinished, read_json, write_text
from cutaway.reading import Reading
from cutaway.reading.store import SUFFIX, why_no_record
from cutaway.records import Skipped
from cutaway.status import Status

FORMAT = 1
STAGES = ("readings", "observed")
"""Folders of a run's readings: with p- and q-values, and as measured."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Network(_Part):
    name: str
    parameters: int = 0
    sites: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    piecewise_affine: bool = False
    continuous: bool = True
    input_shape: list[int] = Field(default_factory=list)
    output_shape: list[int] = Field(default_factory=list)
    fingerprint: str = ""


class _Data(_Part):
    name: str
    rows: int
    note: str = ""
    fingerprint: str = ""


class _NotRun(_Part):
    instrument: str
    reason: str
    why: str = ""


class _Record(_Part):
    """What readers of a run use of its record; what is not there was not said by the version that wrote it."""

    instruments: list[str]
    network: _Network
    data: _Data
    time: str = ""
    nulls: int = 0
    seed: int = 0
    seconds: float | int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    not_run: list[_NotRun] = Field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run:
    """A finished or unfinished run: its folder, the settings it was made with, its final readings in order, and the
    instruments whose reading could not be read, each with the reason."""

    folder: Path
    record: Mapping[str, Any]
    readings: tuple[Reading, ...] = field(default_factory=tuple)
    unread: tuple[Skipped, ...] = ()
    keeper: Any = field(default=None, repr=False, compare=False)  # a folder made for this run goes with it

    @property
    def network(self) -> Mapping[str, Any]:
        """What the network is: `Network.describe()` as it was at the time."""
        return self.record["network"]

    @property
    def page(self) -> Path:
        """Where the report stands, once it is written."""
        return self.folder / "report.html"

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page of this run (by default `report.html` in its folder) and return its path."""
        return attached("Run.report")(self, path)

    def to_frame(self) -> pandas.DataFrame:
        """Every figure as a row: instrument, name, value, interval, null, p, q, unit, status."""
        return pandas.concat([reading.to_frame() for reading in self.readings], ignore_index=True)

    def _repr_html_(self) -> str:
        """The first screen of the report, for notebooks."""
        return attached("Run._repr_html_")(self)

    def __repr__(self) -> str:
        rows = f"{len(self.readings)} readings of {self.network['name']} on {self.record['data']['name']}"
        return f"Run({str(self.folder)!r}, {rows})"

    @property
    def failed(self) -> bool:
        """Whether some instrument raised an error."""
        return any(reading.status == Status.FAILED for reading in self.readings)

    @property
    def seconds(self) -> float:
        return float(self.record.get("seconds", 0.0))


def start(folder: Path, record: dict[str, Any], *, resume: bool) -> None:
    """Make the folder of a run, or check that the one that is there is the same run.

    Raises `InputError` when the folder holds another run, or holds this one and `resume` was not asked for.
    """
    file = folder / "run.json"
    if file.exists():
        old = read_record(folder)
        if not resume:
            raise InputError(
                f"run folder {str(folder)!r}",
                found="a run",
                expected="a new folder",
                remedy="name another folder with --out; a scan goes on with it when given --resume",
            )
        for key in ("key", "format"):
            if old.get(key) != record[key]:
                raise InputError(
                    f"run folder {str(folder)!r}",
                    found="a run of another model, data set or other settings",
                    expected="the run to go on with",
                    remedy="call with the same arguments, or name another folder with --out",
                )
    elif folder.exists() and any(not is_unfinished(entry) for entry in folder.iterdir()):
        raise InputError(
            f"folder {str(folder)!r}",
            found="other files",
            expected="an empty or new folder",
            remedy="give a new folder with --out",
        )
    write_text(file, json.dumps(record, indent=1))


def read_record(folder: Path) -> dict[str, Any]:
    """`run.json`; raises `FileError` when it is missing, broken or of a newer format."""
    file = Path(folder) / "run.json"
    try:
        record = read_json(file, "record")
    except FileError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise FileError(
            f"run folder {str(folder)!r}",
            found=why_no_record(Path(folder), cause),
            expected="a folder that `cutaway scan` wrote",
            remedy="check the path",
        ) from error
    version = record.get("format", 0)
    if type(version) is not int or version > FORMAT:
        raise FileError(
            f"run {str(folder)!r}",
            found=f"format {str(version)[:40]}",
            expected=f"{FORMAT} or older",
            remedy="read it with the version of Cutaway that wrote it, or scan again",
        )
    return record


def open_run(folder: str | Path) -> Run:
    """A run with its readings, final ones where there are any, else as measured.

    A reading that is missing or damaged stands in `unread`. Raises `FileError` for what is no run of a scan, and for
    one without any reading.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record.get("kind") == "training":
        raise FileError(
            f"run folder {str(folder)!r}",
            found="a tracked training run",
            expected="a folder that `cutaway scan` wrote",
            remedy=f"scan one of its checkpoints, {folder / 'checkpoints'}, first",
        )
    try:
        record = {"time": "", "versions": {}, "nulls": 0, "warnings": [], **record}
        names = _Record.model_validate(record).instruments
    except ValidationError as error:
        first = error.errors()[0]
        raise FileError(
            f"record of run {str(folder)!r}",
            found=f"{'.'.join(map(str, first['loc']))}: {str(first['input'])[:80]!r}",
            expected=first["msg"].removeprefix("Input should be "),
            remedy="restore its run.json, or scan again",
        ) from error
    readings: list[Reading] = []
    unread: list[Skipped] = []
    for name in dict.fromkeys(names):
        found, reason = _final_reading(folder, name, record)
        readings += [] if found is None else [found]
        unread += [Skipped(what=name, reason=reason)] if reason else []
    if not readings:
        raise FileError(
            f"run folder {str(folder)!r}",
            found="no readings yet" if _untouched(folder) else f"no reading that can be read; {unread[0].reason}",
            expected="at least one",
            remedy="go on with --resume",
        )
    return Run(folder=folder, record=record, readings=tuple(readings), unread=tuple(unread))


def _untouched(folder: Path) -> bool:
    return not any((folder / sub).glob(f"*{SUFFIX}") for sub in STAGES)


def _final_reading(folder: Path, name: str, record: Mapping[str, Any]) -> tuple[Reading | None, str]:
    """The final reading of an instrument, else the one as measured; and what is wrong, if anything is."""
    reasons = []
    for stage in STAGES:
        try:
            reading = kept_reading(
                folder, stage, name, model=record["network"].get("fingerprint"), data=record["data"].get("fingerprint")
            )
        except FileError as error:
            reasons.append(str(error))
            continue
        if reading is not None:
            told = f"{reasons[0]} What follows is the reading as measured, without p-values." if reasons else ""
            return reading, told
    return None, reasons[0] if reasons else "no reading of it is in the folder; a scan with --resume makes it"


def kept_reading(folder: Path, stage: str, name: str, *, model: str | None, data: str | None) -> Reading | None:
    """The reading of an instrument in a run folder, None where there is no file. Raises `FileError` for a damaged one
    and for one of another instrument, network or data set (by their fingerprints, where these are given)."""
    file = folder / stage / f"{name}{SUFFIX}"
    if not file.exists():
        return None
    reading = Reading.load(file)
    whose = reading.provenance
    for what, found, expected in (
        ("instrument", whose.instrument, name),
        ("network", whose.model_fingerprint, model),
        ("data set", whose.data_fingerprint, data),
    ):
        if found and expected and found != expected:
            shown = (found, expected) if what == "instrument" else (found[:12], expected[:12])
            raise FileError(
                f"reading {str(file)!r}",
                found=f"one of another {what}, {shown[0]}",
                expected=shown[1],
                remedy="restore the file from a copy, or scan again with --resume",
            )
    return reading
