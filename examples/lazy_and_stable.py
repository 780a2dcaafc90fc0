"""Does a training stay where its kernel began, and is it stable? A small CNN on digits by full-batch gradient descent.

The tangent kernel's distance from its beginning says how far the network has left the lazy regime; the loss's largest
curvature is held against 2 / step size, which it rises to (the edge of stability) until the cross-entropy vanishes.

python examples/lazy_and_stable.py; then: cutaway report runs/lazy-and-stable
"""

from __future__ import annotations

import torch
from torch import nn

from cutaway.data import load_data
from cutaway.instruments import Curvature, TangentKernel
from cutaway.kernels import kernel_distance
from cutaway.training import LogSpaced, Tracker, open_training

STEPS = 300
RATE = 1.0


def main() -> list[tuple[int, float, float]]:
    """Print and return (step, distance of the kernel from its beginning, largest curvature)."""
    train = load_data("digits", split="train", num=200)
    assert train.labels is not None
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 32), nn.Tanh(), nn.Linear(32, 10))
    optimiser = torch.optim.SGD(model.parameters(), RATE)
    instruments = [TangentKernel(num_points=60), Curvature(num_points=200, num_probes=4, num_top=1, num_density=1)]
    schedule = LogSpaced(STEPS, 8)
    with Tracker(instruments, schedule, "runs/lazy-and-stable", data={"train": train}, intervals=False) as tracker:
        tracker.step(model, 0, learning_rate=RATE)
        for step in range(1, STEPS + 1):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(train.inputs), train.labels)
            loss.backward()
            optimiser.step()
            tracker.step(model, step, loss=loss, learning_rate=RATE)

    found: dict[int, dict[str, float]] = {}
    first = None
    for told in open_training("runs/lazy-and-stable").readings:
        reading = told.load()
        here = found.setdefault(told.step, {})
        if told.instrument == "curvature":
            here["largest"] = reading.figure("largest_eigenvalue").value
        else:
            kernel = torch.from_numpy(reading.values["kernel"].values)
            first = kernel if first is None else first
            here["distance"] = kernel_distance(first, kernel)
    rows = [(step, here["distance"], here["largest"]) for step, here in sorted(found.items())]
    for step, distance, largest in rows:
        print(f"step {step:5}: kernel {distance:.3f} from its beginning, largest curvature {largest:.3g}")
    print(f"2 / step size: {2 / RATE:g}")
    return rows


if __name__ == "__main__":
    main()
