"""One name, one thing: no public class or function of a module shares its name with another's."""

import ast
from collections import defaultdict
from pathlib import Path

import cutaway

SOURCE = Path(cutaway.__file__).parent
SHARED = {
    "reproduce": "what each reproduction answers to (CONTRIBUTING.md)",
}
"""Name -> why several modules may have it."""


def homes() -> dict[str, list[str]]:
    """Public name -> the modules that define it, commands aside: a command's function is the word that a user types."""
    found = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_command(node):
                found[node.name].append(str(path.relative_to(SOURCE)))
    return {name: where for name, where in found.items() if not name.startswith("_")}


def _is_command(node: ast.stmt) -> bool:
    return any(ast.unparse(each).startswith("app.") for each in getattr(node, "decorator_list", ()))


def test_no_public_name_means_two_things():
    twice = {name: where for name, where in homes().items() if len(set(where)) > 1 and name not in SHARED}
    assert not twice, "\n".join(f"{name}: {', '.join(where)}" for name, where in twice.items())


def test_every_exemption_is_needed():
    found = homes()
    assert all(len(found.get(name, ())) > 1 for name in SHARED)
