"""One name, one thing: no public class or function of a module shares its name with another's, no constant stands twice."""

import ast
import functools
from collections import defaultdict
from pathlib import Path

import cutaway

SOURCE = Path(cutaway.__file__).parent
SHARED = {
    "reproduce": "what each reproduction answers to (CONTRIBUTING.md)",
}
"""Name -> why several modules may have it."""


@functools.cache
def trees() -> dict[str, ast.Module]:
    """File -> what it says, of the whole package."""
    return {p.relative_to(SOURCE).as_posix(): ast.parse(p.read_text()) for p in sorted(SOURCE.rglob("*.py"))}


def homes(files: dict[str, ast.Module] | None = None) -> dict[str, list[str]]:
    """Public name -> the modules that define it, commands aside: a command's function is the word that a user types."""
    found = defaultdict(list)
    for file, tree in (files or trees()).items():
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_command(node):
                found[node.name].append(file)
    return {name: where for name, where in found.items() if not name.startswith("_")}


def _is_command(node: ast.stmt) -> bool:
    return any(ast.unparse(each).startswith("app.") for each in getattr(node, "decorator_list", ()))


def test_no_public_name_means_two_things():
    twice = {name: where for name, where in homes().items() if len(set(where)) > 1 and name not in SHARED}
    assert not twice, "\n".join(f"{name}: {', '.join(where)}" for name, where in twice.items())


def test_every_exemption_is_needed():
    found = homes()
    assert all(len(found.get(name, ())) > 1 for name in SHARED)


TWICE = {
    "FORMAT": "the format of each kind of file counts by itself",
    "RADIUS": "what each study attacks with",
}
"""Constant -> why it may stand twice with one value."""


def constants(files: dict[str, ast.Module]) -> dict[tuple[str, str], list[str]]:
    """(name, value) -> the files that set it so at their first level; types, loggers, commands' apps and papers aside."""
    found = defaultdict(list)
    for file, tree in files.items():
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                shown = ast.unparse(value)
                aside = (
                    target.id.startswith("__") or target.id in ("app", "log", "SOURCE") or shown.startswith("NDArray")
                )
                if not aside:
                    found[target.id, shown].append(file)
    return found


def test_no_constant_stands_twice():
    twice = {k: files for k, files in constants(trees()).items() if len(set(files)) > 1}
    wrong = [f"{name} = {value}: {', '.join(files)}" for (name, value), files in twice.items() if name not in TWICE]
    assert not wrong, "\n".join(wrong)
    assert {name for name, _ in twice} >= set(TWICE)


def test_a_constant_that_stands_twice_is_seen():
    found = constants({"a.py": ast.parse("DELAY = 3.0\nx: int = 1"), "b.py": ast.parse("DELAY = 3.0\nLEVEL = 1")})
    assert found["DELAY", "3.0"] == ["a.py", "b.py"]
    assert found["LEVEL", "1"] == ["b.py"]


def test_one_file_of_regions():
    assert [p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("regions.py")] == ["robustness/regions.py"]
