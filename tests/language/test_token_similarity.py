"""MaxSim against a naive transcription; the budget changes nothing; what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.errors import InputError
from cutaway.language.token_similarity import matches, maxsim


def _texts(rng, count, width=5):
    made = [rng.standard_normal((int(rng.integers(1, 7)), width)) for _ in range(count)]
    return [t / np.linalg.norm(t, axis=1, keepdims=True) for t in made]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), queries=st.integers(1, 4), documents=st.integers(1, 9), budget=st.integers(1, 400))
def test_it_is_the_mean_over_query_tokens_of_the_best_document_token(seed, queries, documents, budget):
    rng = np.random.default_rng(seed)
    asked, kept = _texts(rng, queries), _texts(rng, documents)
    found = maxsim(asked, kept, budget=budget)
    for i, q in enumerate(asked):
        for j, d in enumerate(kept):
            naive = sum(max(float(a @ b) for b in d) for a in q) / len(q)
            assert found[i, j] == pytest.approx(naive, abs=1e-5)
            place, alike = matches(q, d)
            assert alike.mean() == pytest.approx(naive, abs=1e-5)
            assert [float(a @ d[k]) for a, k in zip(q, place)] == pytest.approx(list(alike), abs=1e-5)
    np.testing.assert_allclose(found, maxsim(asked, kept), atol=1e-6)  # whatever the budget


def test_a_text_is_nearest_to_itself_and_to_what_holds_it():
    rng = np.random.default_rng(0)
    kept = _texts(rng, 20)
    found = maxsim(kept, kept)
    assert np.diag(found) == pytest.approx(np.ones(20), abs=1e-6) and found.max() <= 1 + 1e-6
    longer = np.concatenate([kept[3], kept[7]])
    assert maxsim([kept[3]], [longer])[0, 0] == pytest.approx(1, abs=1e-6)
    assert maxsim([longer], [kept[3]])[0, 0] < 1  # not symmetric


@pytest.mark.parametrize("documents", [[], [np.ones((0, 5))], [np.ones((2, 4))], [np.ones(5)]])
def test_what_cannot_be_compared_is_refused(documents):
    with pytest.raises(InputError, match="the token vectors"):
        maxsim([np.ones((2, 5))], documents)
