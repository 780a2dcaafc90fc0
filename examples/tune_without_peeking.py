"""Tune by comparisons alone, and say what the score is worth: a network of digits whose channels were damaged is mended
in 150 comparisons; the bound tells how far the score may be from fresh rows.

python examples/tune_without_peeking.py
"""

from __future__ import annotations

import numpy as np

from cutaway.audits import TuningAudit
from cutaway.data import load_data
from cutaway.reproductions.comparison_tuning import loss_of, share_right
from cutaway.training import ComparisonTuner, TrainingSettings, scaled_channels, train
from cutaway.training.models import build_model


def main(*, steps: int = 300, rounds: int = 150, seed: int = 0) -> float:
    """Test accuracy after the tuning, beside the score on the rows that were tuned on."""
    data, fresh = load_data("digits", split="train"), load_data("digits", split="test")
    model = build_model("mlp", data.input_shape, 10, seed=seed, width=100, depth=3)
    train(model, data, TrainingSettings(steps=steps, batch_size=64, seed=seed))
    rng = np.random.default_rng(seed)
    damaged = scaled_channels(model.eval(), np.exp(rng.standard_normal(210)))
    tuned = ComparisonTuner(rounds=rounds, seed=seed).tune(damaged, lambda m: loss_of(m, data, data.labels))
    audit = TuningAudit()
    reading = audit.measure(rounds=tuned.rounds, rows=len(data), score=share_right(tuned.model, data, data.labels))
    print("\n".join([f"verdict: {audit.verdict(reading)}", *audit.describe(reading)]))
    before, after = (share_right(m, fresh, fresh.labels) for m in (damaged, tuned.model))
    print(f"test accuracy {before:.3f} before, {after:.3f} after {tuned.accepted.sum()} successes in {rounds} rounds")
    return after


if __name__ == "__main__":
    main()
