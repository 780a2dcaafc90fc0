"""The folder of a tracked training run, written so that a kill at any moment loses nothing that was finished.

    run.json                                what is trained and how it is watched (written first, atomically)
    journal.bin                             scalars, the order of the training examples, figures, events (`journal`)
    readings/000123-LABEL-NAME.zarr.zip     every reading, whole (written before the journal names it)
    checkpoints/step-000123.safetensors     weights, where asked for

A run that goes on from a checkpoint before its last record writes a `rewind` block; readers then drop what came after
that step, so the folder always tells one story.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.errors import FileError, InputError
from cutaway.files import LARGEST, LARGEST_RECORD, check_size, parse_json
from cutaway.reading import Reading
from cutaway.reading.store import why_no_record
from cutaway.training.journal import JournalBlock, read_blocks

FORMAT = 1
JOURNAL = "journal.bin"
_ORDER_KINDS = ("<u2", "<u4", "<u8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One figure over the steps: `steps`, `value`, `low`, `high`, each `(T,)` (NaN where there is none)."""

    name: str
    data: str
    instrument: str
    figure: str
    unit: str
    steps: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    long_name: str = ""

    @property
    def words(self) -> str:
        """What the figure is called in a sentence."""
        return self.long_name or self.figure.replace("_", " ")

    @property
    def called(self) -> str:
        """What it is called in a sentence: the figure, the data, and the instrument where its name says more."""
        figure, instrument = self.words, self.instrument.replace("-", " ")
        return f"{figure} on {self.data}" + (f" ({instrument})" if instrument != figure else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One reading that was completed: at which step, on which data, by which instrument, where its file is."""

    step: int
    data: str
    instrument: str
    file: Path
    seconds: float

    def load(self) -> Reading:
        return Reading.load(self.file)

    @property
    def trouble(self) -> str:
        """What is wrong with its file, as far as a look at its end tells: missing, or cut off."""
        if not self.file.exists():
            return "its file is missing"
        return "" if zipfile.is_zipfile(self.file) else "its file is damaged"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TrainingRun:
    """A tracked run as it stands in its folder, finished or not.

    `scalars`: name to `(steps, values)`. `series`: name (`data/instrument/figure`) to `Series`. `events`: what else
    happened (`nan`, `resumed`, `finished`, `failed`). `shares`: `(step, elapsed, spent)` seconds at every measurement.
    `missing`: step, data and instrument of every reading that was begun and neither finished nor given up.
    """

    folder: Path
    record: Mapping[str, Any]
    scalars: Mapping[str, tuple[np.ndarray, np.ndarray]]
    series: Mapping[str, Series]
    readings: tuple[Taken, ...]
    checkpoints: Mapping[int, Path]
    events: tuple[Mapping[str, Any], ...]
    shares: tuple[tuple[int, float, float], ...]
    last_step: int
    order_blocks: tuple[JournalBlock, ...]
    missing: tuple[tuple[int, str, str], ...] = ()

    def __repr__(self) -> str:
        return (
            f"TrainingRun({str(self.folder)!r}, step {self.last_step}{', finished' if self.finished else ''}: "
            f"{len(self.series)} series, {len(self.readings)} readings, {len(self.checkpoints)} checkpoints)"
        )

    @property
    def finished(self) -> bool:
        return any(e["what"] == "finished" for e in self.events)

    def order(self) -> Iterator[tuple[int, np.ndarray]]:
        """`(step, rows)` of every step whose examples were told: which training rows, in which order.

        Raises `FileError` for a damaged block.
        """
        for block in self.order_blocks:
            rows, at = _examples(block), 0
            for step, count in zip(block.record["steps"], block.record["counts"], strict=True):
                if step <= self.last_step:
                    yield step, rows[at : at + count].astype(np.int64)
                at += count

    def per_sample(
        self, data: str, instrument: str, variable: str, lost: Callable[[FileError], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(T,)` steps and `(T, n)` values of a variable that every reading holds by sample, for paired bootstraps.

        Raises `InputError` for a variable that readings do not hold by sample, and `FileError` for a reading that is
        missing or damaged; with `lost`, that is called with the error and the reading left out.
        """
        steps, rows = [], []
        for taken in self.readings:
            if taken.data == data and taken.instrument == instrument:
                try:
                    values = taken.load().values
                except FileError as error:
                    if lost is None:
                        raise
                    lost(error)
                    continue
                if variable not in values or tuple(values[variable].dims) != ("sample",):
                    raise InputError(
                        f"variable {variable!r} of {instrument!r}",
                        found="none by sample",
                        expected=", ".join(map(str, values)),
                        remedy="give one of these variables",
                    )
                steps.append(taken.step)
                rows.append(np.asarray(values[variable].values, dtype=float))
        return np.asarray(steps), np.asarray(rows)


def open_training(folder: str | Path) -> TrainingRun:
    """Read a run folder, also while it is being written. Raises `FileError` where it is none or of a newer format."""
    folder = Path(folder)
    record = read_training_record(folder)
    return assemble(folder, record, read_blocks(folder / JOURNAL))


def assemble(folder: Path, record: Mapping[str, Any], blocks: Iterable[JournalBlock]) -> TrainingRun:
    """A run from the blocks of its journal."""
    kept: list[JournalBlock] = []
    for block in blocks:
        record_of = block.record
        if record_of["kind"] == "rewind" or record_of.get("what") == "resumed":  # either may be the one that is damaged
            to = record_of["to"] if record_of["kind"] == "rewind" else record_of["step"] - 1
            kept = [b for b in (_cut(b, to) for b in kept) if b is not None]
        if record_of["kind"] != "rewind":
            kept.append(block)
    scalars, last = _scalars(kept)
    taken = [b.record for b in kept if b.record["kind"] == "reading"]
    steps = [b.record["step"] for b in kept if "step" in b.record]
    orders = [b for b in kept if b.record["kind"] == "order"]
    kept_to = max([last, *steps, *(b.record["steps"][-1] for b in orders)], default=-1)
    return TrainingRun(
        folder=folder,
        record=record,
        scalars=scalars,
        series=_series(taken),
        readings=tuple(
            Taken(
                step=r["step"],
                data=r["data"],
                instrument=r["instrument"],
                seconds=r["seconds"],
                file=folder / "readings" / r["file"],
            )
            for r in taken
        ),
        checkpoints=_checkpoints(folder, kept_to),
        events=tuple(b.record for b in kept if b.record["kind"] == "event"),
        shares=tuple(
            (b.record["step"], b.record["elapsed"], b.record["spent"]) for b in kept if b.record["kind"] == "share"
        ),
        last_step=kept_to,
        order_blocks=tuple(orders),
        missing=_missing(kept),
    )


def read_training_record(folder: Path) -> dict[str, Any]:
    """`run.json` of a tracked run; raises `FileError` where it is missing, broken, of a newer format or a scan's."""
    file = Path(folder) / "run.json"
    try:
        check_size(f"file {str(file)!r}", file.stat().st_size, LARGEST_RECORD)
        record = parse_json(file.read_text(encoding="utf-8"), f"file {str(file)!r}")
    except (OSError, UnicodeDecodeError, FileError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise FileError(
            f"run folder {str(folder)!r}",
            found=why_no_record(Path(folder), cause),
            expected="a folder that a tracker filled",
            remedy="check the path",
        ) from error
    if not isinstance(record, dict) or record.get("kind") != "training":
        raise FileError(
            f"run folder {str(folder)!r}",
            found="a run of another kind",
            expected="a tracked training run",
            remedy="for the folder of a scan use `cutaway report`",
        )
    if record["format"] > FORMAT:
        raise FileError(
            f"run folder {str(folder)!r}",
            found=f"format {record['format']}",
            expected=f"format {FORMAT} or older",
            remedy="update Cutaway",
        )
    return record


def _cut(block: JournalBlock, step: int) -> JournalBlock | None:
    record = block.record
    if record["kind"] == "scalars":
        rows = np.frombuffer(block.data, dtype="<f8").reshape(-1, 1 + len(record["names"]))
        return JournalBlock(record=record, data=rows[rows[:, 0] <= step].tobytes())
    if record["kind"] == "order":
        keep = sum(s <= step for s in record["steps"])
        if keep == len(record["steps"]):
            return block
        rows = _examples(block)[: sum(record["counts"][:keep])]
        changed = {**record, "steps": record["steps"][:keep], "counts": record["counts"][:keep]}
        return JournalBlock(record=changed, data=zlib.compress(rows.tobytes(), level=1)) if keep else None
    return block if record.get("step", -1) <= step and record.get("what") != "finished" else None


def _examples(block: JournalBlock) -> np.ndarray:
    """The rows that an `order` block names. Raises `FileError` where it unpacks to other bytes than it announces."""
    kind, where = block.record["dtype"], "journal of a run, order of its examples"
    size = sum(block.record["counts"]) * int(kind[2:]) if kind in _ORDER_KINDS else -1
    check_size(where, size, LARGEST, "unpacked")
    try:
        content = zlib.decompressobj().decompress(block.data, size + 1) if size >= 0 else b""
    except zlib.error:
        content = b""
    if len(content) != size:
        raise FileError(where, found="a damaged block", expected=f"{size} bytes unpacked", remedy="copy the file again")
    return np.frombuffer(content, dtype=kind)


def _missing(blocks: list[JournalBlock]) -> tuple[tuple[int, str, str], ...]:
    records = [b.record for b in blocks]
    due = [(r["step"], *pair) for r in records if r["kind"] == "due" for pair in r["pairs"]]
    done = {
        (r["step"], r["data"], r["instrument"])
        for r in records
        if r["kind"] == "reading" or r.get("what") == "not-measured"
    }
    return tuple(d for d in dict.fromkeys(due) if d not in done)


def _checkpoints(folder: Path, last_step: int) -> dict[int, Path]:
    """The checkpoints by step, up to the run's last one (files are whole or not there at all)."""
    files = {int(f.stem.removeprefix("step-")): f for f in (folder / "checkpoints").glob("step-*.safetensors")}
    return {step: files[step] for step in sorted(files) if step <= last_step}


def _scalars(blocks: list[JournalBlock]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    parts: dict[str, list[np.ndarray]] = {}
    last = -1
    for block in blocks:
        if block.record["kind"] != "scalars":
            continue
        rows = np.frombuffer(block.data, dtype="<f8").reshape(-1, 1 + len(block.record["names"]))
        if len(rows):
            last = max(last, int(rows[:, 0].max()))
        for k, name in enumerate(block.record["names"]):
            parts.setdefault(name, []).append(rows[:, [0, k + 1]])
    joined = {name: np.concatenate(p) for name, p in parts.items()}
    ordered = {name: a[np.argsort(a[:, 0], kind="stable")] for name, a in joined.items()}
    return {name: (a[:, 0].astype(np.int64), a[:, 1]) for name, a in ordered.items()}, last


def _series(taken: list[dict[str, Any]]) -> dict[str, Series]:
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    about: dict[str, tuple[str, str, str, str, str]] = {}
    for record in taken:
        for f in record["figures"]:
            name = f"{record['data']}/{record['instrument']}/{f['name']}"
            about[name] = (record["data"], record["instrument"], f["name"], f["unit"], f.get("long_name", ""))
            low, high = (np.nan if f[k] is None else f[k] for k in ("low", "high"))
            points.setdefault(name, []).append((record["step"], f["value"], low, high))
    result = {}
    for name, rows in points.items():
        steps, value, low, high = np.array(rows, dtype=float).T
        data, instrument, figure, unit, long_name = about[name]
        result[name] = Series(
            name=name,
            data=data,
            instrument=instrument,
            figure=figure,
            unit=unit,
            steps=steps.astype(np.int64),
            value=value,
            low=low,
            high=high,
            long_name=long_name,
        )
    return result
