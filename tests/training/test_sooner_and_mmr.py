"""The reproductions `grok-sooner` and `mmr`: their judgement on made-up runs, and one tiny run of each on real data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutaway.reproductions import grok_sooner, mmr


def made_run(onset, last, clean=0.9, level=0.5, seed=0):
    steps = np.array([10, 100, 1000, 10_000, last])
    rng = np.random.default_rng(seed)
    robust = np.array([rng.random(300) < (level if s >= onset else 0.02) for s in steps])
    return {
        "steps": steps,
        "robust": robust,
        "clean": np.tile(np.arange(2000) < 2000 * clean, (5, 1)),
        "seconds": np.array(0.004),
    }


def judged(regularised, plain):
    lines = []
    rows = grok_sooner.table({"plain": plain, "Jacobian norm": regularised}, lines.append, short=False)
    return rows[-1], "\n".join(lines)


def test_onset_is_where_it_stays_above_and_its_interval_holds_it():
    one = grok_sooner.onset_of(made_run(1000, 40_000), 0, clean=0.89)
    assert (one.step, one.low, one.high) == (1000, 1000, 1000)
    back = made_run(100, 40_000)
    back["robust"][2] = False  # falls below once more: the onset is after that
    assert grok_sooner.onset_of(back, 0, clean=0.89).step == 10_000
    assert not grok_sooner.onset_of(made_run(99_999, 40_000), 0, clean=0.89).seen
    dull = made_run(100, 40_000)
    dull["clean"][:3, 1700:] = False  # 85 % right up to step 1000: robust, but not at equal clean accuracy
    assert grok_sooner.onset_of(dull, 0, clean=0.89).step == 10_000
    shaky = grok_sooner.onset_of(made_run(10_000, 40_000, level=0.21), 0, clean=0.89)
    assert shaky.high == np.inf  # 21 % of 300 images is not surely above 20 %


def test_the_verdict_needs_every_seed_and_equal_clean_accuracy():
    plain = [made_run(40_000, 40_000), made_run(99_999, 40_000, seed=1)]
    row, text = judged([made_run(100, 10_500), made_run(1000, 10_500)], plain)
    assert row.verdict == "pass" and row.ours == pytest.approx(40.0) and "Jacobian norm" in row.quantity
    assert "> 40,000" in text and "400x 40x" in text
    row, _ = judged([made_run(100, 10_500, clean=0.88), made_run(1000, 10_500, clean=0.88)], plain)
    assert row.verdict == "fail" and row.ours == 0.0
    row, _ = judged([made_run(100, 10_500, clean=0.8905), made_run(10_000, 10_500, clean=0.8905)], plain)
    assert row.verdict == "pass" and row.ours == pytest.approx(4.0)
    row, _ = judged([made_run(100, 10_500), made_run(10_000, 10_500)], [made_run(99_999, 20_000)] * 2)
    assert row.verdict == "fail" and row.ours == pytest.approx(2.0)  # one seed is only twice as early
    row, _ = judged([made_run(100, 30_000), made_run(99_999, 30_000)], plain)  # never: ratio 0
    assert row.verdict == "fail" and row.ours == 0.0


def outcome(clean, lower, upper, own):
    return mmr._Errors(
        clean=clean, lower=lower, upper=upper, own_upper=own, steps=1, epochs=1.0, seconds=1.0, judged=1000
    )


def test_the_verdicts_of_mmr():
    found = {
        "plain": outcome(0.1, 1.0, 1.0, 1.0),
        "adversarial training": outcome(0.12, 0.3, 0.9, 1.0),
        "MMR": outcome(0.19, 0.39, 0.45, 0.8),
        "MMR + adversarial": outcome(0.16, 0.3, 0.4, 0.8),
    }
    rows = {r.quantity: r for r in mmr.rows(found, short=False)}
    assert all(r.verdict != "fail" for r in rows.values())
    assert rows["MMR: upper robust error (certified)"].verdict == "pass"
    found["MMR"] = outcome(0.19, 0.39, 0.47, 0.8)
    assert {r.quantity: r for r in mmr.rows(found, short=False)}[
        "MMR: upper robust error (certified)"
    ].verdict == "fail"
    found["MMR"] = outcome(0.19, 0.39, 0.95, 0.3)
    verdicts = [r.verdict for r in mmr.rows(found, short=True)]
    assert verdicts.count("fail") == 2  # certifies no more than the others, and its certificate contradicts the attack


def test_equal_compute_counts_products():
    assert [m.products for m in mmr.METHODS[:2]] == [2, 2 + 2 * mmr.ATTACK_STEPS]
    term = mmr.METHODS[2]
    assert term.products == 2 + 3 * term.rivals


def test_tiny_runs_on_real_data(real_data, tmp_path):
    lines = []
    way = replace(grok_sooner.WAYS[1], steps=60)
    first = grok_sooner._kept(tmp_path, way, 0, lines.append)
    again = grok_sooner._kept(tmp_path, way, 0, lines.append)
    assert len(lines) == 1 and first["robust"].shape == (14, 300) and first["clean"].shape == (14, 2000)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert first["steps"][-1] == 60 and first["clean"][-1].mean() > 0.8
    from cutaway.data import load_data

    train, test = load_data("fashion-mnist", split="train", num=600), load_data("fashion-mnist", split="test", num=200)
    stream = torch.get_rng_state()
    found = mmr._run_method(mmr.METHODS[3], train, test, products=600, judged=20, seed=0)
    assert found.steps == int(600 / mmr.METHODS[3].products)
    assert found.lower <= found.upper + 1e-12 and found.lower <= found.own_upper + 1e-12
    assert torch.equal(stream, torch.get_rng_state())
