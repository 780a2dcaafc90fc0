"""How long SGD stays on the plateau: square activation, one direction, spherical or free weights (arXiv 2305.18502).

Target (w*.x)^2 with w*.x standard normal, student (1/p) sum_j (w_j.x)^2 on the sphere, random start; exit when the risk
R = 1 + 1/p - (2/p) sum m_j^2 (leading order) falls by the share T. Time t = nu gamma / (p d), nu the number of samples.
With c_p = 1 + 1/p + 4/p^2:

    growth rate of m^2:  kappa = 8 - 8 (gamma/p) c_p - 4 (gamma/p) Delta
    annealed:            t = log[1 + T (p + 1) d / (2 p)] / kappa
    quenched:            t = {log[T (p + 1) d / 2] - psi(p/2) - log 2} / kappa

(the quenched form averages the logarithm over the start: d sum_j m_j^2 is chi-squared with p degrees of freedom, whose
logarithm has mean psi(p/2) + log 2; derived by us). samples = p d t / gamma, least at gamma / p = 1 / (2 c_p + Delta).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from cutaway.arrays import Array
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitSetting:
    """p = `width`, d = `dimension`, gamma = `rate`, Delta = `label_noise`, T = `drop` in (0, 1).

    Raises `InputError` for another T and for a rate with which the overlap does not grow.
    """

    width: int
    dimension: int
    rate: float
    label_noise: float = 0.0
    drop: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.drop < 1:
            raise InputError(
                "drop", found=str(self.drop), expected="a share in (0, 1)", remedy="give a share such as 0.5"
            )
        if growth_rate(self.width, self.rate, self.label_noise) <= 0:
            raise InputError(
                "rate",
                found=f"{self.rate}, with which the overlap does not grow",
                expected=f"below {self.width / (constant(self.width) + self.label_noise / 2):.3g}",
                remedy="give a smaller rate",
            )


def constant(width: int) -> float:
    """c_p = 1 + 1/p + 4/p^2."""
    return 1.0 + 1.0 / width + 4.0 / width**2


def growth_rate(width: int, rate: float, label_noise: float = 0.0) -> float:
    """kappa, the exponential rate of the squared overlap in time t."""
    step = rate / width
    return 8.0 - 8.0 * step * constant(width) - 4.0 * step * label_noise


def annealed_exit_time(setting: ExitSetting) -> float:
    """Exit time of the averaged risk."""
    p = setting.width
    grown = 1.0 + setting.drop * (p + 1.0) * setting.dimension / (2.0 * p)
    return float(np.log(grown)) / growth_rate(p, setting.rate, setting.label_noise)


def quenched_exit_time(setting: ExitSetting) -> float:
    """Mean exit time over random starts."""
    p = setting.width
    log = np.log(setting.drop * (p + 1.0) * setting.dimension / 2.0) - digamma(p / 2.0) - np.log(2.0)
    return float(log) / growth_rate(p, setting.rate, setting.label_noise)


def optimal_rate(width: int, label_noise: float = 0.0) -> float:
    """gamma that needs the fewest samples: p / (2 c_p + Delta)."""
    return width / (2.0 * constant(width) + label_noise)


def samples_factor(width: int, label_noise: float = 0.0) -> float:
    """Samples at the optimal rate over d log(.): (2 c_p + Delta) / 4; 3 at p = 1, 1/2 for p to infinity."""
    return (2.0 * constant(width) + label_noise) / 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SquarePath:
    """`times` (T,), M (T, p), Q (T, p, p), risk E[(y - f)^2] / 1 in the units of the plateau formula, (T,)."""

    times: Array
    overlaps: Array
    self_overlaps: Array
    risks: Array


def square_risk(overlaps: Array, own: Array) -> float:
    """E[(y - f)^2] / 2 for y = (w*.x)^2, f = (1/p) sum (w_j.x)^2, P = 1, in closed form."""
    p = overlaps.size
    trace, cross = float(np.trace(own)) / p, float(overlaps @ overlaps) / p
    second = (np.sum(own**2) * 2.0 + np.trace(own) ** 2) / p**2
    return 0.5 * (3.0 - 2.0 * (trace + 2.0 * cross) + second)


def square_flow(overlaps: Array, own: Array, rate: float, label_noise: float, *, sphere: bool) -> tuple[Array, Array]:
    """(dM/dt, dQ/dt) of SGD with step gamma, P = 1; `sphere` keeps the diagonal of Q."""
    p, m = overlaps.size, overlaps
    trace = float(np.trace(own))
    outer, twice = np.outer(m, m), own @ own
    move = 2.0 * ((1.0 - trace / p) * m + 2.0 * (m - own @ m / p))
    change = 4.0 * ((1.0 - trace / p) * own + 2.0 * (outer - twice / p))
    tt = 3.0 * own + 12.0 * outer
    st = (trace + 2.0 * float(m @ m)) * own + 2.0 * trace * outer + 2.0 * twice + 4.0 * (outer @ own + own @ outer)
    ss = (trace**2 + 2.0 * float(np.trace(twice))) * own + 4.0 * trace * twice + 8.0 * own @ twice
    change = change + 4.0 * (rate / p) * (tt - 2.0 / p * st + ss / p**2 + label_noise * own)
    if sphere:
        growth = np.diagonal(change).copy()
        change = change - 0.5 * own * (growth[:, None] + growth[None, :])
        move = move - 0.5 * m * growth
    return move, change


def integrate_square(
    overlaps: Array, own: Array, rate: float, label_noise: float, end: float, *, sphere: bool = True, steps: int = 2000
) -> SquarePath:
    """Integrate `square_flow` by Runge-Kutta of order four, `steps` equal steps to time `end`."""
    m, q = np.array(overlaps, dtype=float), np.array(own, dtype=float)
    size = end / steps
    times, ms, qs, risks = [0.0], [m], [q], [square_risk(m, q)]
    for step in range(steps):
        k1 = square_flow(m, q, rate, label_noise, sphere=sphere)
        k2 = square_flow(m + 0.5 * size * k1[0], q + 0.5 * size * k1[1], rate, label_noise, sphere=sphere)
        k3 = square_flow(m + 0.5 * size * k2[0], q + 0.5 * size * k2[1], rate, label_noise, sphere=sphere)
        k4 = square_flow(m + size * k3[0], q + size * k3[1], rate, label_noise, sphere=sphere)
        m = m + size / 6.0 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        q = q + size / 6.0 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
        times.append((step + 1) * size)
        ms.append(m)
        qs.append(q)
        risks.append(square_risk(m, q))
    return SquarePath(times=np.array(times), overlaps=np.array(ms), self_overlaps=np.array(qs), risks=np.array(risks))


def exit_of(times: Array, risks: Array, drop: float) -> float:
    """First time at which the risk is at most (1 - drop) times its start, linearly between records; inf if never."""
    below = np.flatnonzero(risks <= (1.0 - drop) * risks[0])
    if not below.size:
        return float("inf")
    after = int(below[0])
    if after == 0:
        return float(times[0])
    level = (1.0 - drop) * risks[0]
    share = (risks[after - 1] - level) / (risks[after - 1] - risks[after])
    return float(times[after - 1] + share * (times[after] - times[after - 1]))
