"""What a deployment radius promises holds for onnxruntime in float32, at hostile scales; the errors of functions too."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from cutaway.network.graph import Node
from cutaway.robustness.bounds import deployment
from cutaway.robustness.bounds.unary import derivative_limit

pytest.importorskip("onnxruntime")


@pytest.fixture
def fuzzer(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield importlib.import_module("fuzz_deployment")
    sys.modules.pop("fuzz_deployment", None)


def test_no_output_of_onnxruntime_leaves_its_certified_interval(fuzzer):
    tally = fuzzer.fuzz(seed=0, first=0, networks=12, points=200)
    assert not tally.broken
    assert tally.finite > 0.5 * tally.intervals > 50


@pytest.mark.slow
def test_nor_in_300_networks_of_1000_evaluations(fuzzer):
    assert not fuzzer.fuzz(seed=0, first=0, networks=300, points=1000).broken


def test_a_radius_that_is_too_small_is_seen(fuzzer, monkeypatch, capsys):
    monkeypatch.setattr(fuzzer, "deployment_radius", lambda *a: 1e-3 * deployment.deployment_radius(*a))
    assert fuzzer.fuzz(seed=0, first=0, networks=12, points=200).broken
    assert "--networks 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("alpha", "scale", "steepest"), [(1.6732632, 1.0507, 1.75810), (3.0, 1.0, 3.0), (0.5, 1.0, 1.0)]
)
def test_an_elu_is_as_steep_as_its_steeper_side(alpha, scale, steepest):
    node = Node(index=1, op="elu", attributes={"alpha": alpha, "scale": scale, "input_scale": 1.0})
    low, high = torch.tensor([-1.0, 0.1]).double(), torch.tensor([0.5, 0.5]).double()
    assert torch.allclose(derivative_limit(node, low, high), torch.tensor([steepest, scale]).double(), rtol=1e-4)
