"""CONTRIBUTING's recipe as it stands there: one file makes an instrument of ours."""

import importlib
import json
from pathlib import Path

import pytest

import cutaway.instruments
from cutaway import registry
from cutaway.scanning import default_instruments
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_data

RECIPE = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def with_depth(tmp_path, monkeypatch):
    """The recipe's file in a room of a folder that is walked beside ours."""
    code = RECIPE.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "outline").mkdir()
    (tmp_path / "outline" / "depth.py").write_text(code)
    monkeypatch.setattr(cutaway.instruments, "__path__", [*cutaway.instruments.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    cached = (registry.homes, registry._foreign, registry.names, registry.instrument)
    for function in cached:
        function.cache_clear()
    yield code
    monkeypatch.undo()
    for function in cached:
        function.cache_clear()


def test_the_one_file_is_listed_scanned_with_and_keeps_the_contract(with_depth, capsys):
    from cutaway.cli import run

    assert len(with_depth.splitlines()) < 60
    assert run(["instruments", "--json"]) == 0
    assert "depth" in [row["name"] for row in json.loads(capsys.readouterr().out)["instruments"]]
    assert "depth" in [instrument.name for instrument in default_instruments(small_data())]
    reading = check_instrument(registry.instrument("depth")())
    assert reading.figure("depth").value == 2


def test_without_the_file_there_is_no_such_instrument():
    assert "depth" not in registry.names()
