"""`cutaway theory kernel`: what it prints against the functions, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from cutaway.cli import run
from cutaway.data import load_data
from cutaway.kernels import InfiniteNetwork, LabelFit, class_halves, label_fit


def asked(capsys, *options):
    code = run(["theory", "kernel", "--num", "60", *options, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("options", [(), ("--kernel-size", "3", "--activation", "erf", "--depth", "1")])
def test_eigenvalues_are_those_of_the_closed_form(capsys, tmp_path, options):
    code, told = asked(capsys, *options, "--out", str(tmp_path / "a.png"))
    rows = load_data("digits", split="train", num=60, seed=0)
    network = InfiniteNetwork(depth=1, activation="erf", kernel_size=3) if options else InfiniteNetwork()
    for name, kernel in zip(("nngp", "ntk"), network.kernels(rows.inputs.double())):
        wanted = torch.linalg.eigvalsh(kernel).flip(0)
        assert torch.allclose(torch.tensor([v for _, v in told["series"][name]]).to(wanted), wanted, rtol=1e-5)
    figures = {f["name"]: f["value"] for f in told["figures"]}
    assert code == 0 and figures["ntk_accuracy"] > 0.6 and 0 < figures["ntk_alignment"] < 1
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_bad_numbers_are_refused(capsys):
    for options in (
        ("--depth", "0"),
        ("--kernel-size", "2"),
        ("--ridge", "-1"),
        ("--activation", "elu"),
        ("--weight-variance", "nan"),
        ("--pooling",),
    ):
        code, told = asked(capsys, *options)
        assert code == 2 and told["error"], options


def test_the_budget_changes_no_figure_and_names_what_is_needed(capsys):
    """Of 60 rows a matrix takes 28,800 bytes, and four of them have to stand at once."""
    _, wanted = asked(capsys)
    code, told = asked(capsys, "--budget", "116KB")
    assert code == 0 and [f["name"] for f in told["figures"]] == [f["name"] for f in wanted["figures"]]
    for one, other in zip(told["figures"], wanted["figures"], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-9), one["name"]
    code, told = asked(capsys, "--budget", "100KB")
    assert code == 2 and "at least 115 KB" in told["error"]


def test_a_device_that_is_not_there_is_refused_before_the_work(capsys):
    code, told = asked(capsys, "--device", "abacus", "--data", "no such file")
    assert code == 2 and "device 'abacus'" in told["error"] and "--device cpu" in told["error"]


def test_labels_in_random_order_stand_beside(capsys):
    figures = {f["name"]: f["value"] for f in asked(capsys)[1]["figures"]}
    for name in ("nngp", "ntk"):
        assert figures[f"{name}_alignment_permuted"] < figures[f"{name}_alignment"] / 2
        assert figures[f"{name}_accuracy_low"] < figures[f"{name}_accuracy"] < figures[f"{name}_accuracy_high"]
        assert figures[f"{name}_accuracy_permuted"] < 0.3 < figures[f"{name}_accuracy_low"]


def blocks(noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of 40 rows and the kernel that knows them, up to noise."""
    labels = torch.arange(40) % 4
    rows = torch.nn.functional.one_hot(labels).double()
    rows = rows + noise * torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return rows @ rows.T + 1e-3 * torch.eye(40, dtype=torch.float64), labels


def fitted(noise: float = 0.0, **options) -> LabelFit:
    kernel, labels = blocks(noise)
    return label_fit(kernel, labels, *class_halves(labels.numpy(), np.arange(40)), **options)


def test_a_kernel_that_knows_the_labels_learns_them_and_not_others():
    found = fitted()
    assert found.right == 1.0 and found.judged == 20 and found.alignment > 0.999
    assert found.interval == pytest.approx((0.025 ** (1 / 20), 1.0))  # Clopper-Pearson of 20 of 20
    assert found.permuted_right < 0.5 and found.permuted_alignment < 0.3
    assert found == fitted() and found != fitted(seed=1)
    blind = fitted(noise=30.0)
    assert abs(blind.right - 0.25) < 0.25 and blind.interval[0] < 0.25 < blind.interval[1]


def test_without_orders_there_is_no_null():
    found = fitted(orders=0)
    assert np.isnan([found.permuted_right, found.permuted_alignment]).all() and found.right == 1.0
