"""Certified training: interval bounds inside the loss, by the fast recipe, optionally mixed with adversarial points.

Shi et al., *Fast Certified Robust Training with Short Warmup* (arXiv 2103.17268): weights start at N(0, 2 pi / n^2) (n
= fan-in, all layers but the last), batch norm after every hidden affine layer, and while the radius grows from 0 to its
final value a regulariser lambda (1 - e/e_max) (L_tight + L_relu) keeps interval widths and the balance of active and
inactive neurons. On top: `sabr` bounds a small box around an adversarial point (Mueller et al., arXiv 2210.04871),
`mtl-ibp` mixes the losses (1 - kappa) adversarial + kappa IBP (De Palma et al., arXiv 2305.13991).

Differences: batch norm takes its statistics from the clean batch for both limits; the radius grows linearly after an
exponential quarter, as in the source, but the schedule counts steps, not epochs. The training bound is never the
result:
verify with `cutaway.robustness.certified_share`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway import seeds
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedTrainingSettings:
    """`radius` in the units of the inputs ([0, 1]); `seconds` stops early; `method`: ibp, sabr or mtl-ibp.

    Raises `InputError` for another method and a radius that is not above 0.
    """

    radius: float
    method: str = "ibp"
    epochs: int = 20
    warmup: float = 0.3
    batch_size: int = 256
    learning_rate: float = 5e-4
    regulariser: float = 0.5
    tolerance: float = 0.5
    kappa: float = 0.5
    shrink: float = 0.4
    clip: float = 10.0
    seconds: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("ibp", "sabr", "mtl-ibp"):
            raise InputError(
                "training method",
                found=repr(self.method),
                expected="'ibp', 'sabr' or 'mtl-ibp'",
                remedy="give one of these",
            )
        if not self.radius > 0:
            raise InputError(
                "radius", found=str(self.radius), expected="a number above 0", remedy="give a number above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """Loss, clean and bound-verified error of the last batches by epoch; seconds; whether time ended it."""

    losses: list[float]
    clean_errors: list[float]
    bound_errors: list[float]
    seconds: float
    stopped_early: bool


def small_cnn(num_classes: int = 10, channels: int = 1, size: int = 28, width: int = 16) -> nn.Sequential:
    """Two strided convolutions and two dense layers, batch norm after every hidden affine layer."""
    left = size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * left * left, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )


def ibp_initialise(model: nn.Sequential, seed: int = 0) -> None:
    """N(0, 2 pi / n^2) for all affine layers but the last, biases 0 (in place)."""
    generator = seeds.generator(seed, "certified training", "weights")
    affine = [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer in affine:
            fan_in = layer.weight[0].numel()
            scale = math.sqrt(2 * math.pi) / fan_in if layer is not affine[-1] else 1 / math.sqrt(fan_in)
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float32) * scale)
            if layer.bias is not None:
                layer.bias.zero_()


def interval_forward(model: nn.Sequential, x: Tensor, low: Tensor, high: Tensor):
    """(clean output, lower, upper, list of (clean, lower, upper) before every ReLU) for boxes around a clean batch.

    Affine layers carry middle and half-width; batch norm uses the clean batch's statistics in training mode. Raises
    InputError for a layer other than Linear, Conv2d, BatchNorm, ReLU, Flatten.
    """
    hidden: list[tuple[Tensor, Tensor, Tensor]] = []
    for layer in model:
        middle, half = (low + high) / 2, (high - low) / 2
        if isinstance(layer, nn.Linear):
            x, middle = layer(x), layer(middle)
            half = F.linear(half, layer.weight.abs())
        elif isinstance(layer, nn.Conv2d):
            x, middle = layer(x), layer(middle)
            half = F.conv2d(half, layer.weight.abs(), None, layer.stride, layer.padding, layer.dilation, layer.groups)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            scale, shift = _norm_line(layer, x)
            x, middle, half = x * scale + shift, middle * scale + shift, half * scale.abs()
        elif isinstance(layer, nn.ReLU):
            hidden.append((x, low, high))
            x, low, high = x.relu(), low.relu(), high.relu()
            continue
        elif isinstance(layer, nn.Flatten):
            x, low, high = x.flatten(1), low.flatten(1), high.flatten(1)
            continue
        else:
            raise InputError(
                f"layer {type(layer).__name__}",
                found="a layer without interval rule",
                expected="Linear, Conv2d, ...",
                remedy="build the network of Linear, Conv2d, BatchNorm, ReLU and Flatten",
            )
        low, high = middle - half, middle + half
    return x, low, high, hidden


def _norm_line(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None
    dims = [0, *range(2, x.ndim)]
    view = (1, -1, *(1,) * (x.ndim - 2))
    if layer.training:
        mean, variance = x.mean(dims), x.var(dims, correction=0)
        with torch.no_grad():
            layer.running_mean.lerp_(mean.detach(), layer.momentum or 0.1)
            layer.running_var.lerp_(variance.detach(), layer.momentum or 0.1)
    else:
        mean, variance = layer.running_mean, layer.running_var
    scale = layer.weight / torch.sqrt(variance + layer.eps)
    return scale.view(view), (layer.bias - mean * scale).view(view)


def worst_logits(
    model_output: tuple[Tensor, Tensor], last: nn.Linear, low: Tensor, high: Tensor, labels: Tensor
) -> Tensor:
    """Upper bounds on y_k - y_label with the last layer merged into the difference (0 at k = label)."""
    weight = last.weight.unsqueeze(0) - last.weight[labels].unsqueeze(1)
    bias = last.bias.unsqueeze(0) - last.bias[labels].unsqueeze(1)
    middle, half = (low + high) / 2, (high - low) / 2
    return (weight @ middle.unsqueeze(-1)).squeeze(-1) + (weight.abs() @ half.unsqueeze(-1)).squeeze(-1) + bias


def bound_loss(
    model: nn.Sequential, x: Tensor, labels: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor, list]:
    """Cross entropy of the worst logits, these, the clean logits and the hidden limits."""
    body, last = model[:-1], model[-1]
    assert isinstance(body, nn.Sequential) and isinstance(last, nn.Linear)
    features, low, high, hidden = interval_forward(body, x, low, high)
    worst = worst_logits((low, high), last, low, high, labels)
    return F.cross_entropy(worst, labels), worst, last(features), hidden


def warmup_regulariser(width: Tensor, hidden: list[tuple[Tensor, Tensor, Tensor]], tolerance: float) -> Tensor:
    """L_tight + L_relu of the source (its equations 10 to 13), averaged over layers; `width`: mean half-width of the
    input."""
    tight, balance = [], []
    for _, low, high in hidden:
        tight.append((tolerance - width / ((high - low) / 2).mean().clamp(min=1e-12)).relu() / tolerance)
        middle = (low + high) / 2
        on, off = (low > 0).to(low.dtype), (high < 0).to(low.dtype)
        center = middle.mean()
        ratios = []
        for power in (1, 2):
            size = middle.abs() if power == 1 else (middle - center) ** 2
            ratios.append((on * size).sum() / (off * size).sum().clamp(min=1e-12))
        balance += [(tolerance - torch.minimum(r, 1 / r.clamp(min=1e-12))).relu() / tolerance for r in ratios]
    return torch.stack(tight).mean() + torch.stack(balance).mean()


def radius_at(step: int, start: int, end: int, radius: float) -> float:
    """0 before `start`, exponential for the first quarter, then linear up to `radius` at `end`."""
    if step >= end:
        return radius
    share = max(0.0, (step - start) / max(end - start, 1))
    corner, beta = 0.25, 4.0
    scale = 1 / (corner**beta + beta * corner ** (beta - 1) * (1 - corner))
    if share < corner:
        return radius * scale * share**beta
    return radius * scale * (corner**beta + beta * corner ** (beta - 1) * (share - corner))


def train_certified(
    model: nn.Sequential,
    inputs: Tensor,
    labels: Tensor,
    settings: CertifiedTrainingSettings,
    progress=lambda text: None,
) -> TrainingRecord:
    """Train in place on inputs in [0, 1]. The model's last layer must be Linear. Deterministic for a seed on one
    device.

    `inputs` (n, *input shape), `labels` (n,). The errors in the record are exact, or bounds of the training batches, as
    named. Source: Shi et al. (arXiv 2103.17268), Mueller et al. (arXiv 2210.04871), De Palma et al. (arXiv 2305.13991).
    """
    begin = time.monotonic()
    generator = seeds.generator(settings.seed, "certified training", "order")
    ibp_initialise(model, settings.seed)
    adam = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    per_epoch = math.ceil(len(inputs) / settings.batch_size)
    total, start = settings.epochs * per_epoch, per_epoch // 2
    end = max(start + 1, int(settings.warmup * total) + start)
    record = TrainingRecord(losses=[], clean_errors=[], bound_errors=[], seconds=0.0, stopped_early=False)
    model.train()
    stopped, step, now = False, 0, 0.0
    for epoch in range(settings.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        sums = torch.zeros(4, dtype=torch.float64)
        for rows in order.split(settings.batch_size):
            elapsed = time.monotonic() - begin
            if elapsed > settings.seconds:
                stopped = True
                break
            share = max(step / total, elapsed / settings.seconds if math.isfinite(settings.seconds) else 0.0)
            for group in adam.param_groups:  # the source's two drops by 5, at 70 % and 85 % of the run
                group["lr"] = settings.learning_rate * (1.0 if share < 0.7 else 0.2 if share < 0.85 else 0.04)
            now = radius_at(int(share * total), start, end, settings.radius)
            sums += _step(model, adam, inputs[rows], labels[rows], now, settings, generator)
            step += 1
        if sums[3] > 0:
            loss, clean, bound = (sums[:3] / sums[3]).tolist()
            record.losses.append(loss)
            record.clean_errors.append(clean)
            record.bound_errors.append(bound)
            progress(f"epoch {epoch + 1}: radius {now:.3f} loss {loss:.4f} clean error {clean:.2%} bound {bound:.2%}")
        if stopped:
            break
    model.eval()
    return TrainingRecord(
        losses=record.losses,
        clean_errors=record.clean_errors,
        bound_errors=record.bound_errors,
        seconds=time.monotonic() - begin,
        stopped_early=stopped,
    )


def _step(model, adam, x: Tensor, y: Tensor, radius: float, settings: CertifiedTrainingSettings, generator) -> Tensor:
    center, reach, adversarial = x, radius, None
    if settings.method != "ibp" and radius > 0:
        adversarial = _attacked(model, x, y, radius, generator)
    if settings.method == "sabr" and adversarial is not None:
        reach = settings.shrink * radius
        center = torch.minimum(torch.maximum(adversarial, x - (radius - reach)), x + (radius - reach))
    low, high = (center - reach).clamp(0, 1), (center + reach).clamp(0, 1)
    loss, worst, clean, hidden = bound_loss(model, x, y, low, high)
    if settings.method == "mtl-ibp" and adversarial is not None:
        loss = settings.kappa * loss + (1 - settings.kappa) * F.cross_entropy(model(adversarial), y)
    if radius == 0:
        loss = F.cross_entropy(clean, y)
    if radius < settings.radius:
        width = torch.as_tensor(max(reach, 1e-6))
        grow = settings.regulariser * (1 - radius / settings.radius)
        if radius > 0:
            loss = loss + grow * warmup_regulariser(width, hidden, settings.tolerance)
    adam.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    adam.step()
    wrong = float((clean.argmax(1) != y).double().mean())
    return torch.tensor([float(loss.detach()), wrong, float((worst.detach() > 0).any(1).double().mean()), 1.0]).double()


def _attacked(model: nn.Sequential, x: Tensor, y: Tensor, radius: float, generator, steps: int = 3) -> Tensor:
    model.eval()
    point = (x + radius * (2 * torch.rand(x.shape, generator=generator, dtype=torch.float32) - 1)).clamp(0, 1)
    for _ in range(steps):
        point = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(point), y), point)
        moved = point.detach() + 0.5 * radius * gradient.sign()
        point = torch.minimum(torch.maximum(moved, x - radius), x + radius).clamp(0, 1)
    model.train()
    return point.detach()
