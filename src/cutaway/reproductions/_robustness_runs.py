"""One run of the delayed-robustness experiment: a small network trained long, measured at log-spaced steps.

`measured_run(...)` gives arrays by name, all with the measuring steps T in front:

    steps (T,), loss (T,), weight_norm (T,)
    clean_train, clean_test (T, n) bool: right without attack
    pgd_train, pgd_test (T, radii, n) bool: right and not broken by PGD;   noise_test (T, radii, n)
    crossed_SET (T, lc_radii, points): neurons that change sign, the published estimate
    within_SET (T, lc_radii, points): neurons whose boundary lies within the radius, exact for dense networks, from
        random directions for others     SET: train, test, random

    marks (4,): the steps looked at with all attacks: start and end of the clean plateau, peak of the count, last step
    judged_clean (4, m) bool, judged (4, attacks, radii, m) bool: right, and right and not broken by each of ATTACKS
    proved (4, len(PROOF_RADII), p) bool: proved right over the whole ball (dense networks)

The numbers come from `local_complexity` (frame fixed over the run, drawn under a seed of its own), `dense_norms` and
the PGD attack, all in float32, the training's type. Random points are uniform in the unit cube.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway import seeds
from cutaway.data import Dataset, load_data
from cutaway.data.arrays import opened_npz
from cutaway.files import atomic
from cutaway.geometry.near_neurons import frame, local_complexity, neurons_within
from cutaway.network import Network
from cutaway.reproductions._dense_norms import dense_layers, dense_norms
from cutaway.reproductions._robustness_marks import judged_marks, marks, proved
from cutaway.robustness.attacks import PGD, Noise
from cutaway.training.loop import TrainingSettings, train
from cutaway.training.models import cnn, mlp

VARIANTS = {
    "plain": {},
    "batch-norm": {"batch_norm": True},
    "no weight decay": {"weight_decay": 0.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run and how finely to look: sizes of the sets, attack radii (data units, l-infinity), radii of local
    complexity (l2, data units), steps and measurements a decade of steps."""

    data: str = "mnist"
    network: str = "mlp"
    variant: str = "plain"
    seed: int = 0
    steps: int = 100_000
    per_decade: int = 8
    samples: int = 1000
    width: int = 200
    depth: int = 4
    batch_size: int = 200
    test: int = 2000
    attacked: int = 300
    judged: int = 1000
    proofs: int = 200
    points: int = 128
    radii: tuple[float, ...] = (0.03, 0.06, 0.1, 0.2)
    lc_radii: tuple[float, ...] = (0.05, 0.5)
    directions: int = 25
    attack_steps: int = 10

    @property
    def name(self) -> str:
        return f"{self.data}-{self.variant.replace(' ', '-')}-{self.seed}"

    def measuring_steps(self) -> list[int]:
        """0, round(10^(k / per_decade)) up to the last step, and the last; runs of other lengths share their marks."""
        top = int(np.floor(self.per_decade * np.log10(self.steps)))
        marks = np.round(10 ** (np.arange(top + 1) / self.per_decade)).astype(int).tolist()
        return sorted({0, *marks, self.steps})


def measured_run(
    plan: Plan, folder: Path | None = None, progress: Callable[[str], None] = print
) -> dict[str, np.ndarray]:
    """Train and measure, or read the run back from `folder` where it was finished before with the same plan."""
    file = None if folder is None else folder / f"{plan.name}.npz"
    if file is not None and file.exists():
        with opened_npz(file) as archive:
            if str(archive["plan"]) == repr(plan):
                return {name: archive[name] for name in archive.files if name != "plan"}
    found = _run(plan, progress)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary, open(temporary, "wb") as target:
            arrays: dict[str, Any] = {"plan": np.array(repr(plan)), **found}
            np.savez_compressed(target, **arrays)
    return found


def _run(plan: Plan, progress: Callable[[str], None]) -> dict[str, np.ndarray]:
    options = dict(VARIANTS[plan.variant])
    decay = float(options.pop("weight_decay", 0.01))
    data = load_data(plan.data, split="train", num=plan.samples, seed=plan.seed)
    test = load_data(plan.data, split="test", num=plan.test, seed=0)
    probe = _Probe(plan, data, test, progress)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan.seed)
        make = {"mlp": mlp, "cnn": cnn}[plan.network]
        model = make(data.input_shape, 10, width=plan.width, depth=plan.depth, **options)
    settings = TrainingSettings(
        steps=plan.steps,
        batch_size=plan.batch_size,
        optimiser="adamw",
        learning_rate=1e-3,
        weight_decay=decay,
        loss="mse",
        seed=plan.seed,
    )
    train(model, data, settings, tracker=probe)
    found = {name: np.array(values) for name, values in probe.found.items()}
    found["marks"] = marks(found["steps"], found["clean_test"], found["crossed_train"][:, 0])
    at_step = {step: _at_mark(model, probe.states[step], plan, test, progress) for step in set(found["marks"].tolist())}
    at_marks = [at_step[step] for step in found["marks"].tolist()]
    return found | {name: np.array([each[name] for each in at_marks]) for name in at_marks[0]}


def _at_mark(model, state, plan: Plan, test: Dataset, progress) -> dict[str, np.ndarray]:
    """All attacks, and the proof, on the network of one step."""
    model.load_state_dict(state)
    model.eval()
    part = test.take(plan.judged)
    found = {"judged_clean": _right(model, part), "judged": judged_marks(model, part, plan.radii, progress)}
    return found | ({"proved": proved(model, test.take(plan.proofs))} if plan.network == "mlp" else {})


class _Probe:
    """Stands where a tracker stands; measures at the plan's steps and keeps what every sample gave."""

    def __init__(self, plan: Plan, data: Dataset, test: Dataset, progress: Callable[[str], None]) -> None:
        self.plan, self.progress, self.data, self.test = plan, progress, data, test
        self.marks = set(plan.measuring_steps())
        self.found: dict[str, list[np.ndarray | float]] = {}
        self.states: dict[int, dict[str, torch.Tensor]] = {}
        self.attacked = {"train": data.take(min(plan.attacked, len(data))), "test": test.take(plan.attacked)}
        generator = seeds.generator(0, "delayed robustness", "directions")
        self.directions = frame(data.inputs[0].numel(), plan.directions, generator)
        uniform = torch.rand((plan.points, *data.input_shape), generator=generator)
        self.points = {
            "train": data.take(min(plan.points, len(data))).inputs,
            "test": test.take(plan.points).inputs,
            "random": uniform,
        }

    def step(self, model: nn.Module, step: int, *, loss: float = float("nan"), **_: object) -> None:
        if step not in self.marks:
            return
        modes = [(module, module.training) for module in model.modules()]
        self.states[step] = copy.deepcopy(model.state_dict())
        model.eval()
        flags = [(p, p.requires_grad) for p in model.parameters()]
        for parameter, _flag in flags:
            parameter.requires_grad_(False)
        try:
            self._measure(model, step, loss)
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for module, mode in modes:
                module.training = mode

    def _measure(self, model: nn.Module, step: int, loss: float) -> None:
        plan, network = self.plan, Network(model, self.test.inputs[:2], probe=False)
        sites = network.select("activation")
        now: dict[str, np.ndarray | float] = {"steps": step, "loss": loss}
        now["weight_norm"] = float(torch.cat([p.detach().flatten() for p in model.parameters()]).norm())
        now["clean_train"], now["clean_test"] = (_right(model, d) for d in (self.data, self.test))
        for name, part in self.attacked.items():
            clean = _right(model, part)
            attacks = [PGD(radius=r, steps=plan.attack_steps) for r in plan.radii]
            broken = [a.attack(network, part, seed=1, batch_size=len(part)).success.numpy() for a in attacks]
            now[f"pgd_{name}"] = clean & ~np.array(broken)
        noise = [Noise(radius=r).attack(network, self.attacked["test"], seed=2, batch_size=500) for r in plan.radii]
        now["noise_test"] = np.array([~n.success.numpy() for n in noise])
        layers = dense_layers(model)
        for name, points in self.points.items():
            counts = [
                local_complexity(network, points, self.directions, r, sites, batch_size=2000).sum(dim=1).numpy()
                for r in plan.lc_radii
            ]
            now[f"crossed_{name}"] = np.array(counts, dtype=np.float32)
            if layers is not None:
                heights, norms = dense_norms(layers, points)
                near = [(heights.abs() < r * norms).sum(dim=1).numpy() for r in plan.lc_radii]
            else:
                generator = seeds.generator(0, "delayed robustness", "near neurons")
                near = [
                    neurons_within(network, points, r, sites, generator=generator).sum(dim=1).numpy()
                    for r in plan.lc_radii
                ]
            now[f"within_{name}"] = np.array(near, dtype=np.float32)
        for key, value in now.items():
            self.found.setdefault(key, []).append(value)
        self.progress(
            f"{plan.name} step {step}: test {np.mean(now['clean_test']):.3f}, PGD "
            + " ".join(f"{v:.2f}" for v in np.mean(now["pgd_test"], axis=1))
            + ", crossed "
            + " ".join(f"{np.mean(now[f'crossed_{s}'][0]):.2f}" for s in ("train", "test", "random"))  # pyright: ignore
        )


@torch.no_grad()
def _right(model: nn.Module, data: Dataset) -> np.ndarray:
    assert data.labels is not None
    return (model(data.inputs).argmax(dim=1) == data.labels).numpy()


def jobs(folder: Path, plans: list[Plan], progress: Callable[[str], None] = print) -> None:
    """Run all plans one after the other, each kept in `folder` as it ends."""
    os.makedirs(folder, exist_ok=True)
    for plan in plans:
        measured_run(plan, folder, progress)
