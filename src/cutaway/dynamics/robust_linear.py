"""Robust linear classification in high dimension: direct minimisation, and the state evolution that predicts it.

Data: x_i ~ N(0, I_d), y_i = sign(theta . x_i), theta ~ N(0, I_d), n = alpha d. The estimator minimises, for an attack
that may move every coordinate by eps / sqrt(d),

    sum_i log(1 + exp(-y_i w.x_i / sqrt(d) + eps |w|_1 / d)) + lam |w|_r^r.

As d grows its overlaps m = theta.w / d, q = |w|^2 / d, P = |w|_1 / d tend to the fixed point of `state_evolution`
(Vilucchio, Tsilivis, Loureiro and Kempe, arXiv 2410.16073; equations derived anew here and held against minimisation).
Only attacks of this norm: for others the source calls its own scaling doubtful. All errors are shares in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf, erfc, expit

from cutaway.engines.budget import require_room
from cutaway.errors import InputError

POWERS = (1.0, 1.5, 2.0)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(101)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_GRID = np.linspace(-9, 9, 6001)
_DENSITY = np.exp(-(_GRID**2) / 2)
_DENSITY /= _DENSITY.sum()
_DRAWN = 2**17  # numbers that are drawn at a time
_HELD = 80  # vectors of the input's dimension that L-BFGS-B holds, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustProblem:
    """alpha: samples a dimension, > 0. eps: size of the attack in training, >= 0. lam: weight of the penalty, > 0.
    power: r, 1, 1.5 or 2. Raises `InputError` for others."""

    alpha: float
    eps: float
    lam: float
    power: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (("alpha", 0), ("lam", 0), ("eps", -1)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > least and value >= 0):
                expected = "a finite number " + ("at least 0" if least else "above 0")
                raise InputError(
                    f"{name} of the robust problem",
                    found=str(value),
                    expected=expected,
                    remedy="give one in this range",
                )
        if self.power not in POWERS:
            raise InputError(
                "power of the penalty", found=str(self.power), expected="1, 1.5 or 2", remedy="take 2 if in doubt"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """m = theta.w / d, q = |w|^2 / d, p = |w|_1 / d, with |theta|^2 = d."""

    m: float
    q: float
    p: float

    def error(self, eps: float) -> float:
        """Share of test points that an attack of size `eps` gets wrong: P(y w.x / sqrt(d) < eps p), in closed form up
        to a one-dimensional integral. Above 1/2 the zero vector would do better; 0.5 for w = 0."""
        if self.q <= 0:
            return 0.5
        if self.m**2 >= self.q:
            return float(erf(eps * self.p / math.sqrt(2 * self.q))) if eps > 0 else 0.0
        scale = math.sqrt(self.q)
        end = eps * self.p / scale
        points = np.linspace(-9, max(end, -9), 4001)
        slope = self.m / math.sqrt(2 * (self.q - self.m**2))
        density = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi) * (1 + erf(slope * points))
        return float(min(1.0, np.trapezoid(density, points)))


def state_evolution(
    problem: RobustProblem, *, damping: float = 0.6, steps: int = 1000, tolerance: float = 1e-8
) -> Overlaps | None:
    """The overlaps in the limit of large d, or None where the iteration does not converge (unknown).

    damping: share of the new value in a step. Exact up to quadrature (about 1e-6) at the fixed point. Cost: some
    hundred cheap steps.
    """
    state = np.array([0.1, 1.0, 1.0, 0.5])  # m, q, V, P
    for _ in range(steps):
        with np.errstate(all="ignore"):
            new = _inner(problem, *_outer(problem, *state))
        if not np.isfinite(new).all() or new[1] > 1e8:
            return None
        moved = float(np.abs(new - state).max() / max(1.0, float(np.abs(new).max())))
        state = damping * new + (1 - damping) * state
        if moved < tolerance:
            return Overlaps(m=float(state[0]), q=float(state[1]), p=float(state[3]))
    return None


def _outer(problem: RobustProblem, m: float, q: float, v: float, p: float) -> tuple[float, float, float, float]:
    """m^, q^, V^, P^: the two labels give the same, so that of y = 1 is taken twice."""
    eta = min(m**2 / q, 1 - 1e-12)
    shift = problem.eps * p
    start = math.sqrt(q) * _NODES
    prox = _prox(start, v, shift)
    slope = expit(shift - prox)  # (prox - omega) / V
    bend = slope * (1 - slope)
    likelihood = (1 + erf(math.sqrt(eta) * _NODES * np.sign(m) / math.sqrt(2 * (1 - eta)))) / 2
    twice = 2 * problem.alpha * _WEIGHTS
    gauss = np.exp(-eta * _NODES**2 / (2 * (1 - eta))) / math.sqrt(2 * math.pi * (1 - eta))
    return (
        float((twice * slope * gauss).sum()),
        float((twice * likelihood * slope**2).sum()),
        float((twice * likelihood * bend / (1 + v * bend)).sum()),
        float(problem.eps * (twice * likelihood * slope).sum()),
    )


def _prox(start: NDArray[np.float64], v: float, shift: float) -> NDArray[np.float64]:
    """argmin_x (x - start)^2 / 2V + log(1 + exp(shift - x)), by Newton inside the bracket [start, start + V]."""
    low, high = start, start + v
    x = start + v * expit(shift - start) / (1 + v / 4)
    for _ in range(60):
        s = expit(shift - x)
        value = x - start - v * s
        low, high = np.where(value < 0, x, low), np.where(value < 0, high, x)
        new = x - value / (1 + v * s * (1 - s))
        x = np.where((new >= low) & (new <= high), new, (low + high) / 2)
    return x


def _inner(problem: RobustProblem, mh: float, qh: float, vh: float, ph: float) -> NDArray[np.float64]:
    """m, q, V, P from the penalised scalar problem z(g) = argmin V^ z^2 / 2 - g z + lam |z|^r + P^ |z|."""
    scale, lam = math.sqrt(mh**2 + qh), problem.lam
    if problem.power == 1.5:
        rest = np.maximum(np.abs(scale * _GRID) - ph, 0)
        root = np.sqrt(2.25 * lam**2 + 4 * vh * rest)
        z = ((root - 1.5 * lam) / (2 * vh)) ** 2
        slope = np.where(rest > 0, (root - 1.5 * lam) / (vh * root), 0)
        mean, square, size = ((_DENSITY * values).sum() for values in (slope, z**2, z))
    else:  # soft thresholds of a Gaussian, in closed form
        cut, gain = (ph + lam, vh) if problem.power == 1.0 else (ph, vh + 2 * lam)
        c = cut / scale
        tail, density = erfc(c / math.sqrt(2)) / 2, math.exp(-(c**2) / 2) / math.sqrt(2 * math.pi)
        mean = 2 * tail / gain
        size = 2 * scale * (density - c * tail) / gain
        square = 2 * scale**2 * ((1 + c**2) * tail - c * density) / gain**2
    return np.array([mh * mean, square, mean, size])


def minimised(
    problem: RobustProblem, *, dimension: int, seed: int, device: str = "cpu", budget: int | None = None
) -> Overlaps:
    """The overlaps of the minimiser at one draw of `dimension` d and round(alpha d) samples, by L-BFGS-B on w = a - b
    with a, b >= 0. `device` holds the data, in float64, and multiplies with them; `budget` bounds the bytes of it all.
    A Monte Carlo estimate of the limit: one draw. Cost: some hundred products with the data, 8 alpha d^2 bytes. Raises
    `BudgetError` where these do not fit. Source: arXiv 2410.16073, equation of the estimator above."""
    from scipy.optimize import minimize

    count = max(1, round(problem.alpha * dimension))
    teacher, signed = _drawn(count, dimension, seed, device, budget)

    def loss(parts: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = parts[:dimension], parts[dimension:]
        w, size = a - b, float(parts.sum())
        short = problem.eps * size / dimension - (signed @ torch.from_numpy(w).to(signed)).cpu().numpy()
        weight = expit(short)
        slope = -(torch.from_numpy(weight).to(signed) @ signed).cpu().numpy()
        common = problem.eps / dimension * weight.sum()
        value = float(np.logaddexp(0, short).sum())
        if problem.power == 1.0:
            return value + problem.lam * size, np.concatenate([slope, -slope]) + common + problem.lam
        bent = problem.lam * problem.power * np.sign(w) * np.abs(w) ** (problem.power - 1)
        value += problem.lam * float((np.abs(w) ** problem.power).sum())
        return value, np.concatenate([slope + bent, -slope - bent]) + common

    start = np.full(2 * dimension, 0.1)
    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-13, "gtol": 1e-7}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * dimension), options=options)
    w = found.x[:dimension] - found.x[dimension:]
    return Overlaps(m=float(teacher @ w) / dimension, q=float(w @ w) / dimension, p=float(np.abs(w).sum()) / dimension)


def _drawn(
    count: int, dimension: int, seed: int, device: str, budget: int | None
) -> tuple[NDArray[np.float64], torch.Tensor]:
    """The teacher (d,), and y_i x_i / sqrt(d) (n, d) on the device, drawn block by block: the same whatever the
    budget."""
    if budget is not None:
        numbers = count * dimension + 2 * min(_DRAWN, count * dimension) + _HELD * dimension + 8 * count
        require_room("the minimisation", 8 * numbers, budget)
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal(dimension)
    teacher *= math.sqrt(dimension) / np.linalg.norm(teacher)
    signed = torch.empty(count, dimension, dtype=torch.float64, device=device)
    rows = max(1, _DRAWN // dimension)
    for start in range(0, count, rows):
        block = rng.standard_normal((min(rows, count - start), dimension))
        block *= np.sign(block @ teacher)[:, None] / math.sqrt(dimension)
        signed[start : start + rows] = torch.from_numpy(block)
    return teacher, signed


def best_error(alpha: float, eps: float, power: float) -> tuple[float, float]:
    """(lam, error at `eps`): the penalty's weight of least robust error by state evolution, training and testing under
    the same attack; lam on a grid from 1e-3 to 10 and a finer one round its best. NaN where nothing converges."""
    grid = np.geomspace(1e-3, 10, 17)
    found = _errors(alpha, eps, power, grid)
    best = int(np.nanargmin(found)) if not np.isnan(found).all() else -1
    if best < 0:
        return float("nan"), float("nan")
    finer = np.geomspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 9)
    fine = _errors(alpha, eps, power, finer)
    place = int(np.nanargmin(fine))
    return float(finer[place]), float(fine[place])


def _errors(alpha: float, eps: float, power: float, lams: NDArray[np.float64]) -> NDArray[np.float64]:
    overlaps = [state_evolution(RobustProblem(alpha=alpha, eps=eps, lam=float(lam), power=power)) for lam in lams]
    return np.array([float("nan") if o is None or o.q <= 1e-12 else o.error(eps) for o in overlaps])
