"""Simulators of two-layer training: 64 seeds at once against a seed-by-seed loop of the same code, one thread, d = 512.

Limit: 10 times faster in CPU seconds. Also the closed overlap equations (3,000 steps of the erf committee, limit 5 s)
and the mean-field equations (six steps, 200,000 paths, limit 10 s).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

LIMIT = 10.0


def batched_against_loop(width: int, method: str, loop: int, steps: int) -> dict[str, float]:
    """CPU seconds for 64 seeds together and, scaled up from `loop` of them, one after the other."""
    from cutaway.dynamics.simulation import Simulation, simulate

    def run(seeds: int, seed: int) -> float:
        began = time.process_time()
        simulate(
            Simulation(
                link="He3(z)", activation="relu", dimension=512, rate=0.01 / 512, displacement=0.1 / 512,
                num_steps=steps,
                method=method, second_layer=(1.0,) * width, num_seeds=seeds, seed=seed, record=steps,
            )
        )  # fmt: skip
        return time.process_time() - began

    run(1, 0)
    together = run(64, 0)
    apart = sum(run(1, i) for i in range(loop)) * 64 / loop
    return {"together_seconds": together, "loop_seconds": apart, "ratio": apart / together}


def equations() -> dict[str, float]:
    """CPU seconds of the overlap equations and of the mean-field equations."""
    import numpy as np

    from cutaway.dynamics.dmft import MeanFieldProblem, integrate_mean_field
    from cutaway.dynamics.ode import OverlapProblem, integrate

    problem = OverlapProblem(
        activation="erf", second_layer=(1.0, 1.0), num_directions=2, dimension=10_000, rate=0.08, batch_size=100,
        projected=True
    )  # fmt: skip
    began = time.process_time()
    integrate(problem, np.zeros((2, 2)), np.eye(2), 3000)
    overlap = time.process_time() - began
    began = time.process_time()
    integrate_mean_field(
        MeanFieldProblem(
            link="tanh(z1+He3(z2))", activation="relu", second_layer=(0.7, -0.7), ratio=3.0, rate=0.2, samples=200_000
        ),
        6,
    )
    return {"overlap_seconds": overlap, "mean_field_seconds": time.process_time() - began}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps, loop = (1500, 6) if options.short else (5000, 64)
    results: dict[str, Any] = {
        f"{method}, {width} neurons": batched_against_loop(width, method, loop, steps)
        for width, method in ((1, "sgd"), (1, "repetition"), (8, "sgd"))
    }
    passed = all(found["ratio"] >= LIMIT for found in results.values())
    results["equations"] = equations()
    passed &= results["equations"]["overlap_seconds"] <= 5.0 and results["equations"]["mean_field_seconds"] <= 10.0
    torch.set_num_threads(threads)
    results["passed"] = bool(passed)
    if options.json:
        print(json.dumps(results))
    else:
        for name, found in results.items():
            print(name, found)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
