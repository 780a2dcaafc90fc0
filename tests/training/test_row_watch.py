"""A watch on rows changes nothing, sees the passes that train, and leaves its table in the run."""

import dataclasses

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from cutaway.errors import CutawayWarning, InputError
from cutaway.testing.contract import small_data
from cutaway.training import Ascent, EveryN, RowWatch, Term, Tracker, TrainingSettings, train
from cutaway.training.fit import fit
from cutaway.training.recipe import checked_recipe


def small(dropout=0.2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


SETTINGS = TrainingSettings(steps=12, batch_size=20, learning_rate=1e-2)


def test_the_training_is_the_same_bit_by_bit():
    data = small_data()
    watch = RowWatch(data)
    watched = train(small(), data, SETTINGS, tracker=watch)
    alone = train(small(), data, SETTINGS)
    watch.close()
    for a, b in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(m._forward_hooks for m in watched.model.modules())
    assert watch.table()["visits"].tolist() == [4] * len(data)  # twelve steps are four epochs


def test_only_the_pass_that_trains_is_scored():
    """An adversary, a term and an instrument call the model too. Without a rate every visit is the same pass."""
    data = small_data()
    still = dataclasses.replace(SETTINGS, learning_rate=0.0, weight_decay=0.0)
    term = Term(weight=1.0, function=lambda model, inputs, labels: model(inputs).square().mean() * 0)
    watch = RowWatch(data)
    model = train(small(0.0), data, still, tracker=watch).model
    outputs = model(data.inputs).detach()
    own = outputs.gather(1, data.labels[:, None]).squeeze(1)
    rest = outputs.scatter(1, data.labels[:, None], -torch.inf).amax(1)
    np.testing.assert_allclose(watch.table()["margin_area"], own - rest, rtol=1e-4, atol=1e-5)
    assert (watch.table()["loss_variance"] < 1e-9).all()
    attacked = RowWatch(data)
    train(small(0.0), data, still, tracker=attacked, adversary=Ascent(radius=0.1, steps=2), terms=[term])
    assert (attacked.table()["el2n"] > watch.table()["el2n"]).mean() > 0.9


def test_gradients_of_the_last_layer_are_torchs():
    data, model = small_data(), small(0.0)
    watch = RowWatch(data)
    watch.step(model, 0)
    outputs = model(data.inputs[:4])
    watch.step(model, 1, examples=[0, 1, 2, 3])
    for row in range(4):
        loss = nn.functional.cross_entropy(outputs[row : row + 1], data.labels[row : row + 1])
        parts = torch.autograd.grad(loss, list(model[-1].parameters()), retain_graph=True)
        length = torch.cat([p.flatten() for p in parts]).norm()
        assert watch.table()["grand_last"][row] == pytest.approx(float(length), rel=1e-5)
    watch.close()


def test_added_gradients_and_rows_that_no_pass_was_made_on():
    data, model = small_data(), small()
    watch = RowWatch(data)
    watch.step(model, 0)
    model(data.inputs[:4]), model(data.inputs[4:9])
    watch.step(model, 1, examples=np.arange(9))
    assert watch.table()["visits"].tolist()[:10] == [1] * 9 + [0]
    model.eval()
    model(data.inputs[:4])
    with pytest.raises(InputError, match="training mode"):
        watch.step(model, 2, examples=np.arange(4))
    with pytest.raises(InputError, match="no labels"):
        RowWatch(dataclasses.replace(data, labels=None))
    late = RowWatch(data)
    with pytest.warns(CutawayWarning, match="begin after step 7"):
        late.step(model, 7, examples=[1])


def test_a_tracker_saves_the_table_and_goes_on_without_a_watch_that_breaks(tmp_path):
    data = small_data()
    watch = RowWatch(dataclasses.replace(data, inputs=data.inputs[:5], labels=data.labels[:5]))  # of other rows
    whole = RowWatch(data)
    tracker = Tracker([], EveryN(5), tmp_path / "run", data=data, callbacks=[watch, whole], checkpoints=EveryN(4))
    with pytest.warns(CutawayWarning, match="0 to 4"), tracker:
        train(small(), data, SETTINGS, tracker=tracker)
    table = pandas.read_csv(tmp_path / "run" / "example_scores.csv", index_col="row")
    assert table["visits"].tolist() == [4] * len(data)
    np.testing.assert_allclose(table["el2n"], whole.table()["el2n"], rtol=1e-6)


def test_a_recipe_asks_for_the_table(tmp_path):
    recipe = checked_recipe(
        {
            "data": {"name": "digits", "num": 50, "test": 20},
            "model": {"name": "mlp", "width": 8, "depth": 2},
            "training": {"steps": 4, "batch": 25},
            "tracker": {"example_scores": True},
        }
    )
    fit(recipe, tmp_path / "run")
    table = pandas.read_csv(tmp_path / "run" / "example_scores.csv")
    assert table["visits"].tolist() == [2] * 50
    assert list(table)[:3] == ["row", "label", "visits"]
