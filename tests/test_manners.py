"""Manners of the house that a script can count: the length of files, types, what is ignored."""

import ast
import re
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(cutaway.__file__).parent
MOST_LINES = 350
NOT_YET = {"cli/guard.py", "cli/theory.py"}


def long_files(folder: Path) -> list[str]:
    lengths = {path.relative_to(folder).as_posix(): len(path.read_text().splitlines()) for path in folder.rglob("*.py")}
    return [f"{name}: {count}" for name, count in sorted(lengths.items()) if count > MOST_LINES]


def test_no_file_is_longer_than_a_reader_holds():
    found = [line for line in long_files(SOURCE) if line.split(":")[0] not in NOT_YET]
    assert not found, f"cut along meaning: {found}"


def test_a_long_file_is_seen(tmp_path):
    (tmp_path / "long.py").write_text("x = 1\n" * (MOST_LINES + 1))
    (tmp_path / "whole.py").write_text("x = 1\n" * MOST_LINES)
    assert long_files(tmp_path) == ["long.py: 351"]


def untyped(source: str) -> list[str]:
    """Parameters without a type, `function(parameter)`; lambdas and `self` aside."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(v for v in (a.vararg, a.kwarg) if v is not None)]
            found += [f"{node.name}({p.arg})" for p in named if p.annotation is None and p.arg not in ("self", "cls")]
    return found


@pytest.mark.parametrize("room", ["geometry", "network"])
def test_every_parameter_has_a_type(room):
    found = [f"{path.name}: {p}" for path in sorted((SOURCE / room).rglob("*.py")) for p in untyped(path.read_text())]
    assert not found, "\n".join(found)


def test_a_parameter_without_a_type_is_seen():
    assert untyped("def f(self, a, *b: int, c: int = 0, **d): ...") == ["f(a)", "f(d)"]


def test_few_errors_of_the_type_checker_are_ignored():
    ignored = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\s*(type|pyright): ignore", line)
    ]
    assert len(ignored) < 40, ignored
