"""Leave out the units of a network that bend around the data and not at its decision boundary, and keep the rest.

python examples/prune_by_geometry.py
"""

from __future__ import annotations

import numpy as np
import torch

from cutaway.data import load_data
from cutaway.geometry.rays import as_program
from cutaway.instruments import UnitBoundaries
from cutaway.structure.units import geometry_score, least_units, units_of, without_units
from cutaway.training.loop import TrainingSettings, train
from cutaway.training.models import mlp


def main(*, steps: int = 500) -> float:
    """Print what is found; returns the accuracy without a tenth of the units."""
    data, test = load_data("digits", split="train"), load_data("digits", split="test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp(data.input_shape, 10, width=60, depth=4)
    train(model, data, TrainingSettings(steps=steps))
    reading = UnitBoundaries(num_slices=0).measure(model.eval(), test)
    print(UnitBoundaries().describe(reading))
    reading.plot("units.svg")
    units = units_of(as_program(model, data.inputs[:1]))
    score = geometry_score(*(reading.values[name].values for name in ("around", "decisive", "active")))
    smaller = without_units(model, units, least_units(units, score, 0.1))
    with torch.no_grad():
        whole, left = (float((m(test.inputs).argmax(1) == test.labels).double().mean()) for m in (model, smaller))
    bends = np.isfinite(score).mean()
    print(f"accuracy {whole:.3f}; without a tenth of the units {left:.3f} ({bends:.0%} of them are ever on)")
    return left


if __name__ == "__main__":
    main()
