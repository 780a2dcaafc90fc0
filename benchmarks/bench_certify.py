"""Boards of verification through `cutaway certify`, as a user types it: a process an instance, its budget, its timeout.

    python benchmarks/bench_certify.py --set vnncomp2025 [--cap SECONDS] [--each N] [--out FILE.jsonl] [--only NAME,...]
    python benchmarks/bench_certify.py --table FILE.jsonl [FILE.jsonl ...]
    python benchmarks/bench_certify.py --short

Needs CUTAWAY_DATA with the set (vnncomp2022, vnncomp2025 or safenlp). Each instance gets `--budget 2GB` and its own
timeout, at most --cap. Instances of the benchmarks take turns, so that a run that was stopped covers all of them; it
goes on where it stood. `--each 2` takes two of every benchmark. Each becomes a line of --out: verdict, the published
one, wall and CPU seconds, peak memory of the largest process above that of the smallest network (so the network itself
is counted), the machine's load.

Exits 1 for a verdict against a published one, memory above the budget, an answer later than timeout + 2 s, or a crash
(exit code other than 0 and 2; 2 refuses an operator by name). `--short`: three instances, one of them ended by its
timeout.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BUDGET, BUDGET_BYTES, GRACE = "2GB", 2_000_000_000, 2.0
SETS = ("vnncomp2022", "safenlp", "vnncomp2025")
SHORT = (  # part of the name, seconds; those with a minute or more must be decided
    ("safenlp/medical/medical.onnx/medical_3.vnnlib", 120.0),
    ("vnncomp2025/acasxu_2023/ACASXU_run2a_1_9_batch_2000.onnx.gz/prop_3.", 120.0),
    ("vnncomp2025/cgan_2023/cGAN_imgSz64_nCh_1.onnx.gz/cGAN_imgSz64_nCh_1_prop_0", 6.0),
)
SMALLEST = """
import onnx, sys
from onnx import TensorProto, helper
sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", sides[:1], sides[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(model, sys.argv[1])
"""
QUESTION = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 2))"
Instance = dict[str, Any]


def instances(name: str, data: Path, scratch: Path) -> list[Instance]:
    """The set's instances, benchmarks taking turns: name, network, property, timeout, published verdict or ""."""
    with (data / name / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if name == "safenlp":
        found = _sentences(rows, data / name, scratch)
    else:
        found = [_published(row, name, data / name) for row in rows]
    turns: dict[str, list[Instance]] = defaultdict(list)
    for instance in found:
        turns[instance["benchmark"]].append(instance)
    return [i for i in itertools.chain(*itertools.zip_longest(*turns.values())) if i is not None]


def spread(chosen: list[Instance], each: int) -> list[Instance]:
    """`each` instances of every benchmark, evenly over its list from the first to the last."""
    groups: dict[str, list[Instance]] = defaultdict(list)
    for instance in chosen:
        groups[instance["benchmark"]].append(instance)
    picked = [
        [some[round(k * (len(some) - 1) / max(each - 1, 1))] for k in range(min(each, len(some)))]
        for some in groups.values()
    ]
    return [i for i in itertools.chain(*itertools.zip_longest(*picked)) if i is not None]


def _published(row: dict[str, str], name: str, folder: Path) -> Instance:
    folder = folder / row["benchmark"] if name == "vnncomp2025" else folder
    onnx, vnnlib = (_packed(folder / row[kind]) for kind in ("onnx", "vnnlib"))
    timeout = float(row.get("timeout") or row["timeout_s"])
    known = row["verdict"] if row.get("confidence") != "contested" else ""
    return _instance(name, row["benchmark"], onnx, vnnlib, timeout, known)


def _packed(path: Path) -> Path:
    return path if path.exists() else path.with_name(path.name + ".gz")


def _instance(name: str, benchmark: str, onnx: Path, vnnlib: Path, timeout: float, known: str) -> Instance:
    known = known if known in ("sat", "unsat") else ""
    label = f"{name}/{benchmark}/{onnx.name}/{vnnlib.name}"
    return {"id": label, "benchmark": benchmark, "onnx": onnx, "vnnlib": vnnlib, "timeout": timeout, "known": known}


def _sentences(rows: list[dict[str, str]], folder: Path, scratch: Path) -> list[Instance]:
    """Boxes around perturbed sentences, written as VNN-LIB: is there a point with Y_0 <= Y_1?"""
    import numpy as np

    with np.load(folder / "boxes.npz") as archive:
        boxes = archive["box"].astype(float)
    found = []
    for row in rows:
        box = boxes[int(row["id"])]
        lines = [f"(declare-const X_{i} Real)" for i in range(len(box))] + [
            "(declare-const Y_0 Real)",
            "(declare-const Y_1 Real)",
        ]
        lines += [
            f"(assert (>= X_{i} {low!r}))\n(assert (<= X_{i} {high!r}))" for i, (low, high) in enumerate(box.tolist())
        ]
        file = scratch / f"{row['dataset']}_{row['id']}.vnnlib"
        file.write_text("\n".join([*lines, "(assert (<= Y_0 Y_1))"]))
        found.append(_instance("safenlp", row["dataset"], folder / row["onnx"], file, 20.0, row["verdict"]))
    return found


def certify(onnx: Path, vnnlib: Path, timeout: float) -> dict[str, Any]:
    """What one call says and costs: `peak` bytes of its largest process, `wall` and `cpu` seconds of all."""
    command = [sys.executable, "-m", "cutaway", "certify", str(onnx), str(vnnlib), "--json"]
    command += ["--budget", BUDGET, "--timeout", f"{timeout:g}"]
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=told, stderr=errors, start_new_session=True)
        watch = threading.Timer(timeout + 120, os.killpg, (process.pid, signal.SIGKILL))
        watch.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            watch.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
        told.seek(0)
        errors.seek(0)
        answer, noise = told.read().strip(), errors.read().strip()
    content = json.loads(answer) if answer.startswith("{") else {}
    return {
        "verdict": content.get("verdict", "refused" if process.returncode == 2 else "crash"),
        "decided_by": content.get("decided_by", ""),
        "reason": content.get("reason") or content.get("error") or ("" if content else noise[-400:]),
        "code": process.returncode,
        "wall": round(wall, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "load": round(os.getloadavg()[0], 1),
        "version": content.get("version", ""),
    }


def smallest() -> int:
    """Peak bytes of the call on a network of one ReLU."""
    with tempfile.TemporaryDirectory() as folder:
        onnx, vnnlib = Path(folder) / "one.onnx", Path(folder) / "one.vnnlib"
        subprocess.run([sys.executable, "-c", SMALLEST, str(onnx)], check=True)
        vnnlib.write_text(QUESTION)
        found = certify(onnx, vnnlib, 60.0)
    if found["verdict"] != "certified":
        raise SystemExit(f"the smallest network: {found}")
    return found["peak"]


def run(chosen: Iterable[Instance], cap: float, out: Path) -> Iterator[dict[str, Any]]:
    """Each instance's line, those of `out` first; the others are added to it."""
    done = {line["id"]: line for line in read(out)}
    out.write_text("".join(json.dumps(line) + "\n" for line in done.values()), encoding="utf-8")  # no torn line
    base = next((line["base"] for line in done.values()), None) or smallest()
    for instance in chosen:
        if instance["id"] in done:
            yield done[instance["id"]]
            continue
        timeout = min(instance["timeout"], cap)
        found = certify(instance["onnx"], instance["vnnlib"], timeout)
        line = {k: instance[k] for k in ("id", "benchmark", "known")} | found | {"timeout": timeout, "cap": cap}
        line |= {"base": base, "memory": max(line["peak"] - base, 0)}
        line["faults"] = faults(line)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        yield line


def faults(line: dict[str, Any]) -> list[str]:
    """What is wrong with an answer."""
    against = {"certified": "sat", "falsified": "unsat"}
    found = ["against the published verdict"] if against.get(line["verdict"], "none") == line["known"] else []
    found += ["memory"] if line["memory"] > BUDGET_BYTES else []
    found += ["late"] if line["wall"] > line["timeout"] + GRACE else []
    return found + (["crash"] if line["code"] not in (0, 2) else [])


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a results file that are whole."""
    if not file.exists():
        return []
    return [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines() if text.endswith("}")]


def table(lines: list[dict[str, Any]]) -> str:
    """A row a benchmark, in Markdown."""
    heads = (
        "set, tried, certified, falsified, unknown, refused, against, crash, late, most memory, CPU s (median), most"
    )
    rows = ["| " + heads.replace(", ", " | ") + " |"]
    rows.append("| --- |" + " ---: |" * 11)
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups["/".join(line["id"].split("/")[:2])].append(line)
    groups["all"] = lines
    for name, some in groups.items():
        verdicts = [line["verdict"] for line in some]
        counts = [verdicts.count(v) for v in ("certified", "falsified", "unknown", "refused")]
        faulty = [sum(f in line["faults"] for line in some) for f in ("against the published verdict", "crash", "late")]
        cpu, most = sorted(line["cpu"] for line in some), max(line["memory"] for line in some)
        cells = [
            name,
            len(some),
            *counts,
            *faulty,
            f"{most / 1e6:.0f} MB",
            f"{cpu[len(cpu) // 2]:.1f}",
            f"{cpu[-1]:.1f}",
        ]
        rows.append("| " + " | ".join(str(c) for c in cells) + " |")
    loads = sorted(line["load"] for line in lines)
    known = sum(line["known"] != "" for line in lines)
    rows += ["", f"{len(lines)} instances, {known} with a published verdict; cap {lines[0]['cap']:g} s; load average "]
    rows[-1] += f"{loads[0]} to {loads[-1]} (median {loads[len(loads) // 2]}) on {os.cpu_count()} cores."
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="vnncomp2025")
    parser.add_argument("--only", help="benchmarks of the set, by name")
    parser.add_argument("--each", type=int, help="at most so many instances of every benchmark")
    parser.add_argument("--cap", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--table", type=Path, nargs="+")
    options = parser.parse_args()
    if options.table:
        lines = [line for file in options.table for line in read(file)]
        print(table(lines))
        return 1 if any(line["faults"] for line in lines) else 0
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    names = ("safenlp", "vnncomp2025") if options.short else (options.set,)
    missing = [name for name in names if not (data / name / "verdicts.csv").exists()]
    if missing:
        print(f"not run: CUTAWAY_DATA does not name a folder with {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        chosen = [i for name in names for i in instances(name, data, Path(folder))]
        if options.short:
            chosen = [i | {"timeout": t} for part, t in SHORT for i in chosen if i["id"].startswith(part)]
        if options.only:
            chosen = [i for i in chosen if i["benchmark"] in options.only.split(",")]
        if options.each:
            chosen = spread(chosen, options.each)
        lines = []
        out = options.out or Path(folder) / "lines.jsonl"
        for line in run(chosen, options.cap if not options.short else 120.0, out):
            lines.append(line)
            told = f"{len(lines)}/{len(chosen)} {line['id']}: {line['verdict']} ({line['known'] or 'not known'})"
            told += f", {line['cpu']} CPU s, {line['memory'] / 1e6:.0f} MB {' '.join(line['faults'])}"
            print(told, file=sys.stderr, flush=True)
    print(table(lines))
    for line in lines if options.short else ():
        line["faults"] += ["undecided"] if line["timeout"] >= 60 and line["verdict"] == "unknown" else []
    for line in lines:
        for fault in line["faults"]:
            print(
                f"{fault}: {line['id']}: {line['verdict']} {line['wall']} s of {line['timeout']:g}, {line['reason']}",
                file=sys.stderr,
            )
    return 1 if any(line["faults"] for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
