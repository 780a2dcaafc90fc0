"""The benchmark of verification boards: what counts as a fault, and what its table says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "bench_certify.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_certify", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(**changes):
    usual = {
        "id": "set/board/net/p",
        "known": "unsat",
        "verdict": "certified",
        "memory": 10**9,
        "wall": 11.9,
        "code": 0,
    }
    return usual | {"timeout": 10.0, "cap": 60.0, "cpu": 3.0, "load": 1.0, "faults": []} | changes


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"verdict": "falsified"}, ["against the published verdict"]),
        ({"known": "sat"}, ["against the published verdict"]),
        ({"known": ""}, []),
        ({"verdict": "falsified", "known": ""}, []),
        ({"verdict": "unknown", "known": "sat"}, []),
        ({"memory": 2_000_000_001}, ["memory"]),
        ({"wall": 12.1}, ["late"]),
        ({"code": 1, "verdict": "crash"}, ["crash"]),
        ({"code": -9, "verdict": "crash", "wall": 200}, ["late", "crash"]),
        ({"code": 2, "verdict": "refused"}, []),
    ],
)
def test_what_counts_as_a_fault(bench, changes, found):
    assert bench.faults(line(**changes)) == found


def test_the_table_counts_by_board_and_in_all_and_says_cap_and_load(bench):
    lines = [line(), line(id="set/other/net/p", verdict="unknown", known=""), line(verdict="falsified", load=7.5)]
    for some in lines:
        some["faults"] = bench.faults(some)
    rows = bench.table(lines).splitlines()
    assert rows[2].startswith("| set/board | 2 | 1 | 1 | 0 | 0 | 1 | 0 | 0 | 1000 MB |")
    assert rows[3].startswith("| set/other | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 |")
    assert rows[4].startswith("| all | 3 | 1 | 1 | 1 | 0 | 1 |")
    assert "3 instances, 2 with a published verdict; cap 60 s; load average 1.0 to 7.5 (median 1.0)" in rows[-1]


def test_boards_take_turns_and_a_contested_verdict_is_none(bench, tmp_path):
    heads = "benchmark,onnx,vnnlib,timeout_s,verdict,confidence"
    rows = ("a,a/1.onnx,a/p,5,sat,witness", "a,a/2.onnx,a/p,5,unsat,contested", "b,b/3.onnx,b/p,5,unknown,")
    (tmp_path / "vnncomp2022").mkdir()
    (tmp_path / "vnncomp2022" / "verdicts.csv").write_text("\n".join([heads, *rows]))
    found = bench.instances("vnncomp2022", tmp_path, tmp_path)
    assert [(i["onnx"].name, i["known"]) for i in found] == [("1.onnx.gz", "sat"), ("3.onnx.gz", ""), ("2.onnx.gz", "")]


def test_a_run_goes_on_where_it_stood_and_drops_a_torn_line(bench, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    out.write_text(json.dumps(line(id="a", base=100)) + '\n{"id": "b", "ver')
    asked = []

    def certify(onnx, vnnlib, timeout):
        asked.append((onnx, timeout))
        told = line(peak=150, reason="", version="0")
        return {k: v for k, v in told.items() if k not in ("id", "known")}

    monkeypatch.setattr(bench, "certify", certify)
    chosen = [{"id": i, "benchmark": "x", "onnx": i, "vnnlib": "p", "timeout": 90.0, "known": ""} for i in "ab"]
    lines = list(bench.run(chosen, 60.0, out))
    assert asked == [("b", 60.0)] and [some["id"] for some in lines] == ["a", "b"]
    assert lines[1]["memory"] == 50 and lines[1]["base"] == 100
    assert [some["id"] for some in bench.read(out)] == ["a", "b"]
