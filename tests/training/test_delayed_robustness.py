"""The delayed-robustness experiment: what its runs hold, and that its verdicts follow the curves either way."""

import numpy as np
import pytest
import torch

from cutaway.reproductions import _robustness_rise
from cutaway.reproductions import delayed_robustness as study
from cutaway.reproductions._robustness_runs import Plan, measured_run

TINY = Plan(
    data="digits", steps=30, per_decade=3, samples=80, width=16, batch_size=40, test=60, attacked=20, points=8,
    lc_radii=(0.2, 1.0), variant="batch-norm", judged=30, proofs=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return measured_run(TINY, tmp_path_factory.mktemp("runs"), lambda _text: None)


def test_a_run_holds_what_it_says(run):
    steps = TINY.measuring_steps()
    assert run["steps"].tolist() == steps == [0, 1, 2, 5, 10, 22, 30]
    assert run["clean_train"].shape == (7, 80)
    assert run["pgd_test"].shape == (7, 4, 20)
    assert set(run["marks"].tolist()) <= set(steps) and run["marks"][-1] == 30
    assert run["judged"].shape == (4, 5, 4, 30) and run["judged_clean"].shape == (4, 30)
    assert run["proved"].shape == (4, 5, 5)
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

    plan, told = replace(TINY, steps=3, judged=2, proofs=1), []
    first = measured_run(plan, tmp_path, told.append)
    count = len(told)
    again = measured_run(plan, tmp_path, told.append)
    assert len(told) == count > 0
    assert all(np.array_equal(first[k], again[k], equal_nan=True) for k in first)

    def begun(_text):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measured_run(replace(plan, width=8), tmp_path, begun)  # another plan is run anew


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
        "pgd_test": attacked, "noise_test": attacked, "marks": marks[[10, 14, 18, -1]],
        "judged_clean": shares(clean, 200)[[10, 14, 18, -1]],
        "judged": attacked[[10, 14, 18, -1]][:, None].repeat(5, axis=1),
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
    fooled["judged"] = fooled["judged"].copy()
    fooled["judged"][-1, 4] = False  # Square breaks what stood at the last step
    from_start, from_end, from_peak, told = study.strong_rows("d", [honest])
    assert from_start.verdict == from_end.verdict == from_peak.verdict == "pass" and from_start.low > 0.3
    assert [row.verdict for row in study.strong_rows("d", [honest, fooled])[:2]] == ["fail", "fail"]
    assert "PGD-10, margin PGD, APGD, targeted APGD, Square" in told.quantity
    honest["marks"] = honest["marks"][[0, 3, 2, 3]]  # a plateau that lasts to the end has nothing to be compared with
    assert study.strong_rows("d", [honest])[1].ours == "the same step in every run"
    flat = synthetic(0.05)
    assert study.strong_rows("d", [flat])[0].verdict == "fail"
    assert study.strong_rows("d", [flat])[0].ours == pytest.approx(0.0, abs=0.02)


def test_the_four_marks():
    """Start and end of the plateau within a point of the highest accuracy, the peak after the low, the last step."""
    from cutaway.reproductions._robustness_marks import marks

    steps = np.array([0, 1, 10, 100, 1000, 10_000])
    accuracy = [0.1, 0.5, 0.915, 0.92, 0.911, 0.88]
    clean = np.array([np.arange(1000) < 1000 * a for a in accuracy])
    count = np.array([5.0, 1.0, 2.0, 3.0, 6.0, 1.0])[:, None]
    assert marks(steps, clean, count).tolist() == [10, 1000, 1000, 10_000]


def test_the_paired_interval_is_that_of_the_differences():
    from scipy.stats import norm

    from cutaway.reproductions._robustness_marks import paired

    late, early = np.array([1, 1, 0, 1, 0, 1], bool), np.array([1, 0, 0, 0, 1, 0], bool)
    d = late.astype(float) - early
    half = norm.ppf(0.975) * d.std(ddof=1) / np.sqrt(6)
    assert paired(late, early) == pytest.approx((d.mean(), d.mean() - half, d.mean() + half), rel=1e-4)


def test_no_attack_of_the_list_gives_back_what_an_earlier_one_broke(run):
    standing = run["judged"]
    assert (standing[:, 1:] <= standing[:, :-1]).all() and (standing[:, 0] <= run["judged_clean"][:, None]).all()


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
    mean, low, high = _robustness_rise.over_seeds(values)
    wanted = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(values), wanted.low, wanted.high))
    assert _robustness_rise.over_seeds([0.3]) == (0.3, None, None)
    assert torch.get_default_dtype() == torch.float32
