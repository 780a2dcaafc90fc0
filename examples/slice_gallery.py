"""What batch normalisation, pruning and removing biases do to the pieces of one classifier.

    python examples/slice_gallery.py

Writes slice_gallery.png: the same plane, through images of classes 0, 5 and 8, cut by four networks. The images are
Fashion-MNIST where CUTAWAY_DATA holds it, else scikit-learn's digits.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from cutaway.data import load_data
from cutaway.geometry.plane import plane_through, square_around
from cutaway.geometry.slice import slice_network
from cutaway.report.explorer.picture import draw_slice
from cutaway.structure.variants import pruned, without_biases


def classifier(data, *, batch_norm: bool) -> nn.Module:
    """Two hidden layers of 100, four passes over the rows."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm1d(100) if batch_norm else nn.Identity() for _ in range(2)]
    size = data.inputs[0].numel()
    hidden = [nn.Linear(size, 100), norms[0], nn.ReLU(), nn.Linear(100, 100), norms[1], nn.ReLU()]
    model = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(100, 10))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(4):
        for rows in torch.randperm(len(data.inputs)).split(128):
            loss = nn.functional.cross_entropy(model(data.inputs[rows]), data.labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model.eval()


def main() -> None:
    name = "fashion-mnist" if (Path(os.environ.get("CUTAWAY_DATA", "")) / "fashion_mnist").is_dir() else "digits"
    data, test = load_data(name, "train", None if name == "digits" else 6000), load_data(name, "test", 300)
    rows = [int((test.labels == c).nonzero()[0]) for c in (0, 5, 8)]
    plane = plane_through(test.inputs[rows].numpy())
    square = square_around(plane, 1.05 * float(np.abs(plane.anchors).sum(axis=1).max()))
    plain = classifier(data, batch_norm=False)
    networks = {
        "as trained": plain,
        "trained with batch normalisation": classifier(data, batch_norm=True),
        "four weights in five pruned": pruned(plain, 0.8),
        "biases set to zero": without_biases(plain),
    }
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, model) in zip(figure.subplots(2, 2).flat, networks.items(), strict=True):
        result = slice_network(model, plane, square)
        with torch.no_grad():
            right = float((model(test.inputs).argmax(1) == test.labels).double().mean())
        title = f"{name}: {result.num_faces:,} affine regions, accuracy {right:.2f}"
        draw_slice(result, axes, title=title, class_names=tuple(test.class_names))
        print(title)
    figure.savefig("slice_gallery.png", dpi=150)


if __name__ == "__main__":
    main()
