"""`cutaway audit generations`: which form a planted table follows, when it cannot be told, bad tables."""

import json

import numpy as np
import pandas as pd
import pytest

from cutaway import cli
from cutaway.audits import GenerationAudit

N = np.repeat(np.arange(8.0), 3)


def audit(capsys, *arguments):
    code = cli.run(["audit", "generations", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def told(errors, noise=0.01, seed=0, places=N, **options):
    found = GenerationAudit(draws=99)
    drawn = errors + noise * np.random.default_rng(seed).standard_normal(len(places))
    reading = found.measure(places, drawn, **options)
    return found.verdict(reading), reading


@pytest.mark.parametrize(
    ("errors", "noise", "verdict"),
    [
        (0.1 + 0.05 * N, 0.01, "linear"),
        (0.1 + 0.05 * N, 0.3, "unknown"),  # too noisy to tell
        (0.2 + 0.6 * (1 - 0.6**N), 0.01, "saturating"),
        (0.1 + 0.02 * N**2, 0.01, "power"),
        (0.3 + 0 * N, 0.01, "flat"),
        (0.3 + 0 * N, 0.3, "unknown"),
    ],
)
def test_the_form_that_was_planted_wins_or_none(errors, noise, verdict):
    assert told(errors, noise)[0] == verdict


def test_the_null_of_order():
    """p-values of tables without growth: at most .05 in 6 of 40 is passed once in 70 runs."""
    small = sum(told(0.3 + 0 * N, 0.1, seed=s)[1].figure("slope").p_value <= 0.05 for s in range(40))
    assert small <= 6
    grown = told(0.1 + 0.05 * N)[1].figure("slope")
    assert (grown.p_value, grown.low < 0.05 < grown.high) == (0.01, True)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = {"generation": N, "error": 0.1 + 0.05 * N + 0.01 * rng.standard_normal(24)}
    table["fresh"] = 0.1 + 0.01 * rng.standard_normal(24)
    pd.DataFrame(table).to_csv("errors.csv", index=False)
    code, found = audit(capsys, "errors.csv", "--out", "run")
    assert (code, found["verdict"], found["form"]) == (0, "linear", "linear")
    figures = {r["name"]: r for r in found["readings"]}
    assert figures["b"]["low"] < 0.05 < figures["b"]["high"]
    assert abs(figures["slope_fresh"]["value"]) < 0.002 < figures["slope"]["low"]
    assert "a + b n" in (tmp_path / "run" / "report.html").read_text()
    rows = np.logspace(2, 6, 15)
    errors = (0.02 + 3 * rows**-0.5) * np.exp(0.02 * rng.standard_normal(15))
    pd.DataFrame({"rows": rows.round(), "loss": errors}).to_parquet("curve.parquet")
    code, found = audit(capsys, "curve.parquet")
    assert (code, found["verdict"]) == (0, "floor")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("generation,error\n0,1\n1,2\n", "at least five"),
        ("generation,error\n0,1\n1,2\n2,x\n", "row 2"),
        ("generation,error\n0,1\n1,\n2,3\n", "finite number"),
        ("step,error\n0,1\n", "generation"),
        ("generation,value\n0,1\n", "--error"),
        ("rows,error\n0,1\n1,2\n2,3\n3,4\n4,5\n", "at least one row"),
    ],
)
def test_bad_tables(text, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    code, found = audit(capsys, "t.csv")
    assert code == 2 and words in found["error"], found
    assert not (tmp_path / "runs").exists()
