"""Writes the folder of a tracked run (`training.store` says what is in it)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.errors import FileError, InputError
from cutaway.files import is_unfinished, write_text
from cutaway.reading import Reading
from cutaway.reading.store import SUFFIX
from cutaway.training.journal import JournalWriter
from cutaway.training.lock import WriterLock
from cutaway.training.store import FORMAT, JOURNAL, read_training_record


class RunWriter:
    """Writes a run folder. `resume` goes on with the run that is there, which must have the same `key`.

    Raises `InputError` for a folder with other content, or with a run and no `resume`; `FileError` for a newer format
    and for a folder that another writer holds.
    """

    def __init__(self, folder: Path, record: dict[str, Any], *, resume: bool) -> None:
        self.folder = Path(folder)
        self._lock = WriterLock(self.folder)
        self.taken_over = self._lock.taken_over
        try:
            self._begin(record, resume)
            _clear(self.folder)
            self.journal = JournalWriter(self.folder / JOURNAL)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, record: dict[str, Any], resume: bool) -> None:
        folder = self.folder
        file = folder / "run.json"
        if file.exists():
            _same_run(self.folder, record, resume)
        elif self.folder.exists() and (self.folder / JOURNAL).exists():
            raise FileError(
                f"run folder {str(folder)!r}",
                found="a journal without run.json",
                expected="both",
                remedy="remove the folder, or restore its run.json",
            )
        else:
            write_text(file, json.dumps({**record, "format": FORMAT, "kind": "training"}, indent=1))

    def rewind(self, step: int) -> None:
        """What was recorded after `step` does not count any more."""
        self.journal.append({"kind": "rewind", "to": step})

    def scalars(self, names: list[str], rows: np.ndarray) -> None:
        """`rows` `(k, 1 + names)`: the step, then the values."""
        self.journal.append({"kind": "scalars", "names": names}, np.ascontiguousarray(rows, dtype="<f8").tobytes())

    def order(self, steps: list[int], examples: list[np.ndarray]) -> None:
        rows = np.concatenate([np.asarray(e).reshape(-1) for e in examples])
        top = int(rows.max(initial=0))
        kind = "<u2" if top < 2**16 else "<u4" if top < 2**32 else "<u8"
        record = {"kind": "order", "dtype": kind, "steps": steps, "counts": [int(np.size(e)) for e in examples]}
        self.journal.append(record, zlib.compress(rows.astype(kind).tobytes(), level=1))

    def reading(self, step: int, data: str, instrument: str, reading: Reading) -> None:
        name = f"{step:08d}-{_safe(data)}-{_safe(instrument)}{SUFFIX}"
        reading.save(self.folder / "readings" / name)
        figures = [
            {
                "name": f.name,
                "value": f.value,
                "low": None if f.sure else f.low,  # a film's bands are confidence intervals
                "high": None if f.sure else f.high,
                "unit": f.unit,
                "long_name": f.long_name,
            }
            for f in reading.figures
        ]
        self.journal.append(
            {
                "kind": "reading",
                "step": step,
                "data": data,
                "instrument": instrument,
                "file": name,
                "seconds": reading.cost.seconds,
                "figures": figures,
                "status": reading.status.value,
                "reason": reading.reason,
            }
        )

    def event(self, step: int, what: str, **more: Any) -> None:
        self.journal.append({"kind": "event", "step": step, "what": what, **more})

    def due(self, step: int, pairs: Iterable[tuple[str, str]]) -> None:
        """What is about to be measured at `step`, so that a kill before it leaves a trace."""
        self.journal.append({"kind": "due", "step": step, "pairs": [list(p) for p in pairs]})

    def close(self) -> None:
        self.journal.close()
        self._lock.release()


def _same_run(folder: Path, record: Mapping[str, Any], resume: bool) -> None:
    old = read_training_record(folder)
    if not resume:
        raise InputError(
            f"run folder {str(folder)!r}",
            found="a run",
            expected="a new folder",
            remedy="give resume to go on with it, or name another folder",
        )
    for part in ("model", "instruments", "data"):
        if old["key"][part] != record["key"][part]:
            raise InputError(
                f"run folder {str(folder)!r}",
                found=f"a run of another {'set of instruments' if part == 'instruments' else part}",
                expected="the run to go on with",
                remedy="resume with what the run was started with, or name another folder",
            )


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_." else "-" for c in text)


def _clear(folder: Path) -> None:
    """Remove what killed writers left of checkpoints and readings: whoever holds the lock is the only one."""
    for kind in ("checkpoints", "readings"):
        for path in (folder / kind).glob(".*"):
            if is_unfinished(path):
                path.unlink(missing_ok=True)
