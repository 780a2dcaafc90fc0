"""Which tests are nearest to a file: those that name most of what it defines, those of its own room first."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path


def nearest(file: str, src: Path, tests: Path, *, most: int = 8) -> list[str]:
    """Test files (relative to `tests`), nearest first: a point for every name of `file` that the test says, three for
    its module, two for a test of the same room, three more for one named after a folder or file on the way."""
    tree = ast.parse((src / file).read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)} - {"main"}
    module, parts = Path(file).stem, {*Path(file).parts[:-1], Path(file).stem}
    ranked = []
    for test, words in _words(tests).items():
        score = len({n.lstrip("_") for n in names if len(n) > 3} & words)
        score += 3 * (module in words and len(module) > 3)
        score += 2 * (Path(test).parts[0] in parts) + 3 * (Path(test).stem.removeprefix("test_") in parts)
        if score:
            ranked.append((-score, test))
    return [test for _, test in sorted(ranked)][:most]


@cache
def _words(tests: Path) -> dict[str, set[str]]:
    """Every word of every test file."""
    files = sorted(tests.rglob("test_*.py"))
    return {str(f.relative_to(tests)): set(re.findall(r"[A-Za-z]\w+", f.read_text())) for f in files}
