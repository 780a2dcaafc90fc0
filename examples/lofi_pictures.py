"""Pictures of LoFi on images: the spectrum with its noise edge, filters of a first convolution, accuracy
against training samples beside all baselines.

CIFAR-10 (its JPEG copies), animals against vehicles; digits, even against odd, where that is not at hand.

    python examples/lofi_pictures.py [--out FOLDER] [--sizes 200 400 800 1600] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data import load_data
from cutaway.features.lofi import LoFiClassifier
from cutaway.features.lofi.baselines import (
    DeepNNGPClassifier,
    GradientDescentTwin,
    RandomFeatureClassifier,
    RidgeClassifierOnInputs,
)
from cutaway.features.lofi.conv_lift import patch_filters
from cutaway.features.lofi.figures import accuracy_figure, filters_figure, spectrum_figure
from cutaway.features.lofi.spectral_emergence import emergence

VEHICLES = (0, 1, 8, 9)


def main(arguments: Sequence[str] = ()) -> dict[str, list[float]]:
    """Write `spectrum.png`, `filters.png` and `accuracy.png`; return the mean accuracies by method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lofi"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args(list(arguments))
    at_hand = (Path(os.environ.get("CUTAWAY_DATA", "")) / "cifar10" / "cifar10_jpeg.npz").is_file()
    name = "cifar10-jpeg" if at_hand else "digits"
    options.out.mkdir(parents=True, exist_ok=True)

    images, signal = read(name, "train", 2000 if at_hand else 1200, 0)
    found = emergence(first_layer(images.reshape(len(images), -1)), signal, num_directions=12, num_permutations=20)
    spectrum_figure(found).savefig(options.out / "spectrum.png", dpi=130)
    print(f"{name}: {int(found.emerged.sum())} of 12 directions are out of the noise of {len(images)} images")
    count = min(9, images.shape[2])
    names = ("red", "green", "blue") if images.shape[1] == 3 else ("grey",)
    filters_figure(*patch_filters(images, signal, 3, count), names).savefig(options.out / "filters.png", dpi=130)

    accuracies, errors = compare(name, options.sizes, options.repeats, 3000 if at_hand else 300)
    accuracy_figure(np.array(options.sizes), accuracies, errors).savefig(options.out / "accuracy.png", dpi=130)
    for method, values in accuracies.items():
        print(f"  {method:<18}" + "  ".join(f"{v:.3f}" for v in values))
    return {method: values.tolist() for method, values in accuracies.items()}


def read(name: str, split: str, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, C, H, W) less one half, and labels of +-1: vehicles or odd digits are +1."""
    data = load_data(name, split, num, seed)
    assert data.labels is not None
    codes = data.labels.numpy()
    positive = np.isin(codes, VEHICLES) if name.startswith("cifar") else codes % 2 == 1
    return data.inputs.double().numpy() - 0.5, np.where(positive, 1.0, -1.0)


def first_layer(rows: np.ndarray, width: int = 400) -> np.ndarray:
    """A frozen random ReLU layer on the rows, (n, width)."""
    weights = np.random.default_rng(0).standard_normal((rows.shape[1], width))
    return np.maximum(rows @ weights / np.sqrt(np.mean(np.sum(rows**2, axis=1))), 0.0) / np.sqrt(width)


def compare(
    name: str, sizes: Sequence[int], repeats: int, num_test: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean test accuracy and its standard error by method and number of training images."""
    images, truth = read(name, "test", num_test, 0)
    test = images.reshape(len(images), -1)
    hits: dict[str, list[list[float]]] = {}
    for size in sizes:
        now: dict[str, list[float]] = {}
        for seed in range(repeats):
            images, signal = read(name, "train", size, seed + 1)
            for method, model in methods(seed).items():
                score = model.fit(images.reshape(size, -1), signal.astype(int)).score(test, truth.astype(int))
                now.setdefault(method, []).append(float(score))
        for method, scores in now.items():
            hits.setdefault(method, []).append(scores)
    means = {k: np.mean(v, axis=1) for k, v in hits.items()}
    spread = {k: np.std(v, axis=1) / np.sqrt(repeats) for k, v in hits.items()}
    return means, {k: np.hypot(spread[k], np.sqrt(means[k] * (1 - means[k]) / num_test)) for k in hits}


def methods(seed: int) -> dict[str, Any]:
    """LoFi and every baseline, each with what it selects on held-out rows."""
    return {
        "ridge on pixels": RidgeClassifierOnInputs(random_state=seed),
        "random features": RandomFeatureClassifier(width=1000, random_state=seed),
        "deep NNGP": DeepNNGPClassifier(random_state=seed),
        "LoFi, kernel": LoFiClassifier(n_directions=(16, 64), n_layers=2, random_state=seed),
        "gradient descent": GradientDescentTwin(width=256, n_layers=2, batch_size=32, steps=200, random_state=seed),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
