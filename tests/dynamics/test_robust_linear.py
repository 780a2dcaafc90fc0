"""Robust linear theory against simulated errors and known minimisers, and what is refused."""

import json
import math

import numpy as np
import pytest

from cutaway.dynamics.robust_linear import Overlaps, RobustProblem, minimised, state_evolution
from cutaway.errors import BudgetError, InputError


def test_the_error_is_that_of_drawn_points():
    rng = np.random.default_rng(0)
    d, eps = 50, 0.4
    teacher, w = rng.standard_normal((2, d))
    teacher *= math.sqrt(d) / np.linalg.norm(teacher)
    w += 0.5 * teacher
    x = rng.standard_normal((200_000, d))
    hurt = np.sign(x @ teacher) * (x @ w) / math.sqrt(d) < eps * np.abs(w).sum() / d
    overlaps = Overlaps(m=teacher @ w / d, q=w @ w / d, p=np.abs(w).sum() / d)
    assert overlaps.error(eps) == pytest.approx(hurt.mean(), abs=0.005)
    assert overlaps.error(0.0) == pytest.approx(math.acos(overlaps.m / math.sqrt(overlaps.q)) / math.pi, abs=1e-4)


def test_theory_meets_minimisation_where_it_was_met_before():
    """Independent figures: 0.355, 0.369, 0.416."""
    for setting, expected in (((1, 0.3, 0.1, 2.0), 0.355), ((1, 0.3, 0.3, 1.0), 0.369), ((0.5, 0.3, 0.05, 2.0), 0.416)):
        found = state_evolution(RobustProblem(**dict(zip(("alpha", "eps", "lam", "power"), setting, strict=True))))
        assert found is not None and found.error(0.3) == pytest.approx(expected, abs=1e-3)


def test_a_heavy_penalty_leaves_nothing():
    heavy = RobustProblem(alpha=0.5, eps=0.3, lam=5.0, power=1.0)
    assert minimised(heavy, dimension=40, seed=0).q == pytest.approx(0, abs=1e-12)
    assert Overlaps(m=0.0, q=0.0, p=0.0).error(0.3) == 0.5


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"lam": 0.0}, {"eps": -0.1}, {"power": 3.0}, {"alpha": math.nan}])
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(InputError):
        RobustProblem(**{"alpha": 1.0, "eps": 0.1, "lam": 0.1, "power": 2.0, **wrong})


def test_the_command_puts_both_side_by_side(capsys):
    from cutaway.cli import run

    assert run(["theory", "robust-linear", "--alpha", "1", "--dimension", "60", "--draws", "2", "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["series"]
    assert series["theory"][0][1] == pytest.approx(0.355, abs=1e-3) and len(series["minimisation"]) == 1
    assert run(["theory", "robust-linear", "--power", "3"]) == 2


def test_the_draw_is_the_same_block_by_block_and_the_budget_names_what_it_takes(monkeypatch):
    problem = RobustProblem(alpha=2.0, eps=0.3, lam=0.1)
    whole = minimised(problem, dimension=30, seed=3)
    monkeypatch.setattr("cutaway.dynamics.robust_linear._DRAWN", 7 * 30)
    blocks = minimised(problem, dimension=30, seed=3, budget=50_000)
    for name in ("m", "q", "p"):
        assert getattr(blocks, name) == pytest.approx(getattr(whole, name), rel=1e-6)
    with pytest.raises(BudgetError, match="Give --budget"):
        minimised(problem, dimension=30, seed=3, budget=14_400)  # the data alone


def test_the_command_refuses_before_it_works(capsys):
    from cutaway.cli import run

    for options, words in (
        (["--device", "abacus"], "device 'abacus'"),
        (["--dimension", "3000", "--budget", "20MB"], "at least 40.1 MB"),
        (["--alpha", "1", "-2"], "alpha"),
    ):
        assert run(["theory", "robust-linear", *options]) == 2
        said = capsys.readouterr()
        assert words in said.err and not said.out


def test_an_attack_that_no_classifier_withstands_is_said_to_be_one(capsys):
    from cutaway.cli import run

    assert run(["theory", "robust-linear", "--alpha", "1", "--eps", "2", "--draws", "0"]) == 0
    assert "the zero vector would do better" in capsys.readouterr().out
