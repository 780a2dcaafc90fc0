"""Closed equations of the overlaps of a two-layer network under mini-batch SGD.

Student f = (1/p) sum_j a_j s(w_j.x), target y, inputs standard normal, loss (y - f)^2 / 2, step gamma, batch n_b. With
M = W W*^T (p, k), Q = W W^T (p, p), P = W* W*^T (k, k), eps = y - f (label noise Delta in it) and

    E_t[j,r] = E[s'(l_j) l*_r eps],  E_n[j,l] = E[s'(l_j) l_l eps],  E_4[j,l] = E[s'(l_j) s'(l_l) eps^2],

one step is (Saad and Solla 1995 for n_b = 1; arXiv 2406.02157 for batches)

    dM = (gamma/p) a_j E_t
    dQ = (gamma/p)(a_j E_n + transpose)
         + (gamma/p)^2 a_j a_l { (d/n_b) E_4 + (1 - 1/n_b)[E_t P^-1 E_t^T + E_o Q_o^-1 E_o^T] }.

`terms` switches the three parts of dQ, for the limits in which one vanishes. The correlation loss puts y in the place
of eps. `projected` renormalises the student's weights after each step. Expectations are closed forms for erf, ReLU
(first order) and polynomial committees, and Monte Carlo with common random numbers on the joint fields otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.expectations import Expectations, closed_form, sampled
from cutaway.dynamics.student import student
from cutaway.dynamics.targets import Target, committee, target
from cutaway.errors import InputError
from cutaway.seeds import check_seed

TERMS = ("flow", "noise", "bracket")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapProblem:
    """Who learns what, and how.

    `activation` of the student; `link` the target (a committee of the same activation when None); `second_layer` a
    (p,); `rate` gamma; `dimension` d; `batch_size` n_b; `label_noise` Delta; `loss` "square" or "correlation";
    `projected`; `terms` of dQ; `samples` for Monte Carlo (0: closed form where there is one).
    Raises `InputError` for values outside these, and an empty second layer.
    """

    activation: str
    second_layer: tuple[float, ...]
    rate: float
    dimension: int
    num_directions: int = 1
    link: str | Callable[[Any], Any] | Target | None = None
    batch_size: int = 1
    label_noise: float = 0.0
    loss: str = "square"
    projected: bool = False
    terms: tuple[str, ...] = TERMS
    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        student(self.activation)
        check_seed(self.seed)
        if self.loss not in ("square", "correlation"):
            raise InputError(
                "loss", found=repr(self.loss), expected="'square' or 'correlation'", remedy="give one of the two"
            )
        if self.dimension < 1 or self.batch_size < 1:
            raise InputError(
                "dimension and batch",
                found=f"{self.dimension} and {self.batch_size}",
                expected="at least 1 each",
                remedy="give larger ones",
            )
        if not self.label_noise >= 0:
            raise InputError(
                "label_noise",
                found=str(self.label_noise),
                expected="a variance of at least 0",
                remedy="give a number of at least 0",
            )
        if not self.second_layer or self.num_directions < 1:
            raise InputError(
                "second_layer and num_directions",
                found=f"{len(self.second_layer)} neurons and {self.num_directions} directions",
                expected="at least 1 each",
                remedy="give a weight for every neuron and at least one direction",
            )
        if self.samples < 0:
            raise InputError(
                "samples",
                found=str(self.samples),
                expected="0, or a number of draws",
                remedy="give a whole number of at least 0",
            )
        if not set(self.terms) <= set(TERMS):
            raise InputError(
                "terms",
                found=repr(self.terms),
                expected=f"a subset of {TERMS}",
                remedy="leave out the terms that are not in it",
            )

    @property
    def target(self) -> Target:
        if self.link is None:
            return committee(self.activation, self.num_directions)
        return target(self.link, self.num_directions)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapPath:
    """`steps` (T,), `overlaps` M (T, p, k), `self_overlaps` Q (T, p, p), `risks` E[(y - f)^2] / 2 without label
    noise."""

    steps: Array
    overlaps: Array
    self_overlaps: Array
    risks: Array


def integrate(
    problem: OverlapProblem, overlaps: Array, self_overlaps: Array, num_steps: int, *, record: int = 1
) -> OverlapPath:
    """Iterate the map from M = `overlaps` (p, k), Q = `self_overlaps` (p, p); every `record`-th step is kept.

    Exact in the limit d to infinity for closed forms. Cost a step: p^2 (p + k)^2 elementary integrals, or samples x
    (p + k).
    Raises `InputError` for overlaps of other shapes, larger than weights of that length can have, and numbers of steps
    below 0. Source: Saad and Solla 1995 for one row a step; arXiv 2406.02157 for batches.
    """
    if num_steps < 0 or record < 1:
        raise InputError(
            "steps",
            found=f"{num_steps}, every {record}",
            expected="at least 0, every 1 or more",
            remedy="give a number of steps and how often to record",
        )
    current, own = np.array(overlaps, dtype=float), np.array(self_overlaps, dtype=float)
    _check_start(problem, current, own)
    moments = expectations_of(problem)
    teacher = np.eye(current.shape[1])
    steps, path, self_path, risks = [], [], [], []
    for step in range(num_steps + 1):
        if not (np.isfinite(current).all() and np.isfinite(own).all()):
            raise _diverged(step)
        with np.errstate(all="ignore"):  # divergence is told
            found = moments(current, own, teacher)
        if step % record == 0 or step == num_steps:
            steps.append(step)
            path.append(current)
            self_path.append(own)
            risks.append(found.risk)
            if not np.isfinite(found.risk):
                raise _diverged(step)
        if step < num_steps:
            current, own = _advance(problem, found, current, own, teacher)
    return OverlapPath(
        steps=np.array(steps), overlaps=np.array(path), self_overlaps=np.array(self_path), risks=np.array(risks)
    )


def _diverged(step: int) -> InputError:
    return InputError(
        "overlap equations",
        found=f"divergence at step {step}",
        expected="finite overlaps",
        remedy="lower the rate or raise the batch",
    )


def _check_start(problem: OverlapProblem, overlaps: Array, own: Array) -> None:
    """The overlaps belong to the problem, and to vectors that exist: [[Q, M], [M^T, I]] has no negative direction."""
    width, count = len(problem.second_layer), problem.target.num_directions
    if overlaps.shape != (width, count) or own.shape != (width, width):
        raise InputError(
            "start overlaps",
            found=f"shapes {overlaps.shape} and {own.shape}",
            expected=f"({width}, {count}) and ({width}, {width}), neurons and target directions",
            remedy="give a matrix for each",
        )
    rest = own - overlaps @ overlaps.T
    lowest = float(np.linalg.eigvalsh(0.5 * (rest + rest.T))[0]) if np.isfinite(rest).all() else float("nan")
    if not lowest >= -1e-8 * max(1.0, float(np.abs(own).max())):
        raise InputError(
            "start overlaps",
            found=f"overlaps up to {float(np.abs(overlaps).max()):.3g} with weights of squared length "
            f"{float(np.diagonal(own).max()):.3g}",
            expected="overlaps that weights of that length can have",
            remedy="give smaller overlaps, or longer weights",
        )


def expectations_of(problem: OverlapProblem) -> Callable[[Array, Array, Array], Expectations]:
    """(M, Q, P) -> expectations: the closed form when it exists and `samples` is 0, else sampling."""
    weights = np.asarray(problem.second_layer, dtype=float)
    if problem.samples == 0 and problem.link is None:
        exact = closed_form(problem.activation, weights, problem.num_directions, problem.label_noise, problem.loss)
        if exact is not None:
            return exact
    return sampled(
        student(problem.activation),
        weights,
        problem.target,
        problem.label_noise,
        problem.loss,
        problem.samples or 200_000,
        problem.seed,
    )


def _advance(
    problem: OverlapProblem, found: Expectations, current: Array, own: Array, teacher: Array
) -> tuple[Array, Array]:
    weights = np.asarray(problem.second_layer, dtype=float)
    rate = problem.rate / weights.size
    outer = weights[:, None] * weights[None, :]
    move = rate * weights[:, None] * found.towards_target
    change = np.zeros_like(own)
    if "flow" in problem.terms:
        first = rate * weights[:, None] * found.towards_student
        change = change + first + first.T
    if "noise" in problem.terms:
        change = change + rate**2 * outer * (problem.dimension / problem.batch_size) * found.squared
    if "bracket" in problem.terms and problem.batch_size > 1:
        inverse = np.linalg.pinv(teacher)
        rest = own - current @ inverse @ current.T
        drift = found.towards_student - found.towards_target @ inverse @ current.T
        inside = found.towards_target @ inverse @ found.towards_target.T
        inside = inside + drift @ np.linalg.pinv(rest, rcond=1e-10) @ drift.T
        change = change + rate**2 * outer * (1.0 - 1.0 / problem.batch_size) * inside
    after, own_after = current + move, own + 0.5 * (change + change.T)
    if not problem.projected:
        return after, own_after
    length = np.sqrt(np.maximum(np.diagonal(own_after), 1e-300))
    return after / length[:, None], own_after / (length[:, None] * length[None, :])
