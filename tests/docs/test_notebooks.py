"""Every notebook runs from its first cell to its last, warns of nothing and shows pictures; what it claims of its
figures it asserts itself. The documentation shows the same execution (`docs/site/notebooks.py` keeps it)."""

import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "docs" / "site"
sys.path.insert(0, str(SITE))

import nbformat  # noqa: E402
import notebooks  # noqa: E402


def test_there_are_five():
    assert [path.stem[0] for path in notebooks.notebooks()] == list("12345")


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_notebook_runs(path):
    source = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in source.cells), "committed without output: clear it"
    book = nbformat.read(notebooks.executed(path), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert notebooks.complaints(book) == []
    assert notebooks.pictures(book) >= 1
    assert any("assert " in cell.source for cell in code), "a claim that can fail"


def test_a_cell_that_raises_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("notebooks.kept", lambda name, text, make, suffix: make(tmp_path / "out.ipynb"))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise ValueError('so')")])
    nbformat.write(book, tmp_path / "bad.ipynb")
    with pytest.raises(Exception, match="ValueError"):
        notebooks.executed(tmp_path / "bad.ipynb")
    assert not (tmp_path / "out.ipynb").exists()
