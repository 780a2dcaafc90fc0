"""A guardrail moved to another source: the threshold is that of its harmless rows, and the rate holds there."""

import copy

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.guard.calibrating import recalibrate
from cutaway.guard.rows import prompt_fingerprint


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
