"""docs/certification.md: its table is that of the results file, its witness holds, its mutants are counted right."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "certification.md"


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the lines of the table whose head begins with `start`."""
    lines = text[text.index(start) :].splitlines()
    body = lines[2 : next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


def test_the_table_of_verdicts_is_that_of_the_results_file():
    results = list(csv.DictReader((ROOT / "benchmarks" / "vnncomp2022_results.csv").read_text().splitlines()))
    counted = Counter((r["benchmark"], r["verdict"]) for r in results)
    told = {row[0]: [int(n) for n in row[1:5]] for row in rows(DOC.read_text(encoding="utf-8"), "| set |")}
    safe = told.pop("safeNLP")
    assert safe[0] == sum(safe[1:])
    assert set(told) == {r["benchmark"] for r in results}
    for name, numbers in told.items():
        verdicts = [counted[name, v] for v in ("certified", "falsified", "unknown")]
        assert numbers == [sum(verdicts), *verdicts]


def test_the_numbers_of_the_published_tools_are_those_of_the_data(real_data):
    decided: dict[str, Counter] = {}
    for truth in csv.DictReader((real_data / "vnncomp2022" / "verdicts.csv").read_text().splitlines()):
        decided.setdefault(truth["benchmark"], Counter()).update(f"{truth['tools_sat']} {truth['tools_unsat']}".split())
    for row in rows(DOC.read_text(encoding="utf-8"), "| set |"):
        if row[0] in decided:
            told = {name: int(number) for name, number in (item.rsplit(" ", 1) for item in row[5].split(", "))}
            assert told == dict(decided[row[0]])


def test_the_witness_of_the_guide_holds(real_data):
    pytest.importorskip("onnxruntime")
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    network = real_data / "vnncomp2022" / "acasxu" / "onnx" / "ACASXU_run2a_1_9_batch_2000.onnx"
    exec(code, {"network": str(network)})


def test_the_mutants_of_the_guide_are_counted_right():
    table = rows(DOC.read_text(encoding="utf-8"), "| what is broken |")
    told = [int(row[1]) for row in table]
    assert [int(row[2]) for row in table] == told
    counts = []
    for name in ("bound_mutations", "cuts"):
        space: dict = {"__name__": name}
        exec(compile((ROOT / "tests" / "robustness" / f"test_{name}.py").read_text(), name, "exec"), space)
        counts += [len(space["MUTANTS"]), len(space.get("REWRITES", ()))]
    assert told[3:] == [counts[0], counts[1], counts[2]]
