"""Tables lose nothing in silence: a word among numbers is an error, a column of words is left out and said."""

import decimal

import numpy as np
import pandas as pd
import pytest

from cutaway.cli import run
from cutaway.data import load_data, table
from cutaway.errors import FileError, InputError


def csv(folder, text: str | bytes):
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(cells, names="a,b,label") -> str:
    return "\n".join([names, *(f"{cell},{k},{k % 2}" for k, cell in enumerate(cells))]) + "\n"


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["1", "3", "=cmd|1", "7"], r"row 2 of .*t\.csv, column 'a'; found '=cmd\|1', which is no number \(so 1 of 4"),
        (["1", "3", "n/a", "7"], r"row 2 of .*t\.csv, column 'a'; found NaN or no value \(1 of 4 rows"),
        (["1", "", "5", "7"], r"row 1 of .*t\.csv, column 'a'; found NaN or no value"),
        (["1", "3", "5", "inf"], r"row 3 of .*t\.csv, column 'a'; found infinity, or a number beyond float32"),
        (["1e39", "3", "5", "7"], r"row 0 of .*t\.csv, column 'a'; found infinity, or a number beyond float32"),
        (["cm", "3", "5", "7"], r"row 0 of .*t\.csv, column 'a'; found 'cm', which is no number"),
        (["1", "True", "5", "7"], r"row 1 of .*t\.csv, column 'a'; found 'True', which is no number"),
        (["1", "3", "-", "-"], r"row 2 of .*t\.csv, column 'a'; found '-', which is no number \(so 2 of 4"),
        (["1", "3", "5", "x" * 99], r"row 3 of .*t\.csv, column 'a'; found 'x{40}\.\.\.', which is no number"),
    ],
)
@pytest.mark.parametrize("part", [1 << 23, 1])
def test_a_cell_that_is_no_number_is_named_by_row_and_column(tmp_path, monkeypatch, cells, says, part):
    monkeypatch.setattr(table, "PART_BYTES", part)  # in one part, and in one a row
    with pytest.raises(InputError, match=says):
        load_data(csv(tmp_path, rows(cells)))


@pytest.mark.parametrize("part", [1 << 23, 1])
def test_a_column_of_words_is_left_out_and_said(tmp_path, monkeypatch, part):
    monkeypatch.setattr(table, "PART_BYTES", part)
    data = load_data(csv(tmp_path, rows(["A12", "17", "B3", "C4"])))
    assert data.inputs.tolist() == [[0], [1], [2], [3]]
    assert data.note == "left out, being no numbers: a (though 1 of 4 cells are)"


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1" + "0" * 30, "2", "-3", "4"], [1e30, 2, -3, 4]),  # beyond every whole number of NumPy
        (["True", "False", "True", "True"], [1, 0, 1, 1]),
        ([" 1", "2 ", '"3"', "4e0"], [1, 2, 3, 4]),
    ],
)
def test_every_number_is_a_number(tmp_path, cells, numbers):
    data = load_data(csv(tmp_path, rows(cells)))
    assert np.array_equal(data.inputs[:, 0].numpy(), np.float32(numbers)) and data.note == ""


def test_rows_that_are_not_taken_may_miss_numbers(tmp_path):
    path = csv(tmp_path, rows([*map(str, range(20)), ""]))
    assert load_data(path, num=2, seed=0).inputs.shape == (2, 2)
    with pytest.raises(InputError, match="row 20 of"):
        load_data(path, num=2, seed=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,label,a\n1,2,0,3\n", "found two columns called 'a'"),
        ("a,b,label\n0,1,2,0\n1,3,4,1\n", "found rows of more fields than the header"),
        ("a,b,label\n1,2,0\n3,4,1,9\n", "Expected 3 fields in line 3, saw 4"),
        ("a;b;label\n1;2;0\n", "Separate its fields by commas instead of ';'"),
        ("a,b,label\n1,2,é\n".encode("latin-1"), "found bytes that are no UTF-8.*Save it in UTF-8"),
        ("a,b,label\n1,2,0\n".encode("utf-16"), "found bytes that are no UTF-8.*Save it in UTF-8"),
    ],
)
def test_a_table_that_would_be_read_wrongly_is_refused(tmp_path, text, says):
    with pytest.raises((FileError, InputError), match=says):
        load_data(csv(tmp_path, text))


def test_a_comma_at_the_end_of_every_row_shifts_no_column(tmp_path):
    data = load_data(csv(tmp_path, "a,b,label\n1,2,0,\n3,4,1,\n"))
    assert data.inputs.tolist() == [[1, 2], [3, 4]] and data.labels.tolist() == [0, 1]


def test_a_mark_of_byte_order_is_no_part_of_a_name(tmp_path):
    data = load_data(csv(tmp_path, "\ufefflabel,a\n1,2\n0,3\n".encode()))
    assert data.labels.tolist() == [1, 0] and data.inputs.tolist() == [[2], [3]]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "frame"])
def test_inputs_that_hardly_are_meant_as_such_are_named(tmp_path, suffix):
    frame = pd.DataFrame({"Unnamed: 0": [0, 1], "a": [2.0, 3.0], "label": [0, 1], "Target": [0, 1]})
    path = tmp_path / f"t.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    data = load_data(frame if suffix == "frame" else path)
    assert data.input_shape == (3,) and data.note == "taken as inputs, like every column of numbers: Unnamed: 0, Target"


def test_a_parquet_file_names_columns_and_labels_as_a_csv_file_does(tmp_path):
    frame = pd.DataFrame({"a": [1.0, np.nan], "Labels": [0, 1]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"row 1 of .*t\.parquet, column 'a'; found NaN or no value"):
        load_data(tmp_path / "t.parquet")
    frame.assign(a=[decimal.Decimal("1.5"), decimal.Decimal("-2")]).to_parquet(tmp_path / "d.parquet")
    data = load_data(tmp_path / "d.parquet")
    assert data.inputs.tolist() == [[1.5], [-2.0]] and data.labels.tolist() == [0, 1] and data.note == ""


@pytest.mark.parametrize("command", ["measure", "certify", "scan"])
def test_what_a_table_lost_is_said_by_every_command_once(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "nets.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 2)\n")
    csv(tmp_path, "a,b,town,label\n1,2,x,0\n3,4,y,1\n")
    monkeypatch.chdir(tmp_path)
    rest = {
        "measure": ["accuracy", "nets.py:make"],
        "certify": ["nets.py:make", "--radius", "0.1"],
        "scan": ["nets.py:make", "--only", "accuracy", "--nulls", "0"],
    }
    assert run([command, *rest[command], "--data", "t.csv", "--json"]) == 0
    assert capsys.readouterr().err.count("t: left out, being no numbers: town") == 1
