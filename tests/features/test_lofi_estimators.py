"""LoFi estimators: scikit-learn's contract, bad input, honest selection, the synthetic hierarchy."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.utils.estimator_checks import check_estimator

from cutaway.errors import InputError
from cutaway.features.lofi import LoFiClassifier, LoFiRegressor, LoFiTransformer

DRAWN = {  # a repeated row may fall on both sides of the split, or be a landmark twice; a weighted one cannot
    "check_sample_weight_equivalence_on_dense_data": "held-out rows and landmarks are drawn among the rows given"
}
EXACT = {"n_layers": 2, "validation_fraction": 0}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "drawn"),
    [
        (LoFiClassifier(n_layers=2), DRAWN),
        (LoFiClassifier(**EXACT), {}),
        (LoFiRegressor(n_layers=2), DRAWN),
        (LoFiRegressor(**EXACT), {}),
        (LoFiTransformer(n_layers=1), {}),
        (LoFiClassifier(mode="finite", width=64, n_directions=4, **EXACT), {}),
        (LoFiClassifier(mode="nystroem", width=30, n_layers=2), DRAWN),
        (LoFiRegressor(mode="nystroem", width=30, n_layers=2), DRAWN),
        (LoFiTransformer(mode="nystroem", width=30, n_layers=1), DRAWN),
    ],
    ids=lambda value: (
        f"{type(value).__name__}-{value.mode}-{value.validation_fraction}" if hasattr(value, "mode") else ""
    ),
)
def test_scikit_learn_contract(estimator, drawn):
    check_estimator(estimator, expected_failed_checks=drawn)


@pytest.mark.parametrize("mode", ["kernel", "finite"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_of_two_is_a_row_given_twice(mode, classes):
    """Oracle: the same rows repeated, and left out for a weight of 0."""
    rng = np.random.default_rng(classes)
    x, weights = rng.standard_normal((80, 4)), rng.integers(0, 4, 80)
    y = np.digitize(x[:, 0] * x[:, 1], [0.0] if classes == 2 else [-0.4, 0.4])
    model = LoFiClassifier(mode=mode, width=100, n_directions=2, alpha=1e-2, class_weight=None, **EXACT)
    weighted = clone(model).fit(x, y, sample_weight=weights).decision_function(x)
    repeated = clone(model).fit(np.repeat(x, weights, axis=0), np.repeat(y, weights)).decision_function(x)
    assert weighted == pytest.approx(repeated, abs=1e-6 * np.abs(repeated).max())
    equal = clone(model).fit(x, y).decision_function(x)
    assert np.abs(weighted - equal).max() > 0.01 * np.abs(equal).max(), "weights change something"


def test_balanced_classes_are_found_where_one_is_rare():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 4))
    y = (x[:, 0] + 0.5 * rng.standard_normal(1500) > 2.0).astype(int)
    plain, balanced = (LoFiClassifier(n_directions=4, class_weight=w).fit(x[:750], y[:750]) for w in (None, "balanced"))
    recall = [m.predict(x[750:][y[750:] == 1]).mean() for m in (plain, balanced)]
    assert recall[1] >= recall[0] + 0.15
    by_hand = {c: 750 / (2 * np.count_nonzero(y[:750] == c)) for c in (0, 1)}
    same = LoFiClassifier(n_directions=4, class_weight=by_hand).fit(x[:750], y[:750])
    assert (same.decision_function(x) == balanced.decision_function(x)).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_calibrated_on_held_out_rows(classes):
    """Labels drawn with probability sigmoid(2 x_1): the mean probability of a class is its share, within 3 errors."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2000, 3))
    noise = rng.logistic(size=2000)
    y = np.digitize(2 * x[:, 0] + noise, [0.0] if classes == 2 else [-1.0, 1.0])
    model = LoFiClassifier(n_directions=4).fit(x[:1000], y[:1000])
    told = model.predict_proba(x[1000:])
    assert told.shape == (1000, classes) and told.sum(axis=1) == pytest.approx(1.0)
    assert (told.argmax(axis=1) == model.predict(x[1000:])).all()
    sure = told.max(axis=1) > 0.8
    right = (model.predict(x[1000:]) == y[1000:])[sure]
    assert abs(right.mean() - told.max(axis=1)[sure].mean()) < 3 * (0.25 / sure.sum()) ** 0.5
    separable = LoFiClassifier(n_directions=4).fit(x, (x[:, 0] > 0).astype(int)).predict_proba(x)
    assert 0 < separable.min() < 0.05, "rows all told right do not make a probability 0"


@pytest.mark.parametrize("factor", [1e6, 1e12])
def test_a_row_of_wild_scale_is_drawn_back_and_said(factor):
    x, y = load_iris(return_X_y=True)
    wild = x.copy()
    wild[0] *= factor
    settings = {"n_layers": 2, "n_directions": 8, "alpha": 1e-2}
    model = LoFiClassifier(**settings).fit(wild, y)
    assert model.score(x[1:], y[1:]) == pytest.approx(
        LoFiClassifier(**settings).fit(x, y).score(x[1:], y[1:]), abs=0.02
    )
    assert any(n.startswith("1 of 150 rows drawn back: they lie up to") for n in model.notes_)
    assert not any("drawn back" in n for n in LoFiClassifier(**settings).fit(x, y).notes_)
    left = LoFiClassifier(standardize=False, **settings).fit(wild, y)
    assert left.score(x[1:], y[1:]) < 0.6 and not any("drawn back" in n for n in left.notes_)


@pytest.mark.parametrize("factor", [1e200, 1e150, 1e-200])
def test_a_common_factor_beyond_the_range_of_squares_changes_nothing(factor):
    x, y = load_iris(return_X_y=True)
    settings = {"n_layers": 2, "n_directions": 2, "alpha": 1e-2}
    plain, scaled = LoFiClassifier(**settings).fit(x, y), LoFiClassifier(**settings).fit(x * factor, y)
    assert (plain.predict(x) == scaled.predict(x * factor)).all()
    assert scaled.notes_[0].startswith("all inputs divided by 2^")


def test_features_have_names_and_come_as_frames():
    x, y = load_iris(return_X_y=True)
    frame = pd.DataFrame(x, columns=list("abcd"), index=np.arange(150) + 7)
    model = LoFiTransformer(n_layers=1, n_directions=3).set_output(transform="pandas").fit(frame, y)
    out = model.transform(frame)
    assert list(out.columns) == ["lofitransformer0", "lofitransformer1", "lofitransformer2"]
    assert (out.index == frame.index).all()


def test_weights_and_seeds_that_make_no_sense_are_told():
    x, y = load_iris(return_X_y=True)
    model = LoFiClassifier(n_layers=2, n_directions=2)
    for weights, text in [
        (-np.ones(150), "sample_weight, row 0; found -1; expected 0 or larger"),
        (np.ones(3), r"shape \(3,\); expected 150 finite numbers"),
        (np.full(150, np.nan), "NaN or infinity"),
        (np.zeros(150), "found 0 rows of non-zero weight"),
    ]:
        with pytest.raises(InputError, match=text):
            clone(model).fit(x, y, sample_weight=weights)
    with pytest.raises(InputError, match="random_state; found -1; expected at least 0"):
        LoFiClassifier(random_state=-1).fit(x, y)
    with pytest.raises(InputError, match="real targets have no classes: use sample_weight|Real targets"):
        LoFiRegressor(class_weight="balanced").fit(x, x[:, 0])
    assert LoFiClassifier(mode="finite", width=50, random_state=np.random.default_rng(0)).fit(x, y).score(x, y) > 0.8


@pytest.mark.parametrize("mode", ["kernel", "finite", "nystroem"])
def test_read_only_rows_are_read(mode):
    x, y = load_iris(return_X_y=True)
    x.setflags(write=False)
    assert LoFiClassifier(mode=mode, width=60, n_layers=2, n_directions=3).fit(x, y).score(x, y) > 0.9


def test_synthetic_hierarchy_beats_its_kernel(hierarchy):
    from cutaway.features.lofi.baselines import DeepNNGPClassifier

    (x, y), (xt, yt) = hierarchy(2000, seed=0)
    lofi = LoFiClassifier(n_directions=8, alpha=1e-3, validation_fraction=0).fit(x, y).score(xt, yt)
    kernel = DeepNNGPClassifier(alpha=1e-3).fit(x, y).score(xt, yt)
    assert lofi == pytest.approx(0.864, abs=0.02)
    assert lofi - kernel >= 0.06


def test_more_directions_than_needed_cost_accuracy(hierarchy):
    (x, y), (xt, yt) = hierarchy(1000, seed=1)
    score = {
        k: LoFiClassifier(n_directions=k, alpha=1e-3, validation_fraction=0).fit(x, y).score(xt, yt) for k in (8, 128)
    }
    assert score[8] > score[128] + 0.03


@pytest.mark.parametrize("seed", range(3))
def test_validation_score_is_honest(hierarchy, seed):
    (x, y), (xt, yt) = hierarchy(800, seed=seed)
    model = LoFiClassifier(refit=False, random_state=seed).fit(x, y)
    test = model.score(xt, yt)
    error = np.hypot(model.validation_standard_error_, np.sqrt(test * (1 - test) / len(yt)))
    assert abs(model.validation_score_ - test) <= 2 * error


def test_selection_on_pure_noise_does_not_promise_anything():
    """Labels without relation to the inputs: a leave-one-out or best-of-grid score would be above chance."""
    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((300, 20)), rng.integers(0, 2, 300)
        scores.append(LoFiClassifier(n_layers=2, random_state=seed).fit(x, y).validation_score_)
    assert np.mean(scores) == pytest.approx(0.5, abs=2.5 * np.sqrt(0.25 / 60 / 6))


def test_ten_classes_on_digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1000], order[1000:]
    model = LoFiClassifier(n_layers=2, n_directions=64, alpha=1e-3, validation_fraction=0).fit(x[train], y[train])
    assert model.score(x[test], y[test]) >= 0.97
    assert model.layer_records_[0].eigenvalues.size == 64


def test_string_labels_imbalance_and_float32():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8)).astype(np.float32)
    y = np.where(x[:, 0] ** 2 > 2.5, "rare", "common")
    model = LoFiClassifier(n_layers=2, n_directions=4, alpha=1e-3, early_stopping=False).fit(x, y)
    assert model.layer_records_[0].linear == 1  # first moment on where labels are imbalanced
    assert set(model.predict(x)) <= {"rare", "common"}
    assert model.score(x, y) > 0.9


def test_regressor_learns_a_quadratic():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 16))
    y = x[:, 0] * x[:, 1] + 3.0
    model = LoFiRegressor().fit(x[:1000], y[:1000])
    score = model.score(x[1000:], y[1000:])
    assert score > 0.8
    assert model.validation_score_ == pytest.approx(score, abs=3 * model.validation_standard_error_ + 0.1)
    several = LoFiRegressor(n_layers=2).fit(x, np.stack([y, x[:, 2]], axis=1))
    assert several.predict(x[:5]).shape == (5, 2)


def test_badly_scaled_columns_are_scaled_and_said(hierarchy):
    (x, y), (xt, yt) = hierarchy(1000, seed=0)
    wide = np.ones(x.shape[1])
    wide[0] = 1e6
    model = LoFiClassifier(n_directions=8, alpha=1e-3, validation_fraction=0).fit(x * wide, y)
    assert "standardised" in model.notes_[0]
    assert model.score(xt * wide, yt) > 0.72
    blind = LoFiClassifier(n_directions=8, alpha=1e-3, validation_fraction=0, standardize=False).fit(x * wide, y)
    assert blind.score(xt * wide, yt) < 0.65


def scaled_by(size, *columns):
    return lambda z: z * np.where(np.isin(np.arange(z.shape[1]), columns), size, 1.0)


BADLY_SCALED = {
    "one column x 500": (scaled_by(500, 3), np.float64, "standardised: spreads .* times apart"),
    "one column x 900": (scaled_by(900, 0), np.float32, "standardised"),
    "most columns x 1e5": (scaled_by(1e5, *range(5)), np.float32, "standardised"),
    "offset 1e4": (lambda z: z + 1e4, np.float64, "columns centred: their mean is 1.0e\\+04 times"),
    "offset 1e6": (lambda z: z + 1e6, np.float32, "columns centred"),
    "constant column of 1e4": (lambda z: np.c_[z, np.full(len(z), 1e4)], np.float64, "columns centred"),
}


@pytest.mark.parametrize("name", BADLY_SCALED)
def test_scales_and_offsets_that_hide_the_label_are_removed_and_said(name):
    change, dtype, words = BADLY_SCALED[name]
    rng = np.random.default_rng(0)
    x, xt = rng.standard_normal((600, 8)), rng.standard_normal((1000, 8))
    y, yt = x[:, 6] * x[:, 7] > 0, xt[:, 6] * xt[:, 7] > 0
    model = LoFiClassifier(n_layers=2).fit(change(x).astype(dtype), y)
    (note,) = model.notes_
    assert re.search(words, note)
    assert model.score(change(xt).astype(dtype), yt) > 0.8  # chance .5, columns as drawn .88
    features = LoFiTransformer(n_layers=1, n_directions=4).fit(change(x).astype(dtype), y)
    assert features.notes_ == model.notes_


def test_uneven_columns_are_said_and_left():
    x = np.random.default_rng(0).standard_normal((200, 8))
    uneven = scaled_by(30, 0)(x)
    model = LoFiClassifier(n_layers=1, n_directions=4).fit(uneven, x[:, 1] > 0)
    assert "left as they are" in model.notes_[0]
    assert "standardize=True" in model.notes_[0]
    for choice in (True, False):
        assert LoFiClassifier(n_layers=1, n_directions=4, standardize=choice).fit(uneven, x[:, 1] > 0).notes_ == []
    images, digits = load_digits(return_X_y=True)
    assert LoFiTransformer(n_layers=1, n_directions=4).fit(images[:300], digits[:300]).notes_ == []


def test_duplicated_rows_are_no_obstacle(hierarchy):
    (x, y), (xt, _yt) = hierarchy(500, seed=0)
    twice = LoFiClassifier(n_directions=8, alpha=2e-3, validation_fraction=0).fit(np.r_[x, x], np.r_[y, y])
    once = LoFiClassifier(n_directions=8, alpha=1e-3, validation_fraction=0).fit(x, y)
    assert np.mean(twice.predict(xt) == once.predict(xt)) > 0.995
    assert twice.notes_ == [
        "500 of 1000 rows repeat another: the kernel is singular, and 1e-10 of its mean diagonal is added before it is "
        "factorised"
    ]
    assert once.notes_ == []
    nothing = LoFiClassifier(mode="nystroem", width=10, n_directions=2).fit(np.zeros((20, 3)), np.arange(20) % 2)
    assert nothing.predict(np.zeros((2, 3))).shape == (2,)


BAD = [
    ({"y": np.zeros(20)}, "one class only"),
    ({"n": 1}, "minimum of 2"),
    ({"nan": True}, "NaN"),
    ({"params": {"mode": "finite", "width": 8, "n_directions": 9}}, "9 kept directions; expected at most the width 8"),
    ({"params": {"activation": "swoosh"}}, "parameter activation; found 'swoosh'"),
    ({"params": {"mode": "spline"}}, "parameter mode"),
    ({"params": {"n_layers": 0}}, "n_layers"),
    ({"params": {"n_directions": 0}}, "n_directions"),
    ({"params": {"validation_fraction": 1.5}}, "validation_fraction"),
    ({"params": {"mode": "conv"}}, "image_shape"),
    ({"params": {"mode": "kernel", "budget": 1_000}}, "use mode='nystroem'".capitalize()),
    ({"params": {"mode": "finite", "budget": 1_000, "n_directions": 4}}, "budget"),
    ({"params": {"mode": "kernel", "budget": 1_000}}, "a need of 9.6e-06 GB; expected at most budget=1000 bytes"),
    ({"params": {"mode": "finite", "budget": 1_000, "n_directions": 4}}, "expected at least 0.107 GB"),
    ({"params": {"budget": 0}}, "parameter budget; found 0; expected a number above 0"),
    ({"params": {"n_directions": "many"}}, "parameter n_directions; found 'many'"),
    ({"params": {"n_directions": 2.5}}, "parameter n_directions; found 2.5; expected a whole number"),
    ({"params": {"mode": "nystroem", "width": 8, "n_directions": 9}}, "9 kept directions"),
    ({"params": {"width": 0}}, "parameter width; found 0"),
    ({"params": {"alpha": -1}}, "parameter alpha; found -1; expected a number of at least 0"),
    ({"params": {"alpha": "no"}}, "parameter alpha; found 'no'"),
    ({"params": {"label_directions": "no"}}, "parameter label_directions; found 'no'"),
    ({"params": {"backward_rank": 5.0}}, "parameter backward_rank; found 5.0; .*at most 1"),
    ({"params": {"backward_passes": -1}}, "parameter backward_passes; found -1"),
    ({"params": {"mode": "finite", "device": "gpu"}}, "parameter device; found 'gpu'"),
    ({"params": {"random_state": "a"}}, "parameter random_state; found 'a'"),
]


@pytest.mark.parametrize(("case", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_is_named(case, words):
    rng = np.random.default_rng(0)
    n = case.get("n", 20)
    x, y = rng.standard_normal((n, 3)), case.get("y", np.arange(n) % 2)
    if case.get("nan"):
        x[0, 0] = np.nan
    with pytest.raises(ValueError, match=words) as caught:
        LoFiClassifier(**case.get("params", {})).fit(x, y)
    assert case.get("n") == 1 or case.get("nan") or isinstance(caught.value, InputError)


def test_a_stated_need_of_memory_is_enough():
    x, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    for settings in ({"mode": "kernel"}, {"mode": "finite", "width": 7}, {"mode": "finite", "width": 64}):
        keywords: dict[str, Any] = {"n_directions": 2, "n_layers": 1, **settings}
        with pytest.raises(InputError) as caught:
            LoFiTransformer(**keywords, budget=1).fit(x, y)
        needed = float(re.findall(r"(\S+) GB", str(caught.value))[-1])
        assert 0 < needed < 1e-2
        LoFiTransformer(**keywords, budget=math.ceil(needed * 1e9)).fit(x, y)


def test_constant_targets_are_refused():
    with pytest.raises(ValueError, match="constant column"):
        LoFiRegressor().fit(np.eye(10), np.ones(10))


def test_same_seed_same_predictions_and_clone(hierarchy):
    (x, y), (xt, _) = hierarchy(300, seed=0)
    first = LoFiClassifier(mode="finite", width=128, random_state=3)
    assert np.array_equal(first.fit(x, y).predict(xt), clone(first).fit(x, y).predict(xt))


def test_transformer_features_carry_the_target(hierarchy):
    (x, y), (xt, yt) = hierarchy(2000, seed=0)
    features = LoFiTransformer(n_layers=1, n_directions=8).fit(x, y.astype(int))
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    tail = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=500))
    assert tail.fit(features.transform(x), y).score(features.transform(xt), yt) > 0.8
    assert features.transform(xt).shape == (len(xt), 8)
