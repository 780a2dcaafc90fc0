"""What a user may import: one shape of front, stubs that are up to date, names that are there and say what they are."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cutaway
from cutaway import _facade, _moved

SOURCE = Path(cutaway.__file__).parent
_spec = importlib.util.spec_from_file_location("write_stubs", SOURCE.parents[1] / "tools" / "write_stubs.py")
write_stubs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write_stubs)
STUBS = write_stubs.stubs()
FRONTS = dict(_facade.homes)
NAMES = [(package, name) for package, home in FRONTS.items() for name in home]


def test_every_package_has_a_front_or_nothing_but_words():
    for path in SOURCE.rglob("__init__.py"):
        package = ".".join(("cutaway", *path.parent.relative_to(SOURCE).parts))
        if package not in FRONTS and not package.startswith("cutaway.cli"):
            assert len(ast.parse(path.read_text()).body) == 1, f"{package} has code and no front"
        assert importlib.import_module(package).__doc__, f"{package} does not say what it is for"


def test_stubs_are_up_to_date():
    for path, text in STUBS.items():
        assert path.read_text() == text, f"{path}: run python tools/write_stubs.py"
    assert set(SOURCE.rglob("*.pyi")) == set(STUBS)


def test_a_front_lists_its_names_and_nothing_else():
    for package, home in FRONTS.items():
        module = importlib.import_module(package)
        assert dir(module) == module.__all__ == sorted(home)
        assert all(not name.startswith("_") for name in home)
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            _ = module.Nothing


def test_no_file_hides_a_public_name_once_it_is_imported():
    for package, home in FRONTS.items():
        folder = SOURCE.joinpath(*package.split(".")[1:])
        inside = {path.stem for path in folder.iterdir()}
        assert not inside & set(home), package


def test_every_public_name_is_there_and_says_what_it_is():
    silent = []
    for package, name in NAMES:
        home = FRONTS[package][name]
        found = getattr(importlib.import_module(package), name)
        if isinstance(found, _moved._Called):  # a test before imported an old module of the name
            found = getattr(importlib.import_module(home), name)
        assert getattr(found, "__module__", home) in (home, "builtins"), f"{package} does not name the home of {name}"
        said = found.__doc__ if inspect.isroutine(found) or isinstance(found, type) else _below(home, name)
        if not said or len(said) < 12 or said.startswith(f"{name}("):  # the last is what dataclass makes
            silent.append(f"{home}.{name}")
    assert not silent, "no docstring: " + ", ".join(silent)


def _below(module: str, name: str) -> str | None:
    """The string below the assignment of a constant."""
    body = ast.parse(Path(importlib.import_module(module).__file__).read_text()).body
    for node, following in zip(body, body[1:]):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(getattr(t, "id", None) == name for t in targets) and isinstance(following, ast.Expr):
            return ast.literal_eval(following.value)
    return None


def test_fronts_import_nothing_heavy():
    code = f"import sys, {', '.join(FRONTS)}; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.skipif(shutil.which("pyright") is None, reason="needs pyright")
def test_a_type_checker_sees_every_public_name(tmp_path):
    lines = []
    for k, (package, name) in enumerate(NAMES):
        lines += [f"from {package} import {name} as name_{k}", f"reveal_type(name_{k})"]
    (tmp_path / "all.py").write_text("\n".join(lines) + "\n")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(SOURCE.parent)]}))
    command = ["pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert not [d["message"] for d in told["generalDiagnostics"] if d["severity"] == "error"]
    seen = [re.search(r'is "(.*)"', d["message"], re.DOTALL)[1] for d in told["generalDiagnostics"]]
    assert len(seen) == len(NAMES)
    assert not [NAMES[k] for k, kind in enumerate(seen) if kind in ("Unknown", "Any") or kind.startswith("Module(")]
