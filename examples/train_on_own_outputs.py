"""What happens to a model of digits that is trained again and again on its own labels? Ridge regression on random
features, eight generations, measured and audited; fresh labels of the same size beside it.

python examples/train_on_own_outputs.py
"""

from __future__ import annotations

import numpy as np

from cutaway.audits import GenerationAudit
from cutaway.data import load_data


def main(*, seeds: int = 3, generations: int = 9, seed: int = 0) -> str:
    """The form that the error follows."""
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert train.labels is not None and test.labels is not None
    rng = np.random.default_rng(seed)
    lift = rng.standard_normal((64, 100)) / 2
    inputs, fresh = (np.maximum(d.inputs.flatten(1).numpy() @ lift, 0) for d in (train, test))
    truth, answers = np.eye(10)[train.labels.numpy()], np.eye(10)[test.labels.numpy()]
    places, errors, control = [], [], []
    for _ in range(seeds):
        labels = truth
        for n in range(generations):
            found = []
            for source in (labels, truth):
                rows = rng.choice(len(inputs), 500, replace=False)
                told = source[rows] + 0.3 * rng.standard_normal((500, 10))
                weights = np.linalg.solve(inputs[rows].T @ inputs[rows] + 0.05 * np.eye(100), inputs[rows].T @ told)
                found.append((float(((fresh @ weights - answers) ** 2).mean()), weights))
            labels = inputs @ found[0][1]
            places.append(n)
            errors.append(found[0][0])
            control.append(found[1][0])
    audit = GenerationAudit()
    reading = audit.measure(places, errors, fresh=control, data="digits, generation by generation")
    print("\n".join([f"verdict: {audit.verdict(reading)}", *audit.describe(reading)]))
    return audit.verdict(reading)


if __name__ == "__main__":
    main()
