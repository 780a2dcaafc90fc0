"""Class means of digits that one may publish: how much accuracy privacy costs.

python examples/private_similarity.py
"""

from __future__ import annotations

import math

import numpy as np

from cutaway.data import load_data
from cutaway.outputs import fourier_features, private_class_means


def main(*, draws: int = 10) -> list[float]:
    """Share of digits right by epsilon."""
    learn, judge = (load_data("digits", split=split) for split in ("train", "test"))
    assert learn.labels is not None and judge.labels is not None
    known, asked = learn.labels.numpy(), judge.labels.numpy()
    shares = []
    for epsilon in (math.inf, 5.0, 1.0, 0.5, 0.1):
        right, noise = [], 0.0
        for seed in range(draws):
            mine, others = (fourier_features(d.inputs.numpy(), 400, width=1.5, seed=seed) for d in (learn, judge))
            found = private_class_means(mine, known, 10, epsilon=epsilon, seed=seed)
            right.append((found.most_similar(others) == asked).mean())
            noise = found.noise
        shares.append(float(np.mean(right)))
        print(f"epsilon {epsilon:4g}, delta 1e-5: {shares[-1]:.3f} right, noise {noise:.2f} in each sum")
    return shares


if __name__ == "__main__":
    main()
