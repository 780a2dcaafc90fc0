"""Which labels are wrong: a tenth of the digits get another label, and a training's own scores find them.

python examples/find_wrong_labels.py
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from cutaway.data import load_data
from cutaway.outputs import hardness, prune
from cutaway.training import RowWatch, TrainingSettings, train
from cutaway.training.models import build_model


def main(*, steps: int = 500, share: float = 0.1, seed: int = 0) -> float:
    """How many of the rows of smallest margin area, as many as labels were changed, are changed ones."""
    data, rng = load_data("digits", split="train"), np.random.default_rng(seed)
    assert data.labels is not None
    wrong = rng.choice(len(data), round(share * len(data)), replace=False)
    labels = data.labels.numpy().copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    changed = dataclasses.replace(data, labels=torch.tensor(labels))
    watch = RowWatch(changed)
    model = build_model("mlp", data.input_shape, 10, seed=seed, width=100, depth=3)
    train(model, changed, TrainingSettings(steps=steps, batch_size=64, seed=seed), tracker=watch)
    watch.close()
    table = watch.table()
    suspects = prune(changed, hardness(table, "margin_area"), share, seed=seed)
    found = float(np.isin(suspects, wrong).mean())
    print(table.loc[suspects[:5], ["label", "visits", "margin_area", "forgetting"]].round(2).to_string())
    print(
        f"{found:.0%} of the {len(suspects)} rows of smallest margin area have a wrong label, of all rows {share:.0%}"
    )
    return found


if __name__ == "__main__":
    main()
