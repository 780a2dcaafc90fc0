"""`cutaway audit tuning`: the bound by numbers alone, a planted gain and none, bad tables."""

import json

import numpy as np
import pandas as pd
import pytest

from cutaway import cli
from cutaway.audits import TuningAudit
from cutaway.evidence import comparison_bound


def audit(capsys, *arguments):
    code = cli.run(["audit", "tuning", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def candidates(shares, rows, classes=4, seed=0):
    """Labels, and answers that are right with these shares."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    wrong = (labels[:, None] + rng.integers(1, classes, (rows, len(shares)))) % classes
    return labels, np.where(rng.random((rows, len(shares))) < shares, labels[:, None], wrong)


def test_numbers_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, found = audit(capsys, "--rounds", "150", "--rows", "7473", "--score", "0.81", "--out", "run")
    figures = {r["name"]: r for r in found["readings"]}
    assert (code, found["verdict"]) == (0, "bounded")
    assert round(figures["bound"]["value"], 3) == 0.085 and figures["bound"]["status"] == "bound"
    assert figures["score"]["low"] == pytest.approx(0.81 - comparison_bound(150, 2, 7473))
    assert "off by 0.085" in (tmp_path / "run" / "report.html").read_text()
    assert audit(capsys, "--rounds", "150", "--rows", "50")[1]["verdict"] == "vacuous"
    assert audit(capsys, "--rounds", "150", "--rows", "900", "--score", "0.2")[1]["verdict"] == "vacuous"
    ties = audit(capsys, "--rounds", "150", "--rows", "7473", "--ways", "3")[1]
    assert {r["name"]: r for r in ties["readings"]}["bound"]["value"] == comparison_bound(150, 3, 7473)


def test_a_gain_is_told_from_that_of_the_search(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labels, answers = candidates(np.linspace(0.4, 0.8, 10), 1500)
    table = pd.DataFrame(answers, columns=[f"try {k}" for k in range(10)]).assign(label=labels)
    table.to_csv("tried.csv", index=False)
    code, found = audit(capsys, "tried.csv")
    figures = {r["name"]: r for r in found["readings"]}
    assert (code, found["verdict"]) == (0, "improved")
    assert figures["gain"]["p_value"] == 0.005 and figures["gain"]["low"] > 0
    assert figures["rounds"]["value"] == 9
    assert audit(capsys, "tried.csv", "--rounds", "900")[1]["verdict"] == "unknown"  # that many were made in truth


def test_a_search_among_guesses_gains_and_is_not_believed():
    """Gains of fifty candidates that guess, beside the same on permuted labels: at most .05 in 7 of 60 once in 50."""
    small, gains = 0, []
    for seed in range(60):
        labels, answers = candidates(np.full(50, 0.25), 200, seed=seed)
        reading = TuningAudit(draws=39).measure(answers, labels, seed=seed)
        gain = reading.figure("gain")
        small, gains = small + (gain.p_value <= 0.05), [*gains, gain.value]
        assert TuningAudit().verdict(reading) != "improved"
    assert small <= 7
    assert np.mean(gains) > 0.04  # search alone gives some


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (None, ["--rounds", "3"], "--rounds and --rows"),
        (None, ["--rounds", "3", "--rows", "9", "--score", "81"], "share in [0, 1]"),
        (None, ["--rounds", "-1", "--rows", "9"], "rounds at least 0"),
        (None, ["--rounds", "3", "--rows", "9", "--delta", "2"], "delta"),
        (None, ["--rounds", "3", "--rows", "9", "--ways", "1"], "ways"),
        ("label,a,b\n1,1,1\n0,1,0\n", ["--rounds", "0"], "0 for 2 candidates"),
        ("label,a,b\n1,1,1\n0,1,0\n", ["--rows", "5"], "beside a table"),
        ("label,a\n1,1\n0,1\n", [], "at least two of candidates"),
        ("label,a,b\n1,,1\n0,1,0\n", [], "row 0"),
        ("good,a,b\n1,1,1\n", [], "--truth"),
    ],
)
def test_bad_input(text, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
        arguments = ["t.csv", *arguments]
    code, found = audit(capsys, *arguments)
    assert code == 2 and words in found["error"], found
    assert not (tmp_path / "runs").exists()
