"""Files: written whole or not at all, and read no further than the memory that was given.

`atomic`, `atomic_folder`, `write_text` write under a temporary name in the same folder, flush to the disk and rename: a
full disk or a kill leaves either the old file or the new one. `read_bytes`, `read_text`, `read_json`, `parse_json` and
`check_zip` look at sizes and depth first. Whatever is wrong with a file comes out as `FileError`; nothing in a file is
ever run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from cutaway.errors import FileError

LARGEST = 2_000_000_000  # bytes that one file may take in memory where no budget is given
LARGEST_RECORD = 200_000_000  # bytes of a record (JSON, TOML): ours have at most a few megabytes
DEEPEST = 200  # levels of nested JSON
PARSED = 24  # bytes that a character of JSON may come to: `[],` are three, and a list of their own
SMALL_RECORD = 200_000_000  # bytes of a parsed record that need no question
_room: ContextVar[int | None] = ContextVar("room", default=None)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def room() -> int:
    """Bytes that a file may take in memory now: the budget that was given, else `LARGEST`."""
    return _room.get() or LARGEST


def given_room() -> int | None:
    """The budget that was given, None where none was."""
    return _room.get()


@contextlib.contextmanager
def within(budget: int | None) -> Iterator[None]:
    """Files that are opened meanwhile, data and models, may take `budget` bytes in memory; None changes nothing."""
    token = _room.set(_room.get() if budget is None else budget)
    try:
        yield
    finally:
        _room.reset(token)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` on success and vanishes on failure.

    Operating-system errors (no space left, no permission) come out as `FileError`.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` on success and vanishes on failure.

    Where `path` is there already, its other entries stay; those of the same name are replaced one by one, in the order
    of their names. Errors as `atomic`.
    """
    path = Path(path).absolute()
    temporary = _temporary(path)
    with _told(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for entry in temporary.rglob("*"):
                _flush(entry)
            if path.is_dir():
                for entry in sorted(temporary.iterdir()):
                    os.replace(entry, path / entry.name)
                _flush(path)
            else:
                os.replace(temporary, path)
            _flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically, in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def read_bytes(path: str | Path, what: str = "file", *, largest: int = LARGEST, remedy: str = "") -> bytes:
    """The contents of a file of at most `largest` bytes. Raises `FileError` (missing, too large, not to be read);
    `what` names the kind of file there."""
    offender = f"{what} {str(path)!r}"
    try:
        with open(path, "rb") as file:
            check_size(offender, os.fstat(file.fileno()).st_size, largest)
            content = file.read(largest + 1)  # a pipe or a device has no size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise FileError(
            offender,
            found="no such file" if missing else (error.strerror or str(error)).lower(),
            remedy=remedy or ("check the path" if missing else "make it a file that can be read, or name another"),
        ) from error
    check_size(offender, len(content), largest)
    return content


def read_text(path: str | Path, what: str = "file", *, largest: int = LARGEST, remedy: str = "") -> str:
    """A UTF-8 text (a byte-order mark is dropped). Raises `FileError`, also with the line that is not UTF-8."""
    content = read_bytes(path, what, largest=largest, remedy=remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError(
            f"{what} {str(path)!r}",
            found=f"a byte that is not UTF-8 in line {line}",
            expected="UTF-8 text",
            remedy=remedy or "save it as UTF-8",
        ) from error


def read_json(
    path: str | Path, what: str = "file", *, largest: int = LARGEST_RECORD, deepest: int = DEEPEST, remedy: str = ""
) -> dict[str, Any]:
    """The JSON object in a file. Raises `FileError`: missing, too large, not UTF-8, too deep, no JSON, no object."""
    content = parse_json(
        read_text(path, what, largest=largest, remedy=remedy), f"{what} {str(path)!r}", deepest=deepest, remedy=remedy
    )
    if not isinstance(content, dict):
        raise FileError(
            f"{what} {str(path)!r}", found=f"a {type(content).__name__}", expected="a JSON object", remedy=remedy
        )
    return content


def parse_json(text: str, where: str, *, deepest: int = DEEPEST, remedy: str = "") -> Any:
    """The value of a JSON text. `where` names it in the `FileError` for one that is too deep, too large for the budget
    once it is parsed, or no JSON."""
    if PARSED * len(text) > SMALL_RECORD:
        check_size(where, PARSED * len(text), max(room(), SMALL_RECORD), "parsed, at most")
    try:
        if _depth(text) > deepest:
            raise RecursionError
        return json.loads(text)
    except RecursionError as error:
        raise FileError(
            where, found=f"JSON nested more than {deepest} deep", expected="a record of ours", remedy=remedy
        ) from error
    except ValueError as error:
        raise FileError(where, found=f"no valid JSON ({error})", expected="JSON", remedy=remedy) from error


def check_zip(
    file: str | Path | IO[bytes],
    where: str,
    *,
    kind: str = "zip file",
    largest: int = LARGEST,
    remedy: str = "copy it again",
) -> list[zipfile.ZipInfo]:
    """The members of a zip, whose unpacked sizes together are at most `largest` and whose names differ. A member never
    unpacks to more than it announces. Raises `FileError`."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise FileError(where, found=f"not a complete {kind} ({error})", remedy=remedy) from error
    names = [member.filename for member in members]
    double = next((n for n in names if names.count(n) > 1), None) if len(set(names)) < len(names) else None
    if double is not None:
        raise FileError(
            where,
            found=f"two members called {double!r}",
            expected="every name once",
            remedy="write the archive again with every name once",
        )
    check_size(where, sum(member.file_size for member in members), largest, "unpacked")
    return members


def check_size(offender: str, size: int, largest: int, word: str = "") -> None:
    """Raises `FileError` for something that takes more than `largest` bytes."""
    if size > largest:
        raise FileError(
            offender,
            found=f"{size / 1e6:,.0f} MB {word}".rstrip(),
            expected=f"at most {largest / 1e6:,.0f} MB, the memory for it",
            remedy="split it, give a smaller file, or a larger --budget where the command has one",
        )


def _depth(text: str) -> int:
    """Levels of nesting of a JSON text; an upper bound where the text has few brackets."""
    if (most := text.count("[") + text.count("{")) <= DEEPEST:
        return most
    level = deepest = 0
    for token in _TOKEN.finditer(text):
        if (first := token.group()[0]) != '"':
            level += 1 if first in "[{" else -1
            deepest = max(deepest, level)
    return deepest


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.part")


def is_unfinished(path: Path) -> bool:
    """Whether this is what a killed process left of a file that it had not written to the end."""
    return path.name.startswith(".") and path.name.endswith(".part")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"writing {str(path)!r}",
            found=error.strerror or str(error),
            expected="a writable folder with free space",
            remedy="free some space or name another folder with --out; nothing half-written was left",
        ) from error


def _flush(path: Path) -> None:
    """To the disk; the entries of a folder too, where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class TemporaryFolder:
    """A folder that lives as long as this object: `path`."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="cutaway-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)
