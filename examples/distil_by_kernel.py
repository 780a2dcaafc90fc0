"""Ten rows that stand for a thousand digits, found through a kernel, beside ten real ones and the ten class means.

python examples/distil_by_kernel.py
"""

from __future__ import annotations

from dataclasses import replace

import torch

from cutaway.data import load_data
from cutaway.kernels import InfiniteNetwork, KernelPredictor, distil


def main(*, steps: int = 60) -> dict[str, float]:
    """Print and return the share of test rows that a kernel gets right from each ten rows."""
    learn, test = load_data("digits", split="train", num=1000), load_data("digits", split="test")
    assert learn.labels is not None and test.labels is not None
    infinite = InfiniteNetwork(depth=2)
    found = distil(infinite, learn, per_class=1, steps=steps)
    assert found.data.labels is not None
    means = torch.stack([learn.inputs[learn.labels == label].mean(dim=0) for label in found.data.labels])
    right = {}
    for name, rows in (
        ("real rows", found.start),
        ("class means", replace(found.data, inputs=means)),
        ("distilled", found.data),
    ):
        said = KernelPredictor.fit(infinite, rows)(test.inputs).argmax(dim=1)
        right[name] = float((said == test.labels).double().mean())
        print(f"{name:12} {right[name]:.1%} of {len(test)} rows right")
    print(f"mean squared error over the steps: {found.losses[0]:.3f} to {found.losses[-1]:.3f}")
    return right


if __name__ == "__main__":
    main()
