"""NLP verification: perturbations, regions without negatives, sound verdicts, metrics, no leak from test rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.errors import InputError
from cutaway.guard.nlp import (
    Boxes,
    SentenceSettings,
    WordCounts,
    cluster_boxes,
    cubes,
    perturb,
    perturbation_boxes,
    run_pipeline,
    shrink,
    train_classifier,
)
from cutaway.guard.nlp.perturbations import CHARACTER, WORD
from cutaway.guard.nlp.pipeline import Projection, verify_boxes

SENTENCE = "are you a robot, or is there a person?"


@pytest.mark.parametrize("level", ["character", "word", "sentence"])
def test_perturbations_are_seeded_different_and_small(level):
    made = perturb(SENTENCE, level, 6, np.random.default_rng(3))
    assert made == perturb(SENTENCE, level, 6, np.random.default_rng(3)) and len(set(made)) == len(made) >= 4
    assert SENTENCE not in made and all(p.strip() for p in made)
    if level == "character":
        assert all(abs(len(p) - len(SENTENCE)) <= 1 for p in made)
    with pytest.raises(InputError, match="one of character, word, sentence"):
        perturb(SENTENCE, "page", 1, np.random.default_rng(0))


def test_every_rule_does_what_it_says():
    rng = np.random.default_rng(0)
    assert CHARACTER["swap"]("abc", 0, rng) == "bac" and CHARACTER["delete"]("abc", 1, rng) == "ac"
    assert CHARACTER["repeat"]("abc", 1, rng) == "abbc" and len(CHARACTER["insert"]("abc", 1, rng)) == 4
    assert CHARACTER["replace"]("abc", 0, rng)[0] in "qsz"
    words = ["are", "you", "here"]
    assert WORD["negate"](words, 0, rng) == ["are", "not", "you", "here"]
    assert WORD["plural"](words, 0, rng) == ["is", "you", "here"]
    assert WORD["tense"](words, 0, rng) == ["were", "you", "here"]
    assert WORD["delete"](["one"], 0, rng) == ["one"] and sorted(WORD["move"](words, 1, rng)) == sorted(words)


@given(seed=st.integers(0, 10_000), d=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_shrunk_boxes_hold_no_negative(seed, d):
    rng = np.random.default_rng(seed)
    positives, negatives = rng.normal(size=(40, d)), rng.normal(size=(30, d)) + 0.5
    low, high = shrink(positives, negatives)
    assert not ((negatives >= low) & (negatives <= high)).all(1).any()
    start_low, start_high = positives.min(0), positives.max(0)
    assert (low >= start_low).all() and (high <= start_high).all()
    boxes = cluster_boxes(positives, negatives, count=5, seed=0)
    assert not boxes.inside(negatives).any()


def test_shrinking_keeps_the_most_positives_it_can():
    positives = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]])
    low, high = shrink(positives, np.array([[8.0]]))
    assert low[0] == 0 and 3 < high[0] < 8  # the cut that loses one positive, not four
    low, high = shrink(np.array([[1.0, 1.0]]), np.array([[1.0, 1.0]]))
    assert not ((low <= 1) & (high >= 1)).all()


def test_perturbation_boxes_keep_what_is_near():
    points = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    moved = [np.array([[1.1, 0.1], [-1.0, 0.0]]), np.array([[1.0, 0.0]]), np.empty((0, 2))]
    boxes = perturbation_boxes(points, moved)
    assert boxes.owner.tolist() == [0]
    np.testing.assert_allclose((boxes.lower[0], boxes.upper[0]), ([1.0, 0.0], [1.1, 0.1]))
    assert cubes(points, 0.5).inside(np.array([[1.4, 0.4]])).tolist() == [[True, False, False]]
    with pytest.raises(InputError, match="epsilon"):
        cubes(points, 0.0)


def test_verdicts_agree_with_dense_sampling_and_can_fail():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-0.6, 0.6, (150, 4)), rng.normal(0.6, 0.6, (150, 4))])
    labels = np.repeat([0, 1], 150)
    model = train_classifier(points, labels, epochs=10)
    boxes = cubes(points[:150], 0.3)
    verified, falsified = verify_boxes(model, boxes)
    assert verified.mean() > 0.5 and falsified.any() and not (verified & falsified).any()
    draws = boxes.lower[:, None] + rng.random((150, 400, 4)) * 0.6
    worst = (model(torch.from_numpy(draws).float()) @ torch.tensor([1.0, -1.0])).amin(1).numpy()
    assert (worst[verified] > 0).all() and (worst < 0)[~verified].any()
    wrong, _ = verify_boxes(model, cubes(points[150:], 0.3))
    assert wrong.mean() < 0.1


def test_adversarial_points_raise_verifiability():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(-0.6, 0.7, (200, 6)), rng.normal(0.6, 0.7, (200, 6))])
    labels = np.repeat([0, 1], 200)
    boxes = cubes(points[:200], 0.35)
    plain = verify_boxes(train_classifier(points, labels, epochs=15), boxes)[0].mean()
    trained = verify_boxes(train_classifier(points, labels, boxes=boxes, epochs=15), boxes)[0].mean()
    assert trained > plain + 0.03


def test_projection_is_fitted_on_training_rows_and_rotations_before_it_do_nothing():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(60, 8)) * np.arange(1, 9)
    positive = np.arange(60) < 30
    project = Projection(train, positive, 4)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned = Projection(train @ turn, positive, 4)
    np.testing.assert_allclose(np.abs(project(train)), np.abs(turned(train @ turn)), atol=1e-8)
    with pytest.raises(InputError, match="dimension; found 9"):
        Projection(train, positive, 9)


def _embed(texts):
    """Letter counts: an embedding that needs no model."""
    return np.array([[t.lower().count(c) for c in "abcdefghijklmnop"] for t in texts], dtype=float)


@pytest.mark.parametrize("region", ["cube", "word", "character", "sentence", "cluster"])
def test_the_whole_study_runs_for_every_region(region):
    rng = np.random.default_rng(0)
    ask = [f"are you a robot {w}" for w in ("now", "friend", "at all", "or alive", "maybe", "then")] * 4
    other = [
        f"do you like {w} {v}" for w in ("milk", "jam") for v in ("hot", "cold", "old", "much", "on bread", "mom")
    ] * 2
    texts = [t + " " + "xyz"[int(rng.integers(3))] for t in ask + other]
    labels = np.repeat([0, 1], [len(ask), len(other)])
    options = SentenceSettings(region=region, dimension=6, epochs=20, clusters=4, count=3, epsilon=0.1)
    found = run_pipeline((texts[::2], labels[::2]), (texts[1::2], labels[1::2]), _embed, settings=options)
    assert found.boxes > 0 and 0 <= found.verifiability <= 1 and found.recall > 0.8
    assert found.verifiability + found.falsified <= 1
    assert found.generalisability <= found.reach <= 1
    if region == "cluster":
        assert found.overlap == 0
    again = run_pipeline((texts[::2], labels[::2]), (texts[1::2], labels[1::2]), _embed, settings=options)
    assert again.verifiability == found.verifiability and again.f1 == found.f1


def test_boxes_know_who_is_inside():
    boxes = Boxes(lower=np.zeros((1, 2)), upper=np.ones((1, 2)), owner=np.array([0]))
    assert boxes.inside(np.array([[0.5, 0.5], [1.5, 0.5]])).ravel().tolist() == [True, False]


def test_word_counts_learn_from_training_sentences_only_and_barely_move_under_a_typo():
    train = [
        f"{a} you {b} a {c}" for a in ("are", "were") for b in ("really", "maybe") for c in ("robot", "person")
    ] * 2
    embed = WordCounts(train, dimension=5)
    points = embed(["are you really a robot", "are you realy a robot", "qqq zzz"])
    assert points.shape == (3, 5) and np.linalg.norm(points[0]) == pytest.approx(1)
    assert points[0] @ points[1] > 0.9 and not points[2].any()  # words that training never saw count nothing
    with pytest.raises(InputError, match="16 for 16 sentences"):
        WordCounts(train, dimension=16)
