"""Before any verdict: the graph that bounds are computed on gives what the original model gives, at points of the
property's boxes (centres, corners, random ones) and at the best points of the witness search.

A difference beyond 1e-5 of the largest output is refused, unless every operator is the same and only rounding is not:
for an ONNX file each node is compared alone (`network.onnx.agreement`), for a module its own float64 run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway.errors import MissingExtra, ModelError
from cutaway.network.graph import output_of
from cutaway.network.onnx.agreement import POINTS, TOLERANCE, close, refuse_difference
from cutaway.network.onnx.importer import load_onnx
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.query import Query
from cutaway.robustness.regions import Region
from cutaway.robustness.verify.problem import Replay
from cutaway.robustness.verify.replay import module_replay

CHECK = "1"
"""Version of this comparison, raised whenever it gets stricter; verdicts carry it, and lists decide again what an
earlier one let through."""
MOST_BOXES = 32
REAL_TOLERANCE = 1e-9
"""Between the graph and the module, both in float64."""

Explain = Callable[[Tensor, Tensor], None]
"""(point (n,), the graph's output (m,)): raises ModelError unless rounding explains a difference there."""


def box_points(query: Query, seed: int = 0) -> Tensor:
    """At least 16 points (N, n) of the query's boxes, in float32 numbers: of at most 32 boxes, spread over all, the
    centre, the lowest and highest corner, and random points and corners in turn."""
    return points_of(torch.stack([torch.stack([c.lower, c.upper]) for c in query.clauses]), seed)


def points_of(boxes: Tensor, seed: int = 0) -> Tensor:
    """The same for boxes (C, 2, n) of lower and upper ends."""
    boxes = torch.unique(boxes, dim=0)
    boxes = boxes[torch.linspace(0, len(boxes) - 1, min(len(boxes), MOST_BOXES)).long()]
    low, high = boxes[:, 0], boxes[:, 1]
    generator = torch.Generator().manual_seed(seed)
    rounds, points = max(2, -(-(POINTS - 3) // len(boxes))), [(low + high) / 2, low, high]
    for k in range(rounds):
        share = torch.rand(low.shape, generator=generator, dtype=torch.float64)
        points.append(low + (share.round() if k % 2 else share) * (high - low))
    return torch.cat(points).float().double()


def check_points(net: BoundNetwork, replay: Replay, points: Tensor, explain: Explain) -> None:
    """Raise ModelError where the graph's output at a point (N, n) is not the original model's. Cost: a forward pass of
    both for each point."""
    if len(points) == 0:
        return
    node = net.graph.input
    shape = node.shape[1:] if net.graph.batched else node.shape
    points = points.float().double()
    with torch.no_grad():
        ours = output_of(net.graph, points.reshape(len(points), *shape)).reshape(len(points), -1)
    for point, mine in zip(points, ours):
        if not close(mine, replay(point)):
            explain(point, mine)


def check_module(net: BoundNetwork, model: nn.Module, sample_shape: tuple[int, ...], region: Region, seed: int) -> None:
    """`check_points` for a module on the boxes of a region. Raises MissingExtra for an ONNX file that nothing here
    could run: no certificate without a comparison."""
    if getattr(model, "checked_by", None) == "":
        raise MissingExtra.of("onnxruntime", "onnx")
    points = points_of(torch.stack([region.lower, region.upper], 1), seed)
    check_points(net, module_replay(model, sample_shape), points, explain_module(model, sample_shape))


def explain_module(model: nn.Module, sample_shape: tuple[int, ...], *, batched: bool = True) -> Explain:
    """The module itself in float64 is what the graph must give, to 1e-9."""
    twin = copy.deepcopy(model).double()
    run = module_replay(twin, sample_shape, batched=batched, dtype=torch.float64)

    def explain(point: Tensor, mine: Tensor) -> None:
        theirs = run(point)
        if not close(mine, theirs, REAL_TOLERANCE):
            raise ModelError(
                f"graph of {type(model).__name__} differs from the model",
                found=f"largest difference {float((mine - theirs).abs().max()):.3g} at a point of the property's box",
                expected=f"the same output to {TOLERANCE:g} of its largest value",
                remedy="look for state, randomness or shapes inside forward, which a graph cannot hold",
            )

    return explain


def explain_onnx(path: str | Path) -> Explain:
    """Every node of the file alone is what its import gives, and the graph is what the import gives."""
    path = Path(path)

    def explain(point: Tensor, mine: Tensor) -> None:
        model = load_onnx(path, check=False)
        refuse_difference(path, model, point.reshape(model.input_shape).to(model.input_dtype))
        exact = load_onnx(path, dtype=torch.float64, check=False)
        explain_module(exact, exact.input_shape, batched=exact.batched)(point, mine)

    return explain
