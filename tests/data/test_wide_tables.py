"""A table of very many columns is refused from its first line, before anything is made of them."""

import io

import numpy as np
import pandas
import pytest

from cutaway.data.table import MOST_COLUMNS, _count_columns, csv_rows
from cutaway.errors import FileError
from cutaway.files import within


@pytest.fixture
def no_pandas(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("the table was read")

    monkeypatch.setattr(pandas, "read_csv", refuse)


@pytest.mark.usefixtures("no_pandas")
def test_too_many_columns_are_refused_from_the_first_line(tmp_path):
    (tmp_path / "wide.csv").write_text(",".join(f"c{k}" for k in range(200_000)) + "\n")
    with pytest.raises(FileError, match=r"more than 100,000 columns.*Leave columns out"):
        csv_rows(tmp_path / "wide.csv", ("y",))


@pytest.mark.usefixtures("no_pandas")
def test_columns_that_the_budget_does_not_hold_are_refused(tmp_path):
    (tmp_path / "wide.csv").write_text(",".join(f"c{k}" for k in range(50_000)) + "\n")
    with within(100_000_000), pytest.raises(FileError, match=r"50,000 columns.*250 MB"):
        csv_rows(tmp_path / "wide.csv", ("y",))


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n",
        '"a,x","b\n,y",c\n1,2,3\n',
        "\r\n\r\na,b,c\r\n1,2,3\r\n",
        "a,b,c",
        'a,"b ""quoted, twice""",c\n',
        ",,\n1,2,3\n",
        '"' + "," * 70_000 + '",b,c\n',
    ],
)
def test_the_count_is_that_of_pandas(text):
    assert _count_columns(io.BytesIO(text.encode())) == 3 == len(pandas.read_csv(io.StringIO(text), nrows=0).columns)


def test_the_most_columns_pass(tmp_path):
    many = io.BytesIO(",".join(["c"] * MOST_COLUMNS).encode())
    assert _count_columns(many) == MOST_COLUMNS
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,0\n3,4,1\n")
    inputs, labels, _, _ = csv_rows(tmp_path / "t.csv", ("y",))
    assert inputs.tolist() == [[1, 2], [3, 4]] and np.array_equal(labels, [0, 1])
