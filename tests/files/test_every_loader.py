"""Every place that opens a file looks at its size first, or says why it need not: the source is walked, so that a new
loader without the check is found."""

import ast
import contextlib
import functools
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cutaway
from cutaway.cli.slice_plane import numbers_of
from cutaway.data import load_data
from cutaway.data.arrays import read_npy
from cutaway.data.files import load_text
from cutaway.data.parquet import parquet_rows
from cutaway.errors import FileError
from cutaway.files import LARGEST, room, within
from cutaway.guard.rows import read_rows

ROOT = Path(cutaway.__file__).parent
OPENERS = {  # (module or object, function); None: any
    ("np", "load"), ("numpy", "load"), ("np", "loadtxt"), ("np", "genfromtxt"), ("np", "fromfile"), ("np", "memmap"),
    ("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("cloudpickle", "load"), ("cloudpickle", "loads"),
    ("joblib", "load"), ("dill", "load"), ("marshal", "loads"), ("shelve", "open"), ("yaml", "load"),
    (None, "read_csv"), (None, "read_parquet"), (None, "read_pickle"), (None, "read_json"), (None, "read_feather"),
    (None, "read_hdf"), (None, "ParquetFile"), (None, "read_table"), (None, "open_zarr"), (None, "open_dataset"),
    (None, "load_model_from_string"), (None, "load_external_data_for_model"), ("onnx", "load"),
    (None, "load_file"), (None, "safe_open"), (None, "ZipFile"), (None, "GzipFile"), ("gzip", "open"),
    ("bz2", "open"), ("lzma", "open"), ("tarfile", "open"), ("Image", "open"), ("tomllib", "load"),
    ("json", "load"), (None, "from_pretrained"), (None, "read_bytes"), (None, "read_text"),
}  # fmt: skip
CHECKS = {
    "check_size", "check_zip", "checked_archive", "checked_store", "opened_npz", "opened_npy", "read_npy", "st_size",
    "LARGEST_BATCH", "LARGEST_RECIPE", "within",
}  # fmt: skip
OURS = {"read_bytes", "read_text", "read_json", "load_file"}  # names that are ours when called bare
REASONS = {  # why a function opens without looking at a size
    "data/arrays.py:opened_npy": "mapped from the disk; who reads it checks",
    "data/table.py:_parts": "through _Bounded, which counts what is read for each part",
    "data/frames.py:read_frame": "a text that read_text has bounded",
    "data/named.py:decode": "a named set whose sha256 was checked",
    "data/parquet.py:_opened": "opens the head only; parquet_rows and parquet_labels check what they read",
    "engines/base.py:_read_shared": "a task of this process, written for its workers",
    "engines/dask_executor.py:run_packed": "a task of this process, on a worker",
    "engines/dask_executor.py:open": "a task of this process, on a worker",
    "engines/watched.py:_collect": "a child of this process",
    "engines/watched.py:_listen": "the parent of this process",
    "engines/budget.py:_free_in_machine": "the system's own file",
    "engines/budget.py:_free_in_container": "the system's own file",
    "engines/budget.py:limit_memory": "the system's own file",
    "guard/service/keys.py:_read": "the keys of the service, which its operator writes",
    "network/huggingface.py:_check_depth": "the heads of safetensors files, which the library bounds",
    "network/huggingface.py:load_huggingface": "safetensors, or weights_only pickles; as large as the model; adapters are refused",
    "network/huggingface.py:load_tokenizer": "as large as the vocabulary; no code of the folder",
    "network/onnx/read.py:read_proto": "from bytes that file_bytes has bounded; external data within the folder and their sizes checked",
    "network/onnx/read.py:weight_files": "from bytes that file_bytes has bounded",
    "network/sources.py:_pickled": "only with --trust-pickle",
    "reading/store.py:save_reading": "writes",
    "report/explorer/page.py:explorer_page": "a file of the package",
    "reproductions/_coders.py:coders": "a file of CUTAWAY_DATA that the reproduction names",
    "reproductions/authorship.py:small_network": "opens no file: an embedding made of a tensor",
    "reproductions/_listing.py:references": "a file of the package",
    "robustness/vnnlib.py:read_vnnlib": "a stream; its reader counts what it has read against the budget",
    "training/checkpoint.py:_opened": "the head of a safetensors file, which the library bounds",
    "training/fit.py:_read_state": "what `fit` wrote, weights_only",
    "training/journal.py:_scan": "the journal of the user's own run, block by block",
}


def openings(tree: ast.AST) -> list[tuple[str, str, int]]:
    """(function, opener, line) of every call that opens a file and stands in no function that looks at a size; outside
    all functions the function is called `module`."""
    found, inside = [], set()
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]:
        nodes = list(ast.walk(function))
        inside |= set(nodes)
        names = {n.id for n in nodes if isinstance(n, ast.Name)} | {
            n.attr for n in nodes if isinstance(n, ast.Attribute)
        }
        if not names & CHECKS:
            found += [(function.name, opener, n.lineno) for n in nodes if (opener := _opener(n))]
    outside = [n for n in ast.walk(tree) if n not in inside]
    return found + [("module", opener, n.lineno) for n in outside if (opener := _opener(n))]


@functools.cache
def everywhere() -> list[tuple[str, str, int]]:
    """The same for all of the package, with the file before the function."""
    trees = {f.relative_to(ROOT).as_posix(): ast.parse(f.read_text(encoding="utf-8")) for f in ROOT.rglob("*.py")}
    return [(f"{file}:{name}", opener, line) for file, tree in trees.items() for name, opener, line in openings(tree)]


def _opener(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Name):
        return node.func.id if (None, node.func.id) in OPENERS and node.func.id not in OURS else ""
    if not isinstance(node.func, ast.Attribute):
        return ""
    owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    name = node.func.attr
    return f"{owner}.{name}" if {(None, name), (owner, name)} & OPENERS and owner != "files" else ""


def test_every_function_that_opens_a_file_checks_it_or_says_why_not():
    assert [x for x in everywhere() if x[0] not in REASONS] == []


@pytest.mark.parametrize(
    "planted",
    [
        "def f(p):\n    import numpy as np\n    return np.load(p)",
        "def f(p):\n    return pandas.read_csv(p)",
        "async def f(p):\n    with zipfile.ZipFile(p) as z:\n        return z.read('a')",
        "class A:\n    def f(self, p):\n        return torch.load(p, weights_only=True)",
        "def f(p):\n    return pickle.loads(Path(p).read_bytes())",
        "def f(p):\n    return AutoModel.from_pretrained(p)",
        "def f(p):\n    return json.loads(p.read_text())",
        "read = lambda p: torch.load(p)",
        "TABLE = pandas.read_csv('table.csv')",
    ],
)
def test_a_planted_loader_without_a_check_is_seen(planted):
    checked = planted.replace("return", "check_size('f', 1, 2); return")
    assert openings(ast.parse(planted)) and (checked == planted or not openings(ast.parse(checked)))


def test_every_reason_belongs_to_a_function_that_is_there():
    assert set(REASONS) <= {name for name, _, _ in everywhere()}


class Mark:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def hostile(tmp_path: Path) -> dict[str, Path]:
    """A pickle, a zip bomb and an array larger than allowed, each as .npy, .npz and what slice reads."""
    mark = tmp_path / "ran"
    np.save(tmp_path / "object.npy", np.array([Mark(mark)], dtype=object), allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Mark(mark)))
    np.save(tmp_path / "large.npy", np.zeros(1_000_000))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10**7))
    with zipfile.ZipFile(tmp_path / "bomb.npy", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10**7))
    return {f.name: f for f in tmp_path.iterdir()}


@pytest.mark.parametrize("read", [load_data, read_npy, lambda p: numbers_of(str(p))], ids=["data", "array", "slice"])
def test_numpy_files_are_refused_before_they_cost_anything(read, tmp_path):
    with within(1_000_000):
        for name, file in hostile(tmp_path).items():
            with pytest.raises(FileError, match=str(file)):
                read(file)
            assert not (tmp_path / "ran").exists(), name


def test_data_files_follow_the_budget_in_both_directions(tmp_path):
    values = np.arange(40_000.0).reshape(10_000, 4)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x=values)
    frame = pd.DataFrame({"text": [f"row {i}" for i in range(10_000)], "label": [0, 1] * 5_000})
    frame.assign(a=1.5).to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    readers = [
        (tmp_path / "x.npy", load_data), (tmp_path / "x.npz", load_data), (tmp_path / "x.parquet", load_data),
        (tmp_path / "x.parquet", load_text), (tmp_path / "x.csv", read_rows), (tmp_path / "x.parquet", read_rows),
    ]  # fmt: skip
    for file, read in readers:
        with within(1_000), pytest.raises(FileError, match="expected at most 0 MB"):
            read(file)
        with within(10 * LARGEST):
            assert room() == 10 * LARGEST and read(file)
    assert room() == LARGEST


def test_the_command_line_passes_its_budget_to_the_readers(tmp_path, capsys):
    from cutaway.cli import main

    np.savez(tmp_path / "x.npz", x=np.zeros((2_000, 64), np.float32), y=np.arange(2_000) % 10)
    with contextlib.suppress(SystemExit):
        main(["measure", "accuracy", "--data", str(tmp_path / "x.npz"), "--budget", "100KB"])
    assert "expected at most 0 MB" in capsys.readouterr().err


def test_text_is_read_from_the_columns_that_are_asked_for(tmp_path, monkeypatch):
    from cutaway.data import parquet

    frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1], "heavy": ["x" * 1000] * 2})
    frame.to_parquet(tmp_path / "x.parquet")
    asked = []
    whole = parquet._sizes
    monkeypatch.setattr(parquet, "_sizes", lambda file, columns: asked.append(columns) or whole(file, columns))
    load_text(tmp_path / "x.parquet")
    read_rows(tmp_path / "x.parquet")
    assert [sorted(columns) for columns in asked] == [["label", "text"]] * 2


def test_rows_are_the_same_however_the_file_is_cut(tmp_path):
    frame = pd.DataFrame({"a": np.arange(500.0), "label": [f"c{i % 7}" for i in range(500)]})
    for size in (7, 100, 1000):
        frame.to_parquet(tmp_path / f"{size}.parquet", row_group_size=size)
    sets = [load_data(tmp_path / f"{size}.parquet", num=60, seed=3) for size in (7, 100, 1000)]
    assert all(s.inputs.equal(sets[0].inputs) and s.labels.equal(sets[0].labels) for s in sets)
    assert sets[0].class_names == tuple(f"c{k}" for k in range(7))
    assert [f"c{int(v) % 7}" for v in sets[0].inputs[:, 0]] == [sets[0].class_names[k] for k in sets[0].labels]
    assert list(parquet_rows(tmp_path / "7.parquet", ["a"], [499, 3, 3])["a"]) == [499.0, 3.0, 3.0]
