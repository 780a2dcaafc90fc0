"""The floors hold, the public names are pinned, and nothing private stands in the tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(cutaway.__file__).parent
FLOORS = {
    0: (
        "errors",
        "status",
        "records",
        "wording",
        "jsonable",
        "seeds",
        "files",
        "_compat",
        "_moved",
        "_late",
        "_facade",
    ),
    1: ("network", "data", "engines", "arrangement"),
    2: ("pictures",),
    3: ("reading",),
    4: ("context", "instrument", "settings", "registry", "testing", "evidence"),
    5: (
        "outputs",
        "geometry",
        "language",
        "features",
        "dynamics",
        "robustness",
        "structure",
        "curvature",
        "kernels",
        "text",
    ),
    6: ("instruments",),
    7: ("guard", "training"),
    8: ("scanning", "scan_cost", "scan_nulls", "scan_words", "running", "comparing", "demo", "report", "reproductions"),
    9: ("cli", "__main__", ""),
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(tree: ast.Module):
    """Cutaway modules imported when the file is loaded or when its functions run, but not for type checkers alone."""
    for node in _running(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cutaway":
            yield from _targets(node)
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[2] for name in node.names if name.name.startswith("cutaway."))


def _running(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (found for part in node.orelse for found in (part, *_running(part)))
        else:
            yield node
            yield from _running(node)


def _targets(node: ast.ImportFrom):
    rest = node.module.split(".")[1:]
    yield from [".".join(rest)] if rest else [alias.name for alias in node.names]


def test_a_room_imports_only_from_below():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        assert room in FLOOR, f"{path.name}: room {room!r} has no floor; give it one in ARCHITECTURE.md and here"
        for target in imports(ast.parse(path.read_text())):
            other = target.split(".")[0]
            if FLOOR.get(other, 0) > FLOOR[room]:
                wrong.append(
                    f"{path.relative_to(SOURCE)} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[other]})"
                )
    assert not wrong, "\n".join(wrong)


def test_no_room_reaches_itself_through_others():
    steps: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        steps.setdefault(room, set()).update({t.split(".")[0] for t in imports(ast.parse(path.read_text()))} - {room})
    for room in steps:
        seen, todo = set(), list(steps[room])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo += steps.get(other, ())
        assert room not in seen, f"{room!r} is in a circle of rooms"


def test_imports_inside_functions_are_seen():
    text = "if TYPE_CHECKING:\n    from cutaway.a import x\ndef f():\n    from cutaway.b import y\n    import cutaway.c.d\n"
    assert list(imports(ast.parse(text))) == ["b", "c.d"]


def test_public_names():
    assert cutaway.__all__ == [
        "CutawayError", "Figure", "Instrument", "Network", "Reading", "Status", "load_data", "load_model", "scan",
    ]  # fmt: skip
    for name in cutaway.__all__:
        assert getattr(cutaway, name) is not None


def test_scan_is_a_function_however_it_is_imported():
    import importlib

    importlib.import_module("cutaway.scanning")
    from cutaway import scan

    assert callable(scan) and callable(cutaway.scan)
    files = {path.stem for path in SOURCE.glob("*.py")}
    assert not files & set(cutaway.__all__), "a file would shadow a public function once it is imported"


def test_old_paths_of_moved_modules_warn_and_give_the_same_names():
    import importlib

    from cutaway._moved import MOVED

    for old, new in MOVED.items():
        sys.modules.pop(old, None)
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
            module = importlib.import_module(old)
        home = importlib.import_module(new)
        public = [name for name in vars(home) if not name.startswith("_")]
        assert public or hasattr(home, "__path__"), old
        assert all(getattr(module, name) is getattr(home, name) for name in public)


def test_an_old_module_that_hides_a_function_is_called_as_it():
    code = """
import warnings; warnings.simplefilter("ignore")
import cutaway.network.graph.evaluate
from cutaway.network import graph
try: graph.evaluate()
except TypeError as error: print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("evaluate_graph() missing")


def test_old_paths_of_moved_names_warn_and_give_the_same_objects():
    import importlib

    from cutaway._moved import MOVED, NAMES

    for old, home in NAMES.items():
        (module, _, name), (where, _, new) = old.partition(":"), home.partition(":")
        if f"{module}.{name}" in MOVED:  # an old module of that name, which is called as the function
            vars(importlib.import_module(module)).pop(name, None)
        with pytest.warns(DeprecationWarning, match=f"{name} is now {new}.*in {where or module}"):
            found = getattr(importlib.import_module(module), name)
        assert found is getattr(importlib.import_module(where or module), new or name)


def test_a_name_that_never_was_there_is_no_attribute():
    import importlib

    from cutaway._moved import NAMES

    for module in {old.partition(":")[0] for old in NAMES}:
        assert not hasattr(importlib.import_module(module), "NeverThere")


def test_file_names_are_the_names_of_the_instruments_in_them():
    from cutaway import registry

    for name in registry.names():
        assert registry.instrument(name).name == name


def test_no_machine_paths_in_the_tree():
    root = SOURCE.parent.parent
    files = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout.split()
    machine = "/wor" + "k/"
    for name in files:
        if name.endswith((".py", ".md", ".toml", ".txt", ".html")):
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            assert machine not in text, name
            assert "../sha" + "red" not in text, name


def test_readme_python_example_runs(tmp_path, monkeypatch):
    from cutaway.demo import train_digits

    readme = (SOURCE.parent.parent / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0].replace("count=39", "count=2")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"model": train_digits(epochs=1)[0]})
    assert (tmp_path / "accuracy.svg").exists()
    assert (tmp_path / "accuracy.zarr.zip").exists()
