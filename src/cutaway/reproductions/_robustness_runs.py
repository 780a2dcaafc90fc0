"""One run of the delayed-robustness experiment: a small network trained long, measured at log-spaced steps.

`measured_run(...)` gives arrays by name, all with the measuring steps T in front:

    steps (T,), loss (T,), weight_norm (T,)
    clean_train, clean_test (T, n) bool: right without attack
    pgd_train, pgd_test (T, radii, n) bool: right and not broken by PGD;   noise_test (T, radii, n)
    crossed_SET (T, lc_radii, points): neurons that change sign, the published estimate
    within_SET (T, lc_radii, points): neurons whose boundary lies within the radius, exact for dense networks, from
        random directions for others     SET: train, test, random

    strong_test (2, radii, n) bool: the trained network under APGD and under Square, without T

The numbers come from `local_complexity` (frame fixed over the run, drawn under a seed of its own), `dense_norms` and
the PGD attack, all in float32, the training's type. Random points are uniform in the unit cube.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset, load
from cutaway.geometry.dense_norms import dense_layers, dense_norms
from cutaway.geometry.local_complexity import frame, local_complexity
from cutaway.geometry.near_neurons import neurons_within
from cutaway.network import Network
from cutaway.reading.store import atomic
from cutaway.robustness.attacks import APGD, PGD, Noise, Square
from cutaway.training.fit import write_state
from cutaway.training.loop import Settings, State, train
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
    batch: int = 200
    test: int = 2000
    attacked: int = 300
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
    """Train and measure, or read the run back from `folder` where it was finished before with the same plan. A run that
    was kept and differs in nothing but fewer steps is gone on with, which gives the same as training anew."""
    file = None if folder is None else folder / f"{plan.name}.npz"
    start, earlier = None, None
    if file is not None and file.exists():
        with np.load(file) as archive:
            kept = {name: archive[name] for name in archive.files if name != "plan"}
            if str(archive["plan"]) == repr(plan):
                return kept
            if str(archive["plan"]) == repr(replace(plan, steps=int(kept["steps"][-1]))):
                start, earlier = _read_state(file.with_suffix(".pt")), kept
    usable = start is not None and earlier is not None and start.step < plan.steps
    found, state = _run(plan, progress, *((start, earlier) if usable else (None, None)))
    if file is not None:
        write_state(state, file.with_suffix(".pt"))
        with atomic(file) as temporary, open(temporary, "wb") as target:
            np.savez_compressed(target, plan=np.array(repr(plan)), **found)  # pyright: ignore[reportArgumentType]
    return found


def _run(
    plan: Plan, progress: Callable[[str], None], start: State | None, earlier: dict[str, np.ndarray] | None
) -> tuple[dict[str, np.ndarray], State]:
    options = dict(VARIANTS[plan.variant])
    decay = float(options.pop("weight_decay", 0.01))
    data = load(plan.data, split="train", num=plan.samples, seed=plan.seed)
    probe = _Probe(plan, data, load(plan.data, split="test", num=plan.test, seed=0), progress)
    if earlier is not None:  # its last step may be no mark of the longer plan
        keep = np.isin(earlier["steps"], plan.measuring_steps())
        probe.found = {k: list(v[keep]) for k, v in earlier.items() if k != "strong_test"}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan.seed)
        make = {"mlp": mlp, "cnn": cnn}[plan.network]
        model = make(data.input_shape, 10, width=plan.width, depth=plan.depth, **options)
    settings = Settings(
        steps=plan.steps, batch=plan.batch, optimiser="adamw", learning_rate=1e-3, weight_decay=decay, loss="mse",
        seed=plan.seed,
    )  # fmt: skip
    trained = train(model, data, settings, tracker=probe, start=start)  # pyright: ignore[reportArgumentType]
    found = {name: np.array(values) for name, values in probe.found.items()}
    return found | {"strong_test": probe.stronger(model)}, trained.state


def _read_state(path: Path) -> State | None:
    if not path.exists():
        return None
    content = torch.load(path, weights_only=True)
    return State(**{name: content[name] for name in ("step", "model", "optimiser", "adversary")})


class _Probe:
    """Stands where a tracker stands; measures at the plan's steps and keeps what every sample gave."""

    def __init__(self, plan: Plan, data: Dataset, test: Dataset, progress: Callable[[str], None]) -> None:
        self.plan, self.progress, self.data, self.test = plan, progress, data, test
        self.marks = set(plan.measuring_steps())
        self.found: dict[str, list[np.ndarray | float]] = {}
        self.attacked = {"train": data.take(min(plan.attacked, len(data))), "test": test.take(plan.attacked)}
        generator = torch.Generator().manual_seed(1_000_003)
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
            broken = [a.attack(network, part, seed=1, batch=len(part)).success.numpy() for a in attacks]
            now[f"pgd_{name}"] = clean & ~np.array(broken)
        noise = [Noise(radius=r).attack(network, self.attacked["test"], seed=2, batch=500) for r in plan.radii]
        now["noise_test"] = np.array([~n.success.numpy() for n in noise])
        layers = dense_layers(model)
        for name, points in self.points.items():
            counts = [
                local_complexity(network, points, self.directions, r, sites, rows=2000).sum(dim=1).numpy()
                for r in plan.lc_radii
            ]
            now[f"crossed_{name}"] = np.array(counts, dtype=np.float32)
            if layers is not None:
                heights, norms = dense_norms(layers, points)
                near = [(heights.abs() < r * norms).sum(dim=1).numpy() for r in plan.lc_radii]
            else:
                generator = torch.Generator().manual_seed(1_000_003)
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

    def stronger(self, model: nn.Module) -> np.ndarray:
        """The trained network under APGD (50 steps, DLR) and Square (500 queries, no gradients): if these broke much
        more than PGD did, PGD's late robustness would be hidden gradients. Shape (2, radii, n)."""
        network, part = Network(model.eval(), self.test.inputs[:2], probe=False), self.attacked["test"]
        clean, found = _right(model, part), []
        for make in (lambda r: APGD(radius=r, steps=50, loss="dlr"), lambda r: Square(radius=r, steps=500)):
            attacks = [make(r).attack(network, part, seed=3, batch=len(part)) for r in self.plan.radii]
            found.append([clean & ~a.success.numpy() for a in attacks])
        return np.array(found)


@torch.no_grad()
def _right(model: nn.Module, data: Dataset) -> np.ndarray:
    assert data.labels is not None
    return (model(data.inputs).argmax(dim=1) == data.labels).numpy()


def jobs(folder: Path, plans: list[Plan], progress: Callable[[str], None] = print) -> None:
    """Run all plans one after the other, each kept in `folder` as it ends."""
    os.makedirs(folder, exist_ok=True)
    for plan in plans:
        measured_run(plan, folder, progress)
