"""Limits over a box cut by half-spaces: sound against samples and linear programmes, and verdicts that rest on them."""

from __future__ import annotations

import inspect
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from cutaway.network.graph import evaluate_graph
from cutaway.robustness.bounds.backward import Choices, OneHot
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import sweep
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.regions import box
from cutaway.robustness.verify import cuts, relu_limits, relu_parts, relu_split
from cutaway.robustness.verify.cuts import CutBox, decision_planes, plane_below
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.relu_limits import output_cuts
from cutaway.robustness.verify.relu_parts import SplitSettings
from cutaway.robustness.verify.relu_split import split_relus
from cutaway.robustness.verify.replay import module_replay


def some_cut_box(seed: int, size: int, count: int, batch: int = 3):
    """Half-spaces through points of the box, so that something is left of it."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(batch, size, generator=generator, dtype=torch.float64)
    region = box(low, low + 0.1 + torch.rand(batch, size, generator=generator, dtype=torch.float64))
    normals = torch.randn(batch, count, size, generator=generator, dtype=torch.float64)
    through = region.sample(1, generator)
    offsets = -(normals @ through.mT).squeeze(-1)
    functionals = torch.randn(batch, 5, size, generator=generator, dtype=torch.float64)
    return CutBox(box=region, normals=normals, offsets=offsets), functionals


def exact(cut: CutBox, functionals: torch.Tensor) -> np.ndarray:
    """Minima by linear programming (HiGHS)."""
    found = np.zeros(functionals.shape[:2])
    for b in range(len(found)):
        sides = list(zip(cut.lower[b].tolist(), cut.upper[b].tolist()))
        for s in range(found.shape[1]):
            done = linprog(functionals[b, s].numpy(), cut.normals[b].numpy(), -cut.offsets[b].numpy(), bounds=sides)
            assert done.status == 0
            found[b, s] = done.fun
    return found


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 12), count=st.integers(1, 4))
def test_minimum_lies_between_that_of_the_box_and_the_linear_programme(seed, size, count):
    cut, functionals = some_cut_box(seed, size, count)
    found, truth = cut.minimum(functionals), torch.from_numpy(exact(cut, functionals))
    assert bool((found >= cut.box.minimum(functionals)).all())
    assert bool((found <= truth + 1e-7 * (1 + truth.abs())).all())  # HiGHS keeps constraints to 1e-7


@pytest.mark.parametrize("count", [1, 3])
def test_most_of_the_gap_is_closed(count):
    cut, functionals = some_cut_box(1, 30, count)
    plain, found = cut.box.minimum(functionals), cut.minimum(functionals)
    truth = torch.from_numpy(exact(cut, functionals))
    assert float((found - plain).sum() / (truth - plain).sum()) > 0.95


def test_an_empty_set_shows_as_a_lower_limit_above_an_upper_one():
    region = box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    cut = CutBox(box=region, normals=torch.ones(1, 1, 2).double(), offsets=torch.full((1, 1), 0.1).double())
    eye = torch.eye(2).double().unsqueeze(0)
    low, high = cut.minimum(eye), -cut.minimum(-eye)
    assert bool((low > high).any())


def test_samples_lie_inside():
    cut, _ = some_cut_box(2, 6, 2)
    points = cut.sample(50, torch.Generator().manual_seed(0))
    assert bool((points @ cut.normals.mT + cut.offsets.unsqueeze(1) <= 1e-12).all())
    assert bool(((points >= cut.lower.unsqueeze(1)) & (points <= cut.upper.unsqueeze(1))).all())


def problem_of(model, size: int, radius: float, share: float) -> Problem:
    """Is there a point whose first output is at most `share` of the way up the sampled range?"""
    net = bound_network(model, torch.zeros(1, size))
    low = torch.full((size,), -radius, dtype=torch.float64)
    points = low + 2 * radius * torch.rand(20_000, size, generator=torch.Generator().manual_seed(0)).double()
    values = model(points).detach()[:, 0]
    limit = values.min() + share * (values.max() - values.min())
    row = torch.zeros(1, 2, dtype=torch.float64)
    row[0, 0] = 1.0
    query = Query(
        clauses=(Clause(lower=low, upper=-low, matrix=row, limits=limit.reshape(1)),), num_inputs=size, num_outputs=2
    )
    return Problem.of(net, query, module_replay(model, (size,)))


def networks(make_dense):
    torch.manual_seed(0)
    picture = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, 2),
    ).double()  # fmt: skip
    return {"dense": (make_dense((9, 16, 12, 2)), 9), "picture": (picture, 16)}


def violation(model, size: int, share: float = 0.6) -> str:
    """What a sampled point that could meet the query breaks among planes and limits, or an empty string."""
    problem = problem_of(model, size, 0.7, share)
    net, region = problem.bounded, problem.region(problem.lower, problem.upper)
    limits = sweep(net, region)
    start = relu_split._start(problem, torch.arange(1), limits, None)
    start.limits = limits
    normals, offsets = output_cuts(problem, start, 1e-3)
    points = region.sample(30_000, torch.Generator().manual_seed(1))
    values = evaluate_graph(net.graph, points.reshape(-1, *net.graph.input.shape[1:]))
    follow = values[net.graph.output.index].flatten(1)[:, 0] <= problem.limits[0, 0]
    planes = [(normals, offsets)]
    signs = {}
    for node in relu_parts.split_nodes(net):
        if node not in net.box_exact:
            continue
        flat = values[node].flatten(1)
        sign = torch.zeros(flat.shape[1], dtype=torch.int8)
        for j, s in zip(flat.std(0).topk(2).indices.tolist(), (1, -1)):
            sign[j] = s
            follow &= flat[:, j] * s >= 0
        signs[node] = sign.reshape(net.graph.nodes[node].shape).unsqueeze(0)
        planes.append(decision_planes(net, limits, region, node, signs[node]))
    assert int(follow.sum()) > 100
    cut = CutBox(box=region, normals=torch.cat([p[0] for p in planes], 1), offsets=torch.cat([p[1] for p in planes], 1))
    if bool((points[0][follow] @ cut.normals[0].T + cut.offsets > 0).any()):
        return "a half-space leaves out a point that counts"
    tight = sweep(net, cut, splits=signs, known=limits)
    for node in net.graph.nodes:
        value = values[node.index].reshape(-1, *node.shape)[follow]
        if bool((value < tight.lower[node.index]).any() or (value > tight.upper[node.index]).any()):
            return f"limits of {node.op} {node.name}"
    narrower = sum(float((limits.upper[k] - limits.lower[k]).sum()) for k in net.tighten)
    narrower -= sum(float((tight.upper[k] - tight.lower[k]).sum()) for k in net.tighten)
    return "" if narrower > 0 else "nothing is tighter"


@pytest.mark.parametrize("name", ["dense", "picture"])
def test_points_that_count_stay_inside_cut_limits(name, make_dense):
    assert violation(*networks(make_dense)[name]) == ""


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_planes_lie_below(sign, make_dense):
    model, size = networks(make_dense)["dense"]
    problem = problem_of(model, size, 0.7, 0.4)
    net, region = problem.bounded, problem.region(problem.lower, problem.upper)
    limits = sweep(net, region)
    points = region.sample(3000, torch.Generator().manual_seed(3))
    values = evaluate_graph(net.graph, points.reshape(-1, *net.graph.input.shape[1:]))
    for node in net.tighten:
        count = net.graph.nodes[node].numel
        rows = OneHot(index=torch.arange(count).unsqueeze(0), sign=sign)
        normals, offsets = plane_below(net, limits, region, node, rows, Choices())
        assert bool((sign * values[node].flatten(1) >= points[0] @ normals[0].T + offsets).all())


def padding_holds_everywhere(make_dense) -> bool:
    """Two samples, of which one has no decision."""
    net = bound_network(make_dense((4, 6, 2)), torch.zeros(1, 4))
    region = box(-torch.ones(2, 4).double(), torch.ones(2, 4).double())
    (node,) = relu_parts.split_nodes(net)
    signs = torch.zeros(2, *net.graph.nodes[node].shape, dtype=torch.int8)
    signs.flatten(1)[0, 2] = 1
    normals, offsets = decision_planes(net, sweep(net, region), region, node, signs)
    return bool((normals[1] == 0).all() and (offsets[1] <= 0).all() and (normals[0] != 0).any())


def test_samples_with_fewer_decisions_are_padded_with_what_always_holds(make_dense):
    assert padding_holds_everywhere(make_dense)


MUTANTS = [
    (cuts.CutBox.minimum, "functionals + weights @ self.normals", "functionals - weights @ self.normals"),
    (cuts.CutBox.minimum, "(weights @ self.offsets.unsqueeze(-1))", "(weights @ -self.offsets.unsqueeze(-1))"),
    (cuts._bisected, "high = torch.zeros_like(size), 2 * size", "high = torch.zeros_like(size) - 2 * size, 0 * size"),
    (cuts._climbed, ".clamp(min=0)", ""),
    (cuts.plane_below, "value - least - slack", "value - 2 * least"),
    (cuts.decision_planes, "for sign in (-1.0, 1.0)", "for sign in (1.0, -1.0)"),
    (cuts.decision_planes, "torch.where(decided, offsets, -1.0)", "torch.where(decided, offsets, offsets + 1.0)"),
    (cuts.decision_planes, "torch.where(decided, offsets, -1.0)", "torch.where(decided, offsets + 0.5, -1.0)"),
    (relu_limits.output_cuts, "limits.gather(1, best) + level", "limits.gather(1, best) - 1.0"),
    (relu_limits.output_cuts, "safe_difference(offsets, above)", "offsets - above + 0.5"),
]


@pytest.mark.parametrize("index", range(len(MUTANTS)))
def test_mutants_are_seen(index, make_dense):
    function, old, new = MUTANTS[index]
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    space = dict(function.__globals__)
    exec(compile("from __future__ import annotations\n" + source.replace(old, new), "<mutant>", "exec"), space)
    kept = function.__code__
    function.__code__ = space[function.__name__].__code__
    try:
        seen = any(violation(*subject) for subject in networks(make_dense).values())
        seen = seen or any(not_below(seed, count) for seed in range(3) for count in (1, 3))
        seen = seen or not padding_holds_everywhere(make_dense)
    finally:
        function.__code__ = kept
    assert seen


def not_below(seed: int, count: int) -> bool:
    cut, functionals = some_cut_box(seed, 8, count)
    truth = torch.from_numpy(exact(cut, functionals))
    return bool((cut.minimum(functionals) > truth + 1e-6 * (1 + truth.abs())).any())


@pytest.mark.parametrize("seed", [1, 2])
def test_search_with_cuts_agrees_with_the_search_without_them(seed, make_dense):
    model = make_dense((9, 12, 8, 2), seed=seed)
    for share in (-0.05, -0.3):
        problem = problem_of(model, 9, 0.7, share)
        limits = sweep(problem.bounded, problem.region(problem.lower, problem.upper))
        found = [
            split_relus(
                problem,
                torch.arange(1),
                limits,
                deadline=float("inf"),
                settings=SplitSettings(cut_rounds=r, cut_work=w, cut_total=w),
            )
            for r, w in ((0, 0.0), (2, 4e6))
        ]
        assert found[1].proved == (found[1].witness is None)
        assert (found[0].witness is None) == found[1].proved  # without cuts the search may end with parts left open
        if found[1].proved:
            assert found[1].parts <= found[0].parts
            low = problem.lower[0]
            points = low - 2 * low * torch.rand(50_000, 9, generator=torch.Generator().manual_seed(9)).double()
            least = float((model(points)[:, 0] - problem.limits[0, 0]).min().detach())
            assert 0 < found[1].bound <= least


def test_subproblems_of_several_piles_are_joined_with_all_they_carry(make_dense, monkeypatch):
    problem = problem_of(make_dense((9, 12, 8, 2), seed=1), 9, 0.7, -0.2)
    limits = sweep(problem.bounded, problem.region(problem.lower, problem.upper))
    joined = []

    def watched(parts, join=relu_parts._join):
        joined.append(join(parts))
        for name in ("lower", "upper", "slack"):
            tables = [getattr(p.limits, name) for p in parts]
            assert all(table.keys() == tables[0].keys() != set() for table in tables)
            for node, value in getattr(joined[-1].limits, name).items():
                torch.testing.assert_close(value, torch.cat([table[node] for table in tables]))
        return joined[-1]

    monkeypatch.setattr(relu_parts, "_join", watched)
    settings = SplitSettings(batch_size=5, steps=0, root_steps=0, tried=1, cut_rounds=0, cut_work=0.0, cut_total=0.0)
    found = split_relus(problem, torch.arange(1), limits, deadline=float("inf"), settings=settings)
    assert joined
    assert found.witness is None
    assert found.parts > 100
