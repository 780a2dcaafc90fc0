"""Null replicates on two cores: `loky` with two workers against `inline` (wall time, one run), and identical figures.

The aim is 1.6x on two idle cores. The short form draws few replicates, so the workers' start weighs more: it only
checks the figures.
"""

from __future__ import annotations

import os
import sys
import time

AIM = 1.6


def main() -> int:
    """Measure and compare."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from cutaway.demo import train_digits
    from cutaway.engines.executor import get_executor, map_jobs
    from cutaway.network import Network
    from cutaway.scan_nulls import null_figures
    from cutaway.scanning import default_instruments

    short = "--short" in sys.argv
    model, data = train_digits(epochs=2)
    data = data.take(100) if short else data
    network = Network(model, data.inputs[:2])
    wanted = [(i, i.null) for i in default_instruments(data) if i.null]
    jobs = [(wanted, network, data, seed, None) for seed in range(6 if short else 39)]
    seconds, results = {}, {}
    for name, workers in (("inline", None), ("loky", 2)):
        began = time.perf_counter()
        with get_executor(name, workers) as executor:
            results[name] = map_jobs(executor, null_figures, jobs)
        seconds[name] = time.perf_counter() - began
    ratio = seconds["inline"] / seconds["loky"]
    same = results["inline"] == results["loky"]
    told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    print(f"{len(jobs)} replicates: {told}: {ratio:.2f}x (aim {AIM}x)")
    print("figures identical" if same else "FIGURES DIFFER")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
