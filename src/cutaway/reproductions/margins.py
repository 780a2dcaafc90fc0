"""Which margin each steepest descent grows: a homogeneous two-layer network on the digits 3 and 8, four norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.curvature.norm_margins import NORMS, NormMargins, margins
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.network.scaling import homogeneity
from cutaway.reproductions.row import Row
from cutaway.training.steepest import SteepestDescent

SOURCE = "arXiv 2410.22069"
TITLE = "Flavors of margin: which margin each steepest descent grows"

STEP = {"l2": 0.002, "linf": 0.0003, "l1": 0.001, "spectral": 0.002}
"""First step over the weights' size in the norm."""
STEPS = {"l2": 3000, "linf": 6000, "l1": 6000, "spectral": 1500}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Path:
    """found: margins at the end. fall: the largest relative fall of the own norm's soft margin from one step to the
    next, once the rows are separated. peak, last: own margin's highest and last value over the steps looked at."""

    found: NormMargins
    fall: float
    peak: float
    last: float


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """One training a norm, and one with sign steps of one size. Full: four times as many steps
    of a quarter of the size (nearer to the descent without steps, which the theory is of), three seeds."""
    rows = [row for k in range(1 if short else 3) for row in margins_table(1 if short else 4, seed + k, progress)]
    return rows


def three_or_eight() -> tuple[Tensor, Tensor]:
    """Inputs (n, 64) float64 and labels (n,), 1 for an eight."""
    from cutaway.data import load_data

    data = load_data("digits", split="train")
    assert data.labels is not None
    chosen = (data.labels == 3) | (data.labels == 8)
    return data.inputs[chosen].flatten(1).double(), (data.labels[chosen] == 8).long()


def _network_of(seed: int, width: int = 64) -> nn.Sequential:
    """64-width-1 with leaky ReLUs and no biases, float64."""
    generator = torch.Generator().manual_seed(seed)
    first, last = nn.Linear(64, width, bias=False), nn.Linear(width, 1, bias=False)
    model = nn.Sequential(first, nn.LeakyReLU(0.1), last).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return model


def descended(
    norm: str, inputs: Tensor, labels: Tensor, *, step: float, steps: int, seed: int, decayed: bool = True
) -> _Path:
    """Steepest descent in `norm` on log sum exp(-m) from `_network_of(seed)`; a step's size is `step` times that of the
    weights, along half a cosine to zero where `decayed`, else `step` throughout."""
    model = _network_of(seed)
    optimiser = SteepestDescent(model.parameters(), norm=norm, normalised=True)
    signs = 2 * labels.double() - 1
    before, fall, peak, last = math.nan, 0.0, -math.inf, math.nan
    for number in range(steps):
        found = model(inputs)[:, 0] * signs
        loss = torch.logsumexp(-found, dim=0)
        size = _size(norm, model)
        if loss.item() < 0:
            soft = -loss.item() / size**2
            fall = max(fall, (before - soft) / abs(before)) if before == before else fall
            before, last = soft, found.min().item() / size**2
            peak = max(peak, last)
        optimiser.param_groups[0]["lr"] = (
            step * size * (1 + math.cos(math.pi * number / steps)) / 2 if decayed else step
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    parameters = Parameters(Network(model, inputs[:2]), double=True)
    return _Path(found=margins(parameters, inputs, labels, 2), fall=fall, peak=peak, last=last)


def _size(norm: str, model: nn.Module) -> float:
    weights = [p.detach() for p in model.parameters()]
    if norm == "spectral":
        return max(float(torch.linalg.matrix_norm(w, 2)) for w in weights)
    flat = torch.cat([w.flatten() for w in weights])
    return float(torch.linalg.vector_norm(flat, {"l1": 1, "l2": 2, "linf": math.inf}[norm]))


def margins_table(times: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """One seed."""
    inputs, labels = three_or_eight()
    degree = homogeneity(Parameters(Network(_network_of(seed), inputs[:2])), inputs[:64]).degree
    paths = {}
    for norm in NORMS:
        plan = {"step": STEP[norm] / times, "steps": times * STEPS[norm], "seed": seed}
        path = paths[norm] = descended(norm, inputs, labels, **plan)
        words = ", ".join(f"{n} {path.found.hard[n]:.3g} ({path.found.residual[n]:.2f})" for n in NORMS)
        progress(f"seed {seed}, descent in {norm}: margins (residuals) {words}; largest fall {path.fall:.1e}")
    rows = [
        Row(
            quantity="degree of homogeneity of the network",
            paper=2,
            reference="theory",
            ours=str(degree),
            tolerance="equal",
            verdict="pass" if degree == 2 else "fail",
        )
    ]
    for norm in NORMS:
        margin = {by: path.found.hard[norm] for by, path in paths.items()}
        rival = max((by for by in NORMS if by != norm), key=lambda by: _or_low(margin[by]))
        best = _or_low(margin[norm]) > _or_low(margin[rival])
        rows.append(
            Row(
                quantity=f"margin in {norm}, by descent in {norm} and by the best other",
                paper="largest by its own descent",
                reference="published",
                ours=f"{margin[norm]:.3g}, {margin[rival]:.3g} ({rival})",
                tolerance="larger",
                verdict="pass" if best else "fail",
            )
        )
        residual = {by: path.found.residual[norm] for by, path in paths.items()}
        nearest = all(residual[norm] < v for k, v in residual.items() if k != norm)
        rows.append(
            Row(
                quantity=f"distance from stationarity in {norm}: descent in {norm} against the least of the others",
                paper="falls to 0 along its own descent",
                reference="published",
                ours=f"{residual[norm]:.3f}, {min(v for k, v in residual.items() if k != norm):.3f}",
                tolerance="far from converged: shown" if norm == "l1" else "smaller; 0 needs more steps than these",
                verdict="report" if norm == "l1" else "pass" if nearest else "fail",
            )
        )
        coordinates = norm == "l1"  # one coordinate a step: far from the flow of the theorem
        rows.append(
            Row(
                quantity=f"largest relative fall of the soft margin in {norm} in a step of descent in {norm}",
                paper="never falls, for small steps",
                reference="published",
                ours=paths[norm].fall,
                tolerance="steps are not small enough: shown" if coordinates else "at most 1e-9",
                verdict="report" if coordinates else "pass" if paths[norm].fall <= 1e-9 else "fail",
            )
        )
    fixed = descended("linf", inputs, labels, step=1e-3, steps=times * 3000, seed=seed, decayed=False)
    rows.append(
        Row(
            quantity="sign steps of one size: last margin in linf over its peak",
            ours=fixed.last / fixed.peak,
            tolerance="below 0.99: without decay it is lost again",
            verdict="pass" if fixed.last < 0.99 * fixed.peak else "fail",
        )
    )
    return rows


def _or_low(value: float) -> float:
    return value if value == value else -math.inf
