"""The counts by which the house is judged, of the tree as it stands and, beside it, of an earlier commit.

    python tools/house_counts.py [--at COMMIT]

Counted as the tests count (`tests/test_architecture.py`, `test_manners.py`, `test_names.py`, `test_duplicates.py`,
`test_signatures.py`): a tree that passes them has zeros there. Rooms, floors and words are today's, so an earlier tree
is judged by today's plan; what needs the package to run (docstrings) is counted of the present tree alone.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def loaded(path: Path) -> ModuleType:
    """A file of the tree as a module, whatever package it belongs to."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def counts(root: Path) -> dict[str, int | str]:
    """Name of the count -> how many, of the tree at `root`."""
    architecture, manners, names, duplicates, signatures = (
        loaded(ROOT / "tests" / f"test_{name}.py")
        for name in ("architecture", "manners", "names", "duplicates", "signatures")
    )
    source = root / "src" / "cutaway"
    texts = {p.relative_to(source).as_posix(): p.read_text(encoding="utf-8") for p in sorted(source.rglob("*.py"))}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    lines = {file: len(text.splitlines()) for file, text in texts.items()}
    steps = architecture.steps(source)
    named = {name: set(files) for name, files in names.homes(trees).items() if name not in names.SHARED}
    constants = {k: files for k, files in names.constants(trees).items() if k[0] not in names.TWICE}
    own = {f: t for f, t in texts.items() if not f.startswith("cli/")}
    found: dict[str, int | str] = {
        "files": len(texts),
        "lines": sum(lines.values()),
        "lines, median file": sorted(lines.values())[len(lines) // 2],
        f"files over {manners.MOST_LINES} lines": len(manners.long_files(source)),
        "rooms in a circle of imports": len(architecture.in_circles(steps)),
        "imports of a higher floor": len(architecture.upward(steps)),
        "public names that stand twice": sum(len(files) > 1 for files in named.values()),
        "constants that stand twice": sum(len(set(files)) > 1 for files in constants.values()),
        "near-duplicates of ten lines": len(duplicates.twice(texts)),
        "parameters under another word": sum(len(signatures.complaints(text, file)) for file, text in own.items()),
        "untyped parameters, geometry and network": sum(
            len(manners.untyped(t)) for f, t in texts.items() if f.startswith(("geometry/", "network/"))
        ),
        "errors without a next step": len(manners.errors_without_a_next_step(trees)),
        "files in a circle of imports": len(architecture.files_in_circles(steps)),
        "places above network/ that count passes": sum(map(len, architecture.counted_by_hand(source))),
        "type ignores": sum(len(re.findall(r"#\s*(?:type|pyright): ignore", text)) for text in texts.values()),
        "lines kept from the formatter": sum(len(re.findall("fmt: (?:skip|off)", text)) for text in texts.values()),
    }
    rooms = Counter({room: 0 for room in architecture.FLOOR if (source / room).is_dir() and room})
    for file, count in lines.items():
        rooms[file.split("/")[0] if "/" in file else "(single files)"] += count
    return found | {f"lines, {room}": count for room, count in sorted(rooms.items())}


def docstrings() -> str:
    wanted, given, _ = loaded(ROOT / "tools" / "docstring_score.py").score()
    return f"{given.total() / wanted.total():.1%} of {wanted.total():,}"


def earlier(commit: str, folder: Path) -> Path:
    """The sources of a commit, unpacked into `folder`."""
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def table(now: dict[str, int | str], then: dict[str, int | str] | None, commit: str = "") -> str:
    """Markdown, one count a line."""
    names = [*now, *(name for name in then or () if name not in now)]
    head = ["count", *([commit] if then is not None else []), "now"]
    rows = [
        [name, *([] if then is None else [_shown(then.get(name, "-"))]), _shown(now.get(name, 0))] for name in names
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _shown(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", metavar="COMMIT", help="count this commit beside the present tree")
    options = parser.parse_args()
    now = counts(ROOT) | {"public docstrings, questions answered": docstrings()}
    with tempfile.TemporaryDirectory() as folder:
        then = None if options.at is None else counts(earlier(options.at, Path(folder)))
    print(table(now, then, options.at or ""))


if __name__ == "__main__":
    main()
