"""Readings: round trips, plain access, atomic writes."""

import dataclasses
import math
import resource
import signal

import numpy as np
import pytest
import xarray as xr
from zarr.storage import ZipStore

from cutaway.errors import FileError, InputError
from cutaway.files import atomic
from cutaway.pictures.charts import figures_chart
from cutaway.reading import Cost, Coverage, Figure, Provenance, Reading, Skipped, variable
from cutaway.reading.store import to_netcdf, to_parquet
from cutaway.status import Status


def make() -> Reading:
    values = xr.Dataset(
        {
            "height": variable(
                [[1.0, math.nan], [3.0, 4.0]], ["site", "sample"], unit="m", long_name="height", kind="exact"
            ),
            "word": variable(["one", "zwölf"], ["site"], long_name="a text"),
        },
        coords={"site": ["a", "longer name"], "sample": [3, 1]},
    )
    return Reading(
        values=values,
        figures=(
            Figure(name="mean", value=2.5, low=1.0, high=math.inf, p_value=0.05, unit="m"),
            Figure(name="nan", value=math.nan),
        ),
        status=Status.ESTIMATE,
        coverage=Coverage(sites=("a",), samples=2, skipped=(Skipped(what="b", reason="why"),)),
        cost=Cost(seconds=0.5, forward_passes=2),
        provenance=Provenance(instrument="made-up", parameters={"k": 1}, versions={"x": "1"}),
        null="reinitialised",
    )


def test_round_trip_is_identical(tmp_path):
    reading = make()
    path = reading.save(tmp_path / "r")
    assert path.name == "r.zarr.zip"
    assert Reading.load(path).identical(reading) or _same_but_nan(Reading.load(path), reading)


def _same_but_nan(a: Reading, b: Reading) -> bool:
    """`nan != nan` in a figure's equality; everything else must agree."""
    return a.same_result(b) and dataclasses.replace(a, figures=()).identical(dataclasses.replace(b, figures=()))


def test_plain_xarray_reads_it(tmp_path):
    path = make().save(tmp_path / "r.zarr.zip")
    store = ZipStore(path, mode="r")
    plain = xr.open_zarr(store, consolidated=False).load()
    store.close()
    np.testing.assert_array_equal(plain["height"].values, [[1.0, math.nan], [3.0, 4.0]])
    assert plain["height"].attrs["unit"] == "m"
    assert "made-up" in plain.attrs["cutaway"]


def test_exports(tmp_path):
    pytest.importorskip("netCDF4")
    import pyarrow.parquet as pq

    plain = xr.open_dataset(to_netcdf(make(), tmp_path / "r.nc"))
    assert float(plain["height"][1, 1]) == 4.0
    plain.close()
    table = pq.read_table(to_parquet(make(), tmp_path / "r.parquet")).to_pylist()
    assert [row["name"] for row in table] == ["mean", "nan"]


def test_truncated_and_foreign_files_are_refused(tmp_path):
    path = make().save(tmp_path / "r")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError, match="not a complete reading.*restore the file from a copy"):
        Reading.load(path)
    with pytest.raises(FileError, match="no such file"):
        Reading.load(tmp_path / "none")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def write():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(
    not hasattr(resource, "RLIMIT_FSIZE") or not hasattr(signal, "SIGXFSZ"), reason="needs file-size limits"
)
def test_no_space_left_says_so_and_leaves_nothing(tmp_path):
    """The operating system refuses to write more than 600 bytes a file, as a full disk does."""
    target, reading = tmp_path / "out" / "r.zarr.zip", make()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
        with pytest.raises(FileError, match="writing .*nothing half-written was left"):
            reading.save(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heard)
    assert list(target.parent.iterdir()) == []


def test_unknown_figure_lists_those_there_are():
    with pytest.raises(InputError, match="expected one of mean, nan"):
        make().figure("men")


def test_summary_tells_value_interval_and_what_was_not_read():
    text = make().summary()
    assert text.startswith("Made up of a network: ")
    assert "  mean: 2.5 m, 95 % interval 1 to inf (p = 0.05)" in text
    assert "not read: b (why)" in text


def test_a_figure_alone_stands_within_its_axis():
    """One point has no range of its own; without one its only tick is rounded to another number."""
    alone = dataclasses.replace(make(), figures=(Figure(name="share", value=0.2),))
    scale = figures_chart(alone).to_dict()["vconcat"][0]["encoding"]["x"]["scale"]
    low, high = scale["domain"]
    assert low < 0.2 < high
