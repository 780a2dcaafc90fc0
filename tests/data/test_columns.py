"""Groups and second labels stay with their rows, whatever is done to a data set, and are read from what people have."""

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.cli import run
from cutaway.data import Dataset, TextSet, as_dataset, load_data, two_of_votes
from cutaway.errors import InputError
from cutaway.evidence.null import PermutedLabels
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.status import Status
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data, small_generator, small_latents

WARDS = ("north", "south", "west")


def numbered(rows: int, seed: int = 0) -> Dataset:
    """Rows whose input says which row it is, which group and which second label it has."""
    rng = np.random.default_rng(seed)
    labels, labels2, wards = rng.integers(0, 4, rows), rng.integers(0, 4, rows), rng.integers(0, 3, rows)
    inputs = torch.from_numpy(np.stack([np.arange(rows), labels, labels2, wards], axis=1).astype(np.float32))
    return Dataset(
        name="numbered",
        inputs=inputs,
        labels=torch.from_numpy(labels),
        labels2=torch.from_numpy(labels2),
        num_classes=4,
        groups=torch.from_numpy(wards),
        group_names=WARDS,
    )


def in_step(data: Dataset) -> bool:
    seen = data.inputs.long()
    columns = zip((1, 2, 3), (data.labels, data.labels2, data.groups))
    return all(torch.equal(seen[:, k], values) for k, values in columns) and data.group_names == WARDS


@given(rows=st.integers(3, 60), share=st.floats(0.1, 1), seed=st.integers(0, 99), balanced=st.booleans())
@settings(max_examples=60, deadline=None)
def test_subsets_samples_and_draws_keep_them_in_step(rows, share, seed, balanced):
    from cutaway.context import Context

    data, num = numbered(rows, seed), max(1, int(share * rows))
    order = np.random.default_rng(seed).permutation(rows)[:num]
    assert in_step(data.subset(order)) and data.subset(order).inputs[:, 0].tolist() == order.tolist()
    assert in_step(data.take(num, seed, balanced)) and in_step(data.first(num))
    sample = Context(seed=seed).sample(Network(torch.nn.Linear(4, 4), data.inputs[:2]), data, num, balanced=balanced)
    assert in_step(sample.data)
    assert sample.groups.tolist() == sample.inputs[:, 3].tolist()
    assert sample.labels2.tolist() == sample.inputs[:, 2].tolist()
    assert torch.equal(data.normalised(std=(1,) * 4).groups, data.groups)


@given(seed=st.integers(0, 99), row=st.integers(0, 19))
@settings(max_examples=30, deadline=None)
def test_every_change_of_a_row_changes_the_fingerprint(seed, row):
    data = numbered(20, seed)
    found = {data.fingerprint()}
    for kind, top in (("labels", 4), ("labels2", 4), ("groups", 3)):
        values = getattr(data, kind).clone()
        values[row] = (values[row] + 1) % top
        found.add(dataclasses.replace(data, **{kind: values}).fingerprint())
    found.add(dataclasses.replace(data, group_names=("a", "b", "c")).fingerprint())
    assert len(found) == 5


def test_data_without_them_keeps_the_fingerprint_it_had():
    assert small_data(4).fingerprint().startswith(OLD)
    both = numbered(4)
    assert dataclasses.replace(both, labels2=both.labels).fingerprint() != (
        dataclasses.replace(both, groups=both.labels % 3).fingerprint()
    )


OLD = "c5b602d6aa523b18"


def test_permuted_labels_move_a_rows_answers_together():
    data = numbered(40)
    _, permuted = PermutedLabels().draw(None, data, 3)
    pairs = lambda d: sorted(zip(d.labels.tolist(), d.labels2.tolist()))  # noqa: E731
    assert pairs(permuted) == pairs(data) and not torch.equal(permuted.labels, data.labels)
    assert torch.equal(permuted.groups, data.groups)


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (np.array([10, 2, 10]), ("2", "10"), [1, 0, 1]),
        (torch.tensor([7, 7, 7]), ("7",), [0, 0, 0]),
        (np.array([1.0, 0.0, 1.0]), ("0", "1"), [1, 0, 1]),
        (np.array([True, False, True]), ("False", "True"), [1, 0, 1]),
        (pd.Series(["x", "y", "x"]).astype("category"), ("x", "y"), [0, 1, 0]),
    ],
)
def test_groups_are_any_categories(values, names, numbers):
    data = Dataset(name="d", inputs=torch.zeros(3, 2), groups=values)
    assert (data.group_names, data.groups.tolist()) == (names, numbers)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1], r"groups of data set 'd'; found shape \(2,\); expected \(3,\), one group a row"),
        ([0.5, 1, 2], "found numbers that are not whole; expected categories. Cut a measured quantity into bins"),
        (["a", None, "b"], r"groups of data set 'd', row 1; found no value \(1 of 3 rows\)"),
        ([1.0, np.nan, 2.0], "row 1; found no value"),
    ],
)
def test_groups_that_are_none_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        Dataset(name="d", inputs=torch.zeros(3, 2), groups=groups)


def test_second_labels_are_of_the_same_classes():
    with pytest.raises(InputError, match="without first ones"):
        Dataset(name="d", inputs=torch.zeros(3, 2), labels2=torch.zeros(3).long())
    with pytest.raises(InputError, match=r"row 2 .* found label 5 \(1 of 3 labels2 are outside"):
        Dataset(
            name="d",
            inputs=torch.zeros(3, 2),
            labels=torch.zeros(3).long(),
            labels2=torch.tensor([0, 1, 5]),
            num_classes=3,
        )
    data = as_dataset((np.zeros((3, 2), np.float32), ["cat", "dog", "cat"]), labels2=["dog", "dog", "cat"])
    assert data.labels2.tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="row 1; found 'eel'; expected one of the first labels' classes: cat, dog"):
        as_dataset((np.zeros((2, 2), np.float32), ["cat", "dog"]), labels2=["dog", "eel"])


class Table:
    """Stands for a Hugging Face data set, of which only these are asked."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, frame):
        self.frame, self.column_names, self.features = frame, list(frame.columns), {}

    def __getitem__(self, name):
        return self.frame[name].tolist()

    def remove_columns(self, names):
        return Table(self.frame.drop(columns=names))

    def to_pandas(self):
        return self.frame


def frame(rows: int = 24) -> pd.DataFrame:
    data = numbered(rows)
    table = pd.DataFrame(data.inputs.numpy(), columns=["row", "one", "two", "three"])
    return table.assign(
        label=data.labels.numpy(), rater=data.labels2.numpy(), ward=[WARDS[k] for k in data.groups.tolist()]
    )


@pytest.fixture(params=["frame", "hf", "csv", "parquet", "npz"])
def source(request, tmp_path):
    table = frame()
    if request.param == "frame":
        return table
    if request.param == "hf":
        return Table(table)
    path = tmp_path / f"table.{request.param}"
    if request.param == "csv":
        table.to_csv(path, index=False)
    elif request.param == "parquet":
        table.to_parquet(path, row_group_size=5)
    else:
        x = table[["row", "one", "two", "three"]].to_numpy()
        np.savez(path, x=x, y=table["label"], rater=table["rater"], ward=table["ward"].to_numpy(dtype=str))
    return path


def test_a_column_that_is_named_is_no_input(source):
    data = as_dataset(source, groups="ward", labels2="rater")
    assert data.input_shape == (4,) and in_step(data)
    if not isinstance(source, pd.DataFrame | Table):
        assert in_step(load_data(source, num=9, seed=1, groups="ward", labels2="rater"))


def test_a_column_that_is_not_there_is_asked_about(source):
    with pytest.raises(InputError, match="Did you mean 'ward'"):
        as_dataset(source, groups="wards")


@pytest.mark.parametrize("kind", [pd.DataFrame, Table])
def test_a_word_among_the_numbers_of_a_frame_is_named_and_what_is_left_out_is_said(kind):
    frame = pd.DataFrame({"a": ["1", "3", "=cmd|1"], "b": [1, 2, 3], "label": [0, 1, 1]})
    with pytest.raises(InputError, match=r"row 2 of a .*, column 'a'; found '=cmd\|1', which is no number \(so 1 of 3"):
        load_data(kind(frame))
    with pytest.raises(InputError, match="row 0 of a .*, column 'a'; found NaN or no value"):
        load_data(kind(frame.assign(a=[None, 1, 2])))
    with pytest.raises(InputError, match="found two columns called 'b'"):
        load_data(kind(frame.set_axis(["b", "b", "label"], axis=1)))
    data = load_data(kind(frame.assign(a=["001", "003", "017"], t=pd.date_range("2020", periods=3))))
    assert data.note == "left out, being no numbers: a (text that says numbers: convert it to have it read), t"
    truths = pd.Series([True, True, False], dtype=object)
    assert load_data(kind(frame.assign(a=truths))).inputs[:, 0].tolist() == [1, 1, 0]


def test_sets_without_columns_say_so(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2), np.float32))
    for name in ("digits", tmp_path / "x.npy"):
        with pytest.raises(
            InputError, match="option --groups; found 'ward' for .* which holds inputs and labels alone"
        ):
            load_data(name, groups="ward")


def test_tokens_keep_the_groups_of_their_texts():
    texts = TextSet(name="t", texts=("a b c", "a", "c b a"), groups=("x", "y", "z"))
    tokens = texts.tokenised(lambda text, add_special_tokens: {"input_ids": [ord(c) for c in text.split()]}, 3)
    assert [tokens.group_names[k] for k in tokens.groups] == ["x", "z"]


@dataclass(frozen=True, kw_only=True)
class Worst(Instrument):
    """Accuracy of the group with the lowest."""

    name: ClassVar[str] = "worst"
    question: ClassVar[str] = "Who is worst off?"
    source: ClassVar[str] = "this test"
    expense: ClassVar[str] = "1 forward pass a sample"
    needs: ClassVar[frozenset[str]] = frozenset({"groups", "labels", "labels2"})

    def _measure(self, network, data, context):
        sample = context.sample(network, data)
        said = network.outputs(sample.data.inputs, budget=context.budget).argmax(1).cpu().numpy()
        right = (said == sample.labels) | (said == sample.labels2)
        table = context.table()
        worst = min(right[sample.groups == g].mean() for g in np.unique(sample.groups))
        table.number("worst", worst, unit="1", kind="estimate", status=Status.ESTIMATE, long_name="worst group")
        return Findings.of(table)


class Bright(Worst):
    """Mean brightness of what a generator makes."""

    name: ClassVar[str] = "bright"
    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    def _measure(self, network, data, context):
        mean = network.outputs(data.inputs, budget=context.budget).double().mean()
        table = context.table()
        table.number("bright", float(mean), unit="1", kind="estimate", status=Status.ESTIMATE, long_name="brightness")
        return Findings.of(table)


def test_instruments_that_need_them_keep_the_contract():
    check_instrument(Worst())
    check_instrument(Bright())


def test_what_is_needed_and_not_there_is_named_with_the_next_step():
    data, model = small_data(), small_classifier()
    second = dataclasses.replace(data, labels2=data.labels)
    with pytest.raises(InputError, match=r"instrument 'worst'; found data 'small' without second labels;.*--labels2"):
        Worst().measure(model, data)
    with pytest.raises(InputError, match=r"without groups; expected a group for every row. Name the .* --groups"):
        Worst().measure(model, second)
    for network, rows, why in (
        (model, data, r"latents \(n, d\) of real numbers; found float32 inputs \(1, 4, 4\)"),
        (torch.nn.Linear(3, 2), small_latents(), r"found outputs \(2,\) of latents of 3 numbers"),
    ):
        reading = Bright().measure(network.eval(), rows)
        assert reading.status is Status.UNSUPPORTED
        assert re.search(why, reading.reason), reading.reason
    assert 0 < Bright().measure(small_generator(), small_latents()).figure("bright").value < 1


def test_a_scan_goes_on_without_what_needs_them(tmp_path):
    from cutaway.scanning import ScanSettings, scan

    run = scan(
        small_classifier(), small_data(), tmp_path / "run", instruments=[Worst()], settings=ScanSettings(nulls=0)
    )
    assert run.readings[0].status == Status.UNSUPPORTED
    assert run.readings[0].reason == "needs labels2; this data set has none"


@pytest.mark.parametrize("command", ["measure", "certify", "scan", "slice"])
def test_every_command_that_takes_data_takes_the_columns(command, tmp_path, monkeypatch, capsys):
    frame().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))\n"
    )
    monkeypatch.chdir(tmp_path)
    columns = ["--data", "t.parquet", "--groups", "ward", "--labels2", "rater", "--json"]
    arguments = {
        "measure": ["accuracy", "nets.py:make"],
        "certify": ["nets.py:make", "--radius", "0.001"],
        "scan": ["nets.py:make", "--only", "accuracy", "--nulls", "0"],
        "slice": ["nets.py:make", "--through", "1,2,3", "--no-picture", "--no-explorer"],
    }[command]
    assert run([command, *arguments, *columns]) == 0
    assert json.loads(capsys.readouterr().out)
    assert run([command, *arguments, *[c.replace("ward", "wart") for c in columns]]) == 2  # "wart" is no column
    assert "Did you mean 'ward'?" in json.loads(capsys.readouterr().out)["error"]


def test_two_different_voters_are_drawn_from_counts_of_votes():
    """Of 1 and 2 votes both labels are class 1 with chance 1/3, and each label is class 0 with chance 1/3: of 3,000
    rows within .03, which fails once in 2,000 runs."""
    drawn = two_of_votes([[1, 2]] * 3000, np.random.default_rng(0))
    assert drawn.shape == (3000, 2) and not (drawn == 0).all(axis=1).any()  # one voter is not drawn twice
    assert abs((drawn == 1).all(axis=1).mean() - 1 / 3) < 0.03
    assert np.abs((drawn == 0).mean(axis=0) - 1 / 3).max() < 0.03


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ([[1, 0], [2, 2]], "fewer than two votes in 1 of 2 rows, row 0"),
        ([[1.5, 2]], "no counts"),
        ([[-1, 5]], "no counts"),
        ([[np.nan, 5]], "no counts"),
        ([3, 4], "shape"),
        ([["a", "b"]], "shape"),
    ],
)
def test_what_are_no_votes_is_refused(votes, words):
    with pytest.raises(InputError, match=words):
        two_of_votes(votes, np.random.default_rng(0))
