"""Lists of instances as they are written, line by line: a line that is none is kept with what is wrong with it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import InputError
from cutaway.files import LARGEST_RECORD, read_text

LONGEST = 200
"""Characters of a line, or of a cell of one that is no instance, that are kept."""
ROW = "onnx,vnnlib[,timeout]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One line of a list: network, property and seconds (None: the time limit of the command); `fault` says why it
    cannot be asked, where it cannot."""

    line: int
    onnx: str
    vnnlib: str
    timeout: float | None = None
    fault: InputError | None = None

    @property
    def question(self) -> tuple[str, str]:
        return self.onnx, self.vnnlib


def read_instances(path: str | Path) -> list[Instance]:
    """The lines of a list that are not empty, without its header. Raises `FileError`, and `InputError` for a list in
    which no line is an instance."""
    text = read_text(path, "list of instances", largest=LARGEST_RECORD).replace("\r\n", "\n").replace("\r", "\n")
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # line by line: an open quote must not take the next ones in
        cells = _cells(line)
        if not any(cells) or (not found and {"onnx", "vnnlib"} <= set(cells)):
            continue
        found.append(_instance(str(path), number, line.strip(), cells))
    if not found:
        raise InputError(str(path), found="no instances", expected=f"rows {ROW}", remedy="add a row to the list")
    faults = [instance.fault for instance in found if instance.fault is not None]
    if len(faults) == len(found):
        raise faults[0]
    return found


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error:  # a field longer than the reader takes
        return [line.strip()]


def _instance(path: str, number: int, line: str, cells: list[str]) -> Instance:
    cells = [*cells, "", "", ""]
    onnx, vnnlib, seconds, *more = cells
    where, fault, asked = f"{path}, line {number}", None, _seconds(seconds)
    if not onnx or not vnnlib or any(more):
        onnx, vnnlib = onnx[:LONGEST], vnnlib[:LONGEST]
        shown = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
        fault = InputError(where, found=shown, expected=ROW, remedy="write the row so")
    elif seconds and asked is None:
        remedy = "leave the third column empty for the time limit of the command"
        found = f"a timeout of {seconds[:40]!r}"
        fault = InputError(where, found=found, expected="more than 0 seconds", remedy=remedy)
    return Instance(line=number, onnx=onnx, vnnlib=vnnlib, timeout=asked, fault=fault)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 else None
