"""Which attention heads of a small vision transformer write a class, and what it loses without them.

python examples/heads_of_a_class.py
"""

from __future__ import annotations

import torch

from cutaway.data import load_data
from cutaway.instruments import ConceptHeads
from cutaway.language import find_heads, scaled_heads
from cutaway.training.loop import TrainingSettings, train
from cutaway.training.models import build_model


def main(*, steps: int = 80) -> float:
    """Print what is found; returns the accuracy on one class without its three heads."""
    data, test = load_data("digits", split="train"), load_data("digits", split="test")
    model = build_model("vit-tiny", data.input_shape, 10, seed=0, width=32, depth=2, heads=4, patch=2)
    train(model, data, TrainingSettings(steps=steps, batch_size=100, learning_rate=3e-3))
    instrument = ConceptHeads(num_points=100, num_random=5)
    reading = instrument.measure(model.eval(), test)
    print(instrument.describe(reading))
    reading.plot("heads.svg")
    score = reading.values["score"].values
    layers = find_heads(model, lambda: model(test.inputs[:1]))
    best = sorted(((k, h) for k in range(2) for h in range(4)), key=lambda p: -score[0][p])[:3]
    own = test.labels == int(reading.values["concept"].values[0])
    with torch.no_grad(), scaled_heads(model, layers, best, 0.0):
        left = float((model(test.inputs[own]).argmax(dim=1) == test.labels[own]).double().mean())
    print(
        f"heads (layer, head) {best} write class {reading.values['concept'].values[0]}: {left:.0%} right without them"
    )
    return left


if __name__ == "__main__":
    main()
