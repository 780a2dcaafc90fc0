"""Runs the notebooks of `examples/notebooks/`, each in an empty folder, and keeps them with their output.

They are committed without output: what a reader sees on the site is what this version of the library gives, and a
change of the library is no change of five files. The slow tests run them through the same function.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from kept import ROOT, kept

FOLDER = ROOT / "examples" / "notebooks"


def notebooks() -> list[Path]:
    """The notebooks there are, in the order of their numbers."""
    return sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path, *, timeout: int = 240) -> Path:
    """`path` with its output, run now or kept from before. A cell that raises ends it with that cell's error."""
    return kept(
        path.stem, path.read_text(encoding="utf-8"), lambda target: _run(path, target, timeout), suffix=".ipynb"
    )


def _run(path: Path, target: Path, timeout: int) -> None:
    from nbclient import NotebookClient

    book: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            book,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=40"],
            timeout=timeout,
            resources={"metadata": {"path": folder}},
            record_timing=False,
        )
        client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": _paths(), "JUPYTER_PLATFORM_DIRS": "1"})
    for cell in book.cells:  # tqdm misses a widget of Jupyter's pages: of no account where nothing is shown
        shown = [o for o in cell.get("outputs", ()) if "IProgress not found" not in o.get("text", "")]
        if cell.cell_type == "code":
            cell.outputs = shown
    nbformat.write(book, target)


def _paths() -> str:
    return os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))))


def complaints(book: Any) -> list[str]:
    """What a cell wrote to standard error (warnings, mostly)."""
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                found.append(output["text"])
    return found


def pictures(book: Any) -> int:
    """How many outputs are pictures."""
    kinds = {"image/png", "image/svg+xml"}
    return sum(bool(kinds & set(o.get("data", {}))) for c in book.cells for o in c.get("outputs", ()))
