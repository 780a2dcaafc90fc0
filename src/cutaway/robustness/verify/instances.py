"""VNN-COMP instance lists: one verdict a row, written as it comes, taken up again where a run was cut off.

Input: csv rows `onnx,vnnlib[,timeout]` with paths relative to the list (a header line is allowed). Output: VNN-COMP's
columns benchmark, onnx, vnnlib, prepare_time, result (sat, unsat, unknown, error), run_time, then ours: cpu_time,
verdict, decided_by, bound, parts, model_hash, property_hash, version, witness (JSON list), reason.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cutaway.errors import FileError, InputError, NotPiecewiseAffine, UnsupportedOperator, failure
from cutaway.files import atomic
from cutaway.robustness.verify.onnx_query import OpenedNetwork, open_onnx
from cutaway.robustness.verify.replay import file_hash
from cutaway.robustness.verify.verdict import Verdict, VerifySettings
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
    "witness",
    "reason",
]
RESULTS = {Status.CERTIFIED: "unsat", Status.FALSIFIED: "sat", Status.UNKNOWN: "unknown"}


def run_instances(
    instances: str | Path,
    out: str | Path,
    settings: VerifySettings,
    *,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, int]:
    """Verdicts for every row; gives counts by verdict. Rows already in `out` are kept if the hashes of their network
    and property still hold, else InputError; rows `failed` are tried again. Whatever a row raises is its reason, never
    the end of the list: `unsupported` where an operator is missing, else `failed`."""
    rows, out = read_instances(instances), Path(out)
    if not out.parent.is_dir():
        raise FileError(str(out), found=f"no folder {out.parent}", expected="a file in a folder that is there")
    done = _finished(out, Path(instances).parent)
    opened: dict[str, OpenedNetwork] = {}
    for number, (onnx, vnnlib, timeout) in enumerate(rows, 1):
        if (onnx, vnnlib) in done:
            continue
        limit = settings if timeout is None else replace(settings, timeout=min(timeout, settings.timeout))
        row = _one(Path(instances).parent, onnx, vnnlib, limit, opened, progress)
        done[onnx, vnnlib] = row
        _write(out, [done[o, v] for o, v, _ in rows if (o, v) in done])
        progress(f"{number}/{len(rows)} {onnx} {vnnlib}: {row['verdict']} in {row['run_time']} s")
    counts: dict[str, int] = {}
    for onnx, vnnlib, _ in rows:
        verdict = done[onnx, vnnlib]["verdict"]
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def read_instances(path: str | Path) -> list[tuple[str, str, float | None]]:
    """Rows (onnx, vnnlib, timeout or None). Raises FileError or InputError with the row number."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(str(path), found=f"unreadable ({error})", expected="a csv list of instances") from error
    rows = []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        cells = [c.strip() for c in row]
        if not any(cells) or (number == 1 and "onnx" in cells and "vnnlib" in cells):
            continue
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise InputError(f"{path}, row {number}", found=",".join(row), expected="onnx,vnnlib[,timeout]")
        rows.append((cells[0], cells[1], _seconds(cells[2], f"{path}, row {number}") if any(cells[2:3]) else None))
    if not rows:
        raise InputError(str(path), found="no instances", expected="rows onnx,vnnlib[,timeout]")
    return rows


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value > 0:
        remedy = "leave the third column empty for the time limit of the command"
        raise InputError(where, found=text, expected="a timeout of more than 0 seconds", remedy=remedy)
    return value


def _finished(out: Path, folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    if not out.exists():
        return {}
    with out.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or list(reader.fieldnames) != COLUMNS:
            remedy = "write to another file"
            raise InputError(
                str(out), found="a file with other columns", expected="results of this command", remedy=remedy
            )
        done = {(r["onnx"], r["vnnlib"]): r for r in reader if r["verdict"] != Status.FAILED}
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
    return done


def _one(folder: Path, onnx: str, vnnlib: str, settings: VerifySettings, opened, progress) -> dict[str, str]:
    from cutaway import __version__

    row = dict.fromkeys(COLUMNS, "") | {
        "benchmark": Path(onnx).parent.parent.name or Path(onnx).parts[0],
        "onnx": onnx,
        "vnnlib": vnnlib,
    }
    row["version"] = __version__
    begin, spent = time.monotonic(), time.process_time()
    try:
        if onnx not in opened:
            opened.clear()
            opened[onnx] = open_onnx(folder / onnx)
        problem = opened[onnx]
        query = read_vnnlib(folder / vnnlib)
        ready = time.monotonic()
        verdict = problem.decide(query, settings, progress)
        row |= _cells(verdict) | {"model_hash": problem.model_hash, "prepare_time": f"{ready - begin:.3f}"}
    except Exception as error:
        missing = isinstance(error, (UnsupportedOperator, NotPiecewiseAffine))
        status = Status.UNSUPPORTED if missing else Status.FAILED
        row |= {"verdict": status.value, "result": "error", "reason": failure(error)}
        row["run_time"] = f"{time.monotonic() - begin:.3f}"
    row["cpu_time"] = f"{time.process_time() - spent:.3f}"
    return row


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
