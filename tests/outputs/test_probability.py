"""What probabilities are worth: closed forms, naive transcriptions, what the paired estimate and its check must see."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import FileError, InputError
from cutaway.instruments import Probability
from cutaway.outputs import (
    IsotonicCalibrator,
    TemperatureCalibrator,
    brier_terms,
    calibration_errors,
    load_calibrator,
    log_loss_terms,
    miscalibration_p,
    paired_terms,
    save_calibrator,
)
from cutaway.outputs.order import losses_of_maps
from cutaway.status import Status
from cutaway.testing import check_instrument


def drawn(rows: int, classes: int, seed: int):
    """True distributions (rows, classes) and two independent labels a row (2, rows)."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(classes), rows)
    labels = np.array([[rng.choice(classes, p=p) for p in truth] for _ in range(2)])
    return truth, labels


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(0, 10_000))
def test_a_pairs_mean_over_all_outcomes_is_the_error_against_the_truth(classes, seed):
    rng = np.random.default_rng(seed)
    truth, said = rng.dirichlet(np.ones(classes), 2)
    expected = brier = 0.0
    for a in range(classes):
        for b in range(classes):
            weight = truth[a] * truth[b]
            expected += weight * float(paired_terms(said[None], np.array([a]), np.array([b]))[0])
            brier += weight * float(brier_terms(said[None], np.array([a]))[0])
    assert expected == pytest.approx(float(((said - truth) ** 2).sum()), abs=1e-12)
    assert brier - expected == pytest.approx(1 - float((truth**2).sum()), abs=1e-12)  # P(labels differ)


def test_errors_of_calibration_against_a_naive_transcription():
    rng = np.random.default_rng(7)
    p = rng.permutation(np.linspace(0.01, 0.99, 950))
    y = (rng.random(950) < p**2).astype(float)
    found = calibration_errors(p, y, bins=10)
    order = sorted(range(950), key=lambda i: p[i])
    gaps = [abs(np.mean([y[i] - p[i] for i in order[k : k + 95]])) for k in range(0, 950, 95)]
    assert found.mean_gap == pytest.approx(np.mean(gaps)) and found.largest_gap == pytest.approx(max(gaps))
    run = np.cumsum([p[i] - y[i] for i in order])
    assert found.kolmogorov == pytest.approx(max(abs(run)) / 950)
    parts = [order[i * 100 : (i + 1) * 100] for i in range(9)]  # as the benchmark's script: the last takes the rest
    parts[-1] = order[800:]
    squares = [len(b) / 950 * np.mean([y[i] - p[i] for i in b]) ** 2 for b in parts]
    assert found.published == pytest.approx(np.sqrt(sum(squares[:-1])))  # its loop stops one bin early
    assert found.mended == pytest.approx(np.sqrt(sum(squares)))
    assert np.isnan(calibration_errors(p[:199], y[:199]).published)


def test_ties_do_not_depend_on_the_order_of_rows_nor_on_how_outcomes_were_drawn():
    y = (np.random.default_rng(0).random(1000) < np.repeat([0.1, 0.9], 500)).astype(float)
    constant = np.full(1000, y.mean())
    for rows in (y, np.sort(y), np.sort(y)[::-1]):
        assert calibration_errors(constant, rows, seed=0).mean_gap < 0.08


def test_the_p_value_of_a_calibrated_forecast_is_uniform_and_sees_a_wrong_one():
    rng = np.random.default_rng(1)
    p = rng.random(300)
    values = [miscalibration_p(p, (rng.random(300) < p).astype(float), draws=99, seed=s) for s in range(60)]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert miscalibration_p(p, (rng.random(300) < p**2).astype(float), draws=99) <= 0.01


def test_maps_tell_whether_more_than_the_order_counts():
    rng = np.random.default_rng(2)
    p = 1 / (1 + np.exp(-rng.normal(0, 3, 4000)))
    y = (rng.random(4000) < p).astype(float)
    loss = {name: terms.mean() for name, terms in losses_of_maps(p, y).items()}
    assert loss["temperature"] == pytest.approx(log_loss_terms(p, y).mean(), abs=0.002)  # its scores were right
    bent = {name: terms.mean() for name, terms in losses_of_maps(p**8, y).items()}
    assert bent["temperature"] > loss["temperature"] + 0.05
    assert bent["rank"] == pytest.approx(loss["rank"], abs=1e-9)  # the order is the same
    assert bent["isotonic"] == pytest.approx(loss["isotonic"], abs=0.005)  # but for values between its corners
    assert loss["rank"] < log_loss_terms(np.full(4000, y.mean()), y).mean() - 0.1


def test_calibrators_find_the_temperature_and_survive_their_file(tmp_path):
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1, (6000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found = TemperatureCalibrator.fit(4 * logits, labels)
    assert found.temperature == pytest.approx(4, rel=0.1)
    rising = IsotonicCalibrator.fit(torch.tensor(4 * logits), torch.tensor(labels))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    plain = ((np.exp(4 * logits) / np.exp(4 * logits).sum(axis=1, keepdims=True) - truth) ** 2).sum(axis=1).mean()
    for calibrator in (found, rising):
        p = calibrator.probabilities(4 * logits)
        assert p.min() >= 0 and np.abs(p.sum(axis=1) - 1).max() < 1e-6
        assert ((p - truth) ** 2).sum(axis=1).mean() < plain / 4
        again = load_calibrator(save_calibrator(calibrator, tmp_path / "c.json"))
        assert again == calibrator and np.array_equal(again.probabilities(4 * logits), p)
    two = IsotonicCalibrator.fit(logits[:, :2], (labels > 0).astype(int))
    assert len(two.inputs) == 1 and two.probabilities(logits[:, :2]).shape == (6000, 2)
    with pytest.raises(InputError, match="found 2 classes"):
        rising.probabilities(logits[:, :2])


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"kind": "temperature", "temperature": -1}, "temperature of -1"),
        ({"kind": "temperature", "temperature": "1"}, "temperature of '1'"),
        ({"kind": "pickle"}, "kind 'pickle'"),
        ({"kind": "isotonic", "inputs": [[0.0, 1.0]], "outputs": [[0.9, 0.1]]}, "that falls"),
        ({"kind": "isotonic", "inputs": [[0.0, 1.0]], "outputs": [[0.9, 1.1]]}, "leaves"),
        ({"kind": "isotonic", "inputs": [[0.0, 1.0]], "outputs": [[0.9]]}, "without corners"),
        ({"kind": "temperature", "temperature": 1, "format": "other"}, "format 'other'"),
    ],
)
def test_a_file_that_is_no_calibrator_is_refused(tmp_path, record, says):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"format": "cutaway calibrator 1", **record}))
    with pytest.raises(FileError, match=says):
        load_calibrator(path)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: calibration_errors(np.array([0.5, np.nan]), np.array([0.0, 1.0])), "NaN in row 1"),
        (lambda: calibration_errors(np.array([0.5, 1.5]), np.array([0.0, 1.0])), "1.5 in row 1"),
        (lambda: calibration_errors(np.array([0.5]), np.array([2.0])), "outcome 2 in row 0"),
        (lambda: calibration_errors(np.array([]), np.array([])), r"shapes \(0,\)"),
        (lambda: TemperatureCalibrator.fit(np.eye(3), np.arange(3)), "least at no temperature"),
        (lambda: TemperatureCalibrator.fit(np.eye(3), np.array([0, 1, 3])), "label 3"),
        (lambda: IsotonicCalibrator.fit(np.full((3, 2), np.inf), np.zeros(3, int)), "infinity in row 0"),
    ],
)
def test_what_is_no_forecast_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


def subject(rows: int = 3000, classes: int = 3, tilt: float = 1.0):
    """A network whose softmax is the true distribution to the power `tilt`, scaled, on data with two labels a row."""
    truth, labels = drawn(rows, classes, 5)
    inputs = torch.tensor(np.log(truth), dtype=torch.float64)
    model = nn.Linear(classes, classes, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(tilt * torch.eye(classes))
    first, second = torch.tensor(labels)
    return model.eval(), Dataset(name="drawn", inputs=inputs, labels=first, labels2=second, num_classes=classes), truth


@pytest.mark.parametrize("settings", [{}, {"column": 0}])
def test_the_instrument_knows_the_error_without_the_truth(settings):
    instrument = Probability(**settings)
    for tilt in (1.0, 3.0):
        model, data, truth = subject(tilt=tilt)
        reading = instrument.measure(model, data)
        said = truth**tilt / (truth**tilt).sum(axis=1, keepdims=True)
        square = (said - truth) ** 2
        error, check = reading.figure("mse_p"), reading.figure("floor_check")
        assert error.low - 0.005 <= (square[:, 0] if settings else square.sum(axis=1)).mean() <= error.high + 0.005
        assert check.low <= 0 <= check.high
        assert ("not the true ones" in instrument.describe(reading)) == (tilt > 1)


def test_labels_that_are_no_two_draws_of_one_outcome_are_told():
    model, data, _ = subject()
    biased = dataclasses.replace(data, labels2=torch.where(torch.arange(3000) % 3 == 0, 0, data.labels2))
    reading = Probability().measure(model, biased)
    assert "no two draws of one outcome" in Probability().describe(reading)
    assert "no two draws" not in Probability().describe(Probability().measure(model, data))


def test_copied_labels_and_classes_that_are_not_there_are_refused():
    model, data, _ = subject(200)
    with pytest.raises(InputError, match="the first labels again, in all 200 rows"):
        Probability().measure(model, dataclasses.replace(data, labels2=data.labels))
    with pytest.raises(InputError, match="0 to 2|-1 to 2"):
        Probability(column=3).measure(model, data)
    with pytest.raises(FileError, match="no such file"):
        Probability(calibrator="nowhere.json").measure(model, data)


def test_a_calibrator_is_applied_before_the_figures(tmp_path):
    model, data, _ = subject(tilt=3.0)
    fitted = TemperatureCalibrator.fit(model(data.inputs), data.labels2)
    path = save_calibrator(fitted, tmp_path / "t.json")
    assert fitted.temperature == pytest.approx(3, rel=0.15)
    before, after = (Probability(calibrator=c).measure(model, data) for c in ("", str(path)))
    assert abs(after.figure("mse_p").value) < 0.01 < before.figure("mse_p").value


def test_the_contract_and_a_picture_with_two_labels(tmp_path):
    model, data, _ = subject(60)
    reading = check_instrument(Probability(), model.float(), dataclasses.replace(data, inputs=data.inputs.float()))
    assert reading.status is Status.ESTIMATE and "mse_p" in {f.name for f in reading.figures}
    assert {s.what for s in reading.coverage.skipped} == {"calibration error as published"}
    reading.plot(tmp_path / "p.svg")
    assert "share of events" in (tmp_path / "p.svg").read_text()
