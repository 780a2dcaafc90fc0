"""Instrument `own-labels`: what the audit of the same rows says, safe and unsafe filters, the least probability."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.audits import LabelAudit
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.evidence import PermutedLabels, replicates
from cutaway.instruments import OwnLabels
from cutaway.instruments.outputs.own_labels import GRID
from cutaway.network import Network
from cutaway.testing import check_instrument

CLASSES = 3


def labelled(rows: int, wrong: float, sure: float, seed: int = 0, *, agreeing: bool = True) -> tuple[Network, Dataset]:
    """A network whose inputs are its logits. A share `wrong` of the rows has another true class than it says: the next
    one (`agreeing`) or any; right rows have a probability of .95, wrong ones too with chance `sure`, else .5."""
    rng = np.random.default_rng(seed)
    given = rng.integers(0, CLASSES, rows)
    bad = rng.random(rows) < wrong
    step = 1 if agreeing else rng.integers(1, CLASSES, rows)
    truth = np.where(bad, (given + step) % CLASSES, given)
    top = np.where(~bad | (rng.random(rows) < sure), 0.95, 0.5)
    chances = np.repeat(((1 - top) / (CLASSES - 1))[:, None], CLASSES, axis=1)
    chances[np.arange(rows), given] = top
    inputs = torch.as_tensor(np.log(chances))
    labels = torch.as_tensor(truth)
    data = Dataset(name="rows", inputs=inputs, labels=labels, labels2=labels, num_classes=CLASSES)
    return Network(nn.Identity().eval(), inputs[:2]), data


def test_it_says_what_the_audit_of_the_same_rows_says():
    network, data = labelled(900, 0.3, 0.3)
    reading = OwnLabels().measure(network, data)
    given, truth = data.inputs.argmax(1).numpy(), data.labels.numpy()
    kept = reading.values["kept"].values > 0
    assert np.array_equal(kept, data.inputs.max(1).values.exp().numpy() > 0.9)
    audit = LabelAudit(draws=0).measure(given == truth, kept, classes=truth, labels=given)
    mine = {f.name: (f.value, f.low, f.high) for f in reading.figures}
    for figure in audit.figures:
        assert mine[figure.name] == (figure.value, figure.low, figure.high), figure.name
    for name in ("lead", "lead_low", "lead_high"):
        assert np.array_equal(reading.values[name].values, audit.values[name].values)
    assert mine["worst_lead"][0] == audit.values["lead"].values.min()


@pytest.mark.parametrize(("wrong", "sure", "word"), [(0.2, 0.3, "Safe"), (0.7, 0.9, "Unsafe"), (0.5, 0.9, "Unknown")])
def test_what_decides_is_the_commonest_wrong_label(wrong, sure, word):
    instrument, (network, data) = OwnLabels(), labelled(1500, wrong, sure)
    assert word + ":" in instrument.describe(instrument.measure(network, data))


def test_the_least_probability_is_where_it_becomes_safe():
    network, data = labelled(3000, 0.6, 0.1)
    reading = OwnLabels().measure(network, data)
    assert reading.figure("safe_from").value == 0.6  # wrong ones of .5 go, the sure ones stay
    low = reading.values["lead_by_confidence_low"].values
    assert (low[:2] < 0.5).all() and (low[2:6] > 0.5).all() and low[-1] <= 0.5  # nothing is kept at .99
    assert list(reading.values["confidence"].values) == list(GRID)
    network, data = labelled(3000, 0.6, 1.0)
    reading = OwnLabels().measure(network, data)
    assert "safe_from" not in {f.name for f in reading.figures}
    assert [s.what for s in reading.coverage.skipped] == ["safe_from"]


def test_agreement_with_a_verifier_needs_second_labels_and_keeps_what_they_say_too():
    network, data = labelled(900, 0.4, 1.0)
    reading = OwnLabels(filter="agreement").measure(network, data)  # a verifier that knows the truth
    assert reading.figure("right_share_kept").value == 1.0
    assert "confidence" not in reading.values.dims
    with pytest.raises(InputError, match="second label"):
        OwnLabels(filter="agreement").measure(network, dataclasses.replace(data, labels2=None))


def test_on_permuted_labels_a_filter_breaks_even_at_one_half():
    network, data = labelled(3000, 0.5, 0.5, agreeing=False)
    nulls = list(replicates(OwnLabels(), network, data, PermutedLabels(), count=19))
    evens = [reading.figure("break_even").value for reading in nulls]
    assert abs(np.mean(evens) - 0.5) < 0.02
    judged = OwnLabels().measure(network, data).against(nulls, null="permuted-labels")
    assert judged.figure("break_even").p_value == 0.05


def test_nothing_kept_and_nothing_wrong_are_not_verdicts():
    network, data = labelled(60, 0.3, 0.3)
    reading = OwnLabels(threshold=0.99).measure(network, data)
    skipped = {s.what for s in reading.coverage.skipped}
    assert {"right_share_kept", "break_even"} <= skipped and reading.figure("worst_lead").low == 0.0
    assert "none are right. Unknown" in OwnLabels().describe(reading) and not OwnLabels().brief(reading)
    network, data = labelled(60, 0.0, 0.3)
    reading = OwnLabels().measure(network, data)
    assert {"keep_wrong", "break_even"} <= {s.what for s in reading.coverage.skipped}
    assert not {"keep_wrong", "break_even"} & {f.name for f in reading.figures}


def test_the_contract_and_the_picture(tmp_path):
    check_instrument(OwnLabels())
    network, data = labelled(300, 0.3, 0.3)
    reading = OwnLabels().measure(network, data)
    reading.plot(tmp_path / "labels.svg")
    assert "right among kept" in (tmp_path / "labels.svg").read_text()
    OwnLabels(filter="agreement").measure(network, data).plot(tmp_path / "agreement.svg")
