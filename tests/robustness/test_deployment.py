"""What a deployment radius promises holds for onnxruntime in float32, at hostile scales; the errors of functions too."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from cutaway.network.graph import Node, facts
from cutaway.network.graph.fact import Rounding
from cutaway.robustness.bounds import deployment, rounding
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


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield importlib.import_module("float32_functions")
    sys.modules.pop("float32_functions", None)


def test_what_functions_lose_in_float32_is_within_its_limits(functions, capsys):
    assert functions.main(["--points", "40000"]) == 0
    assert "gelu tanh" in capsys.readouterr().out


@pytest.mark.parametrize(
    "word",
    "exp erf tanh atan sin cos sigmoid softsign mish reciprocal sqrt log rsqrt square leaky_relu silu gelu".split(),
)
def test_a_limit_that_is_too_low_is_seen(functions, monkeypatch, word):
    def tighter(node):
        known = facts.CURVES[node.op].rounding(node)
        return Rounding(known.relative / 16, known.fixed / 16, known.by_argument / 16)

    monkeypatch.setattr(rounding, "rounding_of", tighter)
    shares = [
        row["share"] for f in functions.FUNCTIONS if f.word == word for row in functions.measured(f, 40000, 0).values()
    ]
    assert max(shares) > 1


def test_where_torch_overflows_on_the_way_nothing_is_promised():
    node = Node(index=1, op="hardswish")
    x = torch.tensor([5e37, 6e37], dtype=torch.float64)
    assert bool(torch.isfinite(torch.nn.functional.hardswish(x.float())[0]))
    assert torch.isfinite(rounding.own_error(node, x, x)).tolist() == [True, False]
