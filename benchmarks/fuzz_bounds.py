"""Fuzzing of bounds and certificates: random networks and regions, and samples, corners and descents that try to break
what is claimed of them.

    python benchmarks/fuzz_bounds.py [--minutes 60 | --seconds 60] [--seed 0] [--first 0] [--json]

Case k of a seed is always the same. Each draws a network of every operator with a rule (`random_networks`), a region
of every kind, and checks:

- limits of every node of IBP, CROWN-IBP and CROWN sweeps, and of optimised slopes, against the values at the points;
- lower bounds of random output rows by each of these, and with random line positions and multipliers of random ReLU
  decisions (any of them must be sound), against the points that follow the decisions;
- the rewritten graph against the module itself;
- verdicts on boxes: `certified` must not be met by any point, `falsified` must hold when the module is run again;
- the float32 deployment radius against the module in float32;
- Lipschitz bounds against slopes between points;
- a slice of a random piecewise-affine network (`piecewise_networks`) against the module's values and derivatives.

Points: 600 uniform ones, corners of boxes, and descents on the output rows that stay in the region (Frank-Wolfe steps
towards the region's minimiser, Frank and Wolfe 1956). Each broken claim is printed with the command that repeats it;
exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import copy
import itertools
import json
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from piecewise_networks import disagreement, random_piecewise
from random_networks import random_network, random_region
from torch import Tensor

from cutaway import seeds
from cutaway.errors import CutawayError
from cutaway.geometry import plane_of, rectangle, slice_network
from cutaway.network.graph import evaluate_graph, output_of
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised
from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.bounds.sweep import METHODS, SweepSettings, bound_rows, sweep
from cutaway.robustness.bounds.unary import UNARY, tunable
from cutaway.robustness.lipschitz import lipschitz_bounds
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.regions import Intersection, Region, box
from cutaway.robustness.verify.relu_parts import split_nodes
from cutaway.robustness.verify.replay import module_replay
from cutaway.robustness.verify.verdict import VerifySettings, verify
from cutaway.status import Status

REGIONS_A_NETWORK = 5
SAMPLES = 600


@dataclass(slots=True)
class Tally:
    """What was looked at, and what broke."""

    cases: int = 0
    checks: collections.Counter = field(default_factory=collections.Counter)
    parts: collections.Counter = field(default_factory=collections.Counter)
    operators: collections.Counter = field(default_factory=collections.Counter)
    regions: collections.Counter = field(default_factory=collections.Counter)
    verdicts: collections.Counter = field(default_factory=collections.Counter)
    refused: collections.Counter = field(default_factory=collections.Counter)
    broken: list[str] = field(default_factory=list)


class Case:
    """One network, its regions and its points; `check` notes what is not true."""

    def __init__(self, seed: int, number: int, tally: Tally) -> None:
        self.generator = seeds.generator(seed, "fuzz", number)
        self.tally, self.label = tally, f"--seed {seed} --first {number} --cases 1"
        self.model, self.shape, self.names = random_network(self.generator)

    def run(self, deadline: float) -> None:
        """All checks of the case, or those that fit until `deadline` (monotonic seconds)."""
        center = self._normal(2, *self.shape)
        try:
            net = bound_network(self.model, center)
        except CutawayError as error:
            self.tally.refused[str(error)[:90]] += 1
            return
        self.tally.parts.update(set(self.names))
        self.tally.operators.update({n.op for one in (net, net.coarse) if one for n in one.graph.nodes})
        for _ in range(REGIONS_A_NETWORK):
            if time.monotonic() > deadline:
                return
            kind, region = random_region(center, self.generator)
            self.tally.regions[kind] += 1
            for one in (net, net.coarse):
                if one is not None:
                    self._bounds(one, region, kind)
        self._verdict(net, center[:1])
        self._lipschitz()
        self._slice()

    def _slice(self) -> None:
        """A slice of another, piecewise-affine network against that network's own values and derivatives."""
        model, shape, self.names = random_piecewise(self.generator)
        plane = plane_of(self._normal(*shape).numpy(), self._normal(2, *shape).numpy())
        found = disagreement(model, slice_network(model, plane, rectangle(-2, 2, -2, 2)), np.random.default_rng(0))
        self.check(torch.tensor(found) <= 1e-9, "slice: value and slope of a face")

    def check(self, true: Tensor, what: str) -> None:
        self.tally.checks[what.split(":")[0]] += 1
        if not bool(true.all()):
            message = f"{what}: {int((~true).sum())} of {true.numel()} values; {'+'.join(self.names)}"
            self.tally.broken.append(f"{message}; python benchmarks/fuzz_bounds.py {self.label}")
            print("BROKEN", self.tally.broken[-1], file=sys.stderr, flush=True)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def _bounds(self, net: BoundNetwork, region: Region, kind: str) -> None:
        size = net.graph.output.numel
        rows = torch.cat([torch.eye(size, dtype=torch.float64), self._normal(2, size)])
        rows = torch.cat([rows, -rows]).reshape(-1, *net.graph.output.shape)
        points = self._points(net, region, rows)
        values = self._values(net, points)
        outputs = values[net.graph.output.index].flatten(2)
        true = outputs @ rows.flatten(1).T
        with torch.no_grad():
            own = self.model(points.reshape(-1, *self.shape)).reshape(outputs.shape)
        near = (own - outputs).abs() <= 1e-9 * (1 + own.abs())
        self.check(near | ~torch.isfinite(own), f"graph: module and rewritten graph differ on {kind}")
        limits = Limits()
        for method in METHODS:
            settings = SweepSettings(method=method)
            limits = sweep(net, region, settings)
            self._enclose(net, limits, values, f"limits: {method} {kind}")
            self._below(bound_rows(net, limits, region, rows, settings), true, f"rows: {method} {kind}")
        depth = ("last", "all")[int(torch.randint(0, 2, (1,), generator=self.generator))]
        chosen = AlphaSettings(depth=depth, steps=2, shared=depth == "all", drop_solved=False)
        found, tighter = optimised(net, region, rows, limits, chosen)
        self._below(found, true, f"slopes: {depth} {kind}")
        self._enclose(net, tighter, values, f"slope limits: {depth} {kind}")
        self._decisions(net, region, rows, values, true, limits, kind)
        self._deployment(net, limits, points, kind)

    def _enclose(self, net: BoundNetwork, limits: Limits, values: dict[int, Tensor], what: str) -> None:
        for node in net.graph.nodes:
            value, low, high = (v[node.index] for v in (values, limits.lower, limits.upper))
            outside = (low.unsqueeze(1) > value) | (value > high.unsqueeze(1))
            self.check(~outside, f"{what} at {node.op} {node.name}")

    def _below(self, found: Tensor, true: Tensor, what: str) -> None:
        self.check(~(found.unsqueeze(1) > true), what)

    def _decisions(self, net, region, rows, values, true, limits: Limits, kind: str) -> None:
        """Random signs of ReLU inputs, taken from one of the points, so that something follows them."""
        nodes = list(split_nodes(net))
        if not nodes:
            return
        batch, count = true.shape[:2]
        leader = torch.randint(0, count, (batch,), generator=self.generator)
        follow = torch.ones(batch, count, dtype=torch.bool)
        signs = {}
        for index in nodes:
            value = values[index]
            own = value[torch.arange(batch), leader]
            sign = torch.where(own >= 0, 1, -1).to(torch.int8)
            sign = torch.where(torch.rand(sign.shape, generator=self.generator) < 0.5, sign, 0)
            signs[index] = sign
            against = ((value * sign.unsqueeze(1)) < 0).flatten(2).any(2)
            follow &= ~against
        split = sweep(net, region, splits=signs, known=limits)
        followed = {
            k: torch.where(_wide(follow, v), v, v[torch.arange(batch), leader].unsqueeze(1)) for k, v in values.items()
        }
        self._enclose(net, split, followed, f"decided limits: {kind}")
        betas = {
            k: torch.rand((batch, 1, *v.shape[1:]), generator=self.generator, dtype=torch.float64) * v.unsqueeze(1)
            for k, v in signs.items()
        }
        alphas = {}
        for node in net.nonlinear:
            if node.op == "mul" or tunable(node):
                shape = (
                    (batch, 1, *net.graph.nodes[node.inputs[0]].shape) if node.op in UNARY else (batch, 1, *node.shape)
                )
                alphas[node.index] = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        found = bound_rows(net, split, region, rows, SweepSettings(), Choices(alphas=alphas, betas=betas))
        least = torch.where(follow.unsqueeze(2), true, true[torch.arange(batch), leader].unsqueeze(1))
        self._below(found, least, f"decided rows: {kind}")

    def _points(self, net: BoundNetwork, region: Region, rows: Tensor) -> Tensor:
        """Points of the region, (B, N, *input shape)."""
        points = [_inside(region, SAMPLES, self.generator)]
        if region.is_box:
            side = torch.rand(len(region.lower), 64, region.lower.shape[1], generator=self.generator) > 0.5
            points.append(torch.where(side, region.upper.unsqueeze(1), region.lower.unsqueeze(1)))
        if not isinstance(region, Intersection):
            points.append(self._descended(net, region, rows, points[0]))
        joined = torch.cat(points, 1)  # steps and samples may round out of the region by one unit
        joined = torch.minimum(torch.maximum(joined, region.lower.unsqueeze(1)), region.upper.unsqueeze(1))
        return joined.reshape(len(region.lower), -1, *self.shape)

    def _descended(self, net: BoundNetwork, region: Region, rows: Tensor, start: Tensor) -> Tensor:
        batch, flat = len(start), rows.flatten(1)
        true = output_of(net.graph, start.reshape(-1, *self.shape)).reshape(batch, start.shape[1], -1) @ flat.T
        best = true.argmin(1)
        point = start.gather(1, best.unsqueeze(2).expand(-1, -1, start.shape[2]))
        seen = []
        for step in range(12):
            point = point.detach().requires_grad_()
            scores = output_of(net.graph, point.reshape(-1, *self.shape)).reshape(batch, len(flat), -1)
            (gradient,) = torch.autograd.grad((scores * flat).sum(), point)
            gradient = torch.where(torch.isfinite(gradient), gradient, 0.0)
            goal = region.minimiser(gradient)
            point = point.detach() + (2 / (step + 2)) * (goal - point.detach())
            seen.append(point)
        return torch.cat(seen, 1)

    def _values(self, net: BoundNetwork, points: Tensor) -> dict[int, Tensor]:
        node = net.graph.input
        batch, count = points.shape[:2]
        values = evaluate_graph(net.graph, points.reshape(-1, *node.shape[1:]))
        return {n.index: values[n.index].reshape(batch, count, *n.shape) for n in net.graph.nodes}

    def _deployment(self, net: BoundNetwork, limits: Limits, points: Tensor, kind: str) -> None:
        """The weights are float32 numbers, so that the radius has to cover arithmetic and inputs alone."""
        radius = deployment_radius(net, limits, torch.float32).flatten(1)
        flat = points.reshape(-1, *self.shape)
        with torch.no_grad():
            gap = (copy.deepcopy(self.model).float()(flat.float()).double() - self.model(flat)).abs()
        gap = gap.reshape(len(points), -1, radius.shape[1])
        known = torch.isfinite(gap) & torch.isfinite(radius).unsqueeze(1)
        self.check(~known | (gap <= radius.unsqueeze(1)), f"deployment: {kind}")

    def _verdict(self, net: BoundNetwork, center: Tensor) -> None:
        """A threshold below, at or above the least sampled value of a random row over a random box."""
        flat = center.flatten().double()
        radius = 0.3 * torch.rand(flat.shape, generator=self.generator, dtype=torch.float64)
        row = self._normal(1, net.graph.output.numel)
        low, high = flat - radius, flat + radius
        region = box(low.unsqueeze(0), high.unsqueeze(0))
        points = self._points(net, region, row.reshape(-1, *net.graph.output.shape))
        with torch.no_grad():
            true = self.model(points.reshape(-1, *self.shape)).flatten(1) @ row[0]
        least, spread = float(true.min()), float(true.max() - true.min())
        share = (-1.0, -0.1, -0.03, -0.01, 0.0, 0.01)[int(torch.randint(0, 6, (1,), generator=self.generator))]
        limit = torch.tensor([least + share * (spread + 1e-9)], dtype=torch.float64)
        query = Query(
            clauses=(Clause(lower=low, upper=high, matrix=row, limits=limit),),
            num_inputs=len(flat),
            num_outputs=row.shape[1],
        )
        replay = module_replay(self.model, self.shape)
        boxes_up_to = (0, 8)[int(torch.randint(0, 2, (1,), generator=self.generator))]  # ReLUs are split, or the box
        settings = VerifySettings(timeout=2.0, restarts=2, attack_steps=10, input_split_up_to=boxes_up_to)
        found = verify(net, query, replay, settings)
        self.tally.verdicts[f"{found.status.value} by {found.decided_by}"] += 1
        met = bool((true <= limit).any())
        self.check(
            torch.tensor(not (met and found.status is Status.CERTIFIED)), "verdict: certified but met by a point"
        )
        if found.status is Status.CERTIFIED:
            below = found.bound <= float((true - limit).min()) + 1e-9
            self.check(torch.tensor(found.bound > 0 and below), "verdict: margin above a sampled one")
        if found.witness is not None:
            inside = bool(((found.witness >= low) & (found.witness <= high)).all())
            self.check(
                torch.tensor(inside and bool(row[0] @ replay(found.witness) <= limit)), "verdict: witness is none"
            )

    def _lipschitz(self) -> None:
        sizes = [int(torch.randint(2, 8, (1,), generator=self.generator)) for _ in range(4)]
        weights = [self._normal(b, a) / a**0.5 for a, b in itertools.pairwise(sizes)]
        found = lipschitz_bounds(weights, steps=10, samples=16)
        x, y = self._normal(300, sizes[0]), self._normal(300, sizes[0])
        y = x + y * (0.001 + torch.rand(300, 1, generator=self.generator, dtype=torch.float64) ** 4)

        def run(z: Tensor) -> Tensor:
            for weight in weights[:-1]:
                z = torch.relu(z @ weight.T + 0.1)
            return z @ weights[-1].T

        slope = (run(x) - run(y)).norm(dim=1) / (x - y).norm(dim=1)
        for name in ("product", "fast", "optimised"):
            self.check(slope <= getattr(found, name) * (1 + 1e-9), f"lipschitz: {name}")


def _inside(region: Region, count: int, generator: torch.Generator) -> Tensor:
    """Uniform points; for an intersection with a box those of the first member, drawn towards the middle into the
    box."""
    if not isinstance(region, Intersection):
        return region.sample(count, generator)
    first, low, high = region.members[0], region.lower.unsqueeze(1), region.upper.unsqueeze(1)
    center = first.center.unsqueeze(1)  # type: ignore[attr-defined]
    points = first.sample(count, generator)
    reach = torch.where(points > center, high - center, center - low)
    share = torch.where(points == center, 1.0, reach / (points - center).abs().clamp(min=1e-300))
    point = center + (points - center) * share.amin(2, keepdim=True).clamp(max=1.0)
    return torch.minimum(torch.maximum(point, low), high)


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (like.ndim - 2))


def fuzz(seed: int, first: int, cases: int | None, seconds: float, progress=lambda text: None) -> Tally:
    """Cases first, first + 1, ... until their number or the time is reached."""
    tally, begin, told = Tally(), time.monotonic(), time.monotonic()
    while (cases is None or tally.cases < cases) and time.monotonic() - begin < seconds:
        Case(seed, first + tally.cases, tally).run(begin + seconds)
        tally.cases += 1
        if time.monotonic() - told > 30:
            told = time.monotonic()
            progress(f"{tally.cases} networks, {sum(tally.checks.values())} checks, {len(tally.broken)} broken")
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Fuzz and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=None, help="at most this many")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seconds = options.seconds if options.minutes is None else 60 * options.minutes
    tally = fuzz(
        options.seed, options.first, options.cases, seconds, lambda text: print(text, file=sys.stderr, flush=True)
    )
    if options.json:
        print(json.dumps({k: getattr(tally, k) for k in Tally.__slots__}))  # type: ignore[attr-defined]
    else:
        print(f"{tally.cases} networks, {sum(tally.checks.values())} checks, {len(tally.broken)} broken")
        for name in ("checks", "operators", "parts", "regions", "verdicts", "refused"):
            print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in sorted(getattr(tally, name).items())))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
