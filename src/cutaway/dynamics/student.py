"""Activations of the student with their derivatives, in numpy and torch, and what the overlap equations know of
each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.dynamics.hermite import hermite
from cutaway.dynamics.integrals import hermite_coefficients
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """`value` and `slope` act on numpy arrays and torch tensors. `polynomial` has power coefficients where it is
    one."""

    name: str
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    polynomial: tuple[float, ...] | None = None


def student(name: str) -> Student:
    """erf (of x / sqrt 2), relu, tanh, square, identity, or a Hermite polynomial He2 .. He8 / he2 .. he8."""
    found = re.fullmatch(r"([Hh])e([1-8])", name)
    if found:
        degree, normalized = int(found.group(2)), found.group(1) == "h"
        scale = math.sqrt(math.factorial(degree)) if normalized else 1.0
        return Student(
            name=name,
            value=lambda v: hermite(v, degree) / scale,
            slope=lambda v: degree * hermite(v, degree - 1) / scale,
            polynomial=hermite_coefficients(degree, normalized),
        )
    table: dict[str, Student] = {
        "square": Student(name="square", value=lambda v: v * v, slope=lambda v: 2.0 * v, polynomial=(0.0, 0.0, 1.0)),
        "identity": Student(name="identity", value=lambda v: v, slope=lambda v: v * 0.0 + 1.0, polynomial=(0.0, 1.0)),
        "erf": Student(name="erf", value=_erf, slope=lambda v: math.sqrt(2.0 / math.pi) * _exp(-0.5 * v * v)),
        "relu": Student(name="relu", value=lambda v: v * (v > 0), slope=lambda v: (v > 0) + v * 0.0),
        "tanh": Student(name="tanh", value=_tanh, slope=lambda v: 1.0 - _tanh(v) ** 2),
    }
    if name not in table:
        raise InputError(
            f"activation {name!r}",
            found="no such student",
            expected=f"{', '.join(table)}, He2 .. He8 or he2 .. he8",
            remedy="give one of these",
        )
    return table[name]


def _erf(v: Any) -> Any:
    if isinstance(v, np.ndarray):
        from scipy.special import erf

        return erf(v / math.sqrt(2.0))
    import torch

    return torch.erf(v / math.sqrt(2.0))


def _exp(v: Any) -> Any:
    return np.exp(v) if isinstance(v, np.ndarray) else v.exp()


def _tanh(v: Any) -> Any:
    return np.tanh(v) if isinstance(v, np.ndarray) else v.tanh()
