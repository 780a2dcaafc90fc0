"""Simulated training of two-layer networks on Gaussian or given inputs, many seeds at once as one batch of matrices.

Student f = (1/p) sum_j a_j s(w_j.x) with rows of unit length at the start, target directions the first k coordinates,
inputs standard normal, loss (y - f)^2 / 2. Papers with rows of length sqrt d and field w.x / sqrt d use the step
gamma / d here. With c_j = (a_j / p) s'(w_j.x) (y - f) a sample's minus-gradient is c_j x, and one step of a batch is
w_j += rate * mean c_j x, where for each `method`

- "sgd": as it stands;  "correlation": y in the place of y - f;
- "repetition": c is taken at weights displaced, sample by sample, by rho c x (rho > 0 extragradient, rho < 0
  sharpness-aware; arXiv 2405.15459): only the pre-activation moves, by rho c |x|^2;
- "two-steps": the same batch twice;  "reuse": full-batch steps on one fixed batch.

A seed's draws depend on the seed alone, so that 64 seeds at once equal 64 runs up to rounding. Cost a step: 4 S b p d
flops and S b d normal draws; nothing else is kept than the weights and one block of draws. Seeds run in groups whose
draws fit in `budget` bytes, which changes nothing, as seeds are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cutaway.arrays import Array
from cutaway.dynamics.student import Student, student
from cutaway.dynamics.targets import Target, target
from cutaway.errors import InputError
from cutaway.network.sources import usable_device
from cutaway.seeds import check_seed
from cutaway.seeds import generator as stream

METHODS = ("sgd", "correlation", "repetition", "two-steps", "reuse")
BLOCK = 65_536  # normal draws a seed makes at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What is trained, on what, how, and how often it is looked at.

    `start`: "random" on the sphere, "orthogonal" to the target directions, or a number m: every neuron starts with that
    overlap with the first direction. `second_layer` a (p,), or "gaussian"/"signs" to draw it for each seed from
    `width` neurons. `inputs` (n, d), when given, takes the place of Gaussian draws: every step takes `batch_size` rows
    at random (method reuse: one such draw, without repeats, for all steps); target directions are the first columns.
    Raises `InputError` for values outside these.
    """

    link: str | Callable[[Any], Any] | Target
    activation: str
    dimension: int
    rate: float
    num_steps: int
    second_layer: tuple[float, ...] | str = (1.0,)
    width: int = 1
    num_directions: int = 1
    method: str = "sgd"
    batch_size: int = 1
    displacement: float = 0.0
    label_noise: float = 0.0
    spherical: bool = False
    start: str | float = "random"
    record: int = 1
    num_seeds: int = 8
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    budget: int = 1_000_000_000
    inputs: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        student(self.activation)
        check_seed(self.seed)
        if self.method not in METHODS:
            raise InputError(
                "method", found=repr(self.method), expected=f"one of {', '.join(METHODS)}", remedy="give one of these"
            )
        for name in ("dimension", "num_steps", "batch_size", "record", "num_seeds"):
            if getattr(self, name) < 1:
                raise InputError(
                    name,
                    found=str(getattr(self, name)),
                    expected="at least 1",
                    remedy="give a whole number of at least 1",
                )
        if self.num_neurons < 1:
            raise InputError(
                "neurons",
                found=str(self.num_neurons),
                expected="at least 1",
                remedy="give a whole number of at least 1",
            )
        if self.dtype not in ("float32", "float64"):
            raise InputError(
                "dtype", found=repr(self.dtype), expected="float32 or float64", remedy="give one of the two"
            )
        if not self.label_noise >= 0:
            raise InputError(
                "label_noise",
                found=str(self.label_noise),
                expected="a variance of at least 0",
                remedy="give a number of at least 0",
            )
        if isinstance(self.start, str) and self.start not in ("random", "orthogonal"):
            raise InputError(
                "start",
                found=repr(self.start),
                expected="'random', 'orthogonal' or an overlap in [-1, 1]",
                remedy="give one of these",
            )
        usable_device(self.device)
        directions = self.target.num_directions
        if directions >= self.dimension:
            raise InputError(
                "dimension",
                found=f"{self.dimension} for {directions} directions",
                expected="more than the directions",
                remedy="give a larger dimension",
            )

        if self.inputs is not None:
            _check_inputs(np.asarray(self.inputs), self.dimension, self.batch_size)

    @property
    def target(self) -> Target:
        return target(self.link, self.num_directions)

    @property
    def num_neurons(self) -> int:
        return self.width if isinstance(self.second_layer, str) else len(self.second_layer)


def _check_inputs(inputs: Array, dimension: int, batch_size: int) -> None:
    if inputs.ndim != 2 or inputs.shape[1] != dimension or not np.isfinite(inputs).all():
        found = f"shape {inputs.shape}" if inputs.ndim != 2 or inputs.shape[1] != dimension else "NaN or infinity"
        raise InputError(
            "inputs",
            found=found,
            expected=f"finite numbers of shape (n, {dimension})",
            remedy="give inputs of this dimension, without NaN",
        )
    if batch_size > len(inputs):
        raise InputError(
            "batch_size",
            found=f"{batch_size} for {len(inputs)} rows of inputs",
            expected="at most the rows",
            remedy="lower the batch",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPath:
    """`steps` (T,), `overlaps` (T, S, p, k) with the target directions, `self_overlaps` (T, S, p, p)."""

    steps: Array
    overlaps: Array
    self_overlaps: Array

    @property
    def cosines(self) -> Array:
        """Overlaps divided by the weights' lengths, (T, S, p, k), in [-1, 1]."""
        length = np.sqrt(np.einsum("tspp->tsp", self.self_overlaps))
        return self.overlaps / np.maximum(length, 1e-30)[..., None]

    @property
    def captured(self) -> Array:
        """Length of each target direction's projection on the span of the weights, (T, S, k), in [0, 1]."""
        inverse = np.linalg.pinv(self.self_overlaps, rcond=1e-6, hermitian=True)
        return np.sqrt(np.clip(np.einsum("tspk,tspq,tsqk->tsk", self.overlaps, inverse, self.overlaps), 0.0, 1.0))


def simulate(setting: Simulation) -> SimulatedPath:
    """Train all seeds. Raises `InputError` when the weights diverge, naming the step and the seeds."""
    share = max(BLOCK, setting.batch_size * setting.dimension) * (8 if setting.dtype == "float64" else 4) * 3
    group = int(max(1, setting.budget // share))
    parts = [
        _simulate(setting, range(first, min(first + group, setting.num_seeds)))
        for first in range(0, setting.num_seeds, group)
    ]
    if len(parts) == 1:
        return parts[0]
    return SimulatedPath(
        steps=parts[0].steps,
        overlaps=np.concatenate([part.overlaps for part in parts], axis=1),
        self_overlaps=np.concatenate([part.self_overlaps for part in parts], axis=1),
    )


def _simulate(setting: Simulation, seeds: range) -> SimulatedPath:
    goal, chosen = setting.target, student(setting.activation)
    generators = [stream(setting.seed, "simulation", i) for i in seeds]
    dtype = {"float32": torch.float32, "float64": torch.float64}[setting.dtype]
    weights = torch.stack([_start(setting, goal, g) for g in generators]).to(setting.device, dtype)
    second = torch.stack([_second_layer(setting, g) for g in generators]).to(setting.device, dtype)[:, None, :]
    step_of = _stepper(setting, chosen)
    steps, overlaps, selves = [], [], []

    def look(step: int) -> None:
        exact = weights.double()
        if not bool(torch.isfinite(exact).all()):
            lost = (~torch.isfinite(exact)).flatten(1).any(1).nonzero().ravel().tolist()
            raise InputError(
                "simulation",
                found=f"divergence by step {step} of seeds {[seeds[i] for i in lost[:5]]}",
                expected="finite weights",
                remedy="lower the rate",
            )
        steps.append(step)
        overlaps.append(exact[..., : goal.num_directions].cpu().numpy().copy())
        selves.append((exact @ exact.transpose(-1, -2)).cpu().numpy())

    look(0)
    for step, inputs, labels in _stream(setting, goal, generators, dtype):
        weights = step_of(weights, second, inputs, labels)
        if (step + 1) % setting.record == 0 or step + 1 == setting.num_steps:
            look(step + 1)
    return SimulatedPath(steps=np.array(steps), overlaps=np.stack(overlaps), self_overlaps=np.stack(selves))


def _stepper(setting: Simulation, chosen: Student) -> Callable[..., torch.Tensor]:
    """The update of weights (S, p, d), in place, by one batch (S, b, d): the same code for one seed and for many."""
    num, rate, rho = setting.num_neurons, setting.rate, setting.displacement
    correlation = setting.method == "correlation"

    def pull(hidden: torch.Tensor, second: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        error = labels[..., None]
        if not correlation:
            error = error - (chosen.value(hidden) * second).sum(-1, keepdim=True) / num
        return second * chosen.slope(hidden) * error / num

    def once(weights: torch.Tensor, second: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = inputs @ weights.transpose(-1, -2)
        change = pull(hidden, second, labels)
        if setting.method == "repetition":
            change = pull(hidden + rho * change * inputs.square().sum(-1, keepdim=True), second, labels)
        return weights.baddbmm_(change.transpose(-1, -2), inputs, alpha=rate / inputs.shape[-2])  # one pass, in place

    def step(weights: torch.Tensor, second: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        for _ in range(2 if setting.method == "two-steps" else 1):
            weights = once(weights, second, inputs, labels)
            if setting.spherical:
                weights /= weights.norm(dim=-1, keepdim=True)
        return weights

    return step


def _stream(setting: Simulation, goal: Target, generators: list[torch.Generator], dtype: torch.dtype):
    """(step, inputs (S, b, d), labels (S, b)) for every step; draws are made a block of steps at a time."""
    size, dim = setting.batch_size, setting.dimension
    given = None if setting.inputs is None else torch.from_numpy(np.asarray(setting.inputs)).to(dtype)
    if setting.method == "reuse":
        if given is None:
            inputs = torch.stack([torch.randn(size, dim, generator=g, dtype=dtype) for g in generators])
        else:
            inputs = torch.stack([given[torch.randperm(len(given), generator=g)[:size]] for g in generators])
        labels = _labels(setting, goal, inputs, generators).to(setting.device)
        inputs = inputs.to(setting.device)
        for step in range(setting.num_steps):
            yield step, inputs, labels
        return
    block = max(1, BLOCK // (size * dim))  # steps drawn together; fixed, as torch's normals depend on the request
    store = torch.empty(len(generators), block, size, dim, dtype=dtype)
    for first in range(0, setting.num_steps, block):
        for row, generator in enumerate(generators):
            if given is None:
                torch.randn(store[row].shape, generator=generator, out=store[row])
            else:
                store[row] = given[torch.randint(len(given), store.shape[1:3], generator=generator)]
        labels = _labels(setting, goal, store, generators).transpose(0, 1).to(setting.device)
        inputs = store.transpose(0, 1).to(setting.device)
        for offset in range(min(block, setting.num_steps - first)):
            yield first + offset, inputs[offset], labels[offset]


def _labels(setting: Simulation, goal: Target, inputs: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
    fields = inputs[..., : goal.num_directions]
    try:
        values = goal(fields)
    except (TypeError, AttributeError):  # a link written for numpy
        values = torch.from_numpy(np.asarray(goal(fields.double().numpy())))
    values = torch.as_tensor(values).to(inputs.dtype)
    if setting.label_noise:
        noise = [torch.randn(values[0].shape, generator=g, dtype=inputs.dtype) for g in generators]
        values = values + math.sqrt(setting.label_noise) * torch.stack(noise)
    return values


def _start(setting: Simulation, goal: Target, generator: torch.Generator) -> torch.Tensor:
    weights = torch.randn(setting.num_neurons, setting.dimension, generator=generator, dtype=torch.float64)
    k = goal.num_directions
    if setting.start == "random":
        return weights / weights.norm(dim=1, keepdim=True)
    weights[:, :k] = 0.0
    weights = weights / weights.norm(dim=1, keepdim=True)
    if setting.start == "orthogonal":
        return weights
    overlap = float(setting.start)
    if not -1.0 <= overlap <= 1.0:
        raise InputError(
            "start",
            found=str(overlap),
            expected="'random', 'orthogonal' or an overlap in [-1, 1]",
            remedy="give one of these",
        )
    weights = weights * math.sqrt(1.0 - overlap**2)
    weights[:, 0] = overlap
    return weights


def _second_layer(setting: Simulation, generator: torch.Generator) -> torch.Tensor:
    if not isinstance(setting.second_layer, str):
        return torch.tensor(setting.second_layer, dtype=torch.float64)
    draw = torch.randn(setting.width, generator=generator, dtype=torch.float64)
    if setting.second_layer == "gaussian":
        return draw
    if setting.second_layer == "signs":
        return torch.where(draw > 0, 1.0, -1.0).double()
    raise InputError(
        "second_layer",
        found=repr(setting.second_layer),
        expected="numbers, 'gaussian' or 'signs'",
        remedy="give one of these",
    )
