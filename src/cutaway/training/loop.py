"""The training loop behind `cutaway fit` and the reproductions: tensors in memory, fused optimisers, no global
randomness.

Everything random is a function of (seed, step): the order of the examples (each epoch a permutation of its own, the
last batch of an epoch may be smaller; a last single row joins the batch before it where batch norm cannot take it
alone), the generator handed to adversaries and terms, and torch's global streams while the loop runs (for dropout;
they are put back afterwards). A run that is cut and resumed from a `State` therefore ends with the same bits. The
loss is the mean over the batch of cross-entropy (nat), of the squared error to one-hot targets averaged over the
classes, or of the cross-entropy of the next token for token sets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cutaway import seeds
from cutaway.engines.threads import threads_for
from cutaway.errors import InputError, WorkError
from cutaway.network import first_tensor
from cutaway.network.flops import forward_flops
from cutaway.training.rates import SCHEDULES, learning_rate
from cutaway.training.scores import TASK_LOSSES, Score, score_model, task_loss
from cutaway.training.steepest import STEEPEST, SteepestDescent

if TYPE_CHECKING:
    from cutaway.data import Dataset
from cutaway.training.batches import in_memory, smallest_batch, step_batches

OPTIMISERS = ("adamw", "adam", "sgd", *STEEPEST)


class Watcher(Protocol):
    """What a training tells its steps to: a `Tracker`, or anything with its `step`."""

    def step(self, model: nn.Module, step: int, **told: Any) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train.

    steps: optimisation steps. batch_size: examples a step. momentum: of sgd (0.9 as a rule; Nesterov's if `nesterov`),
    the first beta of Adam stays 0.9. weight_decay: decoupled for adamw, added to the gradient for the others. loss:
    cross-entropy, mse (one-hot targets) or next-token. schedule, warmup, milestones, decay: see `rates.learning_rate`.
    clip: largest l2 norm of the gradient, None for none. order: which shuffling of the examples, everything else the
    same. on_nan: "stop" raises at the first loss that is not finite,
    "mark" goes on. dtype: float32 or float64; device: any that torch knows.
    Raises `InputError` for values outside these.
    """

    steps: int
    batch_size: int = 128
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    loss: str = "cross-entropy"
    schedule: str = "constant"
    warmup: int = 0
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    clip: float | None = None
    order: int = 0
    on_nan: str = "stop"
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "optimiser": OPTIMISERS,
            "loss": TASK_LOSSES,
            "schedule": SCHEDULES,
            "on_nan": ("stop", "mark"),
            "dtype": ("float32", "float64"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} of the training",
                    found=repr(getattr(self, name)),
                    expected=", ".join(allowed),
                    remedy="give one of these",
                )
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of the training",
                    found=str(getattr(self, name)),
                    expected="at least 1",
                    remedy="give a whole number of at least 1",
                )
        for name in ("learning_rate", "weight_decay", "momentum", "warmup", "decay", "order"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(
                    f"{name} of the training",
                    found=str(value),
                    expected="a finite number >= 0",
                    remedy="give a number in this range",
                )
        if self.clip is not None and not self.clip > 0:
            raise InputError(
                "clip of the training",
                found=str(self.clip),
                expected="a number above 0, or none",
                remedy="give such a number, or none",
            )

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`, counted from 0."""
        return learning_rate(
            step,
            steps=self.steps,
            peak=self.learning_rate,
            schedule=self.schedule,
            warmup=self.warmup,
            milestones=self.milestones,
            decay=self.decay,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A summand of the loss: weight x function(model, inputs, labels).

    weight: a number, or a function of the step (0 is the first update). needs: any of "step" (int) and "generator" (a
    CPU `torch.Generator`, a function of seed and step), handed to the function by keyword. name: under which its
    value goes to the tracker. The function sees the batch as the network trains on it (after an adversary).
    """

    weight: float | Callable[[int], float]
    function: Callable[..., Tensor]
    name: str = "term"
    needs: tuple[str, ...] = ()


class Adversary(Protocol):
    """Turns a batch into the one to train on.

    May have `repeats` (int): how many steps in a row take the same batch (free adversarial training); `state()` and
    `restore(state)`, a dict of tensors and numbers that a checkpoint keeps; `update(model)`, called after backward and
    before the optimiser's step (free adversarial training reads the input's gradient there).
    """

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is needed to go on: steps done, weights and buffers, the optimiser's state, the adversary's."""

    step: int
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    adversary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What training gave: the model (in evaluation mode), the loss of every step of this call `(steps,)`, wall seconds,
    steps whose loss was not finite, the last state, and the score on `test` (None without one)."""

    model: nn.Module
    losses: np.ndarray
    seconds: float
    not_finite: tuple[int, ...]
    state: State
    score: Score | None


def train(
    model: nn.Module,
    data: Dataset,
    settings: TrainingSettings,
    *,
    test: Dataset | None = None,
    terms: Sequence[Term] = (),
    adversary: Adversary | None = None,
    tracker: Watcher | None = None,
    progress: Callable[[int, float], None] | None = None,
    keep: Callable[[int, Callable[[], State]], None] | None = None,
    start: State | None = None,
) -> Trained:
    """Train `model` in place on `data` and return it in evaluation mode, on `settings.device` and in `settings.dtype`:
    it is moved and recast before the first step, whatever it was (train a copy where that must not be).

    tracker: its `step` is called with the untrained network (step 0) and after every update. progress(step, loss) is
    called after every update; keep(step, take) as well, after the tracker, and `take()` gives the `State` to store
    (its tensors are the live ones). start: go on from a state. Raises `InputError` for data without labels and batches
    of one row under batch norm that needs two, and
    `WorkError` for a loss that is not finite when `settings.on_nan` is "stop". Cost: one forward and one backward
    pass a step, and what terms and adversary take.
    """
    kind = getattr(torch, settings.dtype)
    model.to(device=settings.device, dtype=kind)
    inputs, labels = in_memory(data, settings, kind)
    least = smallest_batch(model, inputs[:1], settings, len(inputs))
    optimiser = _optimiser(model, settings)
    first = _restore(start, model, optimiser, adversary)
    began, losses, bad = time.perf_counter(), np.full(settings.steps - first, np.nan), []
    with torch.random.fork_rng(), threads_for(forward_flops(model, inputs[: max(least, 1)])):
        if tracker is not None and first == 0:
            model.eval()
            tracker.step(model, 0)
        model.train()
        for step, rows in step_batches(len(inputs), settings, first, getattr(adversary, "repeats", 1), least=least):
            torch.default_generator.manual_seed(seeds.number(settings.seed, "training", "noise", step))
            there = rows.to(inputs.device)
            rate, scalars = settings.rate(step), {}
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = _update(model, inputs[there], labels[there], optimiser, settings, step, terms, adversary, scalars)
            losses[step - first] = loss
            if not math.isfinite(loss):
                bad.append(step + 1)
            if tracker is not None:
                tracker.step(model, step + 1, loss=loss, learning_rate=rate, examples=rows, **scalars)
            if not math.isfinite(loss) and settings.on_nan == "stop":
                raise WorkError(
                    f"training at step {step + 1}",
                    found=f"a loss of {loss}",
                    expected="a finite loss",
                    remedy="lower the learning rate, set clip, or give on_nan = 'mark' to go on all the same",
                )
            if progress is not None:
                progress(step + 1, loss)
            if keep is not None:
                keep(step + 1, lambda done=step + 1: _take(done, model, optimiser, adversary))
    model.eval()
    return Trained(
        model=model,
        losses=losses,
        seconds=time.perf_counter() - began,
        not_finite=tuple(bad),
        state=_take(settings.steps, model, optimiser, adversary),
        score=None if test is None else score_model(model, test, loss=settings.loss),
    )


def _update(model, inputs, labels, optimiser, settings, step, terms, adversary, scalars) -> float:
    """One optimisation step; fills `scalars` with the parts of the loss and gives the loss."""
    generator = None
    if adversary is not None or any("generator" in term.needs for term in terms):
        generator = seeds.generator(settings.seed, "training", "terms", step)
    if adversary is not None:
        assert generator is not None
        inputs = adversary(model, inputs, labels, generator)
        model.train()
    loss = task_loss(first_tensor(model(inputs)), inputs, labels, settings.loss)
    if terms:
        scalars["task_loss"] = float(loss.detach())
    for term in terms:
        given = {"step": step, "generator": generator}
        value = term.function(model, inputs, labels, **{name: given[name] for name in term.needs})
        scalars[term.name] = float(value.detach())
        loss = loss + (term.weight(step) if callable(term.weight) else term.weight) * value
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    update = getattr(adversary, "update", None)
    if update is not None:
        update(model)
    if settings.clip is not None:
        scalars["gradient_norm"] = float(nn.utils.clip_grad_norm_(model.parameters(), settings.clip))
    optimiser.step()
    return float(loss.detach())


def _optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    chosen = [p for p in model.parameters() if p.requires_grad]
    if not chosen:
        raise InputError(
            "the model",
            found="no parameter to train",
            expected="at least one with requires_grad",
            remedy="set requires_grad of the parameters to train",
        )
    if settings.optimiser in STEEPEST:
        norm, decay = STEEPEST[settings.optimiser], settings.weight_decay
        return SteepestDescent(chosen, settings.learning_rate, norm=norm, weight_decay=decay)
    shared: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimiser == "sgd":
        return torch.optim.SGD(chosen, momentum=settings.momentum, nesterov=settings.nesterov, **shared)
    return {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimiser](chosen, **shared)


def _restore(start: State | None, model: nn.Module, optimiser: torch.optim.Optimizer, adversary) -> int:
    if start is None:
        return 0
    model.load_state_dict(start.model)
    optimiser.load_state_dict(start.optimiser)
    if start.adversary and hasattr(adversary, "restore"):
        adversary.restore(start.adversary)
    return start.step


def _take(step: int, model: nn.Module, optimiser: torch.optim.Optimizer, adversary) -> State:
    kept = adversary.state() if hasattr(adversary, "state") else {}
    return State(step=step, model=model.state_dict(), optimiser=optimiser.state_dict(), adversary=kept)
