"""What is said of a table of rows, and of a script whose data are missing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cutaway.reproductions.row import Row, outcome

ROOT = Path(__file__).parents[2]


def rows(*verdicts):
    return [Row(quantity="q", ours=0.0, verdict=verdict) for verdict in verdicts]


def test_only_a_row_that_could_have_failed_makes_a_pass():
    assert outcome(rows("pass", "report", "not run")) == "passed"
    assert outcome(rows("pass", "fail")) == "failed"
    assert outcome(rows("report", "report")) == outcome(rows("report", "not run")) == outcome([]) == "nothing judged"
    assert outcome(rows("not run", "not run")) == "not run"


def script(folder, name="run_all"):
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module, monkeypatch, capsys, code, stdout="", arguments=()):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=code, stdout=stdout))
    monkeypatch.setattr(sys, "argv", ["run_all", *arguments])
    return module.main(), capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "end", "says"), [(0, 0, "within"), (1, 1, "LIMIT MISSED"), (2, 0, "not run: bench_slice")]
)
def test_a_benchmark_without_its_data_misses_no_limit(monkeypatch, capsys, code, end, says):
    found, said = run(script("benchmarks"), monkeypatch, capsys, code, arguments=("slice",))
    assert found == end and says in said
    assert ("MISSED" in said) == (code == 1)


@pytest.mark.parametrize(
    ("told", "end", "says"),
    [
        ("passed", 0, "all that ran passed"),
        ("failed", 1, "not passed: nap"),
        ("nothing judged", 1, "not passed: nap"),
        ("not run", 0, "missing: nap"),
    ],
)
def test_a_reproduction_of_which_no_row_can_fail_is_not_passed(monkeypatch, capsys, told, end, says):
    table = json.dumps({"outcome": told, "rows": []})
    found, said = run(script("reproductions"), monkeypatch, capsys, 0, table, ("nap",))
    assert found == end and says in said


def test_one_that_asks_for_data_is_not_run_only_where_there_are_none(monkeypatch, capsys):
    module = script("reproductions")
    monkeypatch.delenv("CUTAWAY_DATA", raising=False)
    assert run(module, monkeypatch, capsys, 2, arguments=("nap",))[0] == 0
    monkeypatch.setenv("CUTAWAY_DATA", "here")
    found, said = run(module, monkeypatch, capsys, 2, arguments=("nap",))
    assert found == 1 and "crashed" in said


@pytest.mark.parametrize(
    "name",
    ["bench_attacks", "bench_guard_detectors", "peers/auto_lirpa", "peers/local_complexity", "peers/neural_tangents"],
)
def test_the_benchmarks_and_peers_say_that_they_are_not_run(name, monkeypatch, capsys):
    monkeypatch.setenv("CUTAWAY_DATA", "/nowhere")
    for peer in ("CUTAWAY_PEER_AUTO_LIRPA", "CUTAWAY_PEER_LOCAL_COMPLEXITY", "CUTAWAY_PEER_NEURAL_TANGENTS"):
        monkeypatch.delenv(peer, raising=False)
    monkeypatch.setattr(sys, "argv", [name])
    monkeypatch.setattr(sys, "path", [str((ROOT / "benchmarks" / name).parent), *sys.path])
    try:
        code = script("benchmarks", name).main()
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert "not run" in capsys.readouterr().err
