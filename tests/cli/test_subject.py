"""Rows as the model reads them: whole numbers of an array are tokens for a language model, and a table for others."""

import json

import numpy as np
import pandas as pd
import pytest

from cutaway import cli
from cutaway.cli.subject import Subject
from cutaway.errors import InputError

NETS = """
import torch
from torch import nn

def language():
    return nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9)).eval()

def table():
    return nn.Linear(6, 3).eval()

class Mixed(nn.Module):
    \"\"\"Looks its first column up by itself.\"\"\"

    def __init__(self):
        super().__init__()
        self.look, self.out = nn.Embedding(9, 4), nn.Linear(9, 3)

    def forward(self, rows):
        return self.out(torch.cat([self.look(rows[:, 0].long()), rows[:, 1:]], dim=1))

def mixed():
    return Mixed().eval()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    rows = np.random.default_rng(0).integers(0, 9, (12, 6))
    np.savez("rows.npz", x=rows)
    np.save("rows.npy", rows)
    np.savez("halves.npz", x=rows + 0.5)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("file", ["rows.npz", "rows.npy"])
@pytest.mark.parametrize(("model", "tokens"), [("language", True), ("table", False), ("mixed", False)])
def test_whole_numbers_are_tokens_for_a_model_that_reads_no_other(file, model, tokens):
    network, data = Subject(model=f"nets.py:{model}", data=file).open()
    assert data.inputs.is_floating_point() is not tokens
    assert np.array_equal(data.inputs.numpy(), np.load("rows.npy"))
    assert not tokens or not data.note  # nothing of a range that an image would have
    assert network.outputs(data.inputs).shape[0] == 12


@pytest.mark.usefixtures("folder")
def test_a_language_model_is_measured_on_an_array_of_tokens_and_refuses_halves(capsys):
    assert cli.run(["measure", "authorship", "nets.py:language", "--data", "rows.npz", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {r["name"] for r in told["readings"]} >= {"deviation", "rejected"}
    assert cli.run(["measure", "authorship", "nets.py:language", "--data", "halves.npz"]) == 2
    assert "expected token ids (n, length), int64" in capsys.readouterr().err


def test_texts_are_cut_as_told_and_must_survive_their_tokens_where_they_are_judged(
    real_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model = str(real_data / "stories260k")
    pd.DataFrame({"text": ["once upon a time there was a little cat and a dog " * 2] * 6 + ["no"]}).to_csv("t.csv")
    _, data = Subject(model=model, data="t.csv", tokens=20).open(exact=True)
    assert data.inputs.shape == (6, 20) and "1 of 7 texts shorter than 20 tokens" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"option --tokens; found 1; expected at least 2"):
        Subject(model=model, data="t.csv", tokens=1).open()
    small = Subject(model=model, data="t.csv", tokens=20)
    loaded = small.loaded()
    loaded.tokenizer.decode = lambda tokens, **_: "another text"
    monkeypatch.setattr("cutaway.network.sources.load_model", lambda *_, **__: loaded)
    assert len(small.open()[1]) == 6
    assert cli.run(["measure", "authorship", model, "--data", "t.csv", "--tokens", "20"]) == 2
    assert "row 0 of text set 't'; found a text whose tokens say another" in capsys.readouterr().err
