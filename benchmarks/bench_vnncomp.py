"""Verdicts on all local VNN-COMP 2022 instances and safeNLP boxes against the published ones.

    python benchmarks/bench_vnncomp.py [--short] [--json] [--timeout 60] [--cpu] [--sets acasxu,mnist_fc] [--out FILE]

Needs CUTAWAY_DATA. Prints for every set how many instances were decided, how many contradict the published verdict
(must be none), and how many each published tool decided. `--short`: a spread of quick instances in about 40 seconds.
`--cpu`: one thread, and limits count its CPU seconds, so that a busy machine changes nothing; one quiet core takes as
many seconds. With `--table FILE` only the table of an earlier results file is printed. Exits 1 for any wrong verdict or
a missed target.

`vnncomp2022_results.csv` beside this file holds the verdicts of `--cpu --timeout 60`, measured set by set: all of
oval21, what had been open of sri_resnet_b and two of mnist_fc with the search that cuts by half-spaces; the rest with
at most 44 CPU seconds an instance. The batch in hand when the limit is reached is finished, hence times above it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

TARGETS = {"acasxu": 36, "mnist_fc": 32, "oval21": 10, "sri_resnet_b": 10, "safenlp": 80}
SHORT = {
    ("1_9", "prop_3."),
    ("3_7", "prop_3."),
    ("2_1", "prop_4."),
    ("5_3", "prop_1."),
    ("256x2", "prop_0_0.03"),
    ("256x2", "prop_2_0.05"),
    ("cartpole", "safe_1"),
    ("vdp", "vdp_1."),
    ("N=M=8", "property_N=8_0"),
}


def truths(folder: Path) -> list[dict[str, str]]:
    """The published verdicts, one row an instance."""
    return list(csv.DictReader((folder / "verdicts.csv").read_text().splitlines()))


def table(rows: list[dict[str, str]], results: list[dict[str, str]]) -> dict[str, dict]:
    """By set: instances, decided, wrong, CPU seconds, and what each published tool decided."""
    known = {(r["onnx"], r["vnnlib"]): r for r in rows}
    by_set: dict[str, dict] = defaultdict(
        lambda: {"instances": 0, "decided": 0, "sat": 0, "unsat": 0, "wrong": [], "tools": Counter(), "cpu": 0.0}
    )
    for result in results:
        truth = known[result["onnx"], result["vnnlib"]]
        entry = by_set[truth["benchmark"]]
        entry["instances"] += 1
        entry["cpu"] += float(result.get("cpu_time") or 0)
        if result["result"] in ("sat", "unsat"):
            entry["decided"] += 1
            entry[result["result"]] += 1
        if {result["result"], truth["verdict"]} == {"sat", "unsat"}:
            entry["wrong"].append((result["onnx"], result["vnnlib"]))
        for tool in f"{truth['tools_sat']} {truth['tools_unsat']}".split():
            entry["tools"][tool] += 1
    return {k: v | {"tools": dict(v["tools"])} for k, v in by_set.items()}


def show(found: dict[str, dict]) -> str:
    """The table for people."""
    lines = [
        f"{'set':<20}{'instances':>10}{'decided':>9}{'sat':>5}{'unsat':>7}{'wrong':>7}{'CPU s':>9}   published tools"
    ]
    for name, e in found.items():
        tools = ", ".join(f"{t} {n}" for t, n in sorted(e["tools"].items(), key=lambda i: -i[1]))
        lines.append(
            f"{name:<20}{e['instances']:>10}{e['decided']:>9}{e['sat']:>5}{e['unsat']:>7}{len(e['wrong']):>7}"
            f"{e['cpu']:>9.0f}   {tools}"
        )
    return "\n".join(lines)


def safenlp(data: Path, timeout: float, limit: int | None) -> dict:
    """Verdicts on the sentence boxes against ours by mixed integer programming."""
    import numpy as np
    import torch

    from cutaway.robustness.query import Clause, Query
    from cutaway.robustness.verify.onnx_query import open_onnx
    from cutaway.robustness.verify.verdict import VerifySettings

    rows = list(csv.DictReader((data / "safenlp" / "verdicts.csv").read_text().splitlines()))[:: 8 if limit else 1]
    with np.load(data / "safenlp" / "boxes.npz") as archive:
        boxes = archive["box"]
    problems = {name: open_onnx(data / "safenlp" / f"{name}.onnx") for name in ("medical", "ruarobot")}
    entry = {"instances": len(rows), "decided": 0, "sat": 0, "unsat": 0, "wrong": [], "tools": {}, "cpu": 0.0}
    begin = time.process_time()
    for row in rows:
        box = torch.from_numpy(boxes[int(row["id"])].astype(np.float64))
        clause = Clause(
            lower=box[:, 0],
            upper=box[:, 1],
            matrix=torch.tensor([[1.0, -1.0]]).double(),
            limits=torch.zeros(1).double(),
        )
        problem = problems[row["dataset"]]
        query = Query(clauses=(clause,), num_inputs=30, num_outputs=2)
        status = problem.decide(query, VerifySettings(timeout=timeout)).status.value
        result = {"certified": "unsat", "falsified": "sat"}.get(status, "unknown")
        entry["decided"] += result != "unknown"
        if result != "unknown":
            entry[result] += 1
        if {result, row["verdict"]} == {"sat", "unsat"}:
            entry["wrong"].append(row["id"])
    return entry | {"cpu": time.process_time() - begin}


def chosen(rows: list[dict[str, str]], short: bool, sets: str | None) -> list[dict[str, str]]:
    """The instances to run."""
    if sets:
        rows = [r for r in rows if r["benchmark"] in sets.split(",")]
    if short:
        rows = [r for r in rows if any(n in r["onnx"] and p in r["vnnlib"] for n, p in SHORT)]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--cpu", action="store_true", help="limits in CPU seconds of one thread")
    parser.add_argument("--sets")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "vnncomp2022" / "verdicts.csv").exists():
        print("not run: CUTAWAY_DATA does not name a folder with vnncomp2022", file=sys.stderr)
        return 2
    rows = truths(data / "vnncomp2022")
    if options.table:
        results = list(csv.DictReader(options.table.read_text().splitlines()))
        found = table(rows, results)
    else:
        found = run(rows, data, options)
    print(json.dumps(found) if options.json else show(found))
    wrong = any(e["wrong"] for e in found.values())
    missed = [k for k, n in TARGETS.items() if k in found and not options.short and found[k]["decided"] < n]
    for name in missed:
        print(f"{name}: {found[name]['decided']} decided, target {TARGETS[name]}", file=sys.stderr)
    return 1 if wrong or missed else 0


def run(rows: list[dict[str, str]], data: Path, options) -> dict[str, dict]:
    """Run the chosen instances through the product's own instance runner."""
    import torch

    from cutaway.robustness.verify.instances import run_instances
    from cutaway.robustness.verify.verdict import VerifySettings

    if options.cpu:
        torch.set_num_threads(1)
        time.monotonic = time.process_time
    picked = chosen(rows, options.short, options.sets)
    with tempfile.TemporaryDirectory() as folder:
        for name in {r["benchmark"] for r in picked}:
            (Path(folder) / name).symlink_to(data / "vnncomp2022" / name)
        listing = Path(folder) / "list.csv"
        listing.write_text("".join(f"{r['onnx']},{r['vnnlib']},\n" for r in picked))
        out = options.out or Path(folder) / "out.csv"
        timeout = min(options.timeout, 20.0) if options.short else options.timeout
        run_instances(listing, out, VerifySettings(timeout=timeout), progress=lambda t: print(t, file=sys.stderr))
        results = list(csv.DictReader(out.read_text().splitlines()))
    found = table(rows, results)
    if not options.sets or "safenlp" in options.sets:
        found["safenlp"] = safenlp(data, 3.0 if options.short else 10.0, 10 if options.short else None)
    return found


if __name__ == "__main__":
    sys.exit(main())
