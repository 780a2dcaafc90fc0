"""The delayed-robustness experiment: what its runs hold, and that its verdicts follow the curves either way."""

import numpy as np
import pytest
import torch

from cutaway.reproductions import delayed_robustness as study
from cutaway.reproductions._robustness_runs import Plan, measured_run

TINY = Plan(
    data="digits", steps=30, per_decade=3, samples=80, width=16, batch=40, test=60, attacked=20, points=8,
    lc_radii=(0.2, 1.0), variant="batch-norm",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return measured_run(TINY, tmp_path_factory.mktemp("runs"), lambda _text: None)


def test_a_run_holds_what_it_says(run):
    steps = TINY.measuring_steps()
    assert run["steps"].tolist() == steps == [0, 1, 2, 5, 10, 22, 30]
    assert run["clean_train"].shape == (7, 80)
    assert run["pgd_test"].shape == (7, 4, 20)
    assert run["strong_test"].shape == (2, 4, 20)
    assert run["crossed_random"].shape == run["within_random"].shape == (7, 2, 8)
    assert (run["pgd_test"] <= run["clean_test"][:, None, :1] + 1).all()
    assert (np.diff(run["within_train"], axis=1) >= 0).all(), "a larger radius holds no fewer boundaries"
    assert run["loss"][-1] < run["loss"][1]


def test_measuring_does_not_change_the_training(run):
    """The same weights with another set of measuring steps."""
    from dataclasses import replace

    other = measured_run(replace(TINY, per_decade=1), None, lambda _text: None)
    assert other["weight_norm"][-1] == run["weight_norm"][-1]
    assert (other["clean_test"][-1] == run["clean_test"][-1]).all()


def test_finished_runs_are_read_back(tmp_path):
    from dataclasses import replace

    plan, told = replace(TINY, steps=3), []
    first = measured_run(plan, tmp_path, told.append)
    count = len(told)
    again = measured_run(plan, tmp_path, told.append)
    assert len(told) == count > 0
    assert all(np.array_equal(first[k], again[k], equal_nan=True) for k in first)
    measured_run(replace(plan, width=8), tmp_path, told.append)
    assert len(told) > count, "another plan is run anew"


def test_a_kept_run_is_gone_on_with_to_the_same_numbers(tmp_path):
    from dataclasses import replace

    told = []
    short, long = replace(TINY, steps=12, per_decade=2), replace(TINY, steps=25, per_decade=2)
    measured_run(short, tmp_path, told.append)
    count = len(told)
    extended = measured_run(long, tmp_path, told.append)
    assert len(told) - count == len([s for s in long.measuring_steps() if s > 12])
    fresh = measured_run(long, None, lambda _text: None)
    assert fresh.keys() == extended.keys()
    assert all(np.array_equal(fresh[k], extended[k], equal_nan=True) for k in fresh)


def synthetic(late, seed=0, steps=1000):
    """Curves that go the paper's way (`late`: robust accuracy at the end) or another, smooth over log steps."""
    marks = np.unique([0, *np.round(np.geomspace(1, 512, 22)).astype(int), steps])
    at = np.log2(marks + 1)  # 0 to 9 and a little more
    rng = np.random.default_rng(seed)
    clean = np.interp(at, [0, 5, 10], [0.1, 0.92, 0.92])
    robust = np.interp(at, [0, 2, 5, 7, 9, 10], [0, 0.1, 0.05, 0.05, late, late])
    ways = ([8, 2, 6, 1, 1], [8, 6, 4, 2, 2])
    count = np.interp(at, [0, 3.5, 6, 9, 10], ways[0] if late > 0.2 else ways[1])

    def shares(curve, n):
        return np.arange(n)[None] < np.round(curve * n)[:, None]

    counts = (count[:, None] + 0.1 * rng.standard_normal((len(marks), 30)))[:, None].repeat(2, axis=1)
    attacked = shares(robust, 200)[:, None].repeat(4, axis=1)
    found = {f"{kind}_{where}": counts for kind in ("crossed", "within") for where in ("train", "test", "random")}
    return found | {
        "steps": marks, "clean_train": shares(np.minimum(1, clean + 0.1), 100), "clean_test": shares(clean, 200),
        "pgd_test": attacked, "noise_test": attacked, "strong_test": attacked[-1:].repeat(2, axis=0),
    }  # fmt: skip


def verdicts(late):
    found = {
        Plan(data="mnist", seed=k, steps=1000 * (k == 0) + 512): synthetic(late, k, 1512)
        if k == 0
        else study.cut(synthetic(late, k), 512)
        for k in range(3)
    }
    rows = study.robustness_rows("mnist", [study.cut(r, 512) for r in found.values()], 512)
    rows += study.phase_rows("mnist", [study.cut(r, 512) for r in found.values()])
    return found, {row.quantity: row.verdict for row in rows}


def test_verdicts_follow_the_curves():
    _, good = verdicts(0.5)
    assert "fail" not in good.values() and list(good.values()).count("pass") >= 4
    _, bad = verdicts(0.02)
    assert [v for q, v in bad.items() if "less that of the clean plateau" in q and "PGD" in q] == ["fail"]
    assert [v for q, v in bad.items() if "phases of the count near train" in q] == ["fail"]


def test_a_rise_that_a_stronger_attack_undoes_is_told():
    honest, fooled = synthetic(0.5), synthetic(0.5)
    fooled["strong_test"] = fooled["strong_test"] & False
    assert study.strong_rows("d", [honest])[0].verdict == "pass"
    assert study.strong_rows("d", [honest, fooled])[0].verdict == "fail"
    weaker = synthetic(0.5)  # an image that PGD alone breaks does not stand
    weaker["strong_test"] = weaker["strong_test"] | True
    assert (study.standing(weaker) == weaker["pgd_test"][-1].mean(axis=1)).all()
    assert study.strong_rows("d", [{k: v for k, v in honest.items() if k != "strong_test"}]) == []


def test_the_report_draws_all_columns(tmp_path):
    found, _ = verdicts(0.5)
    found[Plan(data="mnist", variant="batch-norm", steps=512)] = study.cut(synthetic(0.02), 512)
    rows = study.report(found, tmp_path)
    assert (tmp_path / "delayed-robustness.png").stat().st_size > 20_000
    (beside,) = [row for row in rows if "batch-norm: PGD" in row.quantity]
    assert beside.ours == pytest.approx(0.0, abs=0.05)
    assert "plain +0.4" in beside.tolerance


def test_intervals_over_seeds():
    from scipy.stats import ttest_1samp

    values = [0.1, 0.2, 0.4]
    mean, low, high = study.over_seeds(values)
    wanted = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(values), wanted.low, wanted.high))
    assert study.over_seeds([0.3]) == (0.3, None, None)
    assert torch.get_default_dtype() == torch.float32
