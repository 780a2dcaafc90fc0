"""Lazy to rich: when the test loss of a two-layer network falls long after its training loss (arXiv 2310.06110).

Network f = (alpha / N) sum_i phi(w_i.x), phi(h) = h + (eps/2) h^2, with its value at the start taken off; target
y = (beta.x)^2 / 2 with inputs of unit length on average. alpha makes training lazy (weights move by 1/alpha), eps is
how much of the target's degree the starting kernel holds. Full-batch gradient descent on the squared loss over
alpha^2, so that the lazy limit has one time scale. The constants (d, samples, width) are ours; the architecture is as
we recall the paper and is not confirmed against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from cutaway.arrays import Array
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyRichSetting:
    """`laziness` alpha > 0, `alignment` eps, sizes, `rate` of descent, number of steps, seed.

    Raises `InputError` for a laziness or a rate that is not above 0.
    """

    laziness: float
    alignment: float
    dimension: int = 50
    num_train: int = 300
    num_test: int = 1000
    width: int = 200
    rate: float = 100.0
    num_steps: int = 4000
    record: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.laziness <= 0 or self.rate <= 0:
            raise InputError(
                "laziness and rate",
                found=f"{self.laziness} and {self.rate}",
                expected="positive numbers",
                remedy="give numbers above 0",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyRichPath:
    """`steps` (T,), `train` and `test` losses relative to the start (T,), `movement` relative change of the weights,
    `delay` log10 of the ratio of the steps at which test and train loss fall to a tenth (inf if one never does).
    `delay_floor` is what the delay is at least: itself, or where the run ended before the test loss fell, that of its
    last step (-inf where not even the training loss fell)."""

    steps: Array
    train: Array
    test: Array
    movement: Array
    delay: float
    delay_floor: float


def train_lazy_rich(setting: LazyRichSetting) -> LazyRichPath:
    """One run. Raises `InputError` on divergence."""
    generator = torch.Generator().manual_seed(setting.seed)
    d, alpha, eps = setting.dimension, setting.laziness, setting.alignment

    def draw(num: int) -> torch.Tensor:
        return torch.randn(num, d, generator=generator, dtype=torch.float64) / math.sqrt(d)

    beta = torch.randn(d, generator=generator, dtype=torch.float64)
    beta = beta / beta.norm() * math.sqrt(d)
    train, test = draw(setting.num_train), draw(setting.num_test)
    goal, goal_test = 0.5 * (train @ beta) ** 2, 0.5 * (test @ beta) ** 2
    weights = torch.randn(setting.width, d, generator=generator, dtype=torch.float64)
    start = weights.clone()

    def output(inputs: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        hidden = inputs @ w.T
        return alpha * (hidden + 0.5 * eps * hidden**2).mean(dim=1)

    origin, origin_test = output(train, start), output(test, start)
    steps, losses, tests, moved = [], [], [], []
    for step in range(setting.num_steps + 1):
        hidden = train @ weights.T
        residual = alpha * (hidden + 0.5 * eps * hidden**2).mean(dim=1) - origin - goal
        if step % setting.record == 0:
            steps.append(step)
            losses.append(float((residual**2).mean()))
            tests.append(float(((output(test, weights) - origin_test - goal_test) ** 2).mean()))
            moved.append(float((weights - start).norm() / start.norm()))
            if not math.isfinite(losses[-1]) or losses[-1] > 1e6:
                raise InputError(
                    "lazy-to-rich training",
                    found=f"divergence at step {step}",
                    expected="a falling loss",
                    remedy="lower the rate",
                )
        slope = (1.0 + eps * hidden) * residual[:, None]
        weights = weights - setting.rate / alpha * (slope.T @ train) / (setting.num_train * setting.width)
    train_loss, test_loss = np.array(losses) / losses[0], np.array(tests) / tests[0]
    first, last = _reach(steps, train_loss), _reach(steps, test_loss)
    delay = math.log10(last / first) if math.isfinite(last) and math.isfinite(first) else math.inf
    floor = delay if math.isfinite(delay) else math.log10(steps[-1] / first) if math.isfinite(first) else -math.inf
    return LazyRichPath(
        steps=np.array(steps),
        train=train_loss,
        test=test_loss,
        movement=np.array(moved),
        delay=delay,
        delay_floor=floor,
    )


def _reach(steps: list[int], loss: Array, level: float = 0.1) -> float:
    below = np.flatnonzero(loss <= level)
    return float(max(steps[int(below[0])], 1)) if below.size else math.inf
