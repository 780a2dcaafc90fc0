"""May I train on labels that a weak model made? A labeller of 40 digits, a filter by a second model, 200 audited rows.

python examples/train_on_made_labels.py
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from cutaway.audits import LabelAudit
from cutaway.data import load_data


def main(*, audited: int = 200, seed: int = 0) -> str:
    """The verdict of the audit, beside what training on the kept labels, and on a random subset, gives."""
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert train.labels is not None and test.labels is not None
    inputs, truth = train.inputs.flatten(1).numpy(), train.labels.numpy()
    fresh, answers = test.inputs.flatten(1).numpy(), test.labels.numpy()
    order = np.random.default_rng(seed).permutation(len(inputs))
    labeller, judge = order[:40], order[40:140]
    rest = order[140:]

    def trained(rows, labels):
        return LogisticRegression(max_iter=300).fit(inputs[rows], labels)

    weak, other = trained(labeller, truth[labeller]), trained(judge, truth[judge])
    labels = weak.predict(inputs[rest])
    kept = other.predict(inputs[rest]) == labels
    look = np.random.default_rng(seed + 1).choice(len(rest), audited, replace=False)
    audit = LabelAudit(draws=199)
    right, classes = labels == truth[rest], truth[rest]
    reading = audit.measure(
        right[look], kept[look], classes=classes[look], labels=labels[look], data="digits, labelled by a weak model"
    )
    print("\n".join([f"verdict: {audit.verdict(reading)}", *audit.describe(reading)]))
    some = np.random.default_rng(seed + 2).choice(len(rest), int(kept.sum()), replace=False)
    print(
        f"accuracy: labeller {weak.score(fresh, answers):.3f}, "
        f"student of the {kept.sum()} kept labels {trained(rest[kept], labels[kept]).score(fresh, answers):.3f}, "
        f"of as many at random {trained(rest[some], labels[some]).score(fresh, answers):.3f}"
    )
    return audit.verdict(reading)


if __name__ == "__main__":
    main()
