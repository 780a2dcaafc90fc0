"""Start-up, medians of pairs in one run.

`cutaway --help` costs at most 5x `python -c "import argparse"` (wall); `cutaway certify` on an ONNX network of one ReLU
at most 1.6x `python -c "import torch"` (CPU seconds, the import check by onnxruntime included).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT, CERTIFY_LIMIT = 5.0, 1.6


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def cpu_seconds(command: list[str]) -> float:
    """CPU time of a process and its children."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def certify_ratio(pairs: int) -> float:
    """CPU seconds of `cutaway certify` over those of `import torch`."""
    from bench_certify import QUESTION, SMALLEST

    with tempfile.TemporaryDirectory() as folder:
        onnx, vnnlib = Path(folder) / "one.onnx", Path(folder) / "one.vnnlib"
        subprocess.run([sys.executable, "-c", SMALLEST, str(onnx)], check=True)
        vnnlib.write_text(QUESTION)
        ours = [sys.executable, "-m", "cutaway", "certify", str(onnx), str(vnnlib)]
        theirs = [sys.executable, "-c", "import torch"]
        for command in (ours, theirs):
            cpu_seconds(command)
        found = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in found)
    told = f"cutaway certify {statistics.median(a for a, _ in found):.2f} CPU s, {ratio:.2f}x import torch"
    print(f"{told} (limit {CERTIFY_LIMIT}x)")
    return ratio


def main() -> int:
    """Measure and compare."""
    short = "--short" in sys.argv
    ours, theirs = [sys.executable, "-m", "cutaway", "--help"], [sys.executable, "-c", "import argparse"]
    for command in (ours, theirs):
        seconds(command)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(5 if short else 20)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"cutaway --help {statistics.median(a for a, _ in pairs):.3f} s, {ratio:.2f}x argparse (limit {LIMIT}x)")
    return int(ratio > LIMIT or certify_ratio(2 if short else 7) > CERTIFY_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
