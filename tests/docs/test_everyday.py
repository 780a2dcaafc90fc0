"""Every line of the table of everyday tasks runs: those of the first network's page there, the others here, on less."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import cutaway
from cutaway.cli import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "everyday.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\|[^|]+\| `([^`]+)` \|$", PAGE, flags=re.MULTILINE)
FIRST = (ROOT / "docs" / "first_network.md").read_text(encoding="utf-8")
ELSEWHERE = [line for line in LINES if f"$ {line}" in FIRST]


def test_there_are_ten_and_four_are_those_of_the_first_network():
    assert len(LINES) == 10 and [line.split()[1] for line in ELSEWHERE] == ["scan", "measure", "certify", "slice"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the page names, with two runs of one instrument."""
    monkeypatch.chdir(tmp_path)
    nets = re.search(r"^```python nets.py\n(.*?)^```$", FIRST, flags=re.MULTILINE | re.DOTALL)
    Path("nets.py").write_text(nets[1].replace("epochs: int = 30", "epochs: int = 2"))
    exec(compile(nets[1].replace("epochs: int = 30", "epochs: int = 2"), "nets.py", "exec"), {"__name__": "__main__"})
    recipe = (ROOT / "examples" / "digits.toml").read_text()
    assert "steps = 400" in recipe and "points = 6" in recipe
    Path("digits.toml").write_text(recipe.replace("steps = 400", "steps = 12").replace("points = 6", "points = 2"))
    scan = ["scan", "nets.py:make", "--data", "digits", "--num", "40", "--nulls", "0", "--only", "accuracy", "--out"]
    assert run([*scan, "runs/first"]) == run([*scan, "runs/new"]) == 0
    return tmp_path


def test_every_other_line_runs(folder, capsys):
    for line in LINES:
        if line in ELSEWHERE:
            continue
        if line.startswith("cutaway."):
            model, images = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)), torch.rand(30, 1, 4, 4)
            cut = line.replace("labels))", "labels), nulls=0)")
            exec(cut, {"cutaway": cutaway, "model": model, "images": images, "labels": torch.arange(30) % 3})
            assert (folder / "report.html").is_file()
            continue
        words = shlex.split(line.replace("--num 200", "--num 40"))[1:]
        assert run(words) == 0, (line, capsys.readouterr().err)
