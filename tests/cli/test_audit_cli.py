"""`cutaway audit`: readings, a verdict, a page; and bad input."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway import cli

NETS = """
from torch import nn
def plain(): return nn.Sequential(nn.Linear(3, 2, bias=False))
def dropping(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10))
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def audit(capsys, *arguments):
    code = cli.run(["audit", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_groups_with_a_planted_shortcut(folder, capsys):
    """The network reads column 2, which is the class but for half of class 1 in group b."""
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 300), rng.integers(0, 2, 300)
    seen = np.where((labels == 1) & (groups == 1) & (rng.random(300) < 0.5), 0, labels)
    inputs = np.stack([labels * 0, groups * 0, seen], axis=1).astype(np.float32)
    np.savez(folder / "rows.npz", inputs=inputs, labels=labels, site=np.array(["a", "b"])[groups])
    weight = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    bias_free = nn.Sequential(nn.Linear(3, 2, bias=False))
    bias_free[0].weight.data = weight
    save_file(bias_free.state_dict(), folder / "w.safetensors")
    given = ["groups", "nets.py:plain", "--weights", "w.safetensors", "--data", "rows.npz"]
    code, found = audit(capsys, *given, "--groups", "site", "--nulls", "19", "--out", "run")
    assert (code, found["verdict"]) == (0, "worse-off")
    worst = next(r for r in found["readings"] if r["name"] == "worst_group_accuracy")
    assert worst["low"] < worst["value"] < 0.7
    assert "class 1, b" in (folder / "run" / "report.html").read_text()
    few = audit(capsys, *given, "--groups", "site", "--nulls", "5", "--out", "few")[1]
    assert few["verdict"] == "unknown"  # no rank among five reaches 5 %
    code, found = audit(capsys, *given)
    assert code == 2
    assert "--groups" in found["error"]


def test_variation_and_uncertainty_of_networks_on_digits(folder, capsys):
    code, found = audit(capsys, "variation", "nets.py:small", "--data", "digits", "--set", "versions=4", "--num", "40")
    assert code == 0
    assert found["verdict"] in ("moved", "steady", "unknown")
    assert (folder / found["report"]).is_file()
    given = ["--data", "digits", "--num", "10", "--set", "steps=2"]
    code, found = audit(capsys, "uncertainty", "nets.py:dropping", *given, "--set", "draws=2")
    assert code == 0
    assert found["verdict"] in ("attack-failed", "blind", "detects", "chance")
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    save_file(other.state_dict(), folder / "other.safetensors")
    code, found = audit(capsys, "uncertainty", "nets.py:small", "--members", "other.safetensors", *given)
    assert (code, found["network"]["name"]) == (0, "2 x small")
    code, found = audit(capsys, "uncertainty", "nets.py:small", *given, "--out", "one")
    assert found["verdict"] == "unknown"
    assert any("answers" in s["reason"] for s in found["coverage"]["skipped"])
    code, found = audit(capsys, "uncertainty", "nets.py:dropping", *given, "--set", "draws=0")
    assert code == 2
    assert "draws" in found["error"]


def test_distillation_writes_rows_that_are_data(folder, capsys):
    quick = ["--set", "distil_steps=3", "steps=5", "draws=2", "seeds=2"]
    given = ["distil", "nets.py:small", "--data", "digits", "--num", "200", *quick]
    code, found = audit(capsys, *given, "--per-class", "2", "--out", "run")
    assert code == 0
    page = (folder / "run" / "report.html").read_text()
    assert "Random weights" not in page and "No nulls were drawn" not in page  # they are not what is judged
    assert "stands beside them in the picture" in page
    assert found["verdict"] in ("beats-class-means", "beats-real-rows", "no-better")
    assert np.load(folder / found["distilled"])["labels"].tolist() == [c for c in range(10) for _ in range(2)]
    code = cli.run(["measure", "accuracy", "nets.py:small", "--data", found["distilled"]])
    assert code == 0
    capsys.readouterr()
    for wrong, words in (
        (["--method", "rat", "--radius", "0.1"], "knows no attack"),
        (["--per-class", "1000"], "too few to distil"),
    ):
        code, found = audit(capsys, *given, *wrong, "--out", f"run{len(words)}")
        assert found["verdict"] == "unknown"
        assert any(words in s["reason"] for s in found["coverage"]["skipped"])
    code, found = audit(capsys, *given, "--method", "kipp")
    assert code == 2
    assert "kip, rat, tm" in found["error"]


def test_a_network_that_is_wrong_on_everything_has_nothing_to_break(folder, capsys):
    inputs = torch.zeros(60, 1, 8, 8)
    np.savez(folder / "same.npz", inputs=inputs.numpy(), labels=np.full(60, 3))
    (folder / "nets.py").write_text(
        NETS
        + """
class Never3(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.layer = nn.Dropout(0.3), nn.Linear(64, 10)
    def forward(self, x):
        return self.layer(self.drop(x.flatten(1))) - 1e3 * torch.eye(10)[3]
""".replace("torch.eye", "__import__('torch').eye")
    )
    given = ["nets.py:Never3", "--data", "same.npz", "--set", "versions=3"]
    assert audit(capsys, "variation", *given)[1]["verdict"] == "unknown"
    given = ["nets.py:Never3", "--data", "same.npz", "--num", "10", "--set", "steps=2", "draws=2"]
    code, found = audit(capsys, "uncertainty", *given)
    assert (code, found["verdict"]) == (0, "unknown")


def test_a_question_that_does_not_apply_exits_with_2(folder, capsys):
    code, found = audit(capsys, "uncertainty", "nets.py:small", "--data", "digits", "--num", "10")
    assert (code, found["verdict"]) == (2, "unknown")


RECIPE = """
[data]
name = "digits"
num = 300
test = 20
[model]
name = "mlp"
width = 8
depth = 2
[training]
steps = 20
batch = 50
[tracker]
example_scores = true
"""


def test_pruning_by_a_recipe_and_by_the_table_of_its_run(folder, capsys):
    (folder / "small.toml").write_text(RECIPE)
    given = ["pruning", "small.toml", "--keep", "0.3", "--set", "seeds=2"]
    code, found = audit(capsys, *given, "--out", "own")
    assert (code, found["network"]["name"]) == (0, "networks of recipe run")
    assert found["verdict"] in ("helps", "hurts", "not-told-apart")
    assert "30% of the rows kept" in (folder / "own" / "report.html").read_text()
    assert cli.run(["fit", "small.toml", "--out", "run"]) == 0
    capsys.readouterr()
    given += ["--scores", "run/example_scores.csv", "--pruner", "el2n", "--others", "quotas"]
    code, found = audit(capsys, *given, "--out", "table")
    assert code == 0
    assert "rows_beyond_counts" in {r["name"] for r in found["readings"]}
    for wrong, words in (
        (["pruning", "small.toml", "--data", "digits"], "names its data"),
        (["pruning", "small.toml", "--keep", "1.5"], "below 1"),
        (["pruning", "small.toml", "--pruner", "eln2"], "Did you mean"),
        (["pruning", "nets.py:small", "--data", "digits", "--scores", "run/example_scores.csv"], "300 rows"),
    ):
        code, found = audit(capsys, *wrong)
        assert code == 2, wrong
        assert words in json.dumps(found), found
