"""The fuzzer of bounds: its first cases hold, a case repeats itself, and a broken rule is found and told."""

import importlib
from pathlib import Path

import pytest
import torch

from cutaway.robustness.bounds import intervals, unary

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def fuzzer(monkeypatch):
    if not FOLDER.exists():
        pytest.skip("needs the project's benchmarks folder")
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("fuzz_bounds")


def test_the_first_cases_hold_and_are_reached(fuzzer, capsys):
    tally = fuzzer.fuzz(seed=0, first=0, cases=2, seconds=60)
    assert tally.cases == 2
    assert not tally.broken
    assert {"limits", "rows", "slopes", "verdict", "deployment", "graph", "lipschitz"} <= set(tally.checks)
    again = fuzzer.fuzz(seed=0, first=0, cases=2, seconds=60)
    assert again.checks == tally.checks
    assert again.regions == tally.regions
    assert again.verdicts == tally.verdicts


@pytest.mark.parametrize("seed", range(8))
def test_networks_are_finite_and_repeat(fuzzer, seed):
    random = importlib.import_module("random_networks")
    made = [random.random_network(torch.Generator().manual_seed(seed)) for _ in range(2)]
    (model, shape, names), (other, _, others) = made
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert names == others
    assert torch.equal(model(x), other(x))
    assert bool(torch.isfinite(model(x)).all())


def test_a_broken_rule_is_found_and_the_repeating_command_told(fuzzer, monkeypatch, capsys):
    honest = unary.unary_range

    def narrow(node, low, high):
        least, most = honest(node, low, high)
        return least + 0.1 * (most - least), most

    monkeypatch.setattr(intervals, "unary_range", narrow)
    assert fuzzer.main(["--cases", "2", "--seconds", "60"]) == 1
    told = capsys.readouterr()
    assert "BROKEN limits: ibp" in told.err
    assert "python benchmarks/fuzz_bounds.py --seed 0 --first" in told.err
    assert "broken" in told.out
