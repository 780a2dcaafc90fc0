"""`cutaway theory kernel`: what it prints against the functions, and what it refuses."""

import json

import pytest
import torch

from cutaway.cli import run
from cutaway.data import load_data
from cutaway.kernels import InfiniteNetwork


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
