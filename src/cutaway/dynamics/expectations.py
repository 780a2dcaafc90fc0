"""The expectations that drive the overlap equations, in closed form or by Monte Carlo with common random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.integrals import (
    derivative,
    erf_i2,
    erf_i3,
    erf_i4,
    erf_j2,
    polynomial_expectation,
)
from cutaway.dynamics.student import Student, student
from cutaway.dynamics.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """E_t (p, k), E_n (p, p), E_4 (p, p) of `ode`, and the noiseless risk E[(y - f)^2] / 2."""

    towards_target: Array
    towards_student: Array
    squared: Array
    risk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Integrals:
    """i2(x, y), i3(x, y, z), i4(x, y, z, t), j2(x, y) on index arrays of the joint covariance."""

    i2: Callable[..., Array]
    i3: Callable[..., Array]
    i4: Callable[..., Array]
    j2: Callable[..., Array]


def joint_covariance(overlaps: Array, own: Array, teacher: Array) -> Array:
    """Omega = [[Q, M], [M^T, P]], shape (p + k, p + k)."""
    return np.block([[own, overlaps], [overlaps.T, teacher]])


def closed_form(
    activation: str, second_layer: Array, num_directions: int, label_noise: float, loss: str
) -> Callable[[Array, Array, Array], Expectations] | None:
    """Expectations for a student and a teacher committee of one activation; None where no closed form is known."""
    coefficients = student(activation).polynomial
    if activation != "erf" and coefficients is None:
        return None
    num = second_layer.size
    mixing = np.concatenate([-second_layer / num, np.full(num_directions, 1.0 / num_directions)])
    kept = mixing if loss == "square" else np.where(np.arange(mixing.size) < num, 0.0, mixing)

    def compute(overlaps: Array, own: Array, teacher: Array) -> Expectations:
        omega = joint_covariance(overlaps, own, teacher)
        table = _erf_table(omega) if coefficients is None else _polynomial_table(omega, coefficients)
        total = omega.shape[0]
        everyone, neurons = np.arange(total), np.arange(num)
        third = table.i3(neurons[:, None, None], everyone[None, :, None], everyone[None, None, :]) @ kept
        fourth = table.i4(
            neurons[:, None, None, None],
            neurons[None, :, None, None],
            everyone[None, None, :, None],
            everyone[None, None, None, :],
        )
        squared = np.einsum("jlab,a,b->jl", fourth, kept, kept)
        if label_noise:
            squared = squared + label_noise * table.j2(neurons[:, None], neurons[None, :])
        risk = 0.5 * float(mixing @ table.i2(everyone[:, None], everyone[None, :]) @ mixing)
        return Expectations(towards_target=third[:, num:], towards_student=third[:, :num], squared=squared, risk=risk)

    return compute


def _erf_table(omega: Array) -> _Integrals:
    def i4(u: Array, v: Array, w: Array, z: Array) -> Array:
        index = (u, v, w, z)
        return erf_i4(lambda i, j: omega[index[i], index[j]])

    return _Integrals(
        i2=lambda u, w: erf_i2(omega[u, u], omega[u, w], omega[w, w]),
        i3=lambda u, v, w: erf_i3(omega[u, u], omega[u, v], omega[u, w], omega[v, w], omega[w, w]),
        i4=i4,
        j2=lambda u, v: erf_j2(omega[u, u], omega[u, v], omega[v, v]),
    )


def _polynomial_table(omega: Array, coefficients: tuple[float, ...]) -> _Integrals:
    slope = derivative(coefficients)

    def expect(factors: tuple[tuple[float, ...], ...], *index: Array) -> Array:
        shape = np.broadcast_shapes(*[np.shape(i) for i in index])
        return np.broadcast_to(polynomial_expectation(factors, lambda i, j: omega[index[i], index[j]]), shape)

    return _Integrals(
        i2=lambda u, w: expect((coefficients, coefficients), u, w),
        i3=lambda u, v, w: expect((slope, (0.0, 1.0), coefficients), u, v, w),
        i4=lambda u, v, w, z: expect((slope, slope, coefficients, coefficients), u, v, w, z),
        j2=lambda u, v: expect((slope, slope), u, v),
    )


def sampled(
    chosen: Student, second_layer: Array, link: Target, label_noise: float, loss: str, samples: int, seed: int
) -> Callable[[Array, Array, Array], Expectations]:
    """Monte Carlo on the joint fields; the same normal draws at every call, antithetic, so that a path is smooth."""
    num = second_layer.size
    half = np.random.default_rng(seed).standard_normal((samples // 2, num + link.num_directions))
    draws = np.concatenate([half, -half])

    def compute(overlaps: Array, own: Array, teacher: Array) -> Expectations:
        values, vectors = np.linalg.eigh(joint_covariance(overlaps, own, teacher))
        fields = draws @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        hidden, goal = fields[:, :num], fields[:, num:]
        truth = np.asarray(link(goal))
        gap = truth - chosen.value(hidden) @ second_layer / num
        error = gap if loss == "square" else truth
        slopes = np.asarray(chosen.slope(hidden), dtype=float)
        weighted = slopes * error[:, None]
        squared = weighted.T @ weighted / samples
        if label_noise:
            squared = squared + label_noise * (slopes.T @ slopes) / samples
        return Expectations(
            towards_target=weighted.T @ goal / samples,
            towards_student=weighted.T @ hidden / samples,
            squared=squared,
            risk=0.5 * float(np.mean(gap**2)),
        )

    return compute
