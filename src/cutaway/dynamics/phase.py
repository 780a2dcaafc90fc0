"""Phase boundary of batch size against time: how many steps weak recovery takes (arXiv 2406.02157).

With information exponent l, batch n_b = d^mu and time T = d^theta steps: one-pass SGD on the square loss needs
theta = l - 1 - mu up to mu = l/2 and no fewer than l/2 - 1 beyond; the correlation loss goes on to theta = max(0, l -
1 - mu); from mu = l - 1 polylogarithmically many steps do, and at mu = l one giant step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseBoundary:
    """`batch_exponents` mu (N,), `time_exponents` theta (N,) for the loss, information exponent `exponent`."""

    exponent: int
    loss: str
    batch_exponents: Array
    time_exponents: Array


def phase_boundary(exponent: int, *, loss: str = "square") -> PhaseBoundary:
    """theta(mu) on mu in [0, l] in steps of 1/20; for l <= 2 the square loss has no flat part above 0.

    Raises `InputError` for an exponent below 1 or another loss.
    """
    if exponent < 1:
        raise InputError(
            "information exponent",
            found=str(exponent),
            expected="at least 1",
            remedy="give a whole number of at least 1",
        )
    if loss not in ("square", "correlation"):
        raise InputError("loss", found=repr(loss), expected="'square' or 'correlation'", remedy="give one of the two")
    mu = np.linspace(0.0, float(exponent), 20 * exponent + 1)
    theta = np.maximum(exponent - 1.0 - mu, 0.0)
    if loss == "square":
        theta = np.maximum(theta, max(exponent / 2.0 - 1.0, 0.0))
    return PhaseBoundary(exponent=exponent, loss=loss, batch_exponents=mu, time_exponents=theta)


def steps_needed(exponent: int, dimension: int, batch_size: int, *, loss: str = "square") -> float:
    """d^theta at mu = log n_b / log d: the order of the number of steps, constants and logarithms left out.

    Raises `InputError` for a dimension below 2 or a batch below 1, and as `phase_boundary`.
    """
    if batch_size < 1 or dimension < 2:
        raise InputError(
            "dimension and batch",
            found=f"{dimension} and {batch_size}",
            expected="at least 2 and 1",
            remedy="give larger ones",
        )
    mu = float(np.log(batch_size) / np.log(dimension))
    theta = max(exponent - 1.0 - mu, 0.0)
    if loss == "square":
        theta = max(theta, exponent / 2.0 - 1.0, 0.0)
    return float(dimension**theta)
