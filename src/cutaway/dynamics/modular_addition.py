"""Networks that add modulo p: which frequency each neuron carries, how its phases lock, and why that one won.

A neuron m with input vectors u_m, v_m over the two summands and output vector o_m over the residues is, once trained,
a single frequency k: u_m(a) ~ cos(2 pi k a / p + phi), v_m(b) ~ cos(2 pi k b / p + chi), o_m(c) ~ cos(2 pi k c / p -
psi) with psi = -(phi + chi), so that the phases lock (with equal input phases psi doubles phi): arXiv 2602.16849. The
winner is predicted at the start by the frequency of largest magnitude and best-aligned phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cutaway.arrays import Array
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModularSetting:
    """Training on all or a `train_share` of the p^2 pairs; `activation` "relu" or "square"; AdamW, full batch.

    Raises `InputError` for an even modulus or one below 3, and another activation.
    """

    modulus: int = 23
    width: int = 512
    activation: str = "square"
    rate: float = 5e-5
    weight_decay: float = 0.0
    train_share: float = 1.0
    num_steps: int = 5000
    start_scale: float = 0.1
    record: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.modulus < 3 or self.modulus % 2 == 0:
            raise InputError(
                "modulus",
                found=str(self.modulus),
                expected="an odd number of at least 3",
                remedy="give an odd number such as 59",
            )
        if self.activation not in ("relu", "square"):
            raise InputError(
                "activation", found=repr(self.activation), expected="'relu' or 'square'", remedy="give one of the two"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModularNetwork:
    """`left`, `right` (width, p) input vectors of the summands, `out` (width, p) output vectors."""

    left: Array
    right: Array
    out: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ModularPath:
    """Start and end of a training with its history (T,): steps, losses and accuracies on training and held-out pairs,
    `share` the neurons' median energy on one frequency, `size` the root mean square weight."""

    start: ModularNetwork
    end: ModularNetwork
    steps: Array
    train_loss: Array
    train_accuracy: Array
    test_loss: Array
    test_accuracy: Array
    share: Array
    size: Array


def train_modular(setting: ModularSetting) -> ModularPath:
    """Cross-entropy training. Cost a step: 6 p^2 width p flops."""
    generator = torch.Generator().manual_seed(setting.seed)
    p = setting.modulus
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    goal = (pairs[:, 0] + pairs[:, 1]) % p
    order = torch.randperm(len(pairs), generator=generator)
    cut = round(setting.train_share * len(pairs))
    train, test = order[:cut], order[cut:]
    scale = setting.start_scale
    left, right, out = (
        (scale * torch.randn(setting.width, p, generator=generator, dtype=torch.float32)).requires_grad_(True)
        for _ in range(3)
    )
    start = _network(left, right, out)
    optimizer = torch.optim.AdamW([left, right, out], lr=setting.rate, weight_decay=setting.weight_decay)

    def logits(rows: torch.Tensor) -> torch.Tensor:
        hidden = left.T[pairs[rows, 0]] + right.T[pairs[rows, 1]]
        hidden = torch.relu(hidden) if setting.activation == "relu" else hidden * hidden
        return hidden @ out

    def score(rows: torch.Tensor) -> tuple[float, float]:
        if not len(rows):
            return float("nan"), float("nan")
        with torch.no_grad():
            guess = logits(rows)
            return float(functional.cross_entropy(guess, goal[rows])), float(
                (guess.argmax(1) == goal[rows]).float().mean()
            )

    history = []
    for step in range(setting.num_steps + 1):
        if step % setting.record == 0 or step == setting.num_steps:
            now = _network(left, right, out)
            size = np.sqrt(np.mean([np.mean(part**2) for part in (now.left, now.right, now.out)]))
            history.append((step, *score(train), *score(test), np.median(read_frequencies(now).share), size))
        if step == setting.num_steps:
            break
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(logits(train), goal[train]).backward()
        optimizer.step()
    table = np.array(history)
    return ModularPath(
        start=start,
        end=_network(left, right, out),
        steps=table[:, 0].astype(int),
        train_loss=table[:, 1],
        train_accuracy=table[:, 2],
        test_loss=table[:, 3],
        test_accuracy=table[:, 4],
        share=table[:, 5],
        size=table[:, 6],
    )


def _network(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> ModularNetwork:
    parts = [t.detach().double().numpy().copy() for t in (left, right, out)]
    return ModularNetwork(left=parts[0], right=parts[1], out=parts[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyReading:
    """Per neuron: winning `frequency` 1 .. (p-1)/2, `share` of its weights' energy there, `mismatch` of the phases
    |psi + phi + chi| in [0, pi], `power` (width, (p-1)/2) of every frequency, `size` the neuron's energy."""

    frequency: Array
    share: Array
    mismatch: Array
    power: Array
    size: Array


def read_frequencies(network: ModularNetwork) -> FrequencyReading:
    """Fourier transform of the three vectors of every neuron (the constant is left out)."""
    spectra = [np.fft.rfft(part, axis=1)[:, 1:] for part in (network.left, network.right, network.out)]
    power = np.sum([np.abs(s) ** 2 for s in spectra], axis=0)
    winner = np.argmax(power, axis=1)
    rows = np.arange(len(winner))
    phases = [np.angle(s[rows, winner]) for s in spectra]
    mismatch = np.abs(np.angle(np.exp(1j * (phases[0] + phases[1] - phases[2]))))
    return FrequencyReading(
        frequency=winner + 1,
        share=power[rows, winner] / power.sum(axis=1),
        mismatch=mismatch,
        power=power,
        size=power.sum(axis=1),
    )


def predicted_winner(network: ModularNetwork) -> Array:
    """Frequency (width,) that each neuron of a starting network should end with: largest |u|^2 |v| ... aligned product.

    The growth of a frequency under the first steps is the product of its three magnitudes times the cosine of its phase
    mismatch; the largest wins.
    """
    left, right, out = (np.fft.rfft(part, axis=1)[:, 1:] for part in (network.left, network.right, network.out))
    magnitude = np.abs(left) * np.abs(right) * np.abs(out)
    mismatch = np.angle(left) + np.angle(right) - np.angle(out)
    energy = (np.abs(left) ** 2 + np.abs(right) ** 2 + np.abs(out) ** 2) / 3.0
    return np.argmax(energy**1.5 + magnitude * np.cos(mismatch), axis=1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GridReading:
    """Per unit over the grid of summands: `frequency` and the `share` of its variance that lies on that frequency."""

    frequency: Array
    share: Array


def read_grid(values: Array) -> GridReading:
    """`values` (units, p, p) over all pairs: share of the variance on one frequency, in either summand or their sum.

    For frequency k: the Fourier modes (k, 0), (0, k), (k, k), (k, -k) and their second harmonics' constants are not
    counted; a random unit has a share of about 4 / p^2 x (number of modes).
    """
    if values.ndim != 3 or values.shape[1] != values.shape[2]:
        raise InputError(
            "values",
            found=f"shape {values.shape}",
            expected="(units, p, p)",
            remedy="give the units' values on all pairs",
        )
    p = values.shape[1]
    spectrum = np.abs(np.fft.fft2(values - values.mean(axis=(1, 2), keepdims=True))) ** 2
    total = np.maximum(spectrum.sum(axis=(1, 2)), 1e-300)
    shares = []
    for k in range(1, (p - 1) // 2 + 1):
        modes = [(k, 0), (0, k), (k, k), (k, -k), (-k, 0), (0, -k), (-k, -k), (-k, k)]
        shares.append(sum(spectrum[:, i % p, j % p] for i, j in modes) / total)
    table = np.stack(shares, axis=1)
    return GridReading(frequency=table.argmax(axis=1) + 1, share=table.max(axis=1))
