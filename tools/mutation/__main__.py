"""Plants a sample of faults one at a time and runs the nearest tests against each: which of them would be noticed?

    python -m tools.mutation [--strict 200] [--elsewhere 200] [--seconds 60] [--seed 0] [--out runs/mutants.jsonl]

`--strict` faults come from the rooms whose numbers are certificates and p-values (95 % must be noticed), `--elsewhere`
from the rest (85 %). A fault is *noticed* when a test fails, or does not end where it ended without the fault. Tests
run on a copy of src, at most `--seconds` of them a fault by what they took without it. Every verdict is a line of the
output, and a run that was stopped goes on where it stood. Faults that change nothing a user could see are listed with
the reason in tools/mutation/equivalent.toml and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.mutation.faults import Fault, faults
from tools.mutation.nearest import nearest

ROOT = Path(__file__).resolve().parents[2]
SRC, TESTS = ROOT / "src" / "cutaway", ROOT / "tests"
STRICT = ("robustness/verify/", "robustness/bounds/", "evidence/", "guard/threshold.py", "guard/certificate.py")
LEFT_OUT = ("reproductions/", "demo.py", "_", "cli/")
WANTED = {"strict": 0.95, "elsewhere": 0.85}


def drawn(group: str, count: int, seed: int, equivalent: set[str]) -> list[Fault]:
    """`count` faults of a group, every fault of its files equally likely; more than `count` for the same seed begins
    with the same ones."""
    files = [str(f.relative_to(SRC)) for f in sorted(SRC.rglob("*.py"))]
    strict = [f for f in files if f.startswith(STRICT)]
    pool = strict if group == "strict" else [f for f in files if f not in strict and not f.startswith(LEFT_OUT)]
    found = [fault for file in pool for fault in faults(file, (SRC / file).read_text()) if fault.id not in equivalent]
    random.Random(f"{seed} {group}").shuffle(found)
    return found[:count]


def run_tests(src: Path, tests: list[str], limit: float) -> tuple[bool, float]:
    """Whether the tests pass on `src`, and the CPU seconds they took; `limit` seconds of the clock are a failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--durations=0", "-m", "not slow"]
    env = {**os.environ, "PYTHONPATH": str(src), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        [*command, *(str(TESTS / t) for t in tests)], cwd=ROOT, env=env, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        passed = child.wait(timeout=limit) == 0
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        child.wait()
        passed = False
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Bench:
    """A copy of src in which faults are planted, and how long each test file takes without one."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.src, self.seconds = folder / "src", seconds
        shutil.copytree(SRC.parent, self.src, ignore=shutil.ignore_patterns("__pycache__"))
        self.took: dict[str, float] = {}

    def chosen(self, file: str) -> list[str]:
        """The nearest tests that pass without a fault and take at most `seconds` together."""
        spent, tests = 0.0, []
        for test in nearest(file, SRC, TESTS):
            if test not in self.took:
                passed, took = run_tests(self.src, [test], 10 * self.seconds)
                self.took[test] = took if passed else float("inf")
            if spent + self.took[test] <= self.seconds:
                tests.append(test)
                spent += self.took[test]
        return tests

    def noticed(self, fault: Fault) -> tuple[str, list[str]]:
        """`noticed`, `survived` or `no tests`."""
        tests = self.chosen(fault.file)
        if not tests:
            return "no tests", tests
        target = self.src / "cutaway" / fault.file
        source = target.read_text()
        target.write_text(fault.applied(source))
        try:
            limit = 60 + 10 * sum(self.took[t] for t in tests)
            return ("survived" if run_tests(self.src, tests, limit)[0] else "noticed"), tests
        finally:
            target.write_text(source)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", type=int, default=200)
    parser.add_argument("--elsewhere", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutants.jsonl")
    options = parser.parse_args()
    listed = tomllib.loads((Path(__file__).parent / "equivalent.toml").read_text()).get("fault", [])
    equivalent = {entry["id"] for entry in listed}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {row["id"]: row["verdict"] for row in known}
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.seconds)
        for group in WANTED:
            sample = drawn(group, getattr(options, group), options.seed, equivalent)
            for number, fault in enumerate(sample, 1):
                if fault.id not in done:
                    done[fault.id], tests = bench.noticed(fault)
                    row = {
                        "id": fault.id,
                        "group": group,
                        "verdict": done[fault.id],
                        "fault": fault.told(),
                        "tests": tests,
                    }
                    with options.out.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                    print(f"{number}/{len(sample)} {done[fault.id]:9} {fault.told()}", flush=True)
            count = sum(done[f.id] == "noticed" for f in sample)
            if sample:
                share = count / len(sample)
                missed += share < WANTED[group]
                print(f"{group}: {count} of {len(sample)} noticed ({share:.0%}; wanted {WANTED[group]:.0%})")
                for fault in sample:
                    if done[fault.id] != "noticed":
                        print(f"  {done[fault.id]}: {fault.id} {fault.told()}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
