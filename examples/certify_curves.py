"""Certified, unknown and attacked shares against the radius: an adversarially and a naturally trained MNIST network.

    CUTAWAY_DATA=... python examples/certify_curves.py [PICTURE.png] [NUMBER]

Both networks come from the data folder's `classifiers`. Twenty test images (or NUMBER), l-infinity, CROWN with
optimised slopes; `docs/figures/certified-accuracy.png` is this picture for 100.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cutaway.data import load_data
from cutaway.network.sources import load_model
from cutaway.robustness.certified_share import radius_curve
from cutaway.robustness.curve_figure import draw_together
from cutaway.robustness.verify.verdict import VerifySettings

NETWORKS = {"trained against attacks": "mnist_cnn_a_adv", "trained naturally": "mnist_conv_small_nat"}


def classifier(name: str):
    """A network of the data folder, by its own loader."""
    path = Path(os.environ["CUTAWAY_DATA"]) / "classifiers" / "load.py"
    return load_model(f"{path}:load('{name}')").model


def main(picture: str = "certified_curves.png", num: int = 20) -> dict:
    """Draw the picture; gives both curves (empty without the data)."""
    if not os.environ.get("CUTAWAY_DATA"):
        print("set CUTAWAY_DATA to the data folder to run this example")
        return {}
    data = load_data("mnist", split="test", num=num)
    settings = VerifySettings(complete=False)
    curves = {}
    for title, name in NETWORKS.items():
        curves[title] = radius_curve(classifier(name), data, radius=0.1, norm="inf", settings=settings)
        for point in curves[title]:
            print(title, {k: round(v, 3) for k, v in point.items()})
    draw_together(curves, Path(picture), norm="inf", units="pixels from 0 to 1")
    print(f"picture: {picture}")
    return curves


if __name__ == "__main__":
    main(*sys.argv[1:2], num=int(sys.argv[2]) if len(sys.argv) > 2 else 20)
