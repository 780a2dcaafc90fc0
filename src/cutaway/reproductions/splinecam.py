"""SplineCam's exact slices: cones, areas, edges and decision boundaries against theory, and the cost a region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cutaway.reproductions.row import Row

SOURCE = "arXiv 2302.12828"
TITLE = "Exact slices of deep networks (SplineCam)"

_WIDTHS = ((10,) * 5, (50,) * 3, (100,) * 2)


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Random networks of the published sizes, a bias-free one, and a slice through three digits of a trained one."""
    rows = [_cones(seed)]
    for widths in _WIDTHS:
        rows += _random_network(widths, seed, progress)
    return rows + _digits(short, seed, progress)


def _network(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in zip((2, *widths), (*widths, 1)):
        layer = nn.Linear(a, b).double()
        with torch.no_grad():
            layer.weight.copy_(torch.randn(b, a, generator=generator) * (2 / a) ** 0.5)
            layer.bias.copy_(torch.randn(b, generator=generator) / a**0.5)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


_SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _cones(seed: int) -> Row:
    from cutaway.geometry.slice import slice_network

    torch_seed = torch.Generator().manual_seed(seed)
    first = nn.Linear(2, 10, bias=False).double()
    with torch.no_grad():
        first.weight.copy_(torch.randn(10, 2, generator=torch_seed))
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(10, 1).double())
    count = slice_network(model, domain=_SQUARE).num_faces
    return Row(
        quantity="regions of a bias-free 2-10-1 (10 lines through the origin)",
        paper=20,
        reference="theory",
        ours=count,
        tolerance="20 exactly",
        verdict="pass" if count == 20 else "fail",
    )


def _random_network(widths, seed: int, progress) -> list[Row]:
    from cutaway.geometry.rays import crossings
    from cutaway.geometry.slice import slice_network

    model = _network(widths, seed)
    slice_network(model, domain=_SQUARE)  # compiled code is loaded outside the clock
    result = slice_network(model, domain=_SQUARE)
    assert result.check is not None
    name = "2-" + "-".join(map(str, widths)) + "-1"
    each = result.cpu_seconds / result.num_faces
    progress(f"{name}: {result.num_faces} regions in {result.cpu_seconds:.3f} CPU s")
    ends = torch.rand(64, 2, 2, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) * 2 - 1
    agree = _edges_met(result, ends.numpy()) == crossings(model, ends[:, 0], ends[:, 1]).counts.tolist()
    residual = result.check.median_residual
    return [
        Row(
            quantity=f"{name}: CPU milliseconds a region",
            ours=1e3 * each,
            tolerance="with the tracing of the network (about half a second a slice)",
            verdict="report",
        ),
        Row(
            quantity=f"{name}: median distance of a vertex from its neuron's line",
            paper=0.0,
            reference="theory",
            ours=residual,
            tolerance="at most 1e-12",
            verdict="pass" if residual <= 1e-12 else "fail",
        ),
        Row(
            quantity=f"{name}: areas add up to the domain's (relative error)",
            paper=0.0,
            reference="theory",
            ours=result.check.area_error,
            tolerance="1e-9",
            verdict="pass" if result.check.area_error <= 1e-9 else "fail",
        ),
        Row(
            quantity=f"{name}: edges met by 64 segments, slice against ray crossings",
            ours="equal" if agree else "different",
            tolerance="equal",
            verdict="pass" if agree else "fail",
        ),
    ]


def _edges_met(result, ends: np.ndarray) -> list[int]:
    a, b = result.vertices[result.edges].transpose(1, 0, 2)

    def side(u, v, w):
        return (v[..., 0] - u[..., 0]) * (w[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (w[..., 0] - u[..., 0])

    inner = result.edge_gates >= 0
    return [
        int(np.sum(inner & (side(p, q, a) * side(p, q, b) < 0) & (side(a, b, p) * side(a, b, q) < 0))) for p, q in ends
    ]


def _digits(short: bool, seed: int, progress) -> list[Row]:
    """A digit classifier, sliced through a 3, a 5 and an 8."""
    from cutaway.geometry.plane import plane_through, square_around
    from cutaway.geometry.slice import slice_network

    model, inputs, labels, name = trained_digits(short, seed)
    anchors = [int((labels == digit).nonzero()[0]) for digit in (3, 5, 8)]
    plane = plane_through(inputs[anchors].double().numpy())
    reach = 1.05 * float(np.abs(plane.anchors).sum(axis=1).max())
    result = slice_network(model.double(), plane, square_around(plane, reach))
    progress(f"{name}: {result.num_faces} regions, {len(result.decision.segments)} boundary segments")
    ends = result.decision.segments.reshape(-1, 2)
    with torch.no_grad():
        logits = model(torch.from_numpy(plane.lift(ends)))
    top = logits.topk(2, dim=1).values
    gap = float((top[:, 0] - top[:, 1]).abs().max()) if len(ends) else 0.0
    return [
        Row(
            quantity=f"{name}, slice through a 3, a 5 and an 8: regions (there: a 64-wide network of their own)",
            paper=529,
            reference="published",
            ours=result.num_faces,
            tolerance="not comparable: another training",
            verdict="report",
        ),
        Row(
            quantity="decision boundary: gap of the two largest logits at its points",
            paper="0 (zero sets of logits there)",
            reference="theory",
            ours=gap,
            tolerance="1e-9",
            verdict="pass" if gap <= 1e-9 else "fail",
        ),
    ]


def trained_digits(short: bool, seed: int) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor, str]:
    """A three-layer network of width 64 trained for a few seconds on scikit-learn's digits, and its held-out data."""
    from cutaway.data import load_data

    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    x, y = train.inputs.flatten(1), train.labels
    assert y is not None and test.labels is not None
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in zip((x.shape[1], 64, 64, 64), (64, 64, 64, 10)):
        layer = nn.Linear(a, b)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(b, a, generator=generator) * (2 / a) ** 0.5)
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(20 if short else 80):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    return model, test.inputs.flatten(1), test.labels, "digits 64-64x3"
