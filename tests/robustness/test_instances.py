"""Lists of instances: whatever a row raises becomes that row's verdict, and the list goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import cutaway
from cutaway.cli import run
from cutaway.errors import FileError
from cutaway.robustness.verify import import_check, instances
from cutaway.robustness.verify.instances import run_instances
from cutaway.robustness.verify.verdict import VerifySettings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PROPERTY = """
(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (>= X_0 0.0))
(assert (<= X_0 1.0))
(assert (>= Y_0 5.0))
"""


def write_network(path, op="Relu", kind=onnx.TensorProto.FLOAT, output=(1, 1), **attributes):
    nodes = [onnx.helper.make_node(op, ["x"], ["y"], **attributes)]
    ends = [onnx.helper.make_tensor_value_info(n, kind, s) for n, s in (("x", (1, 1)), ("y", output))]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)


@pytest.fixture
def place(tmp_path):
    write_network(tmp_path / "good.onnx")
    write_network(tmp_path / "half.onnx", kind=onnx.TensorProto.FLOAT16)
    write_network(tmp_path / "odd.onnx", op="Det")
    write_network(tmp_path / "single.onnx", op="ReduceMax", output=(), keepdims=0)
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "good.onnx").read_bytes()[:-20])
    (tmp_path / "text.onnx").write_text("no network at all")
    (tmp_path / "p.vnnlib").write_text(PROPERTY)
    (tmp_path / "open.vnnlib").write_text(PROPERTY[:-4])
    (tmp_path / "two.vnnlib").write_text(PROPERTY + "(declare-const X_1 Real)(assert (>= X_1 0))(assert (<= X_1 1))")
    return tmp_path


ROWS = {
    "gone.onnx,p.vnnlib": ("failed", "gone.onnx"),
    "good.onnx,gone.vnnlib": ("failed", "found no such file; expected a .vnnlib"),
    "good.onnx,.": ("failed", "unreadable"),
    "cut.onnx,p.vnnlib": ("failed", "cut.onnx"),
    "text.onnx,p.vnnlib": ("failed", "text.onnx"),
    "odd.onnx,p.vnnlib": ("unsupported", "Det"),
    "good.onnx,open.vnnlib": ("failed", "'(' that is never closed"),
    "good.onnx,two.vnnlib": ("failed", "found 2 inputs; expected the network's 1 inputs"),
    "half.onnx,p.vnnlib": ("unknown", "proved in real arithmetic, but"),
    "single.onnx,p.vnnlib": ("certified", ""),
    "good.onnx,p.vnnlib": ("certified", ""),
}


def test_no_row_ends_the_list(place, capsys):
    (place / "list.csv").write_text("\n".join(ROWS))
    out = place / "out.csv"
    assert run(["certify", "--instances", str(place / "list.csv"), "--out", str(out), "--timeout", "60"]) == 1
    told = capsys.readouterr().out
    assert "2 certified, 7 failed, 1 unknown, 1 unsupported" in told
    found = list(csv.DictReader(out.read_text().splitlines()))
    assert [f"{r['onnx']},{r['vnnlib']}" for r in found] == list(ROWS)
    for row, (verdict, reason) in zip(found, ROWS.values()):
        assert row["verdict"] == verdict and reason in row["reason"], row
        assert (row["result"] == "error") == (verdict in ("failed", "unsupported"))


MALFORMED = {
    "good.onnx,p.vnnlib,soon": "line 2; found a timeout of 'soon'; expected more than 0 seconds. Leave",
    "good.onnx,p.vnnlib,-1": "line 3; found a timeout of '-1'",
    "good.onnx,p.vnnlib,nan": "line 4; found a timeout of 'nan'",
    "good.onnx": "line 5; found good.onnx; expected onnx,vnnlib[,timeout]",
    ",p.vnnlib": "line 6; found ,p.vnnlib",
    "good.onnx,p.vnnlib,9,more": "line 7; found good.onnx,p.vnnlib,9,more",
    '"good.onnx': 'line 8; found "good.onnx; expected',  # the open quote takes no other line in
    "g" * 200_000: "line 9; found " + "g" * 200 + "...; expected",
    "good.onnx,p.vnnlib": "",
    ".,p.vnnlib": "found no such file",
    "half.onnx\0,p.vnnlib": "found no such file",
}


def test_a_line_that_is_no_instance_is_a_failed_row_with_its_number_and_the_others_run(place, capsys):
    (place / "list.csv").write_text("onnx,vnnlib,timeout\n" + "\r\n".join(MALFORMED) + "\r\n")
    command = ["certify", "--instances", str(place / "list.csv"), "--out", str(place / "out.csv"), "--json"]
    for _ in range(2):  # the second time there is one row less to decide
        assert run(command) == 1
        assert json.loads(capsys.readouterr().out)["counts"] == {"certified": 1, "failed": 10}
        found = list(csv.DictReader((place / "out.csv").read_text().splitlines()))
        for row, (line, reason) in zip(found, MALFORMED.items(), strict=True):
            assert reason in row["reason"] and (row["verdict"] == "failed") == bool(reason), (line, row)


def test_a_list_that_has_one_malformed_line_left_says_so_every_time(place):
    """Exit code 1 is the list's, not that of the rows that ran this time."""
    (place / "list.csv").write_text("good.onnx,p.vnnlib\ngood.onnx\n")
    out = place / "out.csv"
    for _ in range(2):
        assert run(["certify", "--instances", str(place / "list.csv"), "--out", str(out)]) == 1
    (place / "list.csv").write_text("good.onnx,p.vnnlib\n")
    assert run(["certify", "--instances", str(place / "list.csv"), "--out", str(out)]) == 0


def test_what_is_no_list_at_all_is_refused(place, capsys):
    out = place / "out.csv"
    assert run(["certify", "--instances", str(place / "p.vnnlib"), "--out", str(out)]) == 2
    assert (
        "p.vnnlib, line 2; found (declare-const X_0 Real); expected onnx,vnnlib[,timeout]. Write the row so."
        in capsys.readouterr().err
        and not out.exists()
    )


@pytest.mark.parametrize("change", ["more cells", "fewer cells", "no verdict"])
def test_an_edited_row_of_the_results_is_decided_again(place, change):
    (place / "list.csv").write_text("good.onnx,p.vnnlib\n")
    out = place / "out.csv"
    run_instances(place / "list.csv", out, VerifySettings(timeout=60))
    head, row = out.read_text().splitlines()
    edited = {
        "more cells": f"{row},x",
        "fewer cells": row.rsplit(",", 1)[0],
        "no verdict": row.replace("certified", "?"),
    }
    out.write_text(f"{head}\n{edited[change]}\n")
    assert run_instances(place / "list.csv", out, VerifySettings(timeout=60)) == {"certified": 1}
    assert len(next(csv.reader(out.read_text().splitlines()[1:]))) == len(instances.COLUMNS)


def test_a_witness_of_many_inputs_is_read_again(place):
    """Longer than the csv module takes unasked (131,072 characters)."""
    (place / "list.csv").write_text("good.onnx,p.vnnlib\n")
    out, told = place / "out.csv", []
    run_instances(place / "list.csv", out, VerifySettings(timeout=60))
    (row,) = csv.DictReader(out.read_text().splitlines())
    instances._write(out, [row | {"witness": json.dumps([0.125] * 30_000)}])
    assert run_instances(place / "list.csv", out, VerifySettings(timeout=60), progress=told.append) == {"certified": 1}
    assert told == [] and csv.field_size_limit() == 131_072


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"a,b\n", b""])
def test_a_file_that_holds_no_results_is_not_written_over(place, capsys, content):
    (place / "list.csv").write_text("good.onnx,p.vnnlib\n")
    (place / "out.csv").write_bytes(content)
    assert run(["certify", "--instances", str(place / "list.csv"), "--out", str(place / "out.csv")]) == 2
    assert "Write to another file" in capsys.readouterr().err and (place / "out.csv").read_bytes() == content


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("bad kernel"), RecursionError("deep"), OSError("disk")])
def test_what_a_row_raises_is_its_reason_and_it_is_tried_again(place, monkeypatch, error):
    read = instances.read_vnnlib

    def breaks(path, budget):
        if path.name == "two.vnnlib":
            raise error
        return read(path, budget)

    monkeypatch.setattr(instances, "read_vnnlib", breaks)
    (place / "list.csv").write_text("good.onnx,two.vnnlib\ngood.onnx,p.vnnlib\n")
    counts = run_instances(place / "list.csv", place / "out.csv", VerifySettings(timeout=60))
    assert counts == {"failed": 1, "certified": 1}
    row = next(csv.DictReader((place / "out.csv").read_text().splitlines()))
    assert row["reason"].startswith(f"{type(error).__name__}") and str(error) in row["reason"]
    monkeypatch.setattr(instances, "read_vnnlib", read)
    (place / "two.vnnlib").write_text(PROPERTY)
    counts = run_instances(place / "list.csv", place / "out.csv", VerifySettings(timeout=60))
    assert counts == {"certified": 2}


@pytest.mark.parametrize("older", ["", "0"], ids=["before it was noted", "an earlier one"])
def test_rows_carry_the_version_of_the_import_check_and_those_of_another_are_decided_again(place, older):
    (place / "list.csv").write_text("good.onnx,p.vnnlib\n")
    out = place / "out.csv"
    run_instances(place / "list.csv", out, VerifySettings(timeout=60))
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert row["version"] == cutaway.__version__ and row["import_check"] == import_check.CHECK
    old = row | {"import_check": older, "decided_by": "a version that compared less"}
    names = [name for name in row if older or name != "import_check"]
    out.write_text(",".join(names) + "\n" + ",".join(old[name] for name in names) + "\n")
    told = []
    run_instances(place / "list.csv", out, VerifySettings(timeout=60), progress=told.append)
    assert told[0] == f"1 rows of {out} were decided {instances.EARLIER}: they are decided again"
    (again,) = csv.DictReader(out.read_text().splitlines())
    assert again["decided_by"] == row["decided_by"] and again["import_check"] == import_check.CHECK


def test_watched_rows_end_with_their_time_on_any_engine(place, capsys):
    """A limit that no start-up of torch meets: every row is unknown, says where it stood, and the next one runs."""
    rows = ("good.onnx,p.vnnlib,0.001", "half.onnx,p.vnnlib,0.001")
    (place / "list.csv").write_text("\n".join(rows))
    out = place / "out.csv"
    command = ["certify", "--instances", str(place / "list.csv"), "--out", str(out), "--budget", "500MB"]
    assert run([*command, "--engine", "loky", "--workers", "2"]) == 0
    assert "2 unknown" in capsys.readouterr().out
    found = list(csv.DictReader(out.read_text().splitlines()))
    assert {r["onnx"] for r in found} == {"good.onnx", "half.onnx"}
    assert all(r["result"] == "unknown" and "time limit; last: " in r["reason"] for r in found)


def test_one_property_is_unknown_when_its_time_is_over_and_says_what_it_did(place, capsys):
    question = [str(place / "good.onnx"), str(place / "p.vnnlib")]
    assert run(["certify", *question, "--timeout", "0.001", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "unknown" and told["witness"] is None and told["reason"] == "time limit; last: starting"
    assert run(["certify", *question, "--budget", "soon"]) == 2
    assert "memory budget 'soon'; expected a size such as 8GB" in capsys.readouterr().err
    assert run(["certify", *question, "--engine", "loky"]) == 2
    assert "found no list; expected --instances LIST.csv" in capsys.readouterr().err


def test_a_full_disk_ends_no_list_and_loses_no_row(place, monkeypatch, tmp_path_factory):
    (place / "list.csv").write_text("good.onnx,p.vnnlib\nhalf.onnx,p.vnnlib\nsingle.onnx,p.vnnlib\n")
    out, write, told, times = place / "out.csv", instances._write, [], []

    def sometimes(to, rows):
        times.append(len(rows))
        if to == out and len(rows) in full:
            raise FileError(f"writing {str(to)!r}", found="No space left on device")
        write(to, rows)

    monkeypatch.setattr(instances, "_write", sometimes)
    full = {1, 2}
    run_instances(place / "list.csv", out, VerifySettings(timeout=60), progress=told.append)
    assert times == [1, 2, 3] and len(list(csv.DictReader(out.read_text().splitlines()))) == 3
    assert len([t for t in told if "No space left" in t and "The list goes on" in t]) == 1
    out.unlink()
    full = {2, 3}
    monkeypatch.setattr(instances.tempfile, "tempdir", str(tmp_path_factory.mktemp("elsewhere")))
    with pytest.raises(FileError, match="No space left on device; all rows are in ") as caught:
        run_instances(place / "list.csv", out, VerifySettings(timeout=60))
    rescue = caught.value.found.split("'")[1]
    assert len(list(csv.DictReader(Path(rescue).read_text().splitlines()))) == 3
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 1, "what was written stays"
