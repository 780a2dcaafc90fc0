"""Where does a small attack turn a network? The digits CNN by the features of its kernel, and by its layers.

Most features of the tangent kernel are useful and fragile: they hold under noise and are turned by an attack of its
size. In the first layers attacked images still lie nearest the mean of their own class; in the last they have moved on.

python examples/what_an_attack_turns.py
"""

from __future__ import annotations

from cutaway.demo import train_digits
from cutaway.instruments import KernelFeatures, NeuralCollapse


def main(*, epochs: int = 10, num_features: int = 6) -> tuple[float, list[float]]:
    """Print what is found; returns the share of useful features that are fragile and, layer by layer, how many attacked
    images lie nearest the clean mean of their own class."""
    model, data = train_digits(epochs=epochs)
    instrument = KernelFeatures(num_features=num_features)
    features = instrument.measure(model, data)
    print(instrument.describe(features))
    for row in range(num_features):
        here = [float(features.values[f"feature_{n}"][row]) for n in ("usefulness", "noise_robustness", "robustness")]
        print(f"feature {row + 1}: right side {here[0]:.0%}, under noise {here[1]:.0%}, under attack {here[2]:.0%}")

    collapse = NeuralCollapse(num_points=300)
    reading = collapse.measure(model, data)
    print(collapse.describe(reading))
    attacked = reading.values.sel(group="attacked")
    for layer in attacked["layer"].values:
        within, true, said = (
            float(attacked[f"layer_{n}"].sel(layer=layer)) for n in ("nc1", "near_true", "near_predicted")
        )
        print(
            f"layer {layer}: within / between classes {within:.2f}; nearest the mean of the true class {true:.0%}, of"
        )
        print(f"    what the network says {said:.0%}")
    return features.figure("fragile_share").value, attacked["layer_near_true"].values.tolist()


if __name__ == "__main__":
    main()
