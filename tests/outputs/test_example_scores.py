"""Scores of examples against a naive transcription, and which rows are kept by them."""

import numpy as np
import pytest
import torch

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.outputs import ExampleScores, hardness, kept_count, mean_scores, prune, recall_quotas


def visits_of(rows=7, classes=3, steps=60, size=4, seed=0):
    """(step, rows, outputs, hidden); rows may come twice in a batch, and the last row never comes."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        chosen = torch.randint(0, rows - 1, (size,), generator=generator)
        yield step, chosen, torch.randn(size, classes, generator=generator), torch.randn(size, 5, generator=generator)


def naive(labels, visits, early):
    """Every definition, visit by visit."""
    found = {name: [[] for _ in labels] for name in ("error", "gradient", "margin", "loss", "right")}
    for step, rows, outputs, hidden in visits:
        for row, z, h in zip(rows.tolist(), outputs.double(), hidden.double(), strict=True):
            y = labels[row]
            p = torch.softmax(z, 0)
            off = p - torch.eye(len(z), dtype=torch.double)[y]
            margin = z[y] - max(v for k, v in enumerate(z) if k != y)
            if step <= early:
                found["error"][row].append(off.norm())
                found["gradient"][row].append((off[:, None] * torch.cat([h, torch.ones(1)])[None]).norm())
            found["margin"][row].append(margin)
            found["loss"][row].append(-p[y].log())
            found["right"][row].append(bool(margin > 0))
    forgotten = [sum(a and not b for a, b in zip(r, r[1:])) if any(r) else np.inf for r in found["right"]]
    mean = {name: [np.mean(v) if v else np.nan for v in found[name]] for name in ("error", "gradient", "margin")}
    return {
        "el2n": mean["error"],
        "grand_last": mean["gradient"],
        "margin_area": mean["margin"],
        "loss_variance": [np.var(v) if v else np.nan for v in found["loss"]],
        "forgetting": [f if r else np.nan for f, r in zip(forgotten, found["right"])],
    }


@pytest.mark.parametrize("waiting", [1, 10, 2048])
def test_scores_are_their_definitions(waiting, monkeypatch):
    monkeypatch.setattr("cutaway.outputs.example_scores.WAITING", waiting)
    labels = [0, 1, 2, 0, 1, 2, 0]
    scores = ExampleScores(torch.tensor(labels), early=20)
    for visit in visits_of():
        scores.see(*visit)
    table, expected = scores.table(), naive(labels, visits_of(), early=20)
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], np.array(values, dtype=float), rtol=1e-5, atol=1e-6, err_msg=name)
    assert table["visits"].tolist()[-1] == 0


def test_without_the_last_layer_there_is_no_gradient():
    scores = ExampleScores([0, 1])
    scores.see(1, [0, 1], torch.eye(2))
    assert np.isnan(scores.table()["grand_last"]).all()
    with pytest.raises(InputError, match="grand_last"):
        hardness(scores.table(), "grand_last")
    assert hardness(scores.table(), "margin_area").tolist() == [-1, -1]


def test_a_row_never_right_in_any_training_is_never_learned():
    tables = []
    for sign in (1.0, -1.0):
        scores = ExampleScores([0, 1])
        scores.see(1, [0, 1], torch.tensor([[1.0, 0.0], [sign, 0.0]]))
        tables.append(scores.table())
    assert mean_scores(tables)["forgetting"].tolist() == [0, np.inf]
    assert mean_scores(tables)["visits"].tolist() == [2, 2]
    with pytest.raises(InputError, match="same rows"):
        mean_scores([tables[0], ExampleScores([0, 1, 1]).table()])


def test_what_does_not_fit_is_refused():
    for labels in ([-1, 0], [0.5, 1.0], [[0], [1]], []):
        with pytest.raises(InputError, match="labels of the example scores"):
            ExampleScores(torch.tensor(labels))
    scores = ExampleScores([0, 1, 2])
    with pytest.raises(InputError, match="for 1 rows"):
        scores.see(1, [0], torch.zeros(2, 3))
    with pytest.raises(InputError, match="0 to 2"):
        scores.see(1, [3], torch.zeros(1, 3))
    scores.see(1, [2], torch.zeros(1, 2))
    with pytest.raises(InputError, match="2 classes"):
        scores.table()


def rows_of(*sizes):
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    return Dataset(name="rows", inputs=torch.zeros(len(labels), 2), labels=labels, num_classes=len(sizes))


def test_the_hardest_rows_are_kept_and_ties_are_drawn():
    data = rows_of(4, 4)
    assert prune(data, np.arange(8), 0.25).tolist() == [6, 7]
    assert prune(data, np.arange(8), 0.5, [2, 2]).tolist() == [2, 3, 6, 7]
    draws = {tuple(prune(data, np.zeros(8), 0.25, seed=s)) for s in range(40)}
    assert len(draws) > 10
    assert prune(data, None, 0.25, seed=3).tolist() == prune(data, np.zeros(8), 0.25, seed=3).tolist()
    assert prune(data, [np.inf, *np.zeros(7)], 0.125).tolist() == [0]
    assert len(prune(data, None, 1.0)) == 8


def test_quotas_go_with_what_is_not_recalled():
    labels = rows_of(100, 100, 100).labels
    assert recall_quotas(labels, [0.9, 0.8, 0.7], 0.2).tolist() == [10, 20, 30]
    assert recall_quotas(labels, [1.0, 1.0, 0.5], 0.1).tolist() == [1, 1, 28]  # a row of each class
    assert recall_quotas(labels, [1.0, 1.0, 1.0], 0.1).tolist() == [10, 10, 10]
    assert recall_quotas(rows_of(100, 5, 100).labels, [0.9, 0.0, 0.7], 0.2).tolist() == [9, 5, 27]  # 36 = 9 + 27
    assert recall_quotas(rows_of(50, 0, 10).labels, [0.9, 0.0, 0.0], 0.5).tolist() == [20, 0, 10]


def test_quotas_sum_to_the_share_and_fit():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 60, rng.integers(2, 9))
        labels, keep = np.repeat(np.arange(len(sizes)), sizes), rng.uniform(0.3, 1.0)
        if kept_count(keep, len(labels)) < len(sizes):
            continue
        quotas = recall_quotas(labels, rng.random(len(sizes)) ** 3, keep)
        assert quotas.sum() == kept_count(keep, len(labels))
        assert (quotas >= 1).all()
        assert (quotas <= sizes).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, 1.1), "at most 1"),
        ((None, 0.0), "above 0"),
        ((np.zeros(7), 0.5), r"shape \(7,\)"),
        (([0.0] * 7 + [np.nan], 0.5), "1 NaN"),
        ((None, 0.75, [5, 1]), "at most 4"),
        ((None, 0.5, [3, 2]), "5 rows in all"),
        ((None, 0.5, [2.0, 2.0]), "whole numbers"),
        ((None, 0.5, [4]), "one a class"),
    ],
)
def test_pruning_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        prune(rows_of(4, 4), *arguments)


def test_quotas_that_cannot_be_are_refused():
    labels = rows_of(4, 4).labels
    for recalls in ([1.5, 0.0], [0.5], [np.nan, 0.5]):
        with pytest.raises(InputError, match="recalls"):
            recall_quotas(labels, recalls, 0.5)
    with pytest.raises(InputError, match="1 rows for 2 classes"):
        recall_quotas(labels, [0.5, 0.5], 0.125)
