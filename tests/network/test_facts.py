"""Every operator word is asked for every fact, and every answer is measured against the function that torch runs."""

import math

import pytest
import torch

from cutaway.network.graph import Node, facts
from cutaway.network.graph.fact import Curve, Fact, Form
from cutaway.network.graph.operators import AFFINE_OPERATORS, OPERATORS

PARAMETERS = {  # word -> attributes and constants to try
    "leaky_relu": [{"slope": torch.tensor(s, dtype=torch.float64)} for s in (0.1, 3.0, -0.5)],
    "clamp": [{"min": -0.7, "max": 1.1}, {"min": None, "max": 0.3}],
    "hardtanh": [{"min_val": -0.5, "max_val": 0.6}],
    "softshrink": [{"lambd": 0.5}],
    "hardshrink": [{"lambd": 0.5}],
    "threshold": [{"threshold": 0.1, "value": 0.1}, {"threshold": 0.1, "value": -2.0}],
    "elu": [
        {"alpha": a, "scale": s, "input_scale": i} for a, s, i in [(1, 1, 1), (1.67, 1.05, 1), (2, 1, 0.5), (-1, 1, 1)]
    ],
    "softplus": [{"beta": 1.5}],
    "gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    "power": [{"exponent": p} for p in (2.0, 3.0, 4.0)],
}
CASES = [
    (fact, {k: v for k, v in p.items() if not torch.is_tensor(v)}, {k: v for k, v in p.items() if torch.is_tensor(v)})
    for fact in facts.FACTS.values()
    if fact.function is not None
    for p in PARAMETERS.get(fact.word, [{}])
]
SIZE = 60_001


def sampled(fact: Fact, attributes, constants):
    """Node, points, values and derivative of the function on (-15, 15) within its domain, without its kinks."""
    node = Node(index=1, op=fact.word, attributes=attributes, constants=constants)
    curve, function = fact.curve, fact.function
    assert curve is not None and function is not None, f"{fact.word}: a function of one number needs both"
    x = torch.linspace(max(curve.domain, -15.0), 15.0, SIZE, dtype=torch.float64)[1:-1]
    x = (x[x.abs() > 0.01] if fact.word == "reciprocal" else x).requires_grad_(True)
    y = function(node, x)
    (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    x = x.detach()
    return node, curve, x, y.detach(), torch.zeros_like(x) if slope is None else slope


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0].word + "".join(f" {v}" for v in c[1].values()))
def test_what_is_claimed_of_a_function_is_what_torch_computes(case):
    node, curve, x, y, slope = sampled(*case)
    problems = [*wrong_range(node, curve, x, y, slope), *wrong_kinks(node, curve, x, y), *wrong_turning(node, curve, x)]
    assert problems == []
    assert list(wrong_bending(case[0], node, curve, x, slope)) == []


def wrong_range(node, curve: Curve, x, y, slope):
    low, high = curve.slope_range(node)
    away = torch.ones_like(x, dtype=torch.bool)
    for kink in curve.kinks(node) if curve.kinks else ():
        away &= (x - kink).abs() > 1e-9
    seen = slope[away].detach()
    if float(seen.min()) < low - 1e-8 or float(seen.max()) > high + 1e-8:  # torch has 1 / 6 in float32
        yield f"slopes {float(seen.min())} .. {float(seen.max())} outside {low} .. {high}"
    if (math.isfinite(low) and float(seen.min()) > low + 0.02 and low != 0) or float(seen.max()) < min(high, 1) - 0.02:
        yield f"slopes {float(seen.min())} .. {float(seen.max())} far inside {low} .. {high}"
    if float(y.min()) < curve.limits[0] - 1e-12 or float(y.max()) > curve.limits[1] + 1e-12:
        yield f"values {float(y.min())} .. {float(y.max())} outside {curve.limits}"
    if curve.derivative is not None and not torch.allclose(curve.derivative(node, x), slope, rtol=1e-9):
        yield "the derivative differs"


def wrong_kinks(node, curve: Curve, x, y):
    """Between the kinks a piecewise affine function has no second difference; without kinks none grows like 1/h."""
    kinks = torch.tensor(curve.kinks(node) if curve.kinks else (), dtype=torch.float64)
    step = float(x[1] - x[0])
    bend = (y[2:] - 2 * y[1:-1] + y[:-2]).detach().abs() / step
    near = ((x[1:-1, None] - kinks).abs() <= 1.5 * step).any(dim=1)
    if curve.kind == "steps":
        if float((y.diff().abs() * (y.diff() - 1)).abs().max()) > 0 or y.min() > -14 or y.max() < 14:
            yield "does not climb by steps of one"
    elif facts.of(node.op).form in (Form.PIECEWISE, Form.STEP):
        if float(bend[~near].max()) > 1e-9:
            yield "bends away from its kinks"
        for kink in kinks:
            if float(bend[(x[1:-1] - kink).abs() <= 1.5 * step].max()) < 0.1:
                yield f"does not bend at {float(kink)}"


def wrong_turning(node, curve: Curve, x):
    """A function falls on one side of a turning point and rises on the other; between them it is monotone."""
    function = facts.FACTS[node.op].function
    assert function is not None
    if curve.increasing(node) or node.op in ("sin", "cos") or (curve.turning is None and curve.kinks is None):
        return
    points = {*(curve.turning(node) if curve.turning else ()), *(curve.kinks(node) if curve.kinks else ())}
    cuts = [float(x[0]), *sorted(points), float(x[-1])]
    for left, right in zip(cuts, cuts[1:]):
        grid = left + (right - left) * torch.linspace(1e-6, 1 - 1e-6, 4001, dtype=torch.float64)
        moves = function(node, grid).diff()
        if float(moves.min()) < -1e-12 and float(moves.max()) > 1e-12:
            yield f"turns between {left} and {right}"


def wrong_bending(fact: Fact, node, curve: Curve, x, slope):
    if curve.kind not in ("smooth", "convex", "concave"):
        return
    steps = slope.detach().diff() / x.detach().diff()
    for kink in curve.kinks(node) if curve.kinks and curve.kind == "smooth" else ():
        steps[((x[1:] + x[:-1]) / 2 - kink).abs() < 1e-3] = 0.0
    if node.op == "elu" and node.attributes["alpha"] * node.attributes["input_scale"] != 1:
        return  # bends at 0; the bounds treat it apart
    if curve.kind == "smooth":
        if float(steps.abs().max()) > curve.curvature:
            yield f"curvature {float(steps.abs().max())} above {curve.curvature}"
        far = x[1:].abs() >= curve.core + 0.01
        if float(steps[far].abs().max()) > curve.tail:
            yield f"curvature {float(steps[far].abs().max())} far out above {curve.tail}"
    elif float((steps if curve.kind == "convex" else -steps).min()) < -1e-9:
        yield f"is not {curve.kind}"


def test_a_claim_that_is_wrong_is_seen():
    """The measurements above can fail: every number of a record is moved and found out."""
    import dataclasses

    wrong = {
        "sigmoid": {"curvature": 0.09, "tail": 1e-7, "limits": (0.0, 0.9), "slopes": lambda n: (0.0, 0.2)},
        "silu": {"turning": lambda n: (-1.2,), "slopes": lambda n: (-0.05, 1.1)},
        "relu": {"kinks": lambda n: (0.1,), "slopes": lambda n: (0.0, 0.5)},
        "exp": {"kind": "concave", "derivative": lambda n, x: x},
        "softsign": {"curvature": 1.5, "tail": 1e-5},
        "abs": {"kinks": lambda n: (0.0, 1.0)},
    }
    for word, changes in wrong.items():
        for name, value in changes.items():
            node, curve, x, y, slope = sampled(facts.FACTS[word], {}, {})
            bad = dataclasses.replace(curve, **{name: value})
            found = [*wrong_range(node, bad, x, y, slope), *wrong_kinks(node, bad, x, y), *wrong_turning(node, bad, x)]
            assert [*found, *wrong_bending(facts.FACTS[word], node, bad, x, slope)], f"{word}: {name}"


def test_every_name_is_one_words_and_every_graph_word_has_a_record():
    names = [name for fact in facts.FACTS.values() for name in (fact.word, *fact.names)]
    assert len(names) == len(set(names))
    assert [word for word in OPERATORS if not facts.known(word)] == []
    assert {f.kind for f in facts.FACTS.values() if f.family == "activation"} >= {"relu", "gelu", "clamp", "maximum"}


def test_an_unknown_word_is_not_affine():
    for name in ("aten.frobnicate.default", "grid_sample_3", "lstm_with_peepholes"):
        assert facts.of(name).form is Form.UNKNOWN and not facts.of(name).piecewise_affine
        assert name not in AFFINE_OPERATORS
