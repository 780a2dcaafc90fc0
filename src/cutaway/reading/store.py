"""One file per reading: a zip with a Zarr (format 2) store in it, readable by plain xarray without Cutaway.

    xarray.open_zarr(zarr.storage.ZipStore("accuracy.zarr.zip", mode="r"), consolidated=False)

Everything beside the dataset stands as JSON in the dataset's attribute `cutaway`. Files are written under a
temporary name in the same folder and renamed, so that a full disk or a kill leaves either the old file or the new one.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cutaway.errors import FileError
from cutaway.files import atomic, parse_json
from cutaway.reading.archive import EXPECTED, REMEDY, checked_store
from cutaway.reading.provenance import Cost, Coverage, Provenance, Skipped
from cutaway.reading.reading import Figure, Reading
from cutaway.status import Status

FORMAT = 1
SUFFIX = ".zarr.zip"


def save_reading(reading: Reading, path: str | Path) -> Path:
    """Write `reading` to `path` (`.zarr.zip` is added when there is no suffix); returns the path.

    Raises `FileError` when the folder cannot be written or the disk is full; nothing half-written stays behind.
    """
    from zarr.storage import MemoryStore

    path = Path(path)
    if not path.suffix:
        path = path.with_name(path.name + SUFFIX)
    dataset = reading.values.copy()
    dataset.attrs = {**dataset.attrs, "cutaway": json.dumps(_to_json(reading), allow_nan=True)}
    kept: dict[str, Any] = {}  # in memory first: zarr's own threads may still write to a folder after one has failed
    _plain_strings(dataset).to_zarr(MemoryStore(kept), zarr_format=2, consolidated=False)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(kept.items()):
            archive.writestr(name, content.to_bytes())
    return path


def load_reading(path: str | Path) -> Reading:
    """Read a reading back; raises `FileError` for a missing, truncated or foreign file, or one of a newer format."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    path = Path(path)
    where = f"reading {str(path)!r}"
    if not path.exists():
        raise FileError(where, found="no such file", expected="a file written by Reading.save", remedy="check the path")
    make = default_buffer_prototype().buffer.from_bytes
    kept = {name: make(content) for name, content in checked_store(path).items()}
    try:
        dataset = xr.open_zarr(MemoryStore(kept), consolidated=False, zarr_format=2).load()
        record = parse_json(dataset.attrs.pop("cutaway"), where)
        if (version := int(record["format"])) <= FORMAT:
            return _from_json(record, _objects_to_unicode(dataset))
    except FileError:
        raise
    except Exception as error:  # whatever zarr and xarray meet in a store with wrong names, types or attributes
        raise FileError(
            where, found=f"a truncated or foreign file ({type(error).__name__})", expected=EXPECTED, remedy=REMEDY
        ) from error
    raise FileError(where, found=f"format {version}", expected=f"format {FORMAT} or older", remedy="update Cutaway")


def to_netcdf(reading: Reading, path: str | Path) -> Path:
    """Export values and record as netCDF (extra `netcdf`)."""
    from cutaway._compat import require

    require("netCDF4", "netcdf")
    path = Path(path)
    dataset = reading.values.copy()
    dataset.attrs = {**dataset.attrs, "cutaway": json.dumps(_to_json(reading), allow_nan=True)}
    with atomic(path) as temporary:
        _plain_strings(dataset).to_netcdf(temporary, engine="netcdf4")
    return path


def to_parquet(reading: Reading, path: str | Path) -> Path:
    """Export the figures, one row each, as Parquet; the record stands in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    rows = [
        {"instrument": reading.instrument, **dataclasses.asdict(f), "status": f.status.value} for f in reading.figures
    ]
    for row in rows:
        row["null_draws"] = list(row["null_draws"])
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"cutaway": json.dumps(_to_json(reading), allow_nan=True)})
    with atomic(path) as temporary:
        pq.write_table(table, temporary)
    return path


def why_no_record(folder: Path, error: Exception) -> str:
    """Why the `run.json` of a run folder could not be read, in words."""
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file"
    if isinstance(error, FileNotFoundError):
        return "no run.json in it"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"a broken run.json ({error})"


def _plain_strings(dataset: xr.Dataset) -> xr.Dataset:
    """Unicode arrays become object arrays, which Zarr format 2 and netCDF store as variable-length strings."""
    changed = {
        n: (v.dims, v.values.astype(object), v.attrs) for n, v in dataset.variables.items() if v.dtype.kind == "U"
    }
    return dataset.assign({n: v for n, v in changed.items() if n not in dataset.coords}).assign_coords(
        {n: v for n, v in changed.items() if n in dataset.coords}
    )


def _objects_to_unicode(dataset: xr.Dataset) -> xr.Dataset:
    for name, item in dataset.variables.items():
        item.encoding = {}
        if item.dtype.kind in "OT":
            text = np.array([str(v) for v in item.values.reshape(-1)], dtype=str).reshape(item.shape)
            plain = (item.dims, text, item.attrs)
            dataset = dataset.assign_coords({name: plain}) if name in dataset.coords else dataset.assign({name: plain})
    dataset.encoding = {}
    return dataset


def _to_json(reading: Reading) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "figures": [{**dataclasses.asdict(f), "status": f.status.value} for f in reading.figures],
        "status": reading.status.value,
        "coverage": dataclasses.asdict(reading.coverage),
        "cost": dataclasses.asdict(reading.cost),
        "provenance": dataclasses.asdict(reading.provenance),
        "reason": reading.reason,
        "null": reading.null,
    }


def _from_json(record: dict[str, Any], values: xr.Dataset) -> Reading:
    coverage = record["coverage"]
    return Reading(
        values=values,
        figures=tuple(_figure(f) for f in record["figures"]),
        status=Status(record["status"]),
        coverage=Coverage(
            sites=tuple(coverage["sites"]),
            samples=coverage["samples"],
            skipped=tuple(Skipped(**s) for s in coverage["skipped"]),
        ),
        cost=Cost(**record["cost"]),
        provenance=Provenance(**record["provenance"]),
        reason=record["reason"],
        null=record["null"],
    )


def _figure(record: dict[str, Any]) -> Figure:
    """A figure as it was written; earlier files have no draws of the null."""
    return Figure(**{**record, "status": Status(record["status"]), "null_draws": tuple(record.get("null_draws", ()))})
