"""The record of which examples were trained on, read from a run folder that somebody else made."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from cutaway.errors import FileError
from cutaway.training import open_training
from cutaway.training.journal import JournalWriter


def run_with(folder, record, data):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": 1, "kind": "training"}))
    writer = JournalWriter(folder / "journal.bin")
    writer.append({"kind": "order", "steps": [1, 2], **record}, data)
    writer.close()
    return open_training(folder)


def test_the_rows_of_every_step_come_back(tmp_path):
    run = run_with(
        tmp_path / "r", {"dtype": "<u2", "counts": [2, 1]}, zlib.compress(np.array([7, 8, 9], "<u2").tobytes())
    )
    assert [(step, rows.tolist()) for step, rows in run.order()] == [(1, [7, 8]), (2, [9])]


@pytest.mark.parametrize(
    ("record", "data"),
    [
        ({"dtype": "<u2", "counts": [2, 1]}, zlib.compress(bytes(50_000_000), 1)),
        ({"dtype": "<u2", "counts": [2, 2]}, zlib.compress(bytes(6))),
        ({"dtype": "<u2", "counts": [2, 1]}, b"no archive"),
        ({"dtype": "<u2", "counts": [10**12, 1]}, zlib.compress(bytes(6))),
        ({"dtype": "|O", "counts": [2, 1]}, zlib.compress(bytes(6))),
    ],
    ids=["more", "less", "damaged", "announced too large", "objects"],
)
def test_a_block_that_unpacks_to_anything_but_what_it_announces_is_refused(record, data, tmp_path):
    run = run_with(tmp_path / "r", record, data)
    with pytest.raises(FileError, match="order of its examples"):
        list(run.order())
