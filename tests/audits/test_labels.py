"""`cutaway audit labels`: verdicts with a planted truth, the null, words, the page, bad tables."""

import json

import numpy as np
import pandas as pd
import pytest

from cutaway import cli
from cutaway.audits import LabelAudit
from cutaway.errors import InputError
from cutaway.reading import Reading


def audit(capsys, *arguments):
    code = cli.run(["audit", "labels", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def made(p, phi, psi, rows, *, spread=True, classes=10, seed=0):
    """Truth, labels and what a filter of these rates keeps."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    step = rng.integers(1, classes, rows) if spread else 1
    wrong = rng.random(rows) < p
    label = np.where(wrong, (truth + step) % classes, truth)
    return pd.DataFrame({"truth": truth, "label": label, "kept": rng.random(rows) < np.where(wrong, psi, phi)})


@pytest.mark.parametrize(
    ("p", "phi", "psi", "rows", "spread", "verdict"),
    [
        (0.3, 0.9, 0.2, 1500, True, "safe"),
        (0.72, 0.9, 0.45, 3000, True, "safe"),  # beyond the break-even of two classes, and no wrong label is common
        (0.72, 0.9, 0.45, 3000, False, "unsafe"),
        (0.3, 0.9, 0.2, 60, True, "unknown"),
    ],
)
def test_with_labels_and_truth_the_commonest_wrong_label_decides(p, phi, psi, rows, spread, verdict):
    table = made(p, phi, psi, rows, spread=spread)
    found = LabelAudit(draws=19)
    reading = found.measure(table.truth == table.label, table.kept, classes=table.truth, labels=table.label)
    assert found.verdict(reading) == verdict
    assert float(reading.values["num_classes"]) == 10


def test_without_them_the_worst_case_decides():
    found, table = LabelAudit(draws=19), made(0.72, 0.9, 0.45, 3000)
    right = table.truth == table.label
    reading = found.measure(right, table.kept, num_classes=10)
    assert found.verdict(reading) == "unknown"
    assert "spread over the classes it is safe" in found.describe(reading)[0]
    assert found.verdict(found.measure(right, table.kept)) == "unsafe"  # two classes: wrong labels agree
    worse = made(0.98, 0.9, 0.45, 3000)
    assert found.verdict(found.measure(worse.truth == worse.label, worse.kept, num_classes=10)) == "unsafe"
    one_class = made(0.2, 0.9, 0.2, 900, classes=3)
    bad = (one_class.truth == 2) & (one_class.truth == one_class.label) & (np.arange(900) % 10 > 0)
    kept = one_class.kept & ~bad
    reading = found.measure(one_class.truth == one_class.label, kept, classes=one_class.truth, num_classes=3)
    assert found.verdict(reading) in ("unknown", "unsafe")
    assert "class 2" in found.describe(reading)[0]


def test_a_filter_at_random_is_its_own_null():
    """p-values of a filter that knows nothing: at most .05 in 10 of 100 audits happens once in 50 runs."""
    rng, small = np.random.default_rng(1), 0
    for seed in range(100):
        right, kept = rng.random(100) < 0.6, rng.random(100) < 0.5
        reading = LabelAudit(draws=99).measure(right, kept, seed=seed)
        even = reading.figure("break_even")
        small += even.p_value <= 0.05
        assert abs(even.null_median - 0.5) < 0.05
    assert small <= 10
    knows = LabelAudit(draws=99).measure(right, right ^ (rng.random(100) < 0.1))
    assert knows.figure("break_even").p_value == 0.01


def test_the_command_writes_reading_page_and_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(0.3, 0.9, 0.2, 160).to_parquet("audited.parquet")
    code, found = audit(capsys, "audited.parquet", "--out", "run")
    assert (code, found["verdict"]) == (0, "unknown")
    assert "not beyond the interval in class" in found["words"][0]
    assert len(found["classes"]) == 10 and {"keep_right", "margin_low", "lead"} <= set(found["classes"][0])
    rows = {r["name"]: r for r in found["readings"]}
    assert rows["break_even"]["low"] < 0.9 / 1.1 < rows["break_even"]["high"]
    assert rows["break_even_spread"]["value"] > rows["break_even"]["value"] > rows["break_even"]["null_median"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "filters that keep as many rows at random" in page and "vegaEmbed" in page and "All 10 classes" in page
    kept = Reading.load(next((tmp_path / "run" / "readings").iterdir()))
    assert LabelAudit(**kept.provenance.parameters).verdict(kept) == "unknown"
    assert audit(capsys, "audited.parquet", "--out", "run")[0] == 2  # not written over


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("right,kept\n1,1\n", [], "1 audited row"),
        ("right,kept\n1,0\n0,0\n", [], "no row that the filter keeps"),
        ("right,kept\n1,1\nperhaps,0\n", [], "'perhaps'"),
        ("right,kept\n1,1\n,0\n", [], "no value"),
        ("good,kept\n1,1\n0,0\n", [], "--right"),
        ("right,used\n1,1\n0,0\n", [], "--kept"),
        ("right,kept\n1,1\n0,0\n", ["--right", "rihgt"], "Did you mean 'right'?"),
        ("right,kept,class\n1,1,a\n0,0,b\n1,1,c\n", ["--classes", "2"], "at least 3"),
        ("right,label,truth,kept\n1,a,b,1\n0,a,b,1\n", [], "row 0"),
        ("right,kept\n1,1,5\n", [], "more fields"),
        ("right,right,kept\n1,1,1\n0,1,1\n", [], "two columns called 'right'"),
        (None, [], "no such file"),
    ],
)
def test_bad_tables(text, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    code, found = audit(capsys, "t.csv", *arguments)
    assert code == 2 and words in found["error"], found
    assert not (tmp_path / "runs").exists()


def test_without_a_wrong_row_nothing_is_called_safe():
    reading = LabelAudit(draws=9).measure([True] * 200, [True] * 150 + [False] * 50)
    assert LabelAudit().verdict(reading) == "unknown"
    assert "no wrong row was audited" in LabelAudit().describe(reading)[0]
    with pytest.raises(InputError, match="one length"):
        LabelAudit().measure([True, False], [True])


def test_at_break_even_hardly_anything_is_called_safe():
    """200 audits where right and wrong kept labels are equally many; a rate of .025 passes .06 once in 300 runs."""
    safe, found = 0, LabelAudit(draws=0)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random(200) < 1 / 3
        safe += found.verdict(found.measure(right, rng.random(200) < np.where(right, 0.9, 0.45))) == "safe"
    assert safe <= 12
