"""Lines and ranges of every elementwise function enclose it, and a wrong rule would be seen (the mutation table)."""

from __future__ import annotations

import pytest
import torch

from cutaway.network.graph import Node
from cutaway.robustness.bounds import smooth, unary
from cutaway.robustness.bounds.unary import UNARY, is_stable, lines, tunable, unary_range, value

NODES = {
    "relu": Node(index=1, op="relu"),
    "abs": Node(index=1, op="abs"),
    "leaky 0.1": Node(index=1, op="leaky_relu", constants={"slope": torch.tensor(0.1, dtype=torch.float64)}),
    "leaky 3": Node(index=1, op="leaky_relu", constants={"slope": torch.tensor(3.0, dtype=torch.float64)}),
    "leaky -0.5": Node(index=1, op="leaky_relu", constants={"slope": torch.tensor(-0.5, dtype=torch.float64)}),
    "clamp": Node(index=1, op="clamp", attributes={"min": -0.7, "max": 1.1}),
    "clamp above": Node(index=1, op="clamp", attributes={"min": None, "max": 0.3}),
    "elu": Node(index=1, op="elu", attributes={"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}),
    "selu": Node(index=1, op="elu", attributes={"alpha": 1.6733, "scale": 1.0507, "input_scale": 1.0}),
    "softplus": Node(index=1, op="softplus", attributes={"beta": 1.5}),
    "gelu": Node(index=1, op="gelu", attributes={"approximate": "none"}),
    "gelu tanh": Node(index=1, op="gelu", attributes={"approximate": "tanh"}),
    "cube": Node(index=1, op="power", attributes={"exponent": 3.0}),
    "fourth": Node(index=1, op="power", attributes={"exponent": 4.0}),
    "threshold": Node(index=1, op="threshold", attributes={"threshold": 0.4, "value": 0.0}),
    "threshold falling": Node(index=1, op="threshold", attributes={"threshold": -0.7, "value": 0.9}),
    **{op: Node(index=1, op=op) for op in "atan hardswish floor ceil round sign".split()},
    **{op: Node(index=1, op=op) for op in "exp square sigmoid tanh erf silu mish sin cos".split()},
}
POSITIVE = {
    **{op: Node(index=1, op=op) for op in "log sqrt rsqrt reciprocal".split()},
    "power 1.5": Node(index=1, op="power", attributes={"exponent": 1.5}),
    "power 0.4": Node(index=1, op="power", attributes={"exponent": 0.4}),
    "power -2": Node(index=1, op="power", attributes={"exponent": -2.0}),
}


def intervals(positive: bool):
    """Random intervals of all widths, some at a kink, some of width zero, some far out."""
    generator = torch.Generator().manual_seed(1)
    middle = torch.randn(400, generator=generator, dtype=torch.float64) * 2
    half = torch.rand(400, generator=generator, dtype=torch.float64) ** 3 * 4
    low, high = middle - half, middle + half
    low = torch.cat([low, torch.tensor([0.0, -1.0, 0.0, -0.7, -30.0, -9.0, 1.5], dtype=torch.float64)])
    high = torch.cat([high, torch.tensor([0.0, 0.0, 1.0, 1.1, 25.0, 9.0, 1.5], dtype=torch.float64)])
    if positive:
        low, high = low.abs() + 1e-3, low.abs() + 1e-3 + (high - low)
    return low, high


def violation(node, positive, alphas=(None, 0.0, 0.37, 1.0)):
    """Largest amount by which f leaves its range or lines on a fine grid, relative to the numbers' size."""
    low, high = intervals(positive)
    if node.op in ("exp", "power"):
        low, high = low.clamp(-6, 6), high.clamp(-6, 6)
    unit = torch.linspace(0, 1, 801, dtype=torch.float64).unsqueeze(1)
    x = (low + unit * (high - low)).clamp(low, high)
    y = value(node, x)
    least, most = unary_range(node, low, high)
    worst = max(float((least - y).max()), float((y - most).max()))
    for alpha in alphas if tunable(node) else (None,):
        choice = None if alpha is None else torch.full_like(low, alpha)
        a, b, c, d = lines(node, low, high, choice)
        worst = max(worst, float((a * x + b - y).max()), float((y - c * x - d).max()))
    return worst


@pytest.mark.parametrize("name", NODES)
def test_range_and_lines_enclose(name):
    assert violation(NODES[name], positive=False) <= 1e-12


@pytest.mark.parametrize("name", POSITIVE)
def test_range_and_lines_enclose_on_the_positive_axis(name):
    assert violation(POSITIVE[name], positive=True) <= 1e-12


def test_reciprocal_of_negative_arguments():
    node = POSITIVE["reciprocal"]
    low, high = torch.tensor([-3.0, -0.2], dtype=torch.float64), torch.tensor([-1.0, -0.1], dtype=torch.float64)
    x = low + torch.linspace(0, 1, 201, dtype=torch.float64).unsqueeze(1) * (high - low)
    a, b, c, d = lines(node, low, high)
    assert bool((a * x + b <= 1 / x + 1e-12).all()) and bool((1 / x <= c * x + d + 1e-12).all())


@pytest.mark.parametrize("op", ["log", "sqrt", "rsqrt", "reciprocal"])
def test_outside_the_domain_nothing_is_known(op):
    node, low, high = Node(index=1, op=op), torch.tensor([-1.0]).double(), torch.tensor([1.0]).double()
    least, most = unary_range(node, low, high)
    assert least.item() == -torch.inf and most.item() == torch.inf
    assert all(bool(torch.isnan(part).all()) for part in lines(node, low, high))


@pytest.mark.parametrize("name", ["relu", "sigmoid", "exp", "square", "gelu"])
def test_infinite_ends_give_nan_lines(name):
    low, high = torch.tensor([-torch.inf]).double(), torch.tensor([1.0]).double()
    assert any(bool(torch.isnan(part).any()) for part in lines(NODES[name], low, high)) or name == "relu"


def test_curvatures_are_upper_limits():
    """The one thing smooth rules rest on: |f''| measured on a fine grid stays below what the table says."""
    x = torch.linspace(-14, 14, 200_001, dtype=torch.float64, requires_grad=True)
    for op in ("sigmoid", "tanh", "erf", "gelu", "silu", "mish", "sin", "cos"):
        for attributes in ({"approximate": "none"}, {"approximate": "tanh"}) if op == "gelu" else ({},):
            y = value(Node(index=1, op=op, attributes=attributes), x)
            (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x)
            assert float(second.abs().max()) <= UNARY[op].curvature, op
            assert float(second[x.detach().abs() >= UNARY[op].core].abs().max()) <= UNARY[op].tail, op


def test_stability_of_kinks():
    low, high = torch.tensor([-1.0, 0.0, -2.0]), torch.tensor([1.0, 2.0, 0.0])
    assert is_stable(NODES["relu"], low, high).tolist() == [False, True, True]


# What is changed, by which function of the module, and the functions whose check must then fail.
MUTATIONS = {
    "chord slope too small": ("_chord", lambda f: lambda n, a, b: (f(n, a, b)[0] * 0.9, f(n, a, b)[1]), "exp softplus"),
    "chord offset shifted": (
        "_chord",
        lambda f: lambda n, a, b: (f(n, a, b)[0], f(n, a, b)[1] - 0.05),
        "square softplus",
    ),
    "relu: no upper offset": ("_relu", lambda f: lambda a, b, c: (*f(a, b, c)[:3], f(a, b, c)[3] * 0), "relu"),
    "relu: lower slope above one": ("_relu", lambda f: lambda a, b, c: (f(a, b, c)[0] + 0.1, *f(a, b, c)[1:]), "relu"),
    "relu: sides swapped": ("_relu", lambda f: lambda a, b, c: (*f(a, b, c)[2:], *f(a, b, c)[:2]), "relu"),
    "smooth: grid slack left out": ("_grid", lambda f: lambda *a: (f(*a)[0], f(*a)[1] * 0), "tanh gelu sigmoid sin"),
    "smooth: slack of the wrong sign": ("_grid", lambda f: lambda *a: (f(*a)[0], -f(*a)[1]), "tanh gelu silu cos"),
    "curved: tangent and chord swapped": (
        "_curved",
        lambda f: lambda n, r, k, *a: f(n, r, {"convex": "concave", "concave": "convex"}[k], *a),
        "exp square",
    ),
    "turning point forgotten": ("_extremes", lambda f: lambda *a: [], "gelu silu square abs mish"),
    "periodic case split wrong": ("_periodic", lambda f: lambda n, a, b, low, high: (low, high), "sin cos"),
    "piecewise: lower offset raised": (
        "_piecewise",
        lambda f: lambda *a: (f(*a)[0], f(*a)[1] + 0.05, *f(*a)[2:]),
        "clamp abs",
    ),
    "piecewise: upper offset lowered": ("_piecewise", lambda f: lambda *a: (*f(*a)[:3], f(*a)[3] - 0.05), "clamp abs"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_mutation_of_a_rule_is_seen(mutation, monkeypatch):
    function, change, victims = MUTATIONS[mutation]
    for name in victims.split():
        assert violation(NODES[name], positive=False) <= 1e-12
    home = smooth if hasattr(smooth, function) else unary
    monkeypatch.setattr(home, function, change(getattr(home, function)))
    for name in victims.split():
        assert not violation(NODES[name], positive=False) <= 1e-12, (mutation, name)


WRONG = {
    "tanh": {"curvature": 0.0},
    "cube": {"kind": lambda n: "convex", "bend": lambda n, size: 0 * size},
    "selu": {"kind": lambda n: "convex", "bend": lambda n, size: 0.0},
    "atan": {"at_slope": lambda n, slope: 0 * slope},
    "sin": {"peak": 0.5},
    "round": {"step_end": 1.0},
    "reciprocal": {"defined": lambda n, low, high: low < high},
}
"""Claims of a record that the bounds rest on, changed for the worse."""


@pytest.mark.parametrize("name", WRONG)
def test_a_record_that_claims_too_much_is_seen(monkeypatch, name):
    from dataclasses import replace

    node = {**NODES, **POSITIVE}[name]
    for change, claim in WRONG[name].items():
        assert violation(node, positive=False) <= 1e-12
        monkeypatch.setitem(UNARY, node.op, replace(UNARY[node.op], **{change: claim}))
        assert not violation(node, positive=False) <= 1e-12, (name, change)
        monkeypatch.undo()


PARTS = ("lower slope", "lower offset", "upper slope", "upper offset")
SHIFT = 1e-3
"""How far every slope and offset is moved, relative to its size plus one."""


def shifted(part, sign):
    """`lines` with one of its four results moved."""

    def mutant(node, low, high, alpha=None):
        found = list(unary.lines(node, low, high, alpha))
        found[part] = found[part] + sign * SHIFT * (1 + found[part].abs())
        return tuple(found)

    return mutant


@pytest.mark.parametrize("part", range(4), ids=PARTS)
@pytest.mark.parametrize("name", [*NODES, *POSITIVE])
def test_every_slope_and_offset_moved_a_little_is_seen(name, part, monkeypatch):
    """Offsets in the direction that is unsound; slopes in both where arguments of both signs occur."""
    positive = name in POSITIVE
    unsound = 1.0 if part < 2 else -1.0
    for sign in (unsound,) if positive or part % 2 else (1.0, -1.0):
        monkeypatch.setitem(globals(), "lines", shifted(part, sign))
        assert violation({**NODES, **POSITIVE}[name], positive) > 1e-12, (name, PARTS[part], sign)
        monkeypatch.undo()


@pytest.mark.parametrize("end", ["lower", "upper"])
@pytest.mark.parametrize("name", [*NODES, *POSITIVE])
def test_every_end_of_a_range_moved_a_little_is_seen(name, end, monkeypatch):
    def mutant(node, low, high):
        least, most = unary.unary_range(node, low, high)
        return (least + SHIFT, most) if end == "lower" else (least, most - SHIFT)

    monkeypatch.setitem(globals(), "unary_range", mutant)
    assert violation({**NODES, **POSITIVE}[name], name in POSITIVE) > 1e-12


@pytest.mark.parametrize(("op", "low"), [("gelu", -8.0), ("elu", -1e-3)])
def test_ranges_hold_where_the_terms_of_a_function_cancel(op, low):
    """Found by fuzzing: on intervals of a few units in the last place the rounding of f itself shows."""
    attributes = {"approximate": "none"} if op == "gelu" else {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}
    node = Node(index=1, op=op, attributes=attributes)
    start = torch.linspace(low, 0.5 * low, 4000, dtype=torch.float64)
    end = start + 1e-12 * start.abs()
    x = start + (end - start) * torch.linspace(0, 1, 33, dtype=torch.float64).unsqueeze(1)
    least, most = unary.unary_range(node, start, end)
    y = value(node, x)
    assert bool(((least <= y) & (y <= most)).all())
    slope_low, offset_low, slope_high, offset_high = lines(node, start, end)
    assert bool((slope_low * x + offset_low <= y).all() and (y <= slope_high * x + offset_high).all())
