"""What people hold their data in is read right, or refused with the next step."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import cutaway
from cutaway.data import Dataset, as_dataset, load_data, table
from cutaway.errors import CutawayError, InputError
from cutaway.files import within
from cutaway.instruments import Accuracy

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3
NAMES = np.array(["cat", "dog", "eel"])[Y]


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        if k >= len(X):
            raise IndexError
        return torch.from_numpy(X[k]), int(Y[k])


class Table:
    """Stands for a Hugging Face data set, of which only these are asked."""

    __module__ = "datasets.arrow_dataset"
    column_names = ("a", "b", "label")

    def __init__(self, features):
        self.features = features

    def __getitem__(self, name):
        return {"label": Y.tolist()}[name]

    def to_pandas(self):
        return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "label": Y})


FRAME = pd.DataFrame(X, columns=list("abcd"))


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        [X.tolist(), Y.tolist()],
        (X, Y[:, None]),
        (X, Y.astype(float)),
        (X, NAMES),
        (X, list(NAMES)),
        FRAME.assign(label=Y),
        FRAME.assign(Class=NAMES),
        Rows(),
        torch.utils.data.DataLoader(Rows(), batch_size=5),
    ],
    ids=lambda d: type(d).__name__,
)
def test_all_forms_hold_the_same_rows_and_classes(data):
    made = as_dataset(data)
    assert np.array_equal(made.inputs.numpy(), X)
    assert np.array_equal(made.labels.numpy(), Y) and made.num_classes == 3


def test_named_labels_keep_their_names_and_their_order():
    assert as_dataset((X, NAMES)).class_names == ("cat", "dog", "eel")
    named = type("F", (), {"names": ["x", "y", "z"]})()
    assert as_dataset(Table({"label": named})).class_names == ("x", "y", "z")
    assert as_dataset(Table({})).inputs.shape == (12, 2)


def test_a_data_sets_own_class_numbers_stay_when_its_names_are_in_another_order():
    """Numbered anew by name, z would be class 2, and a network that was trained on it would be wrong everywhere."""
    table = as_dataset(Table({"label": type("F", (), {"names": ["z", "x", "y"]})()}))
    folder = Rows()
    folder.classes = ["z", "x", "y"]
    for made in (table, as_dataset(folder), as_dataset(torch.utils.data.DataLoader(folder, batch_size=5))):
        assert made.class_names == ("z", "x", "y") and np.array_equal(made.labels.numpy(), Y)
    assert "0 cat, 1 dog, 2 eel" in as_dataset((X, NAMES)).note


def test_inputs_alone_have_no_labels_and_a_dataset_is_itself():
    assert as_dataset(X).labels is None and as_dataset(FRAME).labels is None
    data = Dataset(name="d", inputs=torch.zeros(2, 3))
    assert as_dataset(data) is data


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6, 5, 3), (4, 3, 6, 5)])
def test_images_of_whole_numbers_are_scaled_and_it_is_said(kind, shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    made = as_dataset((kind(images), [0, 1, 0, 1]))
    assert made.inputs.shape == (4, 1 if len(shape) == 3 else 3, 6, 5)
    assert made.value_range == (0.0, 1.0) and "divided by 255" in made.note
    first = images[0] if len(shape) == 3 else (images[0, :, :, 0] if shape[-1] == 3 else images[0, 0])
    assert np.allclose(made.inputs[0, 0].numpy(), first / 255)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": X}, "give a pair of tensors"),
        ((X, Y[:5]), r"\(12,\), one a row"),
        ((X, np.eye(3)[Y]), "argmax"),
        ((X, Y + 0.5), "not whole"),
        ((np.array([["a", "b"]]), [0]), "numbers"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "different lengths"),
        (pd.DataFrame({"t": ["a", "b"]}), "none numeric"),
        (torch.utils.data.TensorDataset(torch.zeros(0, 3)), "no rows"),
        (7, "type builtins.int"),
    ],
)
def test_what_cannot_be_read_names_the_next_step(data, says):
    with pytest.raises(InputError, match=f"(?i){says}"):
        as_dataset(data)


def test_a_loader_that_does_not_end_is_refused(monkeypatch):
    from cutaway.data import anything

    monkeypatch.setattr(anything, "MOST_ROWS", 10)
    for source in (Rows(), torch.utils.data.DataLoader(Rows(), batch_size=2)):
        with pytest.raises(InputError, match="(?i)take a part"):
            as_dataset(source)


def test_a_csv_file_is_a_table_with_a_header(tmp_path):
    FRAME.assign(label=NAMES).to_csv(tmp_path / "t.csv", index=False)
    made = load_data(tmp_path / "t.csv", num=6)
    assert made.inputs.shape == (6, 4) and made.class_names == ("cat", "dog", "eel") and made.name == "t"
    (tmp_path / "bad.csv").write_bytes(bytes(range(256)) * 3)
    with pytest.raises(CutawayError):
        load_data(tmp_path / "bad.csv")


def test_a_csv_file_is_read_in_parts_to_the_same_rows(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(size=300), "text": "x", "late": [1] * 149 + ["q"] * 151, "b": rng.integers(0, 9, 300),
         "y": rng.integers(0, 3, 300)}
    )  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(table, "PART_BYTES", 500)
    whole = as_dataset(pd.read_csv(tmp_path / "t.csv"), name="t")
    for num, expected in ((None, whole), (40, whole.take(40, 3))):
        found = load_data(tmp_path / "t.csv", num=num, seed=3)
        assert torch.equal(found.inputs, expected.inputs) and torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no columns"),
        (b"a,b\n", "no rows"),
        (b"a,y\n1,0\n2,\n", "row 1 of .*no value in label column 'y'"),
        (b'a,b\n"1,2\n' + b"3" * 2_000_000, "one row of more than 1,000,000 bytes"),
        (b"a,b\n" + b"1,2\n" * 200_000, "found 2 MB unpacked"),
        (b"a\nq\n", "none numeric"),
    ],
)
def test_a_csv_file_that_is_no_table_or_too_large_is_refused(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with within(1_000_000), pytest.raises(CutawayError, match=f"(?i){says}"):
        load_data(tmp_path / "t.csv")
    if content.count(b"\n") > 10:
        with within(1_000_000):
            assert load_data(tmp_path / "t.csv", num=5).inputs.shape == (5, 2), "a few rows of it fit"


def test_a_bare_module_and_a_pair_are_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    value = Accuracy().measure(model, (X, NAMES)).figure("accuracy").value
    assert value == float((model(torch.from_numpy(X)).argmax(1).numpy() == Y).mean())


def test_a_scan_without_a_folder_gives_an_object_for_a_notebook(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    from cutaway.scanning import ScanSettings

    run = cutaway.scan(model, (X, NAMES), instruments=[Accuracy()], settings=ScanSettings(nulls=3))
    frame = run.to_frame()
    assert frame["name"][0] == "accuracy" and frame["p_value"][0] > 0
    html = run._repr_html_()
    assert "Right on" in html and 'class="tile' in html and "<script" not in html
    assert run.report(tmp_path / "page.html").exists() and run.report() == run.page
    reading = run.readings[0]
    assert repr(reading).startswith("Reading(accuracy: estimate, accuracy=") and len(repr(reading)) < 200
    assert f"{reading.figure('log_loss').value:.3g}" in reading._repr_html_()
    assert repr(run).startswith("Run(") and len(repr(run)) < 250
    folder = run.folder
    del run
    assert not folder.exists()


def test_load_data_takes_what_people_hold():
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "town": ["x", "y", "z"], "label": ["cat", "dog", "cat"]})
    data = load_data(frame, num=2)
    assert data.class_names == ("cat", "dog") and data.inputs.shape == (2, 1)
    assert "left out, being no numbers: town" in data.note and "no labels" not in data.note
    assert "no column is called label, y, target or class" in load_data(frame.drop(columns=["label"])).note
    with pytest.raises(InputError, match="Give a pair of tensors"):
        load_data({"x": 1})


def test_a_torch_data_set_that_raises_no_index_error_is_read_to_its_length():
    class Endless(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return torch.full((3,), float(index)), index % 2

    data = load_data(Endless())
    assert data.inputs[:, 0].tolist() == [0, 1, 2, 3, 4] and data.labels.tolist() == [0, 1, 0, 1, 0]


def test_a_file_says_what_was_scaled_left_out_and_named(tmp_path):
    grey = (np.arange(96) * 2).astype(np.uint8).reshape(2, 3, 4, 4)
    np.savez(tmp_path / "whole.npz", x=grey, y=np.array(["dog", "cat"]))
    np.savez(tmp_path / "float.npz", x=grey.astype(np.float32), y=[0, 1])
    np.savez(tmp_path / "unit.npz", x=grey / 255, y=[0, 1])
    whole, floats, unit = (load_data(tmp_path / f"{name}.npz") for name in ("whole", "float", "unit"))
    assert "divided by 255" in whole.note and whole.class_names == ("cat", "dog") and whole.labels.tolist() == [1, 0]
    assert "divide by 255" in floats.note and float(floats.inputs.max()) == 190 and unit.note == ""
    rows = pd.DataFrame({"a": [0.5, 1.5], "species": ["x", "y"]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        data = load_data(tmp_path / name)
        assert "left out, being no numbers: species; no column is called label" in data.note and data.labels is None
