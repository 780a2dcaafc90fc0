"""Every notebook runs from its first cell to its last, warns of nothing and shows pictures; what it claims of its
figures it asserts itself.

Here its cells run in this process, on less (`LESS`: fewer nulls, rows, steps); as it stands, in a kernel of its own, it
runs for the documentation and in the slow tests, which share the execution (`docs/site/notebooks.py` keeps it)."""

import ast
import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "docs" / "site"
sys.path.insert(0, str(SITE))

import nbformat  # noqa: E402
import notebooks  # noqa: E402

LESS = {
    "1_first_network": {
        "network(epochs=30)": "network(epochs=8)",
        "(test.inputs, test.labels))": "(test.inputs[:150], test.labels[:150]), nulls=2)",
    },
    "2_watch_a_training": {
        "STEPS = 600": "STEPS = 60",
        "num=1000": "num=300",
        "LogSpaced(STEPS, 12)": "LogSpaced(STEPS, 5)",
        "num_points=120": "num_points=40",
        "num_points=48, num_directions=8": "num_points=8, num_directions=4",
    },
    "3_certify_a_network": {"range(25)": "range(10)", "take(60, 0)": "take(20, 0)"},
    "4_a_guardrail": {"[:300]": "[:60]", "[:400]": "[:300]"},
    "5_features_a_network_learns": {
        "(100, 300, 1000)": "(100, 300)",
        "range(120)": "range(60)",
        "num_points=300": "num_points=100",
        "count=19": "count=2",
    },
}
books = pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda p: p.stem)
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")


def test_there_are_five():
    assert [path.stem[0] for path in notebooks.notebooks()] == list("12345") and len(LESS) == 5


@books
@quiet
def test_notebook_runs_on_less(path, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "committed without output: clear it"
    assert any("assert " in cell.source for cell in code), "a claim that can fail"
    missed, names, pictures = set(LESS[path.stem]), {"__name__": "__main__"}, 0
    for cell in code:
        for full, less in LESS[path.stem].items():
            if full in cell.source:
                cell.source = cell.source.replace(full, less)
                missed.discard(full)
        _run(cell.source, names, path.name)
        pictures += len(plt.get_fignums())
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")
    assert not missed and pictures >= 1


def _run(source, names, title):
    """One cell; a last line that is an expression is shown, as Jupyter would."""
    tree = ast.parse(source, title)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, title, "exec"), names)
    if shown is not None:
        value = eval(compile(ast.Expression(shown.value), title, "eval"), names)
        assert value is None or getattr(value, "_repr_html_", lambda: None)() or repr(value)


@pytest.mark.slow
@books
@quiet
def test_notebook_runs(path):
    book = nbformat.read(notebooks.executed(path), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert notebooks.complaints(book) == []
    assert notebooks.pictures(book) >= 1


def test_a_cell_that_raises_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("notebooks.kept", lambda name, text, make, suffix: make(tmp_path / "out.ipynb"))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise ValueError('so')")])
    nbformat.write(book, tmp_path / "bad.ipynb")
    with pytest.raises(Exception, match="ValueError"):
        notebooks.executed(tmp_path / "bad.ipynb")
    assert not (tmp_path / "out.ipynb").exists()
