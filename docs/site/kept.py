"""What the site's build has made once and may use again: executed notebooks, pictures, the output of commands.

Everything kept is named by a hash over all of it that could change it: the library's source, the text that asked for
it, versions of Python and torch, and whether the folder of real data is there. The slow tests and the build share
it, so that a notebook runs once for both; the others run notebooks on less. Only what succeeded is kept.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "docs" / "_build"
LIBRARY = ROOT / "src" / "cutaway"


@cache
def library() -> str:
    """A hash of every file of the library and of what runs it."""
    digest = hashlib.sha256()
    for path in sorted(p for p in LIBRARY.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(str(path.relative_to(LIBRARY)).encode() + b"\0" + path.read_bytes())
    data = os.environ.get("CUTAWAY_DATA", "")
    parts = (
        sys.version,
        *(version(p) for p in ("torch", "numpy", "altair", "matplotlib")),
        Path(data).is_dir() and data,
    )
    digest.update(repr(parts).encode())
    return digest.hexdigest()


def kept(name: str, text: str, make: Callable[[Path], None], *, suffix: str = "") -> Path:
    """The file or folder that `make(path)` writes, made once for this library, `name` and `text`."""
    key = hashlib.sha256(f"{library()}\0{name}\0{text}".encode()).hexdigest()[:16]
    path = BUILD / "kept" / f"{name}-{key}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{name}-{'?' * 16}{suffix}"):
            _remove(old)
        unfinished = path.with_name(f"{path.stem}.{os.getpid()}.part{suffix}")
        make(unfinished)
        unfinished.rename(path)
    return path


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
