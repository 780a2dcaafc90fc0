"""The reusable hold-out: its arithmetic, its log under kills, edits and two processes, what it refuses, what it promises."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import BudgetError, CutawayWarning, FileError, InputError
from cutaway.evidence import Holdout, LookLog, guaranteed_questions, thresholdout
from cutaway.evidence.holdout import HoldoutNoise, _noise
from cutaway.instruments import Accuracy

STILL = HoldoutNoise(threshold=0.0, comparison=0.0, answer=0.0)


def rows(count: int, seed: int, name: str = "held out") -> Dataset:
    inputs = torch.randn((count, 2), generator=torch.Generator().manual_seed(seed))
    return Dataset(name=name, inputs=inputs, labels=(inputs[:, 0] > 0).long(), num_classes=2)


def right(count: int, share: float) -> np.ndarray:
    return (np.arange(count) < share * count).astype(float)


def test_the_answer_is_the_sandbox_until_the_two_differ():
    assert thresholdout(0.5, 0.54, 0.04 + 1e-9, 0.01, STILL) == (0.5, False)
    assert thresholdout(0.5, 0.55, 0.04, 0.01, STILL) == (0.55, True)
    assert thresholdout(0.55, 0.5, 0.04, 0.01, STILL) == (0.5, True)
    noisy = HoldoutNoise(threshold=1.0, comparison=0.5, answer=-2.0)
    assert thresholdout(0.5, 0.55, 0.04, 0.01, noisy) == (0.5, False)
    assert thresholdout(0.5, 0.56, 0.04, 0.01, noisy)[0] == pytest.approx(0.54)
    assert thresholdout(0.5, 0.5637, 0.04, 0.01, STILL, rounded=True)[0] == pytest.approx(0.56)


def test_noise_has_the_sizes_of_the_paper_and_the_threshold_is_kept_until_a_spend():
    drawn = [_noise(3, k, k, "laplace") for k in range(4000)]
    for values, scale in (
        ([d.threshold for d in drawn], 2),
        ([d.comparison for d in drawn], 4),
        ([d.answer for d in drawn], 1),
    ):
        assert np.mean(np.abs(values)) == pytest.approx(scale, rel=0.06)  # of Laplace's law the scale is E|x|
    assert _noise(3, 0, 5, "laplace").threshold == _noise(3, 9, 5, "laplace").threshold
    assert _noise(3, 0, 5, "laplace").threshold != _noise(3, 0, 6, "laplace").threshold
    assert _noise(3, 1, 5, "laplace").answer != _noise(3, 0, 5, "laplace").answer


def test_a_budget_survives_a_restart_and_no_noise_comes_twice(tmp_path):
    settings = {"budget": 3, "threshold": 0.1, "tolerance": 0.001}
    answers = []
    for seed in (4, 9, 9):  # the first is kept in the log: a later one would repeat its noise
        with Holdout(rows(200, 1), rows(200, 2), tmp_path / "h", seed=seed, **settings) as holdout:
            answers.append(holdout.ask_values("same", right(200, 0.1), right(200, 0.9)))
    assert [a.left for a in answers] == [2, 1, 0] and [a.looks for a in answers] == [1, 2, 3]
    with Holdout(rows(200, 1), rows(200, 2), tmp_path / "in one go", seed=4, **settings) as holdout:
        assert answers == [holdout.ask_values("same", right(200, 0.1), right(200, 0.9)) for _ in range(3)]
    assert len({a.value for a in answers}) == 3 and all(abs(a.value - 0.9) < 0.02 for a in answers)
    holdout = Holdout(rows(200, 1), rows(200, 2), tmp_path / "h", **settings)
    with holdout, pytest.raises(BudgetError, match="a budget of 3 that is spent, after 3 questions"):
        holdout.ask_values("one more", right(200, 0.5), right(200, 0.5))
    assert len(holdout.log) == 3  # a refused question looked at nothing


def test_two_processes_share_one_log(tmp_path):
    LookLog(tmp_path, rows(100, 1))
    code = f"""
import sys; sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
from test_holdout import rows
from cutaway.evidence import LookLog
log = LookLog({str(tmp_path)!r}, rows(100, 1))
for _ in range(25): log.look("child")
"""
    child = subprocess.Popen([sys.executable, "-c", code])
    log = LookLog(tmp_path, rows(100, 1))
    for _ in range(25):
        log.look("parent")
    assert child.wait() == 0 and len(log) == 50
    assert [e["look"] for e in log.entries()] == list(range(1, 51))


def test_a_torn_line_is_cut_and_a_line_that_was_taken_out_is_found(tmp_path):
    log = LookLog(tmp_path, rows(100, 1))
    for name in "abc":
        log.look(name)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"look": 4, "wha')
    assert len(log) == 3 and log.path.read_bytes() == whole
    assert log.look("d")["look"] == 4
    lines = log.path.read_bytes().splitlines(keepends=True)
    for damaged in (lines[:2] + lines[3:], [*lines[:2], lines[2].replace(b'"b"', b'"x"'), *lines[3:]]):
        log.path.write_bytes(b"".join(damaged))
        with pytest.raises(FileError, match="does not follow the one before"):
            len(log)


def test_a_log_is_of_its_rows_and_settings(tmp_path):
    Holdout(rows(100, 1), rows(100, 2), tmp_path, budget=5)
    with pytest.raises(InputError, match="looks at 100 other rows"):
        Holdout(rows(100, 1), rows(100, 3), tmp_path, budget=5)
    with pytest.raises(InputError, match="budget = 5.*budget = 50"):
        Holdout(rows(100, 1), rows(100, 2), tmp_path, budget=50)
    assert len(LookLog(tmp_path, rows(100, 2))) == 0  # who only counts needs no settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": 0}, "budget 0"),
        ({"budget": None}, "budget None"),
        ({"tolerance": 0.0}, "tolerance 0"),
        ({"variant": "other"}, "variant 'other'"),
    ],
)
def test_settings_without_a_theorem_are_refused(tmp_path, settings, says):
    with pytest.raises(InputError, match=says):
        Holdout(rows(100, 1), rows(100, 2), tmp_path / "h", **settings)
    assert not (tmp_path / "h").exists()


def test_few_rows_shared_rows_and_questions_outside_are_refused(tmp_path):
    with pytest.raises(InputError, match="100 and 99 rows"):
        Holdout(rows(100, 1), rows(99, 2), tmp_path)
    mixed = dataclasses.replace(rows(100, 2), inputs=torch.cat([rows(100, 2).inputs[:90], rows(100, 1).inputs[:10]]))
    with pytest.raises(InputError, match="10 rows that the sandbox has as well"):
        Holdout(rows(100, 1), mixed, tmp_path)
    holdout = Holdout(rows(100, 1), rows(100, 2), tmp_path / "h")
    with pytest.raises(InputError, match="outside its context"):
        holdout.ask_values("q", right(100, 0.5), right(100, 0.5))
    with holdout, pytest.raises(InputError, match=r"from 0 to 2; expected 100 finite numbers in \[0, 1\]"):
        holdout.ask_values("q", right(100, 0.5), 2 * right(100, 0.5))
    with holdout, pytest.warns(CutawayWarning, match="networks were trained on it"):
        holdout.ask_values("q", right(100, 1.0), right(100, 0.5))


def test_any_mean_of_an_instrument_may_be_asked_and_nothing_else(tmp_path):
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        model.bias.zero_()
    with Holdout(rows(300, 1), rows(300, 2), tmp_path, tolerance=0.01, threshold=0.1, seed=1) as holdout:
        assert holdout.ask(Accuracy(), model.eval()).value == 1.0
        for figure in ("calibration_error", "log_loss"):
            with pytest.raises(InputError, match="no mean over samples"):
                holdout.ask(Accuracy(), model, figure)
    assert [e["what"] for e in holdout.log.entries()] == ["accuracy/accuracy"]


def test_how_many_questions_are_covered_is_counted_right():
    for rows_, budget, width, grid in ((3000, 1, 0.06, 0.25), (4000, 2, 0.08, 0.5), (500, 0, 0.1, 0.1)):
        m = guaranteed_questions(rows_, budget, width, grid)

        def needed(k, budget=budget, grid=grid, rows_=rows_):
            transcripts = sum(math.comb(k, i) * (2 + 1 / grid) ** i for i in range(min(budget, k) + 1))
            return math.sqrt(math.log(2 * k * transcripts / 0.05) / (2 * rows_))

        assert m > 0 and needed(m) <= width < needed(m + 1)
    assert guaranteed_questions(100, 1, 0.01, 0.01) == 0


def test_no_more_transcripts_than_counted_are_possible():
    grid, budget, m = 0.5, 1, 3
    means = np.linspace(0, 1, 21)
    noise = [_noise(11, k, 0, "laplace") for k in range(m)]
    seen = set()
    for held in product(means[::5], repeat=m):
        transcript = []
        for k in range(m):
            value, spent = thresholdout(
                0.5, held[k], 0.1, grid, dataclasses.replace(noise[k], threshold=0.0, comparison=0.0), rounded=True
            )
            transcript.append((value, spent))
            if spent:
                break  # the budget of one
        seen.add(tuple(transcript))
    assert len(seen) <= sum(len(list(combinations(range(m), i))) * (2 + 1 / grid) ** i for i in range(budget + 1))


def test_every_reading_of_a_scan_carries_its_looks_and_the_report_says_so(tmp_path):
    from cutaway.reading import Reading
    from cutaway.scanning import ScanSettings, scan

    data, model = rows(120, 1), nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    settings = ScanSettings(nulls=0, holdout=tmp_path / "h")
    for turn in (1, 2):
        run = scan(model, data, tmp_path / f"run{turn}", instruments=[Accuracy()], settings=settings)
        assert [r.provenance.looks for r in run.readings] == [turn]
    text = run.report().read_text()
    assert "looked at 1 time before this scan" in text
    kept = Reading.load(next((tmp_path / "run2" / "readings").iterdir()))
    assert kept.provenance.looks == 2 and "look 2 at these rows" in kept.summary()
    again = scan(
        model, data, tmp_path / "run2", instruments=[Accuracy()], settings=dataclasses.replace(settings, resume=True)
    )
    assert again.readings[0].provenance.looks == 2 and len(LookLog(tmp_path / "h", data)) == 2
    with pytest.raises(InputError, match="other rows"):
        scan(model, rows(120, 5), tmp_path / "run3", instruments=[Accuracy()], settings=settings)
    assert not (tmp_path / "run3").exists()
    assert json.loads((tmp_path / "h" / "looks.jsonl").read_text().splitlines()[1])["what"] == "accuracy"


def test_a_log_without_a_whole_line_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "looks.jsonl").write_bytes(b'{"format": "cutaway lo')
    with pytest.raises(FileError, match="found 22 bytes and no whole line; expected a head line. Restore the file"):
        LookLog(tmp_path, Dataset(name="d", inputs=torch.zeros(4, 3)))
    assert (tmp_path / "looks.jsonl").read_bytes() == b'{"format": "cutaway lo'
