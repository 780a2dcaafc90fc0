"""Full-batch gradient descent on reused data, exactly at infinite size: dynamical mean-field equations (arXiv
2402.03220).

N = alpha D samples, student sum_j a_j s(w_j.x / sqrt D), loss sum over samples of (f - y)^2 / 2, step eta, ridge
lambda. With pre-activations u_t = h_t + m_t h*, l' and l'' the loss's derivatives in u, and one sample path an example:

    m_{t+1} = m_t - eta (lambda m_t + alpha E[l'_t h*^T])
    h_{t+1} = h_t + eta (-l'_t - Lam_t h_t + sum_{s<t} R(t,s) h_s + w_t),    Cov w(t,s) = alpha E[l'_t l'_s^T]
    D(t+1,s) = D(t,s) + eta (-Lam_t D(t,s) - l''_t (D(t,s) - 1{t=s}) + sum_u R(t,u) D(u,s))
    Lam_t = lambda + alpha E[l''_t],    R(t,s) = alpha E[l''_t D(t,s)].

For ReLU the delta function in l'' is a Gaussian of width 0.1 (`delta_width`). An estimate: Monte Carlo over `samples`
paths with E[y h*] as a control variate. Memory: samples x steps^2 x p^2 / 2 numbers for the responses.

`scheme="published"` integrates what the authors' code does instead. It departs from the equations above in five ways,
which show from the third step on: the noise w_t is drawn afresh at every step, so that its covariance with earlier
steps is lost; the responses' memory stops at u = t - 2; R(t,s) is alpha E[D(t,s) l''_t]; the 1 in D(t,s) - 1{t=s} is a
matrix of ones, not the identity; and the delta function is left out. It gives their table to 0.0002; simulations at
finite size agree with the equations instead (`cutaway reproduce batch-reuse`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.hermite import product_rule
from cutaway.dynamics.student import Student, student
from cutaway.dynamics.targets import Target, target
from cutaway.errors import InputError
from cutaway.seeds import check_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanFieldProblem:
    """`link` the target, `activation` of the student, `second_layer` a (p,), `ratio` alpha = N / D, `rate` eta.

    Raises `InputError` for an unknown scheme, a ratio that is not above 0 and fewer than 100 samples.
    """

    link: str | Target
    activation: str
    second_layer: tuple[float, ...]
    ratio: float
    rate: float
    ridge: float = 0.0
    samples: int = 200_000
    seed: int = 0
    delta_width: float = 0.1
    scheme: str = "exact"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.scheme not in ("exact", "published"):
            raise InputError(
                "scheme", found=repr(self.scheme), expected="'exact' or 'published'", remedy="give one of the two"
            )
        if self.ratio <= 0 or self.samples < 100:
            raise InputError(
                "ratio and samples",
                found=f"{self.ratio} and {self.samples}",
                expected="above 0 and at least 100",
                remedy="give larger ones",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanFieldPath:
    """`overlaps` m (T + 1, p, k), their Monte Carlo `errors` of the same shape, `losses` (T + 1,) training loss a
    sample."""

    overlaps: Array
    errors: Array
    losses: Array


def integrate_mean_field(problem: MeanFieldProblem, num_steps: int) -> MeanFieldPath:
    """m_0 = 0 and `num_steps` full-batch steps."""
    chosen, goal = student(problem.activation), target(problem.link)
    weights = np.asarray(problem.second_layer, dtype=float)
    p, k, num = weights.size, goal.num_directions, problem.samples
    generator = np.random.default_rng(problem.seed)
    own, goals = generator.standard_normal((num // 4, p)), generator.standard_normal((num // 4, k))
    start = np.concatenate([np.concatenate([a * own, b * goals], axis=1) for a in (1, -1) for b in (1, -1)])
    num = start.shape[0]  # all four signs of the pair: the first step is then free of the student's sampling error
    teacher, history = start[:, p:], [start[:, :p]]
    truth = np.asarray(goal(teacher))
    excess = (truth[:, None] * teacher).mean(axis=0) - first_moment(goal)
    overlaps, errors, losses = [np.zeros((p, k))], [np.zeros((p, k))], []
    firsts: list[Array] = []
    table: list[list[Array]] = []  # table[t][s] is D(t, s), (num, p, p), s < t
    normals = [_signed(generator.standard_normal((num // 4, p))) for _ in range(num_steps)]
    published = problem.scheme == "published"
    for t in range(num_steps):
        fields = history[t] + teacher @ overlaps[t].T
        error = chosen.value(fields) @ weights - truth
        losses.append(0.5 * float(np.mean(error**2)))
        slope = np.asarray(chosen.slope(fields), dtype=float) * weights
        first, second = slope * error[:, None], slope[:, :, None] * slope[:, None, :]
        if problem.activation != "relu" or (problem.delta_width > 0 and not published):
            bend = _bend(chosen, fields, problem.delta_width)
            second[:, np.arange(p), np.arange(p)] += bend * weights * error[:, None]
        firsts.append(first)
        table = table or [[]]
        lam = problem.ridge * np.eye(p) + problem.ratio * second.mean(axis=0)
        kernel = [problem.ratio * np.mean(d @ second if published else second @ d, axis=0) for d in table[t]]
        memory = sum((history[s] @ kernel[s].T for s in range(t)), np.zeros_like(first))
        since = t if published else 0
        drive = _drive(firsts[since:], normals[since : t + 1], problem.ratio)
        history.append(history[t] + problem.rate * (-first - history[t] @ lam.T + memory + drive))
        pull = first[:, :, None] * teacher[:, None, :]
        average = pull.mean(axis=0) + slope.mean(axis=0)[:, None] * excess[None, :]
        step = problem.ridge * overlaps[t] + problem.ratio * average
        overlaps.append(overlaps[t] - problem.rate * step)
        rest = pull + slope.mean(axis=0)[:, None] * (truth[:, None] * teacher)[:, None, :]
        spread = problem.rate * problem.ratio * rest.std(axis=0) / np.sqrt(num)
        errors.append(np.sqrt(errors[t] ** 2 + spread**2))
        table = [*table[: t + 1], _next_responses(table, kernel, second, lam, problem.rate, published)]
    fields = history[-1] + teacher @ overlaps[-1].T
    losses.append(0.5 * float(np.mean((chosen.value(fields) @ weights - truth) ** 2)))
    return MeanFieldPath(overlaps=np.array(overlaps), errors=np.array(errors), losses=np.array(losses))


def _signed(normals: Array) -> Array:
    """The drive's normals with the signs of the student's start."""
    return np.concatenate([normals, normals, -normals, -normals])


def _next_responses(
    table: list[list[Array]], kernel: list[Array], second: Array, lam: Array, rate: float, published: bool
) -> list[Array]:
    """D(t+1, s) for s <= t from all earlier ones; the newest starts at eta l''_t."""
    t = len(kernel)
    last = t - 1 if published else t
    moved = []
    for s in range(t):
        memory = sum((kernel[u] @ table[u][s] for u in range(s + 1, last)), np.zeros_like(second))
        moved.append(table[t][s] + rate * (-lam @ table[t][s] - second @ table[t][s] + memory))
    return [*moved, rate * (second @ np.ones_like(lam) if published else second)]


def _drive(firsts: list[Array], normals: list[Array], ratio: float) -> Array:
    """w_t with covariance alpha E[l'_t l'_s^T] against the earlier ones: last row block of the Cholesky factor."""
    num, p = firsts[-1].shape
    joint = np.concatenate(firsts, axis=1)
    covariance = ratio * (joint.T @ joint) / num
    factor = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(covariance.shape[0]))
    last = factor[-p:]
    return sum((normals[s] @ last[:, s * p : (s + 1) * p].T for s in range(len(firsts))), np.zeros((num, p)))


def _bend(chosen: Student, fields: Array, width: float) -> Array:
    """The second derivative of the activation: a central difference of its slope, or ReLU's delta, smeared."""
    if chosen.name == "relu":
        return np.exp(-0.5 * (fields / width) ** 2) / (width * np.sqrt(2.0 * np.pi))
    step = 1e-4
    return (chosen.slope(fields + step) - chosen.slope(fields - step)) / (2.0 * step)


def first_moment(goal: Target) -> Array:
    """E[y z] (k,) by quadrature for up to three directions, by 4e6 draws beyond."""
    if goal.num_directions <= 3:
        points, weights = product_rule(goal.num_directions)
        return (np.asarray(goal(points)) * weights) @ points
    points = np.random.default_rng(1).standard_normal((4_000_000, goal.num_directions))
    return np.asarray(goal(points)) @ points / points.shape[0]
