"""Damaged and hostile files, made from a seed: every reader refuses them by name or reads them; none runs their code,
ends in a traceback, or takes more memory than it was given."""

import gzip
import io
import json
import os
import pickle
import resource
import struct
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import xarray as xr
from PIL import Image

from cutaway.data import Dataset
from cutaway.data.files import load_file
from cutaway.data.formats import read_cifar_batch, read_idx
from cutaway.errors import CutawayError
from cutaway.evidence import LookLog
from cutaway.files import read_json
from cutaway.guard import certificate_file, rows
from cutaway.guard.evidence import Evidence
from cutaway.guard.evidence_file import read_evidence, write_evidence
from cutaway.guard.folder import read_guard_record as read_guard
from cutaway.network.onnx import load_onnx
from cutaway.network.sources import LoadedModel, load_model
from cutaway.network.weights import read_weights
from cutaway.outputs.calibrators import load_calibrator
from cutaway.outputs.example_scores import read_scores
from cutaway.reading import Cost, Coverage, Provenance, Reading, variable
from cutaway.robustness.verify.instances import read_instances
from cutaway.robustness.vnnlib import read_vnnlib
from cutaway.running import open_run, read_record
from cutaway.status import Status
from cutaway.training import open_training, recipe
from cutaway.training.characters import read_characters
from cutaway.training.journal import JournalWriter

MOST = 1_000_000_000  # bytes that the readers, their libraries included, may add to the process


class Canary:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def npz(**arrays) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return made.getvalue()


def npy(array) -> bytes:
    made = io.BytesIO()
    np.save(made, array, allow_pickle=True)
    return made.getvalue()


def parquet(**columns) -> bytes:
    return pd.DataFrame(columns).to_parquet()


def picture() -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(made, "PNG")
    return made.getvalue()


def reading(folder) -> bytes:
    values = xr.Dataset({"height": variable([1.0, 2.0], ["site"], long_name="height", kind="exact")})
    origin = Provenance(instrument="made-up", parameters={}, versions={})
    made = Reading(values=values, figures=(), status=Status.EXACT, coverage=Coverage(), cost=Cost(), provenance=origin)
    return made.save(folder / "made").read_bytes()


def idx() -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4) + bytes(32)


def weights(folder) -> dict[str, bytes]:
    """The same tensors as torch and as safetensors write them."""
    made, tensors = io.BytesIO(), {"w": torch.arange(12.0).reshape(4, 3)}
    torch.save(tensors, made)
    return {"pt": made.getvalue(), "safetensors": safetensors.torch.save(tensors)}


def onnx_file() -> bytes:
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    helper, sizes = onnx.helper, [onnx.helper.make_tensor_value_info(n, 1, [1, 3]) for n in "xy"]
    kept = [onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "g", sizes[:1], sizes[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def journal(folder) -> bytes:
    writer = JournalWriter(folder / "journal.bin")
    writer.append({"kind": "scalars", "names": ["loss"]}, np.arange(8.0).astype("<f8").tobytes())
    writer.append({"kind": "event", "step": 3, "what": "finished"})
    writer.close()
    return (folder / "journal.bin").read_bytes()


def tracked(path):
    (path.parent / "run.json").write_text('{"format": 1, "kind": "training", "key": {}}')
    return open_training(path.parent)


class Guard:
    """As much of a guardrail as whoever keeps prompts asks for: its language model, always the same."""

    def loaded(self):
        model = torch.nn.Linear(1, 1, bias=False).eval()
        torch.nn.init.ones_(model.weight)
        return LoadedModel(model=model, example=None, name="m", kind="factory")


def kept_prompts(folder, name: str) -> bytes:
    """One of the two files of two kept prompts."""
    vectors = [np.ones((2, 3), np.float16), np.ones((1, 3), np.float16)]
    write_evidence(Evidence(["a b", "c"], np.array([1, 0]), vectors), Guard(), folder / "kept")
    return (folder / "kept" / name).read_bytes()


def prompts_beside(path):
    """The damaged file with the other one as it was written."""
    other = ({"evidence.json", "evidence.safetensors"} - {path.name}).pop()
    (path.parent / other).write_bytes(kept_prompts(path.parent, other))
    return read_evidence(path.parent, Guard())


def looks(folder) -> bytes:
    log = LookLog(folder / "log", ROWS)
    log.look("accuracy")
    log.look("accuracy", lambda before: {"answer": 0.5, "spent": len(before)})
    return log.path.read_bytes()


ROWS = Dataset(name="rows", inputs=torch.zeros(4, 3), labels=torch.tensor([0, 1, 0, 1]))
X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
RECIPE = "[data]\nname = 'digits'\n[model]\nname = 'mlp'\n[training]\nsteps = 3\n"
SPEC = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (<= X_0 1.0))\n(assert (>= X_0 0.0))\n(assert (>= Y_0 0.5))\n"
READERS = {
    "x.npz": (lambda f: npz(x=X, y=Y), load_file),
    "x.npy": (lambda f: npy(X), lambda p: load_file(p, num=2)),
    "x.parquet": (lambda f: parquet(a=X[:, 0], label=Y), lambda p: load_file(p, num=2)),
    "folder/a/x.png": (lambda f: picture(), lambda p: load_file(p.parent.parent)),
    "g.npz": (lambda f: npz(x=X, y=Y, g=Y), lambda p: load_file(p, groups="g")),
    "g.parquet": (lambda f: parquet(a=X[:, 0], label=Y, g=list("abab")), lambda p: load_file(p, groups="g", num=2)),
    "s.csv": (lambda f: b"row,label,el2n\n0,0,.1\n1,1,.2\n2,0,.3\n3,1,.4\n", lambda p: read_scores(p, ROWS)),
    "s.parquet": (lambda f: parquet(row=Y, label=Y, el2n=X[:, 0]), lambda p: read_scores(p, ROWS)),
    "c.json": (
        lambda f: b'{"format": "cutaway calibrator 1", "kind": "temperature", "temperature": 2.0}',
        load_calibrator,
    ),
    "i.csv": (lambda f: b"a.onnx,b.vnnlib,10\nc.onnx,d.vnnlib,20\n", read_instances),
    "t.txt": (lambda f: b"Once upon a time\n", read_characters),
    "w.safetensors": (lambda f: weights(f)["safetensors"], read_weights),
    "w.pt": (lambda f: weights(f)["pt"], read_weights),
    "x.onnx": (lambda f: onnx_file(), load_onnx),
    "journal.bin": (journal, tracked),
    "looks.jsonl": (looks, lambda p: LookLog(p.parent, ROWS).look("accuracy")),
    "evidence.json": (lambda f: kept_prompts(f, "evidence.json"), prompts_beside),
    "evidence.safetensors": (lambda f: kept_prompts(f, "evidence.safetensors"), prompts_beside),
    "x.gguf": (lambda f: b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1) + bytes(64), load_model),
    "x.csv": (lambda f: b"text,label\nhello,0\nworld,1\n", rows.read_rows),
    "x.jsonl": (lambda f: b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', rows.read_rows),
    "t.parquet": (lambda f: parquet(text=["a", "b"], label=[0, 1]), rows.read_rows),
    "x.idx": (lambda f: idx(), read_idx),
    "x.idx.gz": (lambda f: gzip.compress(idx()), read_idx),
    "batch": (
        lambda f: pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}),
        lambda p: read_cifar_batch(p.read_bytes(), str(p)),
    ),
    "x.zarr.zip": (reading, Reading.load),
    "run.json": (
        lambda f: b'{"format": 1, "instruments": ["a"], "network": {"name": "n"}, "data": {"name": "d", "rows": 3}}',
        lambda p: (read_record(p.parent), open_run(p.parent)),
    ),
    "r.toml": (lambda f: RECIPE.encode(), recipe.read_recipe),
    "x.vnnlib": (lambda f: SPEC.encode(), read_vnnlib),
    "x.vnnlib.gz": (lambda f: gzip.compress(SPEC.encode()), read_vnnlib),
    "guard.json": (lambda f: b'{"format": 2, "model": "x"}', lambda p: read_guard(p.parent)),
    "certificate.json": (lambda f: b'{"format": 2, "seal": "x"}', certificate_file.read_certificate),
    "x.json": (lambda f: b'{"a": [1, {"b": null}]}', read_json),
    "x.pt2": (lambda f: b"PK\5\6" + bytes(18), load_model),
    "x.safetensors": (lambda f: struct.pack("<Q", 2) + b"{}", load_model),
}


def damaged(content: bytes, random) -> list[bytes]:
    """Cut at 6 places, 8 with a few bits turned, one inside out, one doubled."""
    cut = [content[: int(n)] for n in random.integers(0, len(content), 6)]
    turned = []
    for count in random.integers(1, 6, 8):
        bits = bytearray(content)
        for place in random.integers(0, len(content), count):
            bits[place] ^= 1 << int(random.integers(8))
        turned.append(bytes(bits))
    return [*cut, *turned, content[::-1], content * 2]


def bombs(canary) -> list[tuple[str, bytes]]:
    evil = pickle.dumps(Canary(canary))
    array = np.array([Canary(canary)], dtype=object)
    zeros, deep = bytes(50_000_000), b"[" * 100_000
    archive = io.BytesIO()
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("x.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(50):
            member.write(zeros)
    huge = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9)}".ljust(128)
    wide = picture()[:16] + struct.pack(">II", 60_000, 60_000) + picture()[24:]
    everyone = [(name, content) for name in READERS for content in (deep, evil, b"", b"\xff\xfe{")]
    return [
        *everyone, ("x.npz", archive.getvalue()), ("x.npz", npz(x=array)), ("x.npy", npy(array)), ("x.npy", huge),
        ("folder/a/x.png", wide), ("x.idx", struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3)),
        ("x.json", json.dumps("x" * 10).encode()), ("x.jsonl", b'{"text": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
        ("r.toml", b"a = " + b"[" * 5000), ("r.toml", b"seed = " + b"9" * 5000),
    ]  # fmt: skip


def corpus(folder, canary) -> list[tuple[str, bytes]]:
    random = np.random.default_rng(20261126)
    made = [(name, bad) for name, (make, _) in READERS.items() for bad in damaged(make(folder), random)]
    return made + bombs(canary)


def test_hostile_files_are_refused_or_read_but_never_run(tmp_path):
    canary, faults, refused = tmp_path / "ran", [], 0
    files = corpus(tmp_path, canary)
    assert len(files) >= 300
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (name, content) in enumerate(files):
        path = tmp_path / str(number) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                READERS[name][1](path)
        except CutawayError:
            refused += 1
        except BaseException as error:
            faults.append(f"{number} {name}: {type(error).__name__}: {str(error)[:100]}")
    taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert not canary.exists()
    assert faults == []
    assert taken < MOST
    assert refused > len(files) // 2


@pytest.mark.parametrize(
    "name", sorted(set(READERS) - {"run.json", "guard.json", "certificate.json", "x.pt2", "x.safetensors", "x.gguf"})
)
def test_the_files_that_were_damaged_can_be_read(name, tmp_path):
    make, read = READERS[name]
    path = tmp_path / "good" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(make(tmp_path))
    read(path)
