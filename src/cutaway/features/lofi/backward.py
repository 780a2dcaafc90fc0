"""Backward coupling: let what the next layer can use choose part of a layer's directions (BackLoFi, Algorithm 2).

For a finite stack with one real label column, boundary l | l+1, from the top down: with g = sigma'(pre-activation of
lift l+1) / sqrt(P),

    A = E[y g z_l^T],   A ~ U S V^T to rank r,

the r least important directions of layer l become V, the lift rows that read them become proportional to U, the new
coordinates are rescaled to `strength` times the mean forward root mean square, and, where layer l+1 is reduced as well,
its r last directions become E[z_{l+1} (y s)^T] with effective labels y s, s = U^T g. Only the ridge is refitted.
Source: companion code of "Neural LoFi with Backward Coupling". The step
is fragile (published runs jump from 7 % to 48 % error on a late pass), so `guarded_passes` keeps a pass only if it
lowers the held-out loss, and stops at the first that does not. One pass: two sweeps over the data and a P x P
singular problem a boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cutaway.arrays import Array
from cutaway.features.lofi.activations import torch_activation
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.layer import input_scale
from cutaway.features.lofi.moments import blocks, readout_sums, rows_within
from cutaway.features.lofi.primal_path import PrimalLayer, PrimalModel
from cutaway.features.lofi.random_lift import RandomLift
from cutaway.features.lofi.readout import primal_readout


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardSettings:
    """`rank_share` r / K in (0, 1), `strength` beta of the new coordinates, `passes` tried at most."""

    rank_share: float = 0.2
    strength: float = 0.25
    passes: int = 2


def guarded_passes(
    model: PrimalModel,
    inputs: Array,
    label: Array,
    targets: Array,
    alpha: float,
    settings: BackwardSettings,
    loss: Callable[[PrimalModel], float],
) -> tuple[PrimalModel, int, list[float]]:
    """Apply passes while the held-out `loss` falls; returns the model, the passes kept and the losses seen."""
    losses = [loss(model)]
    for done in range(settings.passes):
        candidate = backward_pass(model, inputs, label, targets, alpha, settings)
        losses.append(loss(candidate))
        if losses[-1] >= min(losses[:-1]):
            return model, done, losses
        model = candidate
    return model, settings.passes, losses


def backward_pass(
    model: PrimalModel, inputs: Array, label: Array, targets: Array, alpha: float, settings: BackwardSettings
) -> PrimalModel:
    """One top-down sweep over all boundaries, then a new ridge readout. `label` (n,), `targets` (n, 1)."""
    if not all(isinstance(layer.lift, RandomLift) for layer in (*model.layers, model.readout)):
        raise EstimatorInputError(
            "backward coupling",
            found=f"mode {model.settings.kind!r}",
            expected="mode 'finite'",
            remedy="fit with mode='finite', or without the coupling",
        )
    layers = list(model.layers)
    lifts = [layer.lift for layer in layers] + [model.readout.lift]
    for below in range(len(layers) - 1, -1, -1):
        points = _forward(layers[:below], inputs, model)
        layers[below], lifts[below + 1], following = _couple(
            layers[below],
            lifts[below + 1],
            layers[below + 1] if below + 1 < len(layers) else None,
            points,
            label,
            model,
            settings,
        )
        if following is not None:
            layers[below + 1] = following
    points = _forward(layers, inputs, model)
    top = lifts[-1]
    assert isinstance(top, RandomLift)
    top = replace(top, scale=input_scale(points))
    rows = rows_within(top.width, model.settings.budget)
    sums = readout_sums(points, top, targets, top.width, rows, model.settings.device)
    num, average = targets.shape[0], targets.mean(axis=0)
    centred = sums.second - num * np.outer(sums.mean, sums.mean)
    right = sums.cross - num * np.outer(sums.mean, average)
    weights, intercept = primal_readout(centred, right, sums.mean, average, alpha)
    return replace(model, layers=tuple(layers), readout=PrimalLayer(lift=top, matrix=weights), intercept=intercept)


def _forward(layers: list[PrimalLayer], points: Array, model: PrimalModel) -> Array:
    for layer in layers:
        points = layer.forward(points, rows_within(layer.lift.width, model.settings.budget), model.settings.device)
    return points


def _couple(
    layer: PrimalLayer,
    upper: object,
    following: PrimalLayer | None,
    points: Array,
    label: Array,
    model: PrimalModel,
    settings: BackwardSettings,
) -> tuple[PrimalLayer, RandomLift, PrimalLayer | None]:
    lower = layer.lift
    assert isinstance(lower, RandomLift) and isinstance(upper, RandomLift)
    rank = max(1, round(settings.rank_share * layer.matrix.shape[1]))
    rows, device = rows_within(lower.width, model.settings.budget), model.settings.device
    matrix = torch.from_numpy(layer.matrix).to(device)
    coupling = torch.zeros(upper.width, lower.width, dtype=torch.float64, device=device)
    power = torch.zeros(matrix.shape[1], dtype=torch.float64, device=device)
    for index, block in blocks(points, rows, device):
        z = lower(block)
        hidden = z.to(matrix.dtype) @ matrix
        power += (hidden**2).sum(0)
        weight = torch.from_numpy(label[index]).to(z)
        coupling += ((weight[:, None] * slope(upper, hidden)).T @ z).double()
    left, _, right = torch.svd_lowrank(coupling, q=min(rank + 8, min(coupling.shape)), niter=4)
    left, right = left[:, :rank], right[:, :rank]
    fresh = right.clone()
    spread = torch.zeros(rank, dtype=torch.float64, device=device)
    for _, block in blocks(points, rows, device):
        spread += ((lower(block).double() @ fresh) ** 2).sum(0)
    forward_rms = (power / points.shape[0]).sqrt().mean()
    fresh *= settings.strength * forward_rms / (spread / points.shape[0]).sqrt().clamp_min(1e-12)
    kept = torch.cat([matrix[:, : matrix.shape[1] - rank], fresh], dim=1)
    layer = PrimalLayer(lift=lower, matrix=kept.cpu().numpy())
    weights = upper.weights.clone()
    weights[-rank:] = (left.T * upper.width**0.5).to(weights)
    moved = layer.forward(points, rows, device)
    lifted = replace(upper, weights=weights, scale=input_scale(moved))
    if following is None:
        return layer, lifted, None
    effective = torch.zeros(upper.width, rank, dtype=torch.float64, device=device)
    for index, block in blocks(moved, rows, device):
        signal = slope(lifted, block) @ left.to(lifted.weights)
        weight = torch.from_numpy(label[index]).to(signal)
        effective += (lifted(block).T @ (weight[:, None] * signal)).double()
    effective /= effective.norm(dim=0).clamp_min(1e-12)
    above = following.matrix.copy()
    above[:, -min(rank, above.shape[1]) :] = effective[:, : above.shape[1]].cpu().numpy()
    return layer, lifted, PrimalLayer(lift=lifted, matrix=above)


def slope(lift: RandomLift, inputs: torch.Tensor) -> torch.Tensor:
    """g = sigma'(W^T h / c) / sqrt(P), shape (b, P), by differentiating the activation itself."""
    with torch.enable_grad():
        hidden = ((inputs / lift.scale).to(lift.weights.dtype) @ lift.weights).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(torch_activation(lift.activation)(hidden).sum(), hidden)
    return gradient / lift.width**0.5
