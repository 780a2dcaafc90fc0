"""`cutaway audit answers`: planted agreement, its null, words that say what it is not, bad tables."""

import json

import numpy as np
import pandas as pd
import pytest

from cutaway import cli
from cutaway.audits import AnswerAudit


def audit(capsys, *arguments):
    code = cli.run(["audit", "answers", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def vectors(spread, seed=0, prompts=12, count=6, dimension=20):
    """Directions of prompts, and answers round them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((prompts, 1, dimension))
    rows = centres * (spread < 5) + spread * rng.standard_normal((prompts, count, dimension))
    return rows.reshape(-1, dimension), np.repeat([f"p{k}" for k in range(prompts)], count)


def test_answers_that_agree_are_told_from_shuffled_ones():
    found = AnswerAudit(draws=39)
    close = found.measure(*vectors(0.5))
    assert found.verdict(close) == "agree"
    assert close.figure("isotropy").value < close.figure("isotropy").null_median
    assert (close.values["prompt_percentile"].values < 5).all()
    assert "agreement, not truth" in " ".join(found.describe(close))
    assert found.verdict(found.measure(*vectors(9.0))) == "scattered"
    rows, prompts = vectors(0.5)
    assert found.verdict(found.measure(rows[:6], prompts[:6])) == "unknown"  # nothing to compare with
    same = np.repeat(rows[::6], 6, axis=0)
    greedy = found.measure(same, prompts)
    assert (found.verdict(greedy), greedy.status.value) == ("unknown", "unknown")
    assert "temperature" in found.describe(greedy)[0]


def test_p_values_of_answers_without_a_prompt_are_uniform():
    """At most .05 in 9 of 80 audits is passed once in 50 runs; percentiles lie in the middle."""
    small, places = 0, []
    for seed in range(80):
        reading = AnswerAudit(draws=39).measure(*vectors(9.0, seed=seed, prompts=5, count=4), seed=seed)
        small += reading.figure("isotropy").p_value <= 0.05
        places += reading.values["prompt_percentile"].values.tolist()
    assert small <= 9
    assert 44 < np.mean(places) < 56


def test_the_command_on_texts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), []
    for city in range(14):
        knows = city / 14
        for _ in range(8):
            good = rng.random(3) < knows
            words = [f"w{city}-{k}" if g else f"x{rng.integers(30)}" for k, g in enumerate(good)]
            rows.append({"prompt": f"city {city}", "answer": " ".join(words), "right": bool(good.all())})
    pd.DataFrame(rows).to_csv("answers.csv", index=False)
    code, found = audit(capsys, "answers.csv", "--out", "run")
    assert (code, found["verdict"]) == (0, "agree")
    figures = {r["name"]: r for r in found["readings"]}
    assert figures["correlation"]["value"] < -0.6 and figures["correlation"]["p_value"] <= 0.01
    assert figures["isotropy"]["low"] < figures["isotropy"]["value"] < figures["isotropy"]["null_median"]
    assert len(found["prompts"]) == 14 and {"isotropy", "isotropy_low", "percentile"} <= set(found["prompts"][0])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "agreement, not truth" in page and "the same answers dealt anew to the prompts" in page


def test_the_command_with_a_language_model(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts = ["the dog ran", "the dog ran away", "a dog was running", "the sun is red", "red sun", "the sun is so red"]
    pd.DataFrame({"question": ["a"] * 3 + ["b"] * 3, "text": texts}).to_parquet("t.parquet")
    code, found = audit(capsys, "t.parquet", "--embed", f"hf:{real_data / 'stories260k'}")
    assert code == 0 and found["verdict"] in ("agree", "scattered")


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("prompt,answer\na,x\na,\nb,y\nb,z\n", [], "row 1"),
        ("prompt,answer\na,x\na,  \nb,y\nb,z\n", [], "empty answer"),
        ("prompt,answer\na,x\na,y\nb,z\n", [], "prompt 'b'; found one answer"),
        ("prompt,answer\na,x\na,!!\n", [], "no word"),
        ("prompt,reply\na,x\na,y\n", [], "--answer"),
        ("prompt,answer\na,x\na,y\n", ["--embed", "bert"], "hf:FOLDER"),
        ("prompt,answer\na,x\na,y\n", ["--embed", "hf:./nowhere"], "nowhere"),
        ("prompt,answer,right\na,x,1\na,y,maybe\n", [], "'maybe'"),
    ],
)
def test_bad_tables(text, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    code, found = audit(capsys, "t.csv", *arguments)
    assert code == 2 and words in found["error"], found
    assert not (tmp_path / "runs").exists()
