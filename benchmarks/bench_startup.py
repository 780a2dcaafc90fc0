"""Start-up: `cutaway --help` costs at most 5x `python -c "import argparse"` (wall, median of pairs, one run)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT = 5.0


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Measure and compare."""
    ours, theirs = [sys.executable, "-m", "cutaway", "--help"], [sys.executable, "-c", "import argparse"]
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(5 if "--short" in sys.argv else 20)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"cutaway --help {statistics.median(a for a, _ in pairs):.3f} s, {ratio:.2f}x argparse (limit {LIMIT}x)")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
