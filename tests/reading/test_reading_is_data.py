"""A reading's file is data: no codec that it names is run, no size that it announces is believed."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import xarray as xr
from numcodecs.blosc import compress

from cutaway.errors import FileError
from cutaway.reading import Cost, Coverage, Provenance, Reading, variable
from cutaway.status import Status


def make() -> Reading:
    height = variable([[1.0, 2.0], [3.0, 4.0]], ["site", "sample"], long_name="height", kind="exact")
    values = xr.Dataset({"height": height, "word": variable(["one", "zwölf"], ["site"], long_name="a text")})
    origin = Provenance(instrument="made-up", parameters={}, versions={})
    return Reading(values=values, figures=(), status=Status.EXACT, coverage=Coverage(), cost=Cost(), provenance=origin)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def edited(tmp_path):
    """Rewrites members of a good reading: `edited(array, {key: value}, chunk)`."""

    def edit(name, changes, chunk=None):
        path, bad = make().save(tmp_path / "good"), tmp_path / "bad.zarr.zip"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
            for member in old.namelist():
                content = old.read(member)
                if member == f"{name}/.zarray":
                    content = json.dumps(json.loads(content) | changes)
                elif chunk is not None and member.startswith(f"{name}/") and "/." not in member:
                    content = chunk
                new.writestr(member, content)
        return bad

    return edit


@pytest.mark.parametrize("dtype", ["<f8", "|O"])
@pytest.mark.parametrize("filters", [[], [{"id": "vlen-utf8"}]])
def test_no_codec_that_unpickles_is_opened(edited, tmp_path, filters, dtype):
    """Old versions of numcodecs unpickle here; new ones refuse in words of their own."""
    changes = {"dtype": dtype, "filters": [*filters, {"id": "pickle", "protocol": 5}], "compressor": None}
    bad = edited("height", changes | {"fill_value": None}, pickle.dumps(Touch(tmp_path / "ran")))
    with pytest.raises(FileError) as refused:
        Reading.load(bad)
    assert not (tmp_path / "ran").exists()
    assert "height/.zarray; found codecs '" in str(refused.value)


HUGE = [
    ({"shape": [100_000, 100_000]}, None, "80,000 MB unpacked"),
    ({"chunks": [100_000, 100_000]}, None, "80,000 MB unpacked"),
    ({"dtype": "<U300000000"}, None, "4,800 MB unpacked"),
    ({"shape": [20_000, 10_000], "chunks": [1, 1]}, None, "200,000,000 chunks"),
    ({"shape": [2], "chunks": [2, 2]}, None, r"shape \[2\] in chunks"),
    ({"shape": [2.5, 2]}, None, r"shape \[2.5, 2\]"),
    ({"dtype": [["a", "<f8"]]}, None, "no array"),
    ({"compressor": {"id": "zlib", "level": 1}}, None, "codecs 'zlib'"),
    ({"filters": [{"id": "vlen-utf8"}]}, None, "codecs 'vlen-utf8'"),
    ({}, struct.pack("<4B3I", 2, 1, 1, 8, 2**32 - 1, 1024, 16), "4,295 MB unpacked"),
    ({}, b"", "a broken block"),
    ({}, compress(np.zeros(9), b"lz4", 5), "72 bytes for 4 values"),
    ({"compressor": None}, b"", "0 bytes for 4 values"),
]


@pytest.mark.parametrize(("changes", "chunk", "words"), HUGE)
def test_sizes_are_checked_before_anything_is_unpacked(edited, changes, chunk, words):
    with pytest.raises(FileError, match=words):
        Reading.load(edited("height", changes, chunk))


def test_a_text_array_of_four_billion_texts(edited):
    with pytest.raises(FileError, match="for 2 values"):
        Reading.load(edited("word", {}, compress(struct.pack("<2I", 2**32 - 1, 0), b"lz4", 5)))


@pytest.mark.parametrize(("record", "words"), [('"x"', "foreign"), ('{"format": 9}', "format 9"), ("[" * 9999, "deep")])
def test_a_record_of_another_kind(tmp_path, record, words):
    path = make().save(tmp_path / "good")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "bad", "w") as new:
        for member in old.namelist():
            new.writestr(member, json.dumps({"cutaway": record}) if member == ".zattrs" else old.read(member))
    with pytest.raises(FileError, match=words):
        Reading.load(tmp_path / "bad")
