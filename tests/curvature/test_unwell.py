"""Kernels, curvature, margins, live connections and collapse on networks and rows that are not well: a reading with
finite numbers, a reason, or an error that says what to do; never a number made of rounding."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.cli import run
from cutaway.curvature import softmax_gain
from cutaway.errors import BudgetError, InputError
from cutaway.features.class_means import collapse
from cutaway.instruments import Curvature, EffectiveSparsity, KernelFeatures, Margins, NeuralCollapse, TangentKernel
from cutaway.kernels import InfiniteNetwork, KernelPredictor, solve, tangent_kernel
from cutaway.network import Network
from cutaway.report.page import interval_text
from cutaway.status import Status
from cutaway.testing.contract import small_data

INSTRUMENTS = {
    "tangent-kernel": TangentKernel(num_points=24),
    "kernel-features": KernelFeatures(num_features=2, steps=2, num_points=24),
    "curvature": Curvature(num_probes=3, num_top=2, num_density=1, num_points=24),
    "margins": Margins(),
    "effective-sparsity": EffectiveSparsity(),
    "neural-collapse": NeuralCollapse(num_points=24, steps=2),
}


def network(bias=True, cut=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3, bias=bias)).eval()
    if cut:
        nn.init.zeros_(model[1].weight)
    return model


def told(name, model, data):
    return INSTRUMENTS[name].measure(Network(model, data.inputs[:2]), data)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_half_precision_gives_finite_numbers_or_a_reason(name):
    data = small_data()
    data = dataclasses.replace(data, inputs=data.inputs.half())
    reading = told(name, network().half(), data)
    assert (name == "margins") == (reading.status.value == "unsupported")
    assert all(math.isfinite(f.value) or f.status is Status.UNKNOWN for f in reading.figures)


@pytest.mark.parametrize("name", ["tangent-kernel", "curvature", "neural-collapse", "effective-sparsity"])
def test_rows_of_zeros_among_others_do_no_harm(name):
    data = small_data()
    rows = data.inputs.clone()
    rows[:12] = 0
    reading = told(name, network(bias=False), dataclasses.replace(data, inputs=rows))
    assert reading.status.value in ("estimate", "exact") and all(math.isfinite(f.value) for f in reading.figures)


REASONS = {
    "tangent-kernel": "no output depends on a parameter",
    "kernel-features": "four rows that differ",
    "margins": "every output is zero",
    "neural-collapse": "same mean in every class",
}


@pytest.mark.parametrize("name", REASONS)
def test_nothing_is_read_from_rows_that_are_all_zero(name):
    data = small_data()
    reading = told(name, network(bias=False), dataclasses.replace(data, inputs=torch.zeros_like(data.inputs)))
    assert reading.status.value == "unsupported" and REASONS[name] in reading.reason


def test_a_network_that_is_cut_has_not_collapsed():
    data = small_data()
    reading = told("neural-collapse", network(cut=True), data)
    assert reading.status.value == "unsupported" and "dead layer" in reading.reason
    reading = told("effective-sparsity", network(cut=True), data)
    assert math.isinf(reading.figure("effective_compression").value)
    assert "infinite" in INSTRUMENTS["effective-sparsity"].describe(reading)


def test_means_that_coincide_up_to_rounding_have_no_collapse():
    labels, weight = np.arange(30) % 3, np.eye(3, 5)
    features = np.tile([0.1, 0.2, 0.3, 0.7, 1e5], (30, 1))
    assert all(math.isnan(v) for v in collapse(features, labels, weight, labels).values())
    apart = features + 1e-4 * np.eye(3, 5)[labels]
    assert math.isfinite(collapse(apart, labels, weight, labels)["nc2_angle"])


def test_the_floor_under_duplicated_rows_is_reported():
    data = small_data()
    twice = dataclasses.replace(data, inputs=data.inputs.repeat(2, 1, 1, 1), labels=data.labels.repeat(2))
    assert KernelPredictor.fit(InfiniteNetwork(), twice, ridge=0.0).floor > 0
    assert KernelPredictor.fit(InfiniteNetwork(), data, ridge=0.0).floor == 0


@pytest.mark.parametrize("name", ["tangent-kernel", "kernel-features", "curvature", "effective-sparsity"])
def test_a_large_network_and_a_small_budget_name_what_is_needed(name):
    data = small_data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 800), nn.ReLU(), nn.Linear(800, 800), nn.Linear(800, 3)).eval()
    with pytest.raises(BudgetError, match="Give --budget"):
        INSTRUMENTS[name].measure(Network(model, data.inputs[:2]), data, budget=1_000_000)


def test_a_network_of_zero_weights_is_said_in_a_whole_sentence():
    model = network()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    words = INSTRUMENTS["effective-sparsity"].describe(told("effective-sparsity", model, small_data()))
    assert words.startswith("Every weight is zero") and "any bound" not in words


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_kernel_that_is_not_finite_is_named_so(bad):
    with pytest.raises(InputError, match="NaN or infinity"):
        solve(torch.full((4, 4), bad), torch.eye(4)[:, :2])


def test_an_end_of_the_spectrum_that_was_not_found_is_a_bound_from_one_side():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 10)).eval()
    data = (torch.randn(40, 64), torch.arange(40) % 10)
    instrument = Curvature(num_probes=2)
    whole, short = (instrument.measure(model, data, budget=b, intervals=False) for b in ("2GB", "3MB"))
    for name, sign in (("largest_eigenvalue", 1), ("smallest_eigenvalue", -1)):
        true, told = whole.figure(name), short.figure(name)
        assert true.status is Status.ESTIMATE and true.low <= true.value <= true.high
        if told.status is Status.BOUND:
            assert (
                told.low is None and sign * told.value <= sign * true.value + 1e-9 and "ended before" in told.long_name
            )
        else:
            assert told.value == pytest.approx(true.value, rel=1e-3)
    assert short.figure("smallest_eigenvalue").status is Status.BOUND
    assert "or less" in instrument.describe(short) and "or less" not in instrument.describe(whole)


def test_fused_attention_has_a_second_derivative():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.inner(x, x, x, need_weights=False)[0].mean(1))

    torch.manual_seed(0)
    model, inputs = Attends().eval(), torch.randn(9, 5, 8)
    reading = Curvature(num_probes=2).measure(model, (inputs, torch.arange(9) % 3))
    assert reading.status is Status.ESTIMATE and math.isfinite(reading.figure("largest_eigenvalue").value)
    network = Network(model, inputs[:1])
    by = [tangent_kernel(network, inputs, method=method) for method in ("products", "jacobian")]
    torch.testing.assert_close(by[0], by[1], rtol=1e-4, atol=1e-5)


def test_no_curvature_has_no_excess_and_no_gain():
    model = nn.Linear(4, 2).eval()
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([2000.0, -2000.0]))
    reading = Curvature(num_probes=2).measure(model, (torch.randn(12, 4), torch.zeros(12).long()))
    for name in ("positive_excess", "softmax_gain"):
        assert reading.figure(name).status is Status.UNKNOWN and reading.figure(name).low is None


def test_a_kernel_that_is_the_same_between_all_rows_has_no_alignment():
    data, model = small_data(), network()
    same = dataclasses.replace(data, inputs=data.inputs[:1].expand_as(data.inputs).clone())
    for parameter in model.parameters():
        nn.init.zeros_(parameter)  # the last biases alone have a gradient, the same in every row
    for rows, judged in ((data, model), (same, network())):
        reading = told("tangent-kernel", judged, rows)
        assert reading.status is Status.UNSUPPORTED and "nothing tells rows apart" in reading.reason


def test_where_no_feature_is_useful_none_is_fragile_either():
    data = small_data()
    guess = torch.randint(3, (len(data),), generator=torch.Generator().manual_seed(0))
    instrument = KernelFeatures(num_features=2, steps=1, num_points=24)
    reading = instrument.measure(Network(network(), data.inputs[:2]), dataclasses.replace(data, labels=guess))
    useful, fragile = reading.figure("useful_share"), reading.figure("fragile_share")
    assert useful.value == 0 and fragile.status is Status.UNKNOWN and math.isnan(fragile.value)
    assert "turns" not in instrument.describe(reading)


def test_a_larger_setting_is_offered_only_where_it_would_read_more(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for points, offered in ((20, True), (400, False)):
        asked = [
            "measure",
            "kernel-features",
            "--num",
            "30",
            "--set",
            f"num_points={points}",
            "steps=1",
            "num_features=2",
        ]
        assert run(asked) == 0
        out = capsys.readouterr().out
        assert "of 30 rows" in out and ("--set num_points=N" in out) is offered


def two_classes():
    data = small_data()
    return dataclasses.replace(data, labels=data.labels % 2, num_classes=2, class_names=None)


@pytest.mark.parametrize("name", ["tangent-kernel", "kernel-features", "curvature", "margins"])
def test_a_single_logit_reads_as_its_two_classes(name):
    torch.manual_seed(0)
    single = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False)).eval()
    data = two_classes()
    if name == "margins":  # all rows right
        data = dataclasses.replace(data, labels=(single(data.inputs)[:, 0] > 0).long())
    reading = told(name, single, data)
    assert reading.status.value in ("estimate", "exact") and reading.figures
    if name == "curvature":  # of logits (0, z) the cross-entropy is the same function of the parameters
        pair = nn.Sequential(single, Beside()).eval()
        wanted = told(name, pair, data)
        for figure in wanted.figures:
            assert reading.figure(figure.name).value == pytest.approx(figure.value, rel=1e-4, abs=1e-9), figure.name
        squared = Curvature(loss="squared-error", num_probes=2, num_top=1).measure(single, data, intervals=False)
        assert squared.figure("gauss_newton_trace").value > 0


class Beside(nn.Module):
    def forward(self, logit):
        return torch.cat([0 * logit, logit], dim=1)


def test_a_single_logit_where_two_outputs_are_needed_says_how_to_make_them():
    with pytest.raises(InputError, match=r"torch.cat\(\[0 \* logit, logit\]"):
        told("neural-collapse", nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).eval(), two_classes())


def test_an_eigenvalue_has_a_bound_and_no_confidence_interval():
    reading = told("curvature", network(), small_data())
    top = reading.figure("largest_eigenvalue")
    assert top.sure and "off by at most" in top.told() and "95 %" not in top.told()
    assert not reading.figure("trace").sure and "95 % interval" in reading.figure("trace").told()
    assert interval_text(top).endswith("(bound)") and "to" in interval_text(reading.figure("trace"))


def test_the_gain_of_rows_that_are_nearly_certain_is_not_rounding():
    # one class against two as likely as each other: A is p (e_0 - e_1)(..)^T + p (e_0 - e_2)(..)^T, eigenvalues 1 and 3
    assert softmax_gain(torch.tensor([[300.0, 0.0, 0.0]])) == pytest.approx(4 / 10**0.5)
    one = torch.tensor([[200.0, 0.0, -400.0]])  # two classes are left: one direction
    assert softmax_gain(one) == pytest.approx(1.0) and math.isnan(softmax_gain(1e6 * one))


@pytest.mark.parametrize("command", [["kernel"], ["goldilocks", "--scales", "1", "--dimension", "2"]])
def test_theory_takes_what_rows_there_are(capsys, tmp_path, command):
    data = small_data()
    np.savez(tmp_path / "few.npz", inputs=data.inputs.numpy(), labels=data.labels.numpy())
    (tmp_path / "net.py").write_text("from cutaway.testing.contract import small_classifier as make\n")
    model = [] if command[0] == "kernel" else [f"{tmp_path}/net.py:make"]
    asked = ["theory", command[0], *model, *command[1:], "--data", str(tmp_path / "few.npz")]
    assert run(asked) == 0 and run([*asked, "--num", "5000"]) == 2
    assert "at most" in capsys.readouterr().err


def test_bars_of_features_are_shares():
    data = small_data()
    values = INSTRUMENTS["kernel-features"].measure(Network(network(), data.inputs[:2]), data).values
    ends = [values[f"feature_{n}_{end}"].values for n in ("usefulness", "robustness") for end in ("low", "high")]
    assert all(((e >= 0) & (e <= 1)).all() for e in ends)
