"""Functions of one number with kinks and steps: one record each; `facts` joins them to the rest."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from cutaway.network.graph import curve_parts as p
from cutaway.network.graph.curve_parts import at, call
from cutaway.network.graph.fact import Curve, Fact, Form, Rounding

INF = math.inf
RISING, FALLING, UP_TO_1 = (0.0, INF), (-INF, 0.0), (0.0, 1.0)
OF_FACT = {"names", "family", "site", "factors", "controls", "where", "continuous", "gate", "plain", "keeps_zeros"}


def function_fact(
    word: str, form: Form, function: Any, kind: Any = "", family: str = "activation", **known: Any
) -> Fact:
    """A function of one number: what is no field of `Fact` is one of its `Curve`."""
    own = {k: v for k, v in known.items() if k in OF_FACT}
    curve = Curve(kind=kind, **{k: v for k, v in known.items() if k not in OF_FACT})
    return Fact(word=word, form=form, family=family, function=function, curve=curve, **own)


def _bend(word: str, function: Any, kind: Any = "", **known: Any) -> Fact:
    return function_fact(word, Form.PIECEWISE, function, kind, **known)


PIECEWISE = [
    _bend(
        "relu",
        call(torch.relu),
        "piecewise",
        plain=True,
        gate="zero",
        kinks=at(0.0),
        limits=RISING,
        slopes=UP_TO_1,
        float32=Rounding(0, never_negative=True),
        keeps_zeros=True,
    ),
    _bend(
        "abs",
        call(torch.abs),
        "piecewise",
        plain=True,
        gate="zero",
        names=("absolute", "__abs__"),
        kinks=at(0.0),
        limits=RISING,
        slopes=(-1.0, 1.0),
        float32=Rounding(0, never_negative=True),
        keeps_zeros=True,
    ),
    _bend(
        "leaky_relu",
        p.leaky_relu,
        "piecewise",
        gate="zero",
        kinks=at(0.0),
        slopes=p.leaky_slopes,
        float32=Rounding(4),
        keeps_zeros=True,
    ),
    _bend(
        "prelu",
        None,
        gate="zero",
        kinks=at(0.0),
        names=("_prelu_kernel",),
        factors=("self", "weight"),
        keeps_zeros=True,
    ),
    _bend(
        "rrelu",
        None,
        gate="zero",
        kinks=at(0.0),
        where=p.rrelu_form,
        names=("rrelu_with_noise", "rrelu_with_noise_functional"),
    ),
    _bend(
        "clamp",
        call(torch.clamp, "min", "max"),
        "piecewise",
        gate="thresholds",
        names=("clip", "clamp_min", "clamp_max"),
        kinks=p.ends("min", "max"),
        slopes=UP_TO_1,
        float32=Rounding(2),
    ),
    _bend(
        "hardtanh",
        call(F.hardtanh, "min_val", "max_val"),
        names=("relu6",),
        kinks=p.ends("min_val", "max_val"),
        slopes=UP_TO_1,
    ),
    _bend("hardsigmoid", call(F.hardsigmoid), kinks=at(-3.0, 3.0), limits=UP_TO_1, slopes=(0.0, 1 / 6)),
    _bend("softshrink", call(F.softshrink, "lambd"), kinks=p.shrink_kinks, slopes=UP_TO_1),
    _bend("hardshrink", call(F.hardshrink, "lambd"), continuous=False, kinks=p.shrink_kinks, slopes=UP_TO_1),
    _bend(
        "threshold",
        call(F.threshold, "threshold", "value"),
        "piecewise",
        continuous=False,
        kinks=p.ends("threshold", ""),
        jumps=p.threshold_jumps,
        slopes=UP_TO_1,
        float32=Rounding(2),
    ),
]

STEPS = [
    function_fact(
        "sign",
        Form.STEP,
        call(torch.sign),
        "piecewise",
        plain=True,
        names=("sgn",),
        kinks=at(0.0),
        jumps=p.sign_jumps,
        limits=(-1.0, 1.0),
        slopes=(0.0, 0.0),
        float32=Rounding(0),
    ),
    function_fact(
        "floor", Form.STEP, call(torch.floor), "steps", plain=True, slopes=(0.0, 0.0), step_end=1.0, float32=Rounding(0)
    ),
    function_fact(
        "ceil", Form.STEP, call(torch.ceil), "steps", plain=True, slopes=(0.0, 0.0), step_end=0.0, float32=Rounding(0)
    ),
    function_fact("round", Form.STEP, call(torch.round), "steps", slopes=(0.0, 0.0), step_end=0.5, float32=Rounding(0)),
    function_fact("heaviside", Form.STEP, None, kinks=at(0.0)),
]
