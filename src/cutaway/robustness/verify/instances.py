"""VNN-COMP instance lists: one verdict a row, written as it comes, taken up again where a run was cut off.

Input: csv rows `onnx,vnnlib[,timeout]` with paths relative to the list (see `listing`). Output: VNN-COMP's columns
benchmark, onnx, vnnlib, prepare_time, result (sat, unsat, unknown, error), run_time, then ours: cpu_time, verdict,
decided_by, bound, parts, model_hash, property_hash, version (of Cutaway), import_check (version of the comparison with
onnxruntime, see `import_check`), witness (JSON list), reason.
"""

from __future__ import annotations

import csv
import functools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cutaway.engines.base import Executor
from cutaway.engines.budget import limit_memory
from cutaway.engines.jobs import map_jobs
from cutaway.engines.local import InlineExecutor
from cutaway.engines.watched import Overdue, Watched
from cutaway.errors import FileError, InputError, NotPiecewiseAffine, UnsupportedOperator, failure
from cutaway.files import LARGEST_RECORD, atomic
from cutaway.robustness.verify.import_check import CHECK
from cutaway.robustness.verify.listing import Instance, read_instances
from cutaway.robustness.verify.onnx_query import OpenedNetwork, open_onnx
from cutaway.robustness.verify.replay import file_hash
from cutaway.robustness.verify.verdict import Progress, Verdict, VerifySettings
from cutaway.robustness.vnnlib import read_vnnlib
from cutaway.status import Status

COLUMNS = [
    "benchmark",
    "onnx",
    "vnnlib",
    "prepare_time",
    "result",
    "run_time",
    "cpu_time",
    "verdict",
    "decided_by",
    "bound",
    "parts",
    "model_hash",
    "property_hash",
    "version",
    "import_check",
    "witness",
    "reason",
]
RESULTS = {Status.CERTIFIED: "unsat", Status.FALSIFIED: "sat", Status.UNKNOWN: "unknown"}
EARLIER = "before networks were compared with their files, or by another version of that comparison"
_CHILD = Watched()


def run_instances(
    instances: str | Path,
    out: str | Path,
    settings: VerifySettings,
    *,
    progress: Progress = lambda text: None,
    executor: Executor | None = None,
    watched: bool = False,
    memory_limit: int | None = None,
) -> dict[str, int]:
    """Verdicts for every row; gives counts by verdict.

    A line of the list that is none, or with a timeout that is none, is a row `failed` with its number as the reason.
    Rows already in `out` are kept if the hashes of their network and property still hold, else InputError; rows
    `failed`, and those of another version of the import check, are tried again. Whatever a row raises is its reason,
    never the end of the list: `unsupported` where an operator is missing, else `failed`. Nor does a full disk end it:
    rows wait until they can be written, at last to the system's temporary folder (FileError says where). A row's time
    limit counts from the reading of its network. executor: where rows run (by default here, one by one). watched: each
    in a child process that ends with its time limit, and takes at most `memory_limit` bytes above the opened network.
    """
    rows, out = read_instances(instances), Path(out)
    if not out.parent.is_dir():
        raise FileError(
            str(out),
            found=f"no folder {out.parent}",
            expected="a file in a folder that is there",
            remedy="make the folder, or name another",
        )
    done, older = _finished(out, Path(instances).parent)
    if older:
        progress(f"{older} rows of {out} were decided {EARLIER}: they are decided again")
    refused = {row.line: _refused(row) for row in rows if row.fault}
    for row in refused.values():
        progress(row["reason"])
    sound = [row for row in rows if not row.fault]
    waiting = list({(row.question, row.timeout): row for row in sound if row.question not in done}.values())
    full: list[FileError] = []  # why the last row is not in the file

    def decided() -> list[dict[str, str]]:
        every = (refused.get(row.line) or done.get(row.question) for row in rows)
        return [row for row in every if row is not None]

    def written(to: Path) -> None:
        _write(to, decided())

    def keep(index: int, row: dict[str, str]) -> None:
        done[row["onnx"], row["vnnlib"]] = row
        try:
            written(out)
            full.clear()
        except FileError as error:
            if not full:
                progress(f"{error} The list goes on, and this row waits for the next one.")
            full[:] = [error]
        told = f"{row['onnx']} {row['vnnlib']}: {row['verdict']} in {row['run_time']} s"
        progress(f"{len(sound) - len(waiting) + index + 1}/{len(sound)} {told}")

    jobs = []
    for row in waiting:
        limit = settings if row.timeout is None else replace(settings, timeout=min(row.timeout, settings.timeout))
        jobs.append((Path(instances).parent, *row.question, limit, progress, memory_limit))
    if refused and not waiting:
        written(out)
    try:
        map_jobs(executor or InlineExecutor(), _watched_row if watched else _row, jobs, on_done=keep)
    finally:
        _CHILD.close()
        _open.cache_clear()
        if full:
            _elsewhere(out, full[0], written)
    return dict(Counter(row["verdict"] for row in decided()))


def _elsewhere(out: Path, error: FileError, write: Callable[[Path], None]) -> None:
    """The rows that the disk of `out` had no room for, once more there and else in the temporary folder."""
    try:
        write(out)
        return
    except FileError:
        rescue = Path(tempfile.mkdtemp(prefix="cutaway-")) / out.name
        write(rescue)
    raise FileError(
        str(out),
        found=f"{error.found}; all rows are in {str(rescue)!r}",
        expected="a file that can be written",
        remedy="free some space, copy it there and call again: what is decided stays",
    ) from error


def _finished(out: Path, folder: Path) -> tuple[dict[tuple[str, str], dict[str, str]], int]:
    """The rows that stand, and the number of decided rows that an earlier import check made."""
    if not out.exists():
        return {}, 0
    usual = csv.field_size_limit(LARGEST_RECORD)  # a witness of many inputs is one long field
    try:
        with out.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or []) not in (COLUMNS, [c for c in COLUMNS if c != "import_check"]):
                raise csv.Error("a file with other columns")
            found = [row for row in reader if _whole(row)]  # a row that was edited or cut is decided again
    except (csv.Error, UnicodeDecodeError) as error:
        told = "bytes that are no text" if isinstance(error, UnicodeDecodeError) else str(error)
        remedy = "write to another file"
        raise InputError(str(out), found=told, expected="results of this command", remedy=remedy) from error
    finally:
        csv.field_size_limit(usual)
    done = {(r["onnx"], r["vnnlib"]): r for r in found if _stands(r)}
    older = sum(r["verdict"] in (Status.CERTIFIED, Status.FALSIFIED) and not _stands(r) for r in found)
    hashes: dict[str, str] = {}
    for (onnx, vnnlib), row in done.items():
        for name, column, kind, digest in (
            (onnx, "model_hash", "network", file_hash),
            (vnnlib, "property_hash", "property", lambda path: read_vnnlib(path).fingerprint),
        ):
            if not row[column] or not (folder / name).exists():
                continue
            if name not in hashes:
                hashes[name] = digest(folder / name)
            if hashes[name] != row[column]:
                raise InputError(
                    f"{out}: results for {name}",
                    found=f"{column.replace('_', ' ')} {row[column][:12]}",
                    expected=hashes[name][:12],
                    remedy=f"the {kind} has changed since: write to another file",
                )
    return done, older


def _whole(row: dict) -> bool:
    """Whether a row of a results file has every cell, no more, and a verdict that there is."""
    verdicts = {*RESULTS, Status.UNSUPPORTED, Status.FAILED}
    return None not in row and None not in row.values() and row["verdict"] in verdicts


def _stands(row: dict[str, str]) -> bool:
    return row["verdict"] != Status.FAILED and row.get("import_check") == CHECK


def _watched_row(
    folder: Path, onnx: str, vnnlib: str, settings: VerifySettings, progress: Progress, memory_limit: int | None
) -> dict[str, str]:
    begin = time.monotonic()
    question = (folder, onnx, vnnlib, settings, memory_limit)
    row = _empty(onnx, vnnlib)
    try:
        return _CHILD.call(f"{__name__}:answer_row", *question, deadline=begin + settings.timeout, progress=progress)
    except Overdue as over:
        row |= {"verdict": Status.UNKNOWN.value, "result": "unknown", "reason": f"time limit; last: {over.last}"}
    except Exception as error:
        row |= {"verdict": Status.FAILED.value, "result": "error", "reason": failure(error)}
    return row | {"run_time": f"{time.monotonic() - begin:.3f}"}


def answer_row(folder, onnx, vnnlib, settings, memory_limit, *, deadline: float, progress: Progress) -> dict[str, str]:
    """The row of a results file, in a child process."""
    limit_memory(None)
    left = replace(settings, timeout=max(deadline - time.monotonic(), 1e-3))
    return _row(folder, onnx, vnnlib, left, progress, memory_limit, child=True)


def _row(
    folder: Path,
    onnx: str,
    vnnlib: str,
    settings: VerifySettings,
    progress: Progress,
    memory_limit: int | None = None,
    *,
    child: bool = False,
) -> dict[str, str]:
    row = _empty(onnx, vnnlib)
    begin, spent = time.monotonic(), time.process_time()
    try:
        progress(f"reading {onnx}")
        problem = _open(folder / onnx, _stamp(folder / onnx))
        if child:
            limit_memory(memory_limit)
        query = read_vnnlib(folder / vnnlib, settings.budget)
        ready = time.monotonic()
        left = replace(settings, timeout=max(settings.timeout - (ready - begin), 1e-3))
        verdict = problem.decide(query, left, progress)
        row |= _cells(verdict) | {"model_hash": problem.model_hash, "prepare_time": f"{ready - begin:.3f}"}
    except Exception as error:
        missing = isinstance(error, (UnsupportedOperator, NotPiecewiseAffine))
        status = Status.UNSUPPORTED if missing else Status.FAILED
        row |= {"verdict": status.value, "result": "error", "reason": failure(error)}
        row["run_time"] = f"{time.monotonic() - begin:.3f}"
    row["cpu_time"] = f"{time.process_time() - spent:.3f}"
    return row


@functools.lru_cache(maxsize=1)
def _open(path: Path, stamp: tuple[int, int] | None) -> OpenedNetwork:
    return open_onnx(path)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What a cached network is told from a changed file by."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None


def _refused(row: Instance) -> dict[str, str]:
    return _empty(*row.question) | {"verdict": Status.FAILED.value, "result": "error", "reason": str(row.fault)}


def _empty(onnx: str, vnnlib: str) -> dict[str, str]:
    from cutaway import __version__

    benchmark = Path(onnx).parent.parent.name or next(iter(Path(onnx).parts), "")
    return dict.fromkeys(COLUMNS, "") | {
        "benchmark": benchmark,
        "onnx": onnx,
        "vnnlib": vnnlib,
        "version": __version__,
        "import_check": CHECK,
    }


def _cells(verdict: Verdict) -> dict[str, str]:
    return {
        "result": RESULTS[verdict.status],
        "verdict": verdict.status.value,
        "run_time": f"{verdict.seconds:.3f}",
        "decided_by": verdict.decided_by,
        "bound": repr(verdict.bound),
        "parts": str(verdict.parts),
        "property_hash": verdict.property_hash,
        "reason": verdict.reason,
        "witness": "" if verdict.witness is None else json.dumps(verdict.witness.tolist()),
    }


def _write(out: Path, rows: list[dict[str, str]]) -> None:
    with atomic(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
