"""The floors hold, the public names are pinned, and nothing private stands in the tree."""

import ast
import re
import subprocess
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
        "arrays",
        "_compat",
        "_moved",
        "_moved_table",
        "_late",
        "_facade",
    ),
    1: ("network", "data", "engines", "arrangement"),
    2: ("pictures",),
    3: ("reading",),
    4: ("context", "instrument", "needs", "settings", "registry", "testing", "evidence"),
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
    6: ("instruments", "audits"),
    7: ("guard", "training"),
    8: ("scanning", "scan_cost", "scan_nulls", "scan_words", "running", "comparing", "demo", "report", "reproductions"),
    9: ("cli", "__main__", ""),
}
MOST_LINES_OF_GEOMETRY = 6000
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def room_of(path: Path, source: Path = SOURCE) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(tree: ast.Module):
    """Cutaway modules imported when the file is loaded or when its functions run, but not for type checkers alone."""
    for node in _running(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cutaway":
            yield from _targets(node)
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[2] for name in node.names if name.name.startswith("cutaway."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
            if text.startswith("cutaway."):
                yield text.partition(".")[2]


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


def steps(source: Path = SOURCE) -> list[tuple[str, str, str]]:
    """(file, its room, what it imports) of every import inside the package."""
    return [
        (path.relative_to(source).as_posix(), room_of(path, source), target)
        for path in sorted(source.rglob("*.py"))
        for target in imports(ast.parse(path.read_text()))
    ]


def upward(found: list[tuple[str, str, str]]) -> list[str]:
    """Imports of a room that stands higher."""
    return [
        f"{file} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[other]})"
        for file, room, target in found
        if room in FLOOR and FLOOR.get(other := target.split(".")[0], 0) > FLOOR[room]
    ]


def in_circles(found: list[tuple[str, str, str]]) -> set[str]:
    """Rooms that reach themselves through others."""
    reached: dict[str, set[str]] = {}
    for _, room, target in found:
        reached.setdefault(room, set()).update({target.split(".")[0]} - {room})
    circling = set()
    for room in reached:
        seen, todo = set(), list(reached[room])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo += reached.get(other, ())
        circling |= {room} & seen
    return circling


@pytest.fixture(scope="module")
def found():
    return steps()


def test_every_room_has_a_floor(found):
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")}
    assert rooms <= set(FLOOR), f"{rooms - set(FLOOR)}: give them a floor in ARCHITECTURE.md and here"


def test_a_room_imports_only_from_below(found):
    """But for the registry, which walks the instruments by name."""
    assert upward(found) == ["registry.py (floor 4) imports instruments (floor 6)"]


def test_no_room_reaches_itself_through_others(found):
    assert not in_circles([step for step in found if step[0] != "registry.py"])


def files_in_circles(found: list[tuple[str, str, str]]) -> set[str]:
    """Files that reach themselves through others, by their path without `.py`."""
    named = [(file, file.removesuffix(".py").removesuffix("/__init__"), to.replace(".", "/")) for file, _, to in found]
    return in_circles([step for step in named if step[1] != step[2]])


def test_few_files_reach_themselves_and_the_text_names_them(found):
    """None at load time: in each circle one import stands inside a function."""
    circling = files_in_circles(found)
    assert circling == {
        "cli", "cli/command", "data/anything", "data/files", "data/named", "reading/reading", "reading/store",
    }  # fmt: skip
    told = (SOURCE.parent.parent / "ARCHITECTURE.md").read_text().split("Inside rooms three pairs")[1].split("## ")[0]
    assert all(f"{name.split('/')[-1]}" in told for name in circling)
    assert files_in_circles([("a/b.py", "a", "c.d"), ("c/d.py", "c", "a.b"), ("e.py", "", "c.d")]) == {"a/b", "c/d"}


def test_a_step_up_and_a_circle_are_seen():
    assert upward([("network/a.py", "network", "geometry.b")]) and not upward(
        [("geometry/a.py", "geometry", "network")]
    )
    assert in_circles([("", "a", "b"), ("", "b", "c"), ("", "c", "b")]) == {"b", "c"}


def test_imports_inside_functions_are_seen():
    text = "if TYPE_CHECKING:\n    from cutaway.a import x\ndef f():\n    from cutaway.b import y\n    import cutaway.c.d\n"
    assert list(imports(ast.parse(text))) == ["b", "c.d"]
    assert list(imports(ast.parse("importlib.import_module('cutaway.a.b').x"))) == ["a.b"]


def test_every_file_that_the_journeys_pass_is_there():
    text = (SOURCE.parent.parent / "ARCHITECTURE.md").read_text().split("## Four journeys")[1].split("## Decisions")[0]
    named = re.findall(r"`([\w/]+\.py)`", text)
    files = ["/" + path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")] + ["/tools/house_counts.py"]
    assert len(named) > 30
    assert not [name for name in named if not any(file.endswith(f"/{name}") for file in files)]


def test_public_names():
    assert cutaway.__all__ == [
        "CutawayError", "Figure", "Instrument", "Network", "Reading", "Status", "load_data", "load_model", "scan",
    ]  # fmt: skip
    for name in cutaway.__all__:
        assert getattr(cutaway, name) is not None


def lines_of_room(room: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in room.rglob("*.py"))


def test_geometry_is_held_to_its_size(tmp_path):
    """The largest room of mathematics: what grows it belongs into a room of its own, or replaces something."""
    assert lines_of_room(SOURCE / "geometry") < MOST_LINES_OF_GEOMETRY
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "long.py").write_text("x = 1\n" * 7)
    assert lines_of_room(tmp_path) == 7


MOST_PLACES_THAT_COUNT_PASSES = 17


def counted_by_hand(source: Path = SOURCE) -> tuple[list[str], list[str]]:
    """Lines above `network/` that count passes, and lines anywhere that write a count without `Passes.count`."""
    calls, writes = [], []
    for path in sorted(source.rglob("*.py")):
        file = path.relative_to(source).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\bpasses\.count\(", line) and not file.startswith("network/"):
                calls.append(f"{file}:{number}")
            by_hand = re.search(r"(passes\.(forward|backward)|(forward|backward)_passes) *[-+]=", line)
            if by_hand and file != "network/passes.py":
                writes.append(f"{file}:{number}")
    return calls, writes


def test_passes_are_counted_by_whoever_makes_them(tmp_path):
    """`Network.forward`, `Parameters.rows` and `Sample.passes` count; few others need to, and no instrument's own."""
    calls, writes = counted_by_hand()
    assert not writes
    assert len(calls) <= MOST_PLACES_THAT_COUNT_PASSES, calls
    assert not [c for c in calls if c.startswith("instruments/")]
    (tmp_path / "a.py").write_text("network.passes.count(3)\nnetwork.forward_passes += 3\n")
    assert counted_by_hand(tmp_path) == (["a.py:1"], ["a.py:2"])


def test_scan_is_a_function_however_it_is_imported():
    import importlib

    importlib.import_module("cutaway.scanning")
    from cutaway import scan

    assert callable(scan) and callable(cutaway.scan)
    files = {path.stem for path in SOURCE.glob("*.py")}
    assert not files & set(cutaway.__all__), "a file would shadow a public function once it is imported"


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
