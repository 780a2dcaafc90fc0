"""Provenance: an exact null, a trace that is seen, orders that are refused, the command on a tracked run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from cutaway.cli import run
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.text.provenance import (
    check_random_order,
    last_positions,
    provenance_test,
    row_losses,
    text_losses,
    told_losses,
)
from cutaway.text.scoring import score_tokens
from cutaway.training import open_training
from cutaway.training.fit import fit, rows_of_run


def test_the_last_visit_counts():
    rows, at = last_positions([(0, np.array([4, 1])), (1, np.array([7])), (2, np.array([1, 4]))])
    assert rows.tolist() == [1, 4, 7] and at.tolist() == [3, 4, 2]
    with pytest.raises(InputError, match="order log; found no rows"):
        last_positions([])


def test_p_is_uniform_for_strangers_and_small_for_the_owner():
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, size=200)
    p = [provenance_test(rng.permutation(200), hard, draws=99, seed=k).p_value for k in range(80)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    order = rng.permutation(200)
    trace = hard - 0.002 * order + 0.1 * rng.normal(size=200)
    alone, beside = provenance_test(order, trace, draws=999), provenance_test(order, trace, hard, draws=999)
    assert beside.p_value == 0.001 and beside.p_approximate < 1e-10 < alone.p_approximate
    assert provenance_test(order, -trace, draws=99).p_value > 0.5  # the trace of an owner is negative


def test_the_statistic_is_spearmans():
    rng = np.random.default_rng(1)
    order, loss = rng.permutation(80), rng.normal(size=80).round(1)  # with ties
    rho, p = stats.spearmanr(order, loss, alternative="less")
    found = provenance_test(order, loss, draws=9)
    assert (found.statistic, found.p_approximate) == pytest.approx((rho, p))


def test_orders_that_are_not_random_are_refused():
    rows = np.arange(400)
    check_random_order(rows, np.random.default_rng(0).permutation(400))
    shards = np.concatenate([np.arange(k, k + 20) for k in np.random.default_rng(0).permutation(20) * 20])
    for trail in (rows, rows[::-1], shards):
        with pytest.raises(InputError, match="not drawn at random"):
            check_random_order(rows, np.argsort(trail))
    with pytest.raises(InputError, match="1 not finite"):
        provenance_test(rows, np.where(rows == 3, np.nan, 0.0))
    with pytest.raises(InputError, match="at least 50 rows"):
        provenance_test(np.arange(9), np.zeros(9))


@pytest.fixture
def tracked(tmp_path):
    """A one-pass training at a high rate, which remembers its last rows; its network as a file, its data."""
    from safetensors.torch import save_file

    from cutaway.data import Dataset
    from cutaway.instruments import Accuracy
    from cutaway.training import LogSpaced, Tracker

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((300, 30), generator=generator), torch.randint(0, 2, (300,), generator=generator)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "n.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(30, 2)\n")
    model = nn.Linear(30, 2)
    optimiser = torch.optim.SGD(model.parameters(), 0.2)
    few = Dataset(name="few", inputs=x[:8], labels=y[:8], num_classes=2)
    with Tracker([Accuracy()], LogSpaced(150), tmp_path / "run", data=few) as tracker:
        for step, rows in enumerate(torch.randperm(300, generator=generator).split(2)):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            tracker.step(model, step, examples=rows)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path


def test_losses_of_a_table_are_those_of_a_network(tmp_path):
    (tmp_path / "t.csv").write_text("row,loss\n7,0.5\n2,1.5\n")
    found = told_losses(tmp_path / "t.csv", np.array([2, 5, 7]))
    assert found[[0, 2]].tolist() == [1.5, 0.5] and np.isnan(found[1])
    for text, says in (
        ("row,loss\n7,1\n7,2\n", "told twice"),
        ("loss\nnan\n", "finite number"),
        ("row,loss\n-1,1\n", "found row -1"),
        ("row,loss\n0.5,1\n", "found row 0.5"),
        ("row,loss\n1e300,1\n", r"found row 1e\+300"),
        ("x\n1\n", "columns x"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(InputError, match=says):
            told_losses(tmp_path / "t.csv", np.array([0]))


def test_the_command_on_a_tracked_run(tracked, capsys):
    base = ["provenance", str(tracked / "run"), f"{tracked}/n.py:make", "--data", str(tracked / "d.npz"), "--json"]
    assert run([*base, "--weights", str(tracked / "w.safetensors")]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["statistic"] < 0 and own["p_value"] < 0.01 and own["rows"] == 300 and own["status"] == "estimate"
    assert run(base) == 0  # a fresh network
    assert json.loads(capsys.readouterr().out)["p_value"] > 0.01
    losses = np.random.default_rng(0).normal(size=300)
    (tracked / "l.csv").write_text("row,log_probability\n" + "".join(f"{k},{-losses[k]}\n" for k in range(299, 40, -1)))
    (tracked / "r.csv").write_text("loss\n" + "".join(f"{loss + 0.001 * k}\n" for k, loss in enumerate(losses)))
    assert run([*base[:2], f"{tracked}/l.csv", "--reference", f"{tracked}/r.csv", "--json"]) == 0  # behind an API
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 259 and abs(told["statistic"]) < 0.2
    (tracked / "s.csv").write_text("loss\n1\n2\n")
    assert run([*base[:2], f"{tracked}/s.csv"]) == 2
    assert "2 rows; expected a loss for each training row, 0 to 299" in capsys.readouterr().err
    assert run([*base[:3]]) == 2 and "no --data" in capsys.readouterr().err
    np.savez(tracked / "few.npz", x=np.zeros((9, 30), dtype=np.float32), y=np.zeros(9, dtype=int))
    assert run([*base[:4], str(tracked / "few.npz")]) == 2
    assert "9 rows; expected at least 300" in capsys.readouterr().err


RECIPE = """
name = "mine"
[data]
name = "d.npz"
validation = 0.2
[model]
name = "mlp"
[training]
steps = 20
batch = 8
"""


def test_the_rows_of_a_fitted_run_are_those_of_its_recipe(tracked, monkeypatch, capsys):
    """Rows held out for validation and a subset number the rest anew: the rows of the file would be other rows."""
    monkeypatch.chdir(tracked)
    (tracked / "mine.toml").write_text(RECIPE)
    ready = fit("mine.toml", "fitted")
    rows, own = rows_of_run("fitted"), np.load("d.npz")["x"]
    assert rows is not None and len(rows) == 240 and not np.array_equal(rows.inputs[:9].numpy(), own[:9])
    assert rows_of_run("run") is None
    last = str(ready.checkpoints[-1])
    assert run(["provenance", "fitted", last, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    positions = last_positions(open_training("fitted").order())
    losses = row_losses(Network(load_model(last).model, rows.inputs[:2]), rows.subset(positions[0]))
    wanted = provenance_test(positions[1], losses)
    assert told["statistic"] == pytest.approx(wanted.statistic, abs=1e-6) and told["rows"] == 160
    assert run(["provenance", "fitted", last, "--data", "d.npz"]) == 2
    assert "300 rows that are not the 240 of the run" in capsys.readouterr().err
    (tracked / "d.npz").rename(tracked / "moved.npz")
    assert run(["provenance", "fitted", last]) == 2 and "no such file" in capsys.readouterr().err
    assert run(["provenance", "fitted", last, "--data", "moved.npz"]) == 0  # where its recipe finds none, these count


class Spelling:
    """A tokenizer of letters."""

    bos_token_id = 0

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [1 + ord(letter) % 11 for letter in text]}


def test_texts_of_any_length_have_a_loss_and_keep_their_numbers():
    torch.manual_seed(0)
    network = Network(
        nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12)).eval(), torch.zeros((2, 4), dtype=torch.int64)
    )
    texts = ["once", "", "a cat", "twin", "x" * 90]
    found = text_losses(network, texts, Spelling(), length=64)
    assert np.isnan(found[1]) and np.isfinite(np.delete(found, 1)).all()
    for row in (0, 2, 3, 4):
        tokens = torch.tensor([[0, *Spelling()(texts[row], add_special_tokens=False)["input_ids"][:64]]])
        alone = -score_tokens(network, tokens).log_probability.mean()
        assert found[row] == pytest.approx(alone, abs=1e-12)


def test_the_command_reads_texts_in_their_own_numbers(real_data, tmp_path, monkeypatch, capsys):
    from cutaway.data import Dataset
    from cutaway.training import LogSpaced, Tracker

    monkeypatch.chdir(tmp_path)
    texts = pd.read_parquet(real_data / "text" / "alpaca_instructions.parquet").text[:90].tolist()
    pd.DataFrame({"text": texts}).to_parquet("texts.parquet")
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    with Tracker([], LogSpaced(9), "run", data=Dataset(name="few", inputs=torch.zeros(2, 3))) as tracker:
        for step, rows in enumerate(order.split(10)):
            tracker.step(nn.Linear(3, 2), step, examples=rows)
    assert run(["provenance", "run", str(real_data / "stories260k"), "--data", "texts.parquet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 90 and told["p_value"] > 0.01  # short ones too
    pd.DataFrame({"text": texts[:60]}).to_parquet("few.parquet")
    assert run(["provenance", "run", str(real_data / "stories260k"), "--data", "few.parquet"]) == 2
    assert "60 rows; expected at least 90" in capsys.readouterr().err
