"""Before any verdict: the graph that bounds are computed on gives what the original model gives, at points of the
property's boxes (centres, corners, random ones) and at the best points of the witness search.

A difference beyond 1e-5 of the largest output is refused, unless every operator is the same and only rounding is not:
for an ONNX file each node is compared alone (`network.onnx.agreement`), for a module its own float64 run. Such a
network is imported rightly, but where its rounding moves the whole by more than 1e-3, a proof in real arithmetic says
nothing of the model as it runs, and is no certificate.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cutaway._compat import NotCompiled
from cutaway.errors import MissingExtra, ModelError
from cutaway.network.graph import output_of
from cutaway.network.onnx.agreement import POINTS, TOLERANCE, close, refuse_difference
from cutaway.network.onnx.importer import load_onnx
from cutaway.network.onnx.model import OnnxModel
from cutaway.network.onnx.narrowing import first_narrowing
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.query import Query
from cutaway.robustness.regions import Region
from cutaway.robustness.verify.problem import Replay
from cutaway.robustness.verify.replay import module_replay

CHECK = "3"
"""Version of this comparison, raised whenever it gets stricter; verdicts carry it, and lists decide again what an
earlier one let through."""
MOST_BOXES = 32
HALVES = (torch.float16, torch.bfloat16)
REAL_TOLERANCE = 1e-9
"""Between the graph and the module, both in float64."""
WHOLE_TOLERANCE = 1e-3
"""Of the largest output: ordinary float32 networks (ACAS Xu) are off by up to 4e-5 where an output is small."""

Explain = Callable[[Tensor, Tensor], None]
"""(point (n,), the graph's output (m,)): raises ModelError unless rounding explains a difference there."""


def box_points(query: Query, seed: int = 0) -> Tensor:
    """At least 16 points (N, n) of the query's boxes, in float32 numbers: of at most 32 boxes, spread over all, the
    centre, the lowest and highest corner, and random points and corners in turn."""
    return points_of(torch.stack([torch.stack([c.lower, c.upper]) for c in query.clauses]), seed)


def points_of(boxes: Tensor, seed: int = 0) -> Tensor:
    """The same for boxes (C, 2, n) of lower and upper ends."""
    boxes = torch.unique(boxes, dim=0)
    boxes = boxes[torch.linspace(0, len(boxes) - 1, min(len(boxes), MOST_BOXES), dtype=torch.float64).long()]
    low, high = boxes[:, 0], boxes[:, 1]
    generator = torch.Generator().manual_seed(seed)
    rounds, points = max(2, -(-(POINTS - 3) // len(boxes))), [(low + high) / 2, low, high]
    for k in range(rounds):
        share = torch.rand(low.shape, generator=generator, dtype=torch.float64)
        points.append(low + (share.round() if k % 2 else share) * (high - low))
    return torch.cat(points).float().double()


@dataclass(frozen=True, slots=True)
class Compared:
    """The original model's `outputs` (N, m) at `points` (N, n), and the largest difference of the graph's from them,
    `apart` and as a `share` of the largest at any point (infinite where one of the two is not finite)."""

    points: Tensor
    outputs: Tensor
    share: float
    apart: float = 0.0

    @property
    def mostly_rounding(self) -> bool:
        """Whether the original's own rounding hides its real values."""
        return not self.share <= WHOLE_TOLERANCE

    def within(self, margin: float, query: Query) -> bool:
        """Whether what rounding changes of every row of the query is less than a proof's margin."""
        rows = [clause.matrix.abs().sum(1).max() for clause in query.clauses if len(clause.limits)]
        return all(self.apart * float(size) < margin for size in rows)

    def witness(self, query: Query) -> int | None:
        """The number of a point in its box where the original's output meets a clause."""
        for clause in query.clauses if len(self.points) else ():
            inside = ((self.points >= clause.lower) & (self.points <= clause.upper)).all(1)
            met = (self.outputs @ clause.matrix.T <= clause.limits).all(1) & torch.isfinite(self.outputs).all(1)
            if bool((inside & met).any()):
                return int((inside & met).nonzero()[0])
        return None


def check_points(bounded: BoundNetwork, replay: Replay, points: Tensor, explain: Explain) -> Compared:
    """Compare the graph with the original model at points (N, n). Raises ModelError where their outputs differ and
    rounding does not explain it. Cost: a forward pass of both for each point."""
    if len(points) == 0:
        return Compared(points, torch.empty(0, bounded.graph.output.numel, dtype=torch.float64), 0.0)
    node = bounded.graph.input
    shape = node.shape[1:] if bounded.graph.batched else node.shape
    points = points.float().double()
    with torch.no_grad():
        ours = output_of(bounded.graph, points.reshape(len(points), *shape)).reshape(len(points), -1)
    theirs = [replay(point) for point in points]
    for point, mine, other in zip(points, ours, theirs):
        if not close(mine, other):
            explain(point, mine)
    outputs = torch.stack(theirs)
    apart = torch.where(outputs == ours, 0.0, (outputs - ours).abs())
    both = torch.cat([outputs, ours])
    largest = both[torch.isfinite(both)].abs().amax() if bool(torch.isfinite(both).any()) else torch.inf
    share = float(apart.max() / largest) if bool(apart.max() > 0) else 0.0
    finite = bool(torch.isfinite(apart).all())
    return Compared(points, outputs, share if finite else float("inf"), float(apart.max()) if finite else float("inf"))


def check_module(
    bounded: BoundNetwork, model: nn.Module, sample_shape: tuple[int, ...], region: Region, seed: int
) -> None:
    """`check_points` for a module on the boxes of a region. Raises MissingExtra for an ONNX file that nothing here
    could run: no certificate without a comparison; ModelError for one whose own run is mostly rounding."""
    if getattr(model, "checked_by", None) == "":
        raise MissingExtra.of("onnxruntime", "onnx")
    points = points_of(torch.stack([region.lower, region.upper], 1), seed)
    replay = module_replay(model, sample_shape)
    if what := narrowing(model, replay, points[0]):
        raise ModelError(
            f"certificate for {type(model).__name__}",
            found=what,
            expected="float32 or float64 throughout, so that real arithmetic says something of the model as it runs",
            remedy="convert it with model.float(), take casts and autocast out of forward, or export it in float32",
        )
    found = check_points(bounded, replay, points, explain_module(model, sample_shape))
    if found.mostly_rounding:
        raise ModelError(
            f"outputs of {type(model).__name__}",
            found=f"rounding changes them by {found.share:.1g} of the largest at a point of the regions",
            expected=f"at most {WHOLE_TOLERANCE:g}, so that real arithmetic says something of the model",
            remedy="run it in float64",
        )


def narrowing(model: nn.Module, replay: Replay, point: Tensor) -> str:
    """Where the model rounds to half precision on its way, which real arithmetic leaves out; in an ONNX file also where
    it rounds from double to single. Empty for nowhere. Cost: one forward pass."""
    if isinstance(model, OnnxModel):
        return first_narrowing(model)
    with _Halves() as seen:
        replay(point)
    return f"{seen.first} computes in half precision" if seen.first else ""


class _Halves(NotCompiled, TorchDispatchMode):
    """Remembers the first operator that gives numbers in half precision."""

    first = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = result if isinstance(result, list | tuple) else (result,)
        if not self.first and any(isinstance(t, Tensor) and t.dtype in HALVES for t in given):
            self.first = f"operator {func}"
        return result


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
    """Every node of the file alone is what its import gives, and the graph is what the import gives. The file is read
    when the first difference is to be explained."""
    path = Path(path)

    @functools.cache
    def opened() -> tuple[OnnxModel, Explain]:
        exact = load_onnx(path, dtype=torch.float64, check=False)
        return load_onnx(path, check=False), explain_module(exact, exact.input_shape, batched=exact.batched)

    def explain(point: Tensor, mine: Tensor) -> None:
        model, explain_exact = opened()
        refuse_difference(path, model, point.reshape(model.input_shape).to(model.input_dtype))
        explain_exact(point, mine)

    return explain
