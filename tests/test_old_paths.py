"""Old import paths: every public one of the versions before still answers for a release, and warns where it has moved.

`old_public_paths.txt` is frozen: `tools/public_paths.py` made it from the commits before the rooms were built and
before the last moves (`e8bd0f9`, `914baad`, `5af5f12`), and says what public means. A name that moves gets an entry in
`cutaway/_moved_table.py`; one that is forgotten fails here.
"""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import cutaway
from cutaway import _facade, _moved
from cutaway._moved_table import GONE, MOVED, NAMES

LIST = Path(__file__).with_name("old_public_paths.txt")
OLD = {module: names for module, *names in map(str.split, LIST.read_text().splitlines())}
NO_WARNING = "no entry in _moved_table: it answers by an import of that module alone"


@pytest.fixture(autouse=True)
def without_old_modules():
    """Old modules that are imported here do not hide the functions of their names from other tests."""
    yield
    for old in MOVED:
        sys.modules.pop(old, None)
        package, _, name = old.rpartition(".")
        if isinstance(vars(sys.modules.get(package, cutaway)).get(name), _moved._Called):
            delattr(sys.modules[package], name)


def problem(module: str, name: str = "") -> str:
    """What is wrong with an old path; nothing for one that answers as it should."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            home = importlib.import_module(module)
            found = getattr(home, name) if name else home
        except ImportError as error:
            return str(error)
        except AttributeError as error:
            return "" if f"{module}:{name}" in GONE and "is gone; " in str(told[-1].message) else str(error)
    if any(one.category is DeprecationWarning and "goes with the next release" in str(one.message) for one in told):
        return ""
    if not name or module in _facade.homes or getattr(found, "__module__", module) == module:
        return "" if module not in MOVED or name else f"{module} answers without a warning"
    return "" if module in MOVED or f"{module}:{name}" in NAMES else NO_WARNING


def test_every_old_public_path_answers_and_warns_where_it_has_moved():
    wrong = {}
    for module, names in OLD.items():
        sys.modules.pop(module if module in MOVED else "", None)
        for name in ("", *names):
            if said := problem(module, name):
                wrong[f"{module}:{name}"] = said
    assert not wrong
    assert sum(map(len, OLD.values())) > 2000


def test_a_path_that_was_forgotten_is_seen(monkeypatch):
    assert "no attribute" in problem("cutaway.robustness.attacks.ball", "Forgotten")
    assert "No module" in problem("cutaway.geometry.forgotten")
    assert not problem("cutaway.data.files", "load_image_folder")
    monkeypatch.delitem(NAMES, "cutaway.data.files:load_image_folder")
    assert problem("cutaway.data.files", "load_image_folder") == NO_WARNING
    assert not problem("cutaway.robustness.attacks.ball", "Ball")
    monkeypatch.delitem(NAMES, "cutaway.robustness.attacks.ball:Ball")
    assert "no attribute 'Ball'" in problem("cutaway.robustness.attacks.ball", "Ball")


def test_no_old_path_is_a_place_of_today():
    for old in MOVED:
        assert not list(
            Path(_moved.__file__).parent.joinpath(*old.split(".")[1:-1]).glob(f"{old.split('.')[-1]}.py")
        ), old
    for old in (*NAMES, *GONE):
        module, _, name = old.partition(":")
        assert name not in _facade.homes.get(module, ()), old


def test_a_module_that_stays_answers_for_its_old_names_alone():
    from cutaway.robustness.attacks import ball

    with pytest.warns(DeprecationWarning, match=r"Ball is now PerturbationBall in cutaway.robustness.attacks.ball"):
        assert ball.Ball is ball.PerturbationBall
    assert not hasattr(ball, "NeverThere")
    assert ball.__spec__.loader.get_source(ball.__name__).startswith('"""')


def test_a_script_is_told_its_own_line(tmp_path):
    """Python shows a warning of this kind only where it points into the script itself."""
    script = tmp_path / "script.py"
    script.write_text("import cutaway.geometry.rational\nfrom cutaway.data.named import load\n")
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stderr
    assert "script.py:1: DeprecationWarning: cutaway.geometry.rational is now" in told
    assert "script.py:2: DeprecationWarning: load is now load_data" in told


def test_a_name_without_an_heir_says_what_to_do_instead():
    from cutaway.training import journal

    with (
        pytest.warns(DeprecationWarning, match="call `read_blocks` again"),
        pytest.raises(AttributeError, match=r"training.journal.follow_blocks is gone; nothing used it"),
    ):
        journal.follow_blocks


def test_old_paths_of_moved_modules_warn_and_give_the_same_names():
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
    for old, home in NAMES.items():
        (module, _, name), (where, _, new) = old.partition(":"), home.partition(":")
        if f"{module}.{name}" in MOVED:  # an old module of that name, which is called as the function
            vars(importlib.import_module(module)).pop(name, None)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            holder = importlib.import_module(module)
            found = getattr(holder, name)
        said = [str(one.message) for one in told if f"{name} is now " in str(one.message)]
        if name not in vars(holder):  # else the module imports it itself, and nothing needs to be said yet
            assert f"{new} in " in said[-1] and f"in {where or module};" in said[-1]
        assert found is getattr(importlib.import_module(where or module), new or name)


@pytest.mark.filterwarnings("ignore:.*the old path goes.*:DeprecationWarning")
def test_a_name_that_never_was_there_is_no_attribute():
    for module in {old.partition(":")[0] for old in NAMES}:
        assert not hasattr(importlib.import_module(module), "NeverThere")
