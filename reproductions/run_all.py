"""Run every reproduction, each in a process of its own, and print one table of verdicts.

    python reproductions/run_all.py [--short] [--out ROWS.json] [NAME ...]

Exits with 1 when one of them fails that is not listed in KNOWN (with the reason why the published figure does not
come out), crashes, or judges nothing. One whose data are missing is not run, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KNOWN: dict[str, str] = {
    "probability-estimation": "full form: calibration errors follow MSE_p by .6 to .8 over all models: both rise "
    "as networks overfit; over the better half of the models of the one draw tried ECE, MCE and KS do not (.2 to .4)",
    "delayed-robustness": "full form: under all attacks robustness at the last step is below that at the start of the "
    "clean plateau in every seed; against its end one MNIST run of three has no rise, and Fashion-MNIST none",
    "unit-pruning": "full form: on MNIST units that bend around data are no better to remove than random ones, and the "
    "smallest weights are better (.05 of the units more); retrained, geometry lies between random and magnitude",
    "concept-heads": "full form: on a Fashion-MNIST ViT (accuracy .82) a class loses .086 more than others without its "
    "heads (wanted .1), p .067 against random heads (256 test images; not measured on the 1,000 of the full form)",
    "ntk-robustness": "full form: features beyond 20 are useful in the mean by 2.9 standard errors, not 3; the "
    "source's figure is that of one feature of CIFAR-10",
}


def main() -> int:
    """Run them and return the exit code."""
    from cutaway.reproductions import reproduction_names

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=None)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--timeout", type=float, default=900 if "--short" in sys.argv else 7200)
    parser.add_argument("--out", type=Path, help="file that keeps the rows of all")
    options = parser.parse_args()
    bad, absent = [], []
    for name in options.names or reproduction_names():
        command = [
            sys.executable,
            "-m",
            "cutaway",
            "reproduce",
            name,
            "--json",
            *(["--short"] if options.short else []),
        ]
        began = time.perf_counter()
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=options.timeout, check=False)
            result = json.loads(done.stdout) if done.stdout.strip() else {}
            missing = done.returncode == 2 and not os.environ.get("CUTAWAY_DATA")
            verdict = result.get("outcome", "not run" if missing else "crashed")
        except subprocess.TimeoutExpired:
            result, verdict = {}, "timed out"
        rows = result.get("rows", [])
        if options.out and rows:
            keep(options.out, name, result)
        counts = ", ".join(f"{sum(r['verdict'] == v for r in rows)} {v}" for v in ("pass", "fail", "report", "not run"))
        print(
            f"{name:<28} {verdict:<14} {counts:<42} {time.perf_counter() - began:6.1f} s {KNOWN.get(name, '')}",
            flush=True,
        )
        for row in rows:
            if row["verdict"] == "fail":
                print(f"    {row['quantity']}: paper {row['paper']}, ours {row['ours']} (tolerance {row['tolerance']})")
        if verdict == "not run":
            absent.append(name)
        elif verdict != "passed" and not (verdict == "failed" and name in KNOWN):
            bad.append(name)
    if absent:
        print(f"not run, for their data are missing: {', '.join(absent)}")
    print(f"reproductions not passed: {', '.join(bad)}" if bad else "all that ran passed or are known not to")
    return 1 if bad else 0


def keep(path: Path, name: str, result: dict[str, Any]) -> None:
    """Put one reproduction's table into the file of all."""
    found = json.loads(path.read_text(encoding="utf-8"))["reproductions"] if path.exists() else {}
    found[name] = {k: result[k] for k in ("title", "source", "outcome", "short", "seconds", "rows")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"reproductions": dict(sorted(found.items()))}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
