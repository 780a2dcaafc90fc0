"""auto_LiRPA and ours on the same networks, images and radii: boxes proved, worst margins, CPU seconds of one thread.

    CUTAWAY_PEER_AUTO_LIRPA=FOLDER python benchmarks/peers/auto_lirpa.py [--slopes] [--json]

FOLDER is a checkout of https://github.com/Verified-Intelligence/auto_LiRPA (measured at commit a050a3d, version 0.7.1);
it, or an installed auto_LiRPA, needs appdirs, sortedcontainers, graphviz and onnx2pytorch from PyPI beside it. Without
it, or without CUTAWAY_DATA, nothing is run and the exit code is 2. Both are measured in one process, theirs in float32
as they come, ours in float64 with every rounding counted. `--slopes` adds optimised slopes of all layers (20 steps),
which take a minute.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

STEPS, RATE = 20, 0.1


def peer():
    """The package, from its folder or as installed; None where there is none."""
    if folder := os.environ.get("CUTAWAY_PEER_AUTO_LIRPA"):
        sys.path.append(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import auto_LiRPA
    except ImportError as error:
        print(f"not run: {error}; see the head of this script for how to get auto_LiRPA", file=sys.stderr)
        return None
    return auto_LiRPA


def dense(path: Path) -> nn.Sequential:
    """The layers of a fully connected ONNX network, in float32."""
    import onnx
    from onnx import numpy_helper

    values = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in onnx.load(path).graph.initializer}
    layers: list[nn.Module] = [nn.Flatten()]
    for name in sorted(k for k in values if k.endswith("weight")):
        weight = values[name]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": values[name.replace("weight", "bias")]})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def theirs(package, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, radius: float, slopes: bool) -> dict:
    """Worst margin over the nine rivals of every image."""
    rivals = torch.eye(10)[labels][:, None] - torch.eye(10)[None]
    keep = ~torch.eye(10, dtype=torch.bool)[labels]
    matrix = rivals[keep].reshape(len(labels), 9, 10)
    options = {"optimize_bound_args": {"iteration": STEPS, "lr_alpha": RATE}}
    began = time.process_time()
    bounded = package.BoundedModule(model, images[:1], bound_opts=options, verbose=False)
    low, high = (images - radius).clamp(0, 1), (images + radius).clamp(0, 1)
    region = package.PerturbationLpNorm(norm=np.inf, x_L=low, x_U=high)
    method = "CROWN-Optimized" if slopes else "CROWN"
    found = bounded.compute_bounds(
        x=(package.BoundedTensor(images, region),), C=matrix, method=method, bound_upper=False
    )[0]
    return told(found.detach().amin(1), began)


def ours(path: Path, images: torch.Tensor, labels: torch.Tensor, radius: float, slopes: bool) -> dict:
    """The same by `cutaway`, the network opened from its file."""
    from bench_bounds import margins

    from cutaway.network.onnx import load_onnx
    from cutaway.robustness.bounds.alpha import AlphaSettings
    from cutaway.robustness.bounds.network import bound_network

    model = load_onnx(path)
    net = bound_network(model, model.example())
    deep = AlphaSettings(depth="all", steps=STEPS, learning_rate=RATE, shared=False, drop_solved=False)
    return margins(net, images.double().reshape(-1, 784, 1), labels, radius, deep if slopes else None)


def told(worst: torch.Tensor, began: float) -> dict:
    seconds = time.process_time() - began
    return {"proved": int((worst > 0).sum()), "mean_worst_margin": float(worst.mean()), "cpu_seconds": seconds}


def main() -> int:
    """Measure and print; 2 where something that it takes is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slopes", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "vnncomp2022").exists():
        print("not run: CUTAWAY_DATA does not name a folder with vnncomp2022", file=sys.stderr)
        return 2
    package = peer()
    if package is None:
        return 2
    from bench_bounds import vnncomp_images

    path = data / "vnncomp2022" / "mnist_fc" / "onnx" / "mnist-net_256x2.onnx"
    model, images = dense(path), vnncomp_images(data / "vnncomp2022" / "mnist_fc").float().reshape(-1, 784)
    with torch.no_grad():
        labels = model(images).argmax(1)
    head = f"{datetime.date.today()}, auto_LiRPA {package.__version__}, torch {torch.__version__}, one thread"
    print(head, file=sys.stderr if options.json else sys.stdout, flush=True)
    rows = []
    for slopes in (False, True) if options.slopes else (False,):
        for radius in (0.02, 0.1):
            row = {
                "radius": radius,
                "slopes": slopes,
                "auto_LiRPA": theirs(package, model, images, labels, radius, slopes),
                "cutaway": ours(path, images, labels, radius, slopes),
            }
            rows.append(row)
            if not options.json:
                print(in_words(row), flush=True)
    if options.json:
        print(json.dumps({"measured": head, "rows": rows}))
    return 0


def in_words(row: dict) -> str:
    """Two lines, theirs and ours."""
    what = "optimised slopes" if row["slopes"] else "plain bounds"
    return "\n".join(
        f"radius {row['radius']}, {what}, {name}: {row[name]['proved']} of 100 proved, mean worst margin "
        f"{row[name]['mean_worst_margin']:.3f}, {row[name]['cpu_seconds']:.2f} CPU s"
        for name in ("auto_LiRPA", "cutaway")
    )


if __name__ == "__main__":
    sys.exit(main())
