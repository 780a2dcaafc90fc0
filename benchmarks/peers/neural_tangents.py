"""Closed-form kernels by neural-tangents and by ours: values and CPU seconds of one thread.

    CUTAWAY_PEER_NEURAL_TANGENTS=PYTHON python benchmarks/peers/neural_tangents.py [--json]

PYTHON is the interpreter of an environment of its own in which neural-tangents is installed (measured: neural-tangents
0.6.5 with jax 0.4.30; newer versions of jax lack what it imports); without it nothing is run and the exit code is 2.
Both get the same images (CIFAR, MNIST) and give NNGP and NTK in float64, and the time of the first again in float32.
Theirs is compiled before it is timed; the least of three runs each. Ours makes half of a symmetric kernel, theirs all
of it. Exits with 1 where a value differs by more than 1e-5 of the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cutaway.data import load_data
from cutaway.errors import CutawayError
from cutaway.kernels import InfiniteNetwork

LIMIT = 1e-5

CASES = {
    "flatten, depth 5, 100 images": (
        "cifar10",
        100,
        1,
        {"depth": 5, "kernel_size": 3, "weight_variance": 2.0, "bias_variance": 0.0},
    ),
    "flatten, erf, depth 2, 60 images": (
        "cifar10",
        60,
        1,
        {"depth": 2, "kernel_size": 3, "activation": "erf", "weight_variance": 1.5, "bias_variance": 0.2},
    ),
    "pooling, depth 2, 8 images of 16 x 16": (
        "cifar10",
        8,
        2,
        {"depth": 2, "kernel_size": 3, "pooling": True, "weight_variance": 2.0, "bias_variance": 0.1},
    ),
    "fully connected, depth 3, 1,000 images": (
        "mnist",
        1000,
        1,
        {"depth": 3, "weight_variance": 2.0, "bias_variance": 0.0},
    ),
    "fully connected, GELU, depth 2, 1,000 images": (
        "mnist",
        1000,
        1,
        {"depth": 2, "activation": "gelu", "weight_variance": 1.8, "bias_variance": 0.1},
    ),
}

THEIRS = """
import json, sys, time
import jax, numpy as np
plan = json.load(open(sys.argv[1]))
jax.config.update("jax_enable_x64", plan["type"] == "float64")
from neural_tangents import stax
own = plan["network"]
drawn = {"W_std": own["weight_variance"] ** 0.5, "b_std": own["bias_variance"] ** 0.5}
curve = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}[own.get("activation", "relu")]
layers = []
for _ in range(own["depth"]):
    side = own.get("kernel_size", 0)
    layers.append(stax.Conv(1, (side, side), padding="SAME", **drawn) if side else stax.Dense(1, **drawn))
    layers.append(curve())
last = [stax.Dense(1, W_std=1.0, b_std=drawn["b_std"])]
if own.get("kernel_size", 0):
    last = [stax.GlobalAvgPool() if own.get("pooling") else stax.Flatten()] + last
else:
    layers = [stax.Flatten()] + layers
kernel = jax.jit(stax.serial(*layers, *last)[2], static_argnames="get")
inputs = np.load(plan["inputs"]).astype(plan["type"])
least = float("inf")
for turn in range(4):
    began = time.process_time()
    found = kernel(inputs, None, get=("nngp", "ntk"))
    jax.block_until_ready(found.ntk)
    least = min(least, time.process_time() - began) if turn else least
np.savez(plan["out"], nngp=np.asarray(found.nngp), ntk=np.asarray(found.ntk), seconds=least)
"""


def peer() -> str | None:
    """The interpreter that has neural-tangents; None where none is named."""
    python = os.environ.get("CUTAWAY_PEER_NEURAL_TANGENTS", "")
    if python and Path(python).is_file():
        return python
    print(
        "not run: CUTAWAY_PEER_NEURAL_TANGENTS does not name an interpreter with neural-tangents; see the head of this "
        "script for how to get it",
        file=sys.stderr,
    )
    return None


def theirs(python: str, inputs: np.ndarray, own: dict, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
    """NNGP, NTK and CPU seconds of neural-tangents, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        np.save(root / "inputs.npy", inputs)
        plan = {"network": own, "type": kind, "inputs": str(root / "inputs.npy"), "out": str(root / "out.npz")}
        (root / "plan.json").write_text(json.dumps(plan))
        (root / "theirs.py").write_text(THEIRS)
        one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "OMP_NUM_THREADS": "1"}
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | one
        command = [python, str(root / "theirs.py"), str(root / "plan.json")]
        subprocess.run(command, check=True, env=clean, stderr=subprocess.DEVNULL)
        found = np.load(root / "out.npz")
        return found["nngp"], found["ntk"], float(found["seconds"])


def ours(inputs: torch.Tensor, own: dict) -> tuple[np.ndarray, np.ndarray, float]:
    """The same of ours."""
    network, least = InfiniteNetwork(**own), float("inf")
    nngp = ntk = inputs
    for _ in range(3):
        began = time.process_time()
        nngp, ntk = network.kernels(inputs)
        least = min(least, time.process_time() - began)
    return nngp.numpy(), ntk.numpy(), least


def compared(python: str, name: str, kind: str) -> dict[str, float]:
    """Seconds of both, their ratio, and the largest difference over the largest value."""
    data, num, stride, own = CASES[name]
    inputs = load_data(data, split="train", num=num).inputs[:, :, ::stride, ::stride].contiguous()
    inputs = inputs.to(getattr(torch, kind))
    one, other = ours(inputs, own), theirs(python, inputs.permute(0, 2, 3, 1).numpy(), own, kind)
    apart = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(one[:2], other[:2], strict=True))
    return {"ours_seconds": one[2], "peer_seconds": other[2], "ratio": one[2] / other[2], "difference": apart}


def main() -> int:
    """Compare, print, and say by the exit code whether the values agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    python = peer()
    if python is None:
        return 2
    torch.set_num_threads(1)
    found = {}
    try:
        for name, kind in [*((name, "float64") for name in CASES), (next(iter(CASES)), "float32")]:
            found[f"{name}, {kind}"] = got = compared(python, name, kind)
            if not options.json:
                print(f"{name}, {kind}: " + ", ".join(f"{k} {v:.3g}" for k, v in got.items()), flush=True)
    except CutawayError as error:
        print(f"not run: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
    return int(any(got["difference"] > LIMIT for name, got in found.items() if name.endswith("float64")))


if __name__ == "__main__":
    sys.exit(main())
