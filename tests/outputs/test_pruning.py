"""The audit of pruning: a planted case with a known answer, its nulls, and the instrument's contract."""

import dataclasses

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import FileError, InputError
from cutaway.instruments import Pruning
from cutaway.network import Network
from cutaway.outputs import plain_trainer, study_pruning
from cutaway.outputs.pruning_study import RANDOM, SAME_COUNTS, class_recalls
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data


def planted(rows=240, seed=0):
    """Three classes of points on a line; those of class 2 lie among those of class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    inputs = np.stack([np.array([-4.0, 1.0, 1.5])[labels] + rng.normal(size=rows), np.ones(rows)], axis=1)
    return Dataset(name="line", inputs=torch.tensor(inputs).float(), labels=torch.tensor(labels), num_classes=3)


class Oracle(nn.Module):
    """Right on every row of a class of which it was trained on at least `least` rows."""

    def __init__(self, counts, labels_of, least=5):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.known, self.labels_of = counts >= least, labels_of

    def forward(self, inputs):
        labels = self.labels_of(inputs)
        wrong = (labels + 1) % 3
        return torch.eye(3)[torch.where(torch.as_tensor(self.known)[labels], labels, wrong)]


def counted(rows, seed, scored):
    """A trainer whose networks know a class by its number of rows; class 2 is hardest."""
    own = rows.labels.numpy()
    table = pandas.DataFrame({"label": own, "visits": 1, "el2n": (own == 2) + 0.1 * (seed % 7)}) if scored else None
    return Oracle(np.bincount(own, minlength=3), lambda inputs: inputs[:, 0].long()), table


def rows_named_by_their_class(rows=120):
    labels = torch.arange(rows) % 3
    return Dataset(name="own", inputs=torch.stack([labels, labels], 1).float(), labels=labels, num_classes=3)


def test_the_arms_are_what_they_say():
    data = rows_named_by_their_class()
    study = study_pruning(counted, data, data, data, pruners=("el2n", "quotas"), keep=(0.25,), num_seeds=3)
    hard, chance = study.arm("el2n", 0.25), study.arm("el2n", 0.25, RANDOM)
    assert hard.counts.tolist() == [[0, 0, 30]] * 3  # the hardest rows are all of class 2
    assert hard.worst.tolist() == [0, 0, 0]
    assert chance.worst.tolist() == [1, 1, 1]
    assert (chance.counts.sum(axis=1) == 30).all()
    same = study.arm("el2n", 0.25, SAME_COUNTS)
    assert same.counts.tolist() == hard.counts.tolist()
    assert same.called == "el2n: random, same class counts"
    assert study.arm("quotas", 0.25).counts.tolist() == [[10, 10, 10]] * 3  # every recall is 1
    assert study.arms[0].counts.tolist() == [[40, 40, 40]] * 3
    assert hard.follows == pytest.approx(1.0)
    for wrong in ("el2", "el2n+quota", "quotas+quotas"):
        with pytest.raises(InputError, match="no such score"):
            study_pruning(counted, data, data, data, pruners=(wrong,), keep=(0.25,), num_seeds=2)


def test_trainings_are_paired_and_leave_global_streams():
    data = planted()
    trainer = plain_trainer(lambda seed: nn.Linear(2, 3), steps=40, batch_size=30, learning_rate=0.1)
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    networks = []
    for _ in range(2):
        model = nn.Linear(2, 3)
        nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
        networks.append(
            plain_trainer(lambda seed, m=model: m, steps=40, batch_size=30, learning_rate=0.1)(data, 3, True)
        )
    torch.manual_seed(5)
    trainer(data, 3, False)
    torch.testing.assert_close(networks[0][0].weight, networks[1][0].weight, rtol=0, atol=0)
    torch.manual_seed(5)
    assert torch.rand(1) == first
    pandas.testing.assert_frame_equal(networks[0][1], networks[1][1])
    assert not networks[0][1]["grand_last"].isna().any()
    assert class_recalls(networks[0][0], data)[0] > 0.9
    with pytest.raises(InputError, match="none of class 3"):
        class_recalls(networks[0][0], dataclasses.replace(data, num_classes=4))


def test_the_instrument_keeps_its_contract(tmp_path):
    fast = Pruning(keep=[0.3, 0.6], steps=8, seeds=2, others=("margin_area+quotas",))
    assert hash(fast) == hash(dataclasses.replace(fast, keep=(0.3, 0.6)))
    reading = check_instrument(fast)
    assert set(reading.values["kept_by"].values) == {
        "all rows",
        "random rows",
        "quotas",
        "margin_area+quotas",
        "margin_area+quotas: random, same class counts",
    }
    assert "points beside random rows" in fast.describe(reading)
    few = Pruning(keep=(0.05,)).measure(small_classifier(), small_data())
    assert "fewer than a row a class" in few.reason


def test_tables_of_the_user(tmp_path):
    data, network = small_data(), Network(small_classifier(), small_data().inputs[:2])
    table = pandas.DataFrame({"label": data.labels, "mine": np.arange(48.0)})
    table.to_csv(tmp_path / "good.csv", index=False)
    fast = Pruning(keep=(0.3,), steps=2, seeds=2, pruner="table", others=("quotas",), scores=str(tmp_path / "good.csv"))
    reading = fast.measure(network, data)
    assert reading.figure("rows_beyond_counts").low is not None
    assert "suspect" not in reading.values
    for change, words in (
        (table[:-1], "47 rows"),
        (table.assign(label=0), "other labels from row 1"),
        (table[["label"]], "no numeric column"),
    ):
        change.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(InputError, match=words):
            dataclasses.replace(fast, scores=str(tmp_path / "bad.csv")).measure(network, data)
    table.assign(mine=np.where(np.arange(48) < 40, np.nan, 1)).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match=r"score 'table'; found none for \d+ of 24"):
        dataclasses.replace(fast, scores=str(tmp_path / "bad.csv")).measure(network, data)
    with pytest.raises(FileError, match="no such file"):
        dataclasses.replace(fast, scores=str(tmp_path / "none.csv")).measure(network, data)
    with pytest.raises(InputError, match="no numeric column 'hers'; expected mine"):
        dataclasses.replace(fast, scores=f"{tmp_path / 'good.csv'}:hers").measure(network, data)
    named = table.assign(other=0.0)
    named.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(InputError, match="pruner 'table'"):  # which of the two?
        dataclasses.replace(fast, scores=str(tmp_path / "two.csv")).measure(network, data)
    again = dataclasses.replace(fast, scores=f"{tmp_path / 'two.csv'}:mine").measure(network, data)
    assert [f.value for f in again.figures] == [f.value for f in reading.figures]
    for keep in ((1.2,), (0.0,), (), "half", (0.5, 1.0)):
        with pytest.raises(InputError, match="keep"):
            dataclasses.replace(fast, keep=keep).measure(network, data)
