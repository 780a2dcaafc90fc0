"""Nothing oversubscribes: what a command costs when another process has one core, over what it costs alone.

    python benchmarks/bench_threads.py [--short] [NAME ...]

Each of scan, fit (with its tracker), measure, certify and LoFi runs as a user starts it, with torch's default number of
threads, alone and beside a process that keeps one core busy. Limit: 1.5x, in CPU seconds; threads that wait for each
other spin, so that oversubscription shows there even on a loaded machine. Wall-clock ratios, and the 39 null replicates
as two processes against inline (limit 1.6x faster), are judged only where the load average was below 0.5 at the start:
elsewhere they are printed as "not judged". `--short`: measure and LoFi.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT, NULLS_LIMIT, QUIET = 1.5, 1.6, 0.5
BUSY = "while True: pass"
SHORT = ("measure", "lofi")
LOFI = """
import numpy as np
from cutaway.features.lofi import LoFiClassifier
draw = np.random.default_rng(0)
x = draw.standard_normal((1500, 20))
LoFiClassifier().fit(x, (x[:, 0] * x[:, 1] > 0).astype(int))
"""
NETWORK = """
import onnx, sys, numpy as np
from onnx import TensorProto, helper, numpy_helper
draw = np.random.default_rng(0)
sizes, nodes, constants, name = [5, 40, 40, 40, 2], [], [], "x"
for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
    constants += [numpy_helper.from_array((draw.standard_normal((a, b)) / a**0.5).astype(np.float32), f"w{k}")]
    nodes.append(helper.make_node("MatMul", [name, f"w{k}"], [f"m{k}"]))
    name = f"r{k}" if b > 2 else f"m{k}"
    nodes += [helper.make_node("Relu", [f"m{k}"], [name])] if b > 2 else []
sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 5), (name, 2))]
graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], constants)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""
LOW, HIGH = -0.6, 0.6


def commands(folder: Path) -> dict[str, list[str]]:
    """What is run, by name."""
    cutaway = [sys.executable, "-m", "cutaway"]
    subprocess.run([sys.executable, "-c", NETWORK, str(folder / "net.onnx")], check=True)
    box = "".join(f"(assert (>= X_{i} {LOW}))(assert (<= X_{i} {HIGH}))" for i in range(5))
    names = "".join(f"(declare-const {n} Real)" for n in ("X_0", "X_1", "X_2", "X_3", "X_4", "Y_0", "Y_1"))
    (folder / "property.vnnlib").write_text(f"{names}{box}(assert (>= Y_0 3.0))")
    recipe = Path(__file__).parent.parent / "examples" / "digits.toml"
    measure = [*cutaway, "measure", "local-complexity", "cutaway.demo:digits_cnn", "--data", "digits", "--num", "200"]
    return {
        "scan": [*cutaway, "scan", "--engine", "inline", "--out", "OUT"],
        "fit": [*cutaway, "fit", str(recipe), "--out", "OUT"],
        "measure": [*measure, "--nulls", "5", "--out", "OUT.zarr.zip"],
        "certify": [*cutaway, "certify", str(folder / "net.onnx"), str(folder / "property.vnnlib")],
        "lofi": [sys.executable, "-c", LOFI],
    }


def cost(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command and its children, with torch's own number of threads."""
    place = tempfile.mkdtemp(dir=folder)
    said = [word.replace("OUT", f"{place}/out") for word in command]
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(said, stdout=subprocess.DEVNULL, stderr=noise, env=environment, cwd=place)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            noise.seek(0)
            raise SystemExit(f"{' '.join(said)} ended with {process.returncode}: {noise.read()[-500:]}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def beside(command: list[str], folder: Path) -> tuple[float, float]:
    """The same while another process keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        return cost(command, folder)
    finally:
        other.kill()
        other.wait()


def nulls(folder: Path, quiet: bool) -> bool:
    """39 null replicates as two processes and inline; whether the limit was missed."""
    base = commands(folder)["measure"]
    base[base.index("--nulls") + 1] = "39"
    inline, _ = cost([*base, "--engine", "inline"], folder)
    processes, _ = cost([*base, "--engine", "loky", "--workers", "2"], folder)
    ratio = inline / processes
    print(f"39 null replicates: {ratio:.2f}x as two processes (wanted {NULLS_LIMIT}x){'' if quiet else ', not judged'}")
    return quiet and ratio < NULLS_LIMIT


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    quiet, missed = load < QUIET, []
    print(f"load average {load:.1f} on {os.cpu_count()} cores: wall-clock ratios {'' if quiet else 'not '}judged")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = commands(folder)
        chosen = options.names or (SHORT if options.short else (*found, "nulls"))
        for job in chosen:
            if job == "nulls":
                missed += ["nulls"] if nulls(folder, quiet) else []
                continue
            (wall, cpu), (wall_beside, cpu_beside) = cost(found[job], folder), beside(found[job], folder)
            over = cpu_beside / cpu > LIMIT or (quiet and wall_beside / wall > LIMIT)
            missed += [job] if over else []
            told = f"{job}: {cpu:.1f} CPU s, beside another {cpu_beside:.1f} ({cpu_beside / cpu:.2f}x)"
            told += f"; wall {wall:.1f} s, {wall_beside:.1f} s ({wall_beside / wall:.2f}x)"
            print(told + (" OVER" if over else ""), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
