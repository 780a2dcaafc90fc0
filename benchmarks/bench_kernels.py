"""Kernels: the structured tangent kernel beside the contraction of Jacobians, the convolutional closed form, and kernel
regression at 10,000 rows.

    python benchmarks/bench_kernels.py [--short] [--json]

CPU seconds on one thread. 784-1024-1024-10, 500 points of MNIST, float32: at least 100 times less than Jacobians take.
Those of 500 points need 37 GB, so the Jacobians of 16 points (8 in the short form) are made once and their time scaled
by the points, and 500 rows of 131,072 columns are contracted and their time scaled by the columns.
1,000 CIFAR images through five 3 x 3 convolutions and flattening: 60 s (the short form takes 150 and scales by the
pairs). NTK regression of MNIST's labels, n = 10,000, fit and 1,000 test rows: 3 GB and 5 minutes in a process of its
own (short form: n = 2,000). `benchmarks/peers/neural_tangents.py` measures neural-tangents. Exits with 2 without the
data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from cutaway.data import load_data
from cutaway.errors import CutawayError
from cutaway.kernels import InfiniteNetwork, tangent_kernel
from cutaway.network import Network
from cutaway.network.calculus import Parameters, jacobian

TIMES, CONVOLUTION_SECONDS, REGRESSION_SECONDS, REGRESSION_GB = 100.0, 60.0, 300.0, 3.0
POINTS, COLUMNS, IMAGES, ROWS = 500, 2**17, 1000, 10_000

REGRESSION = """
import json, resource, sys, time
import torch
from cutaway.data import load_data
from cutaway.kernels import InfiniteNetwork, KernelPredictor
torch.set_num_threads(1)
learn, judge = load_data("mnist", split="train", num={rows}), load_data("mnist", split="test", num=1000)
began = time.process_time()
with torch.no_grad():
    predictor = KernelPredictor.fit(InfiniteNetwork(depth=2), learn)
    right = float((predictor(judge.inputs).argmax(dim=1) == judge.labels).double().mean())
seconds = time.process_time() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
print(json.dumps({{"regression_seconds": seconds, "regression_gigabytes": peak, "regression_right": right}}))
"""


def cpu(work: Callable[[], torch.Tensor], times: int = 1) -> tuple[float, torch.Tensor]:
    """The least CPU seconds of some runs, and what the last gave."""
    least, found = float("inf"), torch.empty(0)
    for _ in range(times):
        began = time.process_time()
        found = work()
        least = min(least, time.process_time() - began)
    return least, found


def structured(few: int) -> dict[str, float]:
    """Both ways' seconds for `POINTS` points, their ratio, and how far apart the kernels of `few` are."""
    torch.manual_seed(0)
    widths = (nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    inputs = load_data("mnist", split="test", num=POINTS).inputs
    network = Network(nn.Sequential(nn.Flatten(), *widths).eval(), inputs[:2])
    tangent_kernel(network, inputs[:4], method="structured")
    ours, kernel = cpu(lambda: tangent_kernel(network, inputs, method="structured"), times=3)
    parameters, room = Parameters(network), 32 * few * 4 * 10 * network.num_parameters
    making, found = cpu(lambda: jacobian(parameters, inputs[:few], budget=room))
    found = found.flatten(1)
    columns = torch.randn(POINTS, COLUMNS)
    joining, _ = cpu(lambda: columns @ columns.T, times=3)
    theirs, wanted = making * POINTS / few + joining * found.shape[1] / COLUMNS, found.double() @ found.double().T / 10
    return {
        "structured_seconds": ours,
        "jacobian_seconds": theirs,
        "times": theirs / ours,
        "difference": float((kernel[:few, :few] - wanted).abs().max() / wanted.abs().max()),
    }


def convolution(images: int) -> dict[str, float]:
    """Seconds of the closed form for `IMAGES` images."""
    inputs = load_data("cifar10", split="train", num=images).inputs
    network = InfiniteNetwork(depth=5, kernel_size=3)
    network.kernels(inputs[:20])
    seconds, _ = cpu(lambda: network.kernels(inputs)[1])
    return {"convolution_seconds": seconds * IMAGES * (IMAGES + 1) / (images * (images + 1))}


def regression(rows: int) -> dict[str, float]:
    """Seconds and memory of a fit and its judgement."""
    command = [sys.executable, "-c", REGRESSION.format(rows=rows)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main() -> int:
    """Run, print, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        found = regression(2000 if options.short else ROWS)  # first: a child's peak memory starts at its parent's
        found |= structured(8 if options.short else 16)
        found |= convolution(150 if options.short else IMAGES)
    except CutawayError as error:
        print(f"not run: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else "\n".join(f"{k:<26} {v:.4g}" for k, v in found.items()))
    missed = found["times"] < TIMES or found["convolution_seconds"] > CONVOLUTION_SECONDS
    missed |= found["regression_seconds"] > REGRESSION_SECONDS or found["regression_gigabytes"] > REGRESSION_GB
    return int(missed or found["difference"] > 1e-3)


if __name__ == "__main__":
    sys.exit(main())
