"""Train from a recipe, look at what the tracker saw, and open the last checkpoint again.

    python examples/train_from_a_recipe.py [RECIPE.toml]

The same from the command line: `cutaway fit examples/digits.toml --out runs/digits`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cutaway.data import load_data
from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.training.fit import fit
from cutaway.training.store import open_training

RECIPE = Path(__file__).with_name("digits.toml")


def main(recipe: str | Path = RECIPE, out: str = "runs/digits") -> dict:
    """Train, print the series and the final scores; gives the final scores."""
    fitted = fit(recipe, out, resume=True)
    run = open_training(fitted.folder)
    for name in ("test/accuracy/accuracy", "test/robust-accuracy/robust_accuracy"):
        series = run.series[name]
        print(name, ", ".join(f"{step}: {value:.2f}" for step, value in zip(series.steps, series.value, strict=True)))
    for name, score in fitted.final.items():
        print(f"{name}: accuracy {score['accuracy']:.3f} [{score['low']:.3f}, {score['high']:.3f}]")
    network = Network(load_model(fitted.model).model, load_data("digits").inputs[:2])
    print(f"{fitted.model}: {network.num_parameters:,} parameters, {len(network.sites)} sites")
    return fitted.final


if __name__ == "__main__":
    main(*sys.argv[1:2])
