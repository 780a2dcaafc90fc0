"""What is known of every operator: one record a word. Sites, slices, bounds and Lipschitz constants derive from it.

`of(name)` finds the record by any of its names; a name that stands nowhere gives a record of form UNKNOWN, which is not
affine. Here stand the smooth functions of one number; those with kinks, the affine words and those of several operands
are in files beside.
To add a function of one number, add one record: `tests/network/test_facts.py` measures every claim of it, and `plain`
makes its ATen operator a graph node, which bounds then enclose by its `kind`.

What float32 adds (`float32`) are generous limits of what onnxruntime and torch were seen to do on the CPU, no theorems:
`benchmarks/float32_functions.py` measures them beside these limits, `benchmarks/fuzz_deployment.py` tries to break
them. onnxruntime's sigmoid, for instance, has no relative accuracy below -17.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from cutaway.network.graph import curve_parts as p
from cutaway.network.graph.affine_words import AFFINE_FACTS
from cutaway.network.graph.bending_words import BENDING_FACTS
from cutaway.network.graph.curve_parts import at, call
from cutaway.network.graph.fact import Curve, Fact, Form, Rounding
from cutaway.network.graph.kinked_words import FALLING, INF, PIECEWISE, RISING, STEPS, UP_TO_1, function_fact
from cutaway.network.graph.node import Node


def _smooth(word: str, function: Any, kind: Any = "smooth", **known: Any) -> Fact:
    return function_fact(word, Form.CURVED, function, kind, **known)


def _plain(word: str, kind: str, family: str = "other", **known: Any) -> Fact:
    """A function without parameters that torch has under this name."""
    return _smooth(word, call(getattr(torch, word)), kind, family=family, plain=True, **known)


SMOOTH = [
    _plain(
        "sigmoid",
        "smooth",
        "activation",
        names=("special_expit", "expit"),
        curvature=0.0963,
        tail=6.2e-6,
        limits=UP_TO_1,
        slopes=(0.0, 0.25),
        float32=Rounding(8, fixed=6, never_negative=True),
    ),
    _plain(
        "tanh",
        "smooth",
        "activation",
        curvature=0.7699,
        tail=1e-8,
        limits=(-1.0, 1.0),
        slopes=UP_TO_1,
        float32=Rounding(12),
    ),
    _plain(
        "erf",
        "smooth",
        "activation",
        names=("special_erf",),
        curvature=0.968,
        tail=1e-8,
        limits=(-1.0, 1.0),
        slopes=(0.0, 1.1283791670955127),
        float32=Rounding(8),
    ),
    _smooth(
        "hardswish",
        call(F.hardswish),
        plain=True,
        gate="thresholds",
        curvature=0.3334,
        core=4.0,
        kinks=at(-3.0, 3.0),
        turning=at(-1.5),
        limits=(-0.375, INF),
        slopes=(-0.5, 1.5),
        float32=Rounding(8, by_argument=4, within=6),
    ),
    _plain(
        "atan",
        "smooth",
        names=("arctan",),
        curvature=0.6496,
        tail=1.2e-3,
        limits=(-math.pi / 2 - 1e-15, math.pi / 2 + 1e-15),
        slopes=UP_TO_1,
        float32=Rounding(12),
        at_slope=lambda n, slope: torch.sqrt(1 / slope - 1).nan_to_num(0.0),
    ),
    _smooth(
        "softsign",
        call(F.softsign),
        curvature=2.0,
        tail=9.2e-4,
        limits=(-1.0, 1.0),
        slopes=UP_TO_1,
        float32=Rounding(8),
    ),
    _smooth(
        "gelu",
        p.gelu,
        gate="zero",
        curvature=0.82,
        tail=1e-8,
        turning=p.gelu_turning,
        cancels=lambda n, size: 2 * size,  # x (1 + erf(x)) / 2
        limits=(-0.1701, INF),
        slopes=(-0.129, 1.129),
        float32=p.gelu_rounding,
    ),
    _smooth(
        "silu",
        call(F.silu),
        plain=True,
        gate="zero",
        curvature=0.5001,
        tail=7e-5,
        turning=at(-1.2784645427610738),
        limits=(-0.2785, INF),
        slopes=(-0.0999, 1.0999),
        float32=Rounding(8, by_argument=8),
    ),
    _smooth(
        "mish",
        call(F.mish),
        plain=True,
        gate="zero",
        curvature=0.65,
        tail=7e-5,
        turning=at(-1.1924312145154938),
        limits=(-0.3089, INF),
        slopes=(-0.1126, 1.0886),
        float32=Rounding(24),
    ),
    _smooth(
        "elu",
        p.elu,
        p.elu_kind,
        gate="zero",
        kinks=at(0.0),
        bend=p.elu_bend,
        names=("selu", "celu"),
        derivative=p.d_elu,
        slopes=p.elu_slopes,
        turning=p.elu_turning,
        cancels=lambda n, size: 2 * abs(n.attributes["scale"] * n.attributes["alpha"]),  # exp(x) - 1
        float32=p.elu_rounding,
    ),
    _smooth(
        "softplus",
        p.softplus,
        "convex",
        gate="zero",
        derivative=p.d_softplus,
        limits=RISING,
        slopes=UP_TO_1,
        shortcut=lambda n: 2.1e-9 / n.attributes["beta"],  # the identity where beta x > 20
        float32=p.softplus_rounding,
    ),
    _plain(
        "exp",
        "convex",
        derivative=lambda n, x: torch.exp(x),
        limits=RISING,
        slopes=RISING,
        float32=Rounding(8, never_negative=True),
    ),
    _plain(
        "square",
        "convex",
        derivative=lambda n, x: 2 * x,
        turning=at(0.0),
        limits=RISING,
        float32=Rounding(4, never_negative=True),
    ),
    _plain("log", "concave", derivative=lambda n, x: 1 / x, domain=0.0, slopes=RISING, float32=Rounding(12)),
    _plain(
        "sqrt",
        "concave",
        derivative=lambda n, x: 0.5 / torch.sqrt(x),
        domain=0.0,
        limits=RISING,
        slopes=RISING,
        float32=Rounding(4, never_negative=True),
    ),
    _plain(
        "rsqrt",
        "convex",
        derivative=lambda n, x: -0.5 * x**-1.5,
        domain=0.0,
        limits=RISING,
        slopes=FALLING,
        float32=Rounding(8),
    ),
    _plain(
        "reciprocal",
        "signed",
        derivative=lambda n, x: -1 / x**2,
        slopes=FALLING,
        float32=Rounding(4),
        defined=p.away_from_zero,
    ),
    _plain(
        "sin",
        "smooth",
        curvature=1.0,
        tail=1.0,
        limits=(-1.0, 1.0),
        slopes=(-1.0, 1.0),
        float32=Rounding(8, fixed=4),
        peak=math.pi / 2,
    ),
    _plain(
        "cos",
        "smooth",
        curvature=1.0,
        tail=1.0,
        limits=(-1.0, 1.0),
        slopes=(-1.0, 1.0),
        float32=Rounding(8, fixed=4),
        peak=0.0,
    ),
    _smooth(
        "power",
        p.power,
        p.power_kind,
        defined=p.power_defined,
        bend=p.power_bend,
        family="other",
        site="pow",
        where=p.power_form,
        derivative=p.d_power,
        names=("pow", "__pow__", "__rpow__", "__ipow__", "float_power"),
        turning=at(0.0),
        core=INF,
        float32=p.power_rounding,
    ),
]

FACTS: dict[str, Fact] = {f.word: f for f in [*AFFINE_FACTS, *BENDING_FACTS, *PIECEWISE, *STEPS, *SMOOTH]}
"""word -> its record."""

CURVES: dict[str, Curve] = {w: f.curve for w, f in FACTS.items() if f.curve is not None and f.curve.kind}
"""The functions of one number that bounds know."""

_BY_NAME = {name: fact for fact in FACTS.values() for name in (fact.word, *fact.names)}


def of(name: str) -> Fact:
    """The record of an operator by any of its names; of form UNKNOWN for a name that stands nowhere."""
    return _BY_NAME.get(name) or Fact(word=name, form=Form.UNKNOWN)


def known(name: str) -> bool:
    """Whether the operator has a record."""
    return name in _BY_NAME


def slopes_of(node: Node) -> tuple[float, float] | None:
    """The range of f' of a node that is a function of one number; None for any other."""
    curve = CURVES.get(node.op)
    return None if curve is None else curve.slope_range(node)
