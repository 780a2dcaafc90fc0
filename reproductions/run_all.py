"""Run every reproduction, each in a process of its own, and print one table of verdicts.

    python reproductions/run_all.py [--short] [--jobs 2] [--out ROWS.json] [NAME ...]

`--jobs` many run at a time: rows hold values and CPU seconds, so that a core each is enough. A short form that costs
more than 20 CPU seconds is named.
Exits with 1 when one of them fails that is not listed in KNOWN (with the reason why the published figure does not
come out), crashes, or judges nothing. One whose data are missing is not run, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    "margins": "full form (one seed of three run with its smaller steps): all but one judged row pass; in l2 the soft "
    "margin falls by 6.5e-6 of itself in one step, wanted at most 1e-9",
    "ntk-robustness": "full form: features beyond 20 are useful in the mean by 2.9 standard errors, not 3; the "
    "source's figure is that of one feature of CIFAR-10",
}


DEAR = 20.0  # CPU seconds of a short form


def main() -> int:
    """Run them and return the exit code."""
    from cutaway.reproductions import reproduction_names

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=None)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--timeout", type=float, default=900 if "--short" in sys.argv else 7200)
    parser.add_argument("--out", type=Path, help="file that keeps the rows of all")
    options = parser.parse_args()
    names, found = options.names or reproduction_names(), {}
    with ThreadPoolExecutor(options.jobs) as pool:
        one = partial(run_one, short=options.short, timeout=options.timeout)
        for name, (verdict, result) in zip(names, pool.map(one, names)):
            found[name] = verdict
            if options.out and result.get("rows"):
                keep(options.out, name, result)
            tell(name, verdict, result, options.short)
    if absent := [name for name, verdict in found.items() if verdict == "not run"]:
        print(f"not run, for their data are missing: {', '.join(absent)}")
    fine = ("passed", "not run")
    bad = [n for n, verdict in found.items() if verdict not in fine and not (verdict == "failed" and n in KNOWN)]
    print(f"reproductions not passed: {', '.join(bad)}" if bad else "all that ran passed or are known not to")
    return 1 if bad else 0


def run_one(name: str, *, short: bool, timeout: float) -> tuple[str, dict[str, Any]]:
    """Its verdict and what it told."""
    command = [sys.executable, "-m", "cutaway", "reproduce", name, "--json", *(["--short"] if short else [])]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return "timed out", {}
    result = json.loads(done.stdout) if done.stdout.strip() else {}
    missing = done.returncode == 2 and not os.environ.get("CUTAWAY_DATA")
    return result.get("outcome", "not run" if missing else "crashed"), result


def tell(name: str, verdict: str, result: dict[str, Any], short: bool) -> None:
    """One line a reproduction, and one for each row that failed."""
    rows, spent = result.get("rows", []), result.get("cpu_seconds", 0.0)
    counts = ", ".join(f"{sum(r['verdict'] == v for r in rows)} {v}" for v in ("pass", "fail", "report", "not run"))
    dear = f"more than {DEAR:.0f} CPU s; " if short and spent > DEAR else ""
    print(f"{name:<28} {verdict:<14} {counts:<42} {spent:6.1f} CPU s {dear}{KNOWN.get(name, '')}", flush=True)
    for row in rows:
        if row["verdict"] == "fail":
            print(f"    {row['quantity']}: paper {row['paper']}, ours {row['ours']} (tolerance {row['tolerance']})")


def keep(path: Path, name: str, result: dict[str, Any]) -> None:
    """Put one reproduction's table into the file of all."""
    found = json.loads(path.read_text(encoding="utf-8"))["reproductions"] if path.exists() else {}
    found[name] = {k: result[k] for k in ("title", "source", "outcome", "short", "seconds", "rows")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"reproductions": dict(sorted(found.items()))}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
