"""A guardrail moved to another source: the threshold is that of its harmless rows, and the rate holds there."""

import copy
import json
import shutil

import numpy as np
import pandas
import pytest

from cutaway.cli import run
from cutaway.errors import InputError
from cutaway.guard import evaluate_guardrail, from_lists, load_guardrail
from cutaway.guard.calibrating import recalibrate
from cutaway.guard.evaluation import off_rate
from cutaway.guard.rows import prompt_fingerprint, read_harmless


def _shifted(count, seed=9):
    """Harmless prompts of another source: more storm words than the harmless rows of the fitting."""
    rng = np.random.default_rng(seed)
    kinds = ("storm", "calm", "plain")
    return list(
        dict.fromkeys(" ".join(f"{rng.choice(kinds)}{rng.integers(30)}" for _ in range(9)) for _ in range(count))
    )


def test_the_rate_that_was_asked_is_seen_on_the_rest_of_the_new_source(fitted):
    guard, texts = copy.copy(fitted), _shifted(700)
    old = guard.threshold_
    assert (guard.decision_function(texts) > old.logit).mean() > 0.2  # asked: .1
    found = recalibrate(guard, texts, num=100)
    assert found.rows == 100 and found.others == len(texts) - 100 and found.before == old
    assert found.seen_before > 0.2 and 0.04 < found.flagged / found.others < 0.19
    order = np.random.default_rng(0).permutation(len(texts))
    own = np.sort(guard.decision_function([texts[i] for i in order[:100]]))
    assert guard.threshold_.logit == pytest.approx(own[90], abs=1e-6)  # the 91st of 100: ceil(101 * .9)
    rest = guard.predict([texts[i] for i in order[100:]])
    assert found.flagged == rest.sum() and found.low < rest.mean() < found.high
    assert {prompt_fingerprint(texts[i]) for i in order[:100]} <= set(guard.seen_) > set(fitted.seen_)
    told = found.told()
    assert told["asked"] == 0.1 and told["fpr"] == pytest.approx(rest.mean()) and "seen on" in found.words()[1]


def test_too_few_rows_for_the_rate_and_rows_of_the_fitting_are_refused(fitted, make_rows):
    guard = copy.copy(fitted)
    with pytest.raises(InputError, match=r"at least 99 for a false-positive rate of 0\.01"):
        recalibrate(guard, _shifted(60), rate=0.01)
    with pytest.raises(InputError, match="only rows that are in the fitting data"):
        recalibrate(guard, make_rows(400).texts[:50])
    with pytest.raises(InputError, match="num.*expected at least 1"):
        recalibrate(guard, _shifted(60), num=0)
    assert guard.threshold_ == fitted.threshold_ and guard.seen_ == fitted.seen_
    recalibrate(guard, _shifted(20), rate=0.1)
    assert sum("the threshold rests on 20 harmless" in n for n in guard.notes_) == 1


def test_the_command_moves_a_guardrail_and_sets_its_certificate_aside(guard_folder, tmp_path, capsys):
    folder = tmp_path / "g"
    shutil.copytree(guard_folder, folder)
    (folder / "certificate.json").write_text("{}")
    texts = _shifted(150)
    frame = pandas.DataFrame({"text": texts, "label": ["fine" if i % 3 else "odd" for i in range(len(texts))]})
    frame.to_csv(tmp_path / "new.csv", index=False)
    line = ["guard", "calibrate", str(folder), "--data", str(tmp_path / "new.csv"), "--num", "60", "--json"]
    assert run(line) == 2 and "--positive" in capsys.readouterr().err  # neither label is known
    assert (folder / "certificate.json").is_file()
    assert run([*line, "--harmless", "fine"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 60 and told["others"] == 2 * len(texts) // 3 - 60 and told["threshold"] > told["before"]
    assert load_guardrail(folder).threshold_.logit == told["threshold"]
    assert not (folder / "certificate.json").exists() and (folder / "certificate.old.json").is_file()


def test_harmless_rows_are_those_not_labelled_harmful(tmp_path):
    pandas.DataFrame({"text": ["a", "b", "c"], "label": [0, 1, 0]}).to_csv(tmp_path / "a.csv", index=False)
    assert read_harmless(tmp_path / "a.csv") == ["a", "c"]
    pandas.DataFrame({"text": ["a", "b"], "label": ["safe", "harmless"]}).to_csv(tmp_path / "b.csv", index=False)
    assert read_harmless(tmp_path / "b.csv") == ["a", "b"]
    pandas.DataFrame({"text": ["a", "b"]}).to_csv(tmp_path / "c.csv", index=False)
    (tmp_path / "d.txt").write_text("a\n\nb\n")
    assert read_harmless(tmp_path / "c.csv") == read_harmless(tmp_path / "d.txt") == ["a", "b"]
    pandas.DataFrame({"text": ["a"], "label": [1]}).to_csv(tmp_path / "e.csv", index=False)
    with pytest.raises(InputError, match="no harmless row"):
        read_harmless(tmp_path / "e.csv")


def test_an_evaluation_says_where_the_rate_is_not_the_one_asked(fitted):
    texts = _shifted(300, seed=2)
    found = evaluate_guardrail(fitted, from_lists(texts, [0] * len(texts), ["elsewhere"] * len(texts)))
    assert found.asked == 0.1 and found.overall.fpr_low > 0.1
    assert any(n.startswith("elsewhere: asked for 0.1 of the harmless rows, seen 0.") for n in found.notes)
    assert off_rate(found.by_source, found.overall.fpr) == []
