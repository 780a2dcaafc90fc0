"""Instrument `robust-accuracy`: accuracy under attack, beside accuracy under random noise of the same size."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cutaway import seeds
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import CutawayWarning
from cutaway.instrument import Findings, Instrument, Tile
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.reading.intervals import normal_interval
from cutaway.reading.table import Table
from cutaway.robustness.attacks import ATTACKS, Adversarial, Noise, make_attack
from cutaway.robustness.attacks.ball import Norm
from cutaway.robustness.attacks.units import told_of_no_range, warn_of_units
from cutaway.robustness.randomised import JUDGED, DrawSweep, sweep_draws
from cutaway.settings import at_least, one_of
from cutaway.status import Status
from cutaway.wording import distance, said

_RATES = {
    "clean_accuracy": ("clean", "exact", "right on the input", "right without attack"),
    "robust_accuracy": ("robust", "upper_bound", "right and not broken by the attack", "right under {attack}"),
    "noise_accuracy": (
        "noised",
        "estimate",
        "right under noise of the same radius",
        "right under noise of the same size",
    ),
}


@dataclass(frozen=True, kw_only=True)
class RobustAccuracy(Instrument):
    """Share of samples that are right and stay right under attack, and under random noise of exactly the same radius
    (see `cutaway.robustness.attacks.Noise`).

    `attack` is one of `cutaway.robustness.attacks.ATTACKS` (pgd, fgsm, apgd, deepfool, square, boundary); `steps`
    and `restarts` count where it has them (None keeps its own). `radius` and `norm` in the data's units. Every
    adversarial is classified again and its distance measured again. The robust accuracy is an upper bound on the
    true one: a stronger attack may find more; the interval is Clopper-Pearson over samples. `drop_over_noise` is
    accuracy under noise minus accuracy under attack: what the search finds beyond size.

    A network that answers at random (two passes differ) is attacked through means over 1, 4, 16, ... of its draws until
    four times as many gain no more (`most_draws` at most), from one frozen draw, and as a black box; every point is
    judged by the mean of 16 fresh draws. Its robust accuracy is that under the strongest of these, and the reading says
    whether the sweep came to rest.

    Cost: `steps` forward and backward passes a sample, times 22 to 86 for a network that answers at random. Source:
    Madry et al. 2018 (arXiv 1706.06083); the noise control after Su et al. (arXiv 2311.07444); Athalye, Carlini and
    Wagner 2018 (arXiv 1802.00420) for the means over draws.
    """

    attack: str = field(default="pgd", metadata=one_of(tuple(ATTACKS), "the search"))
    radius: float = field(default=0.1, metadata=at_least(0, "size of the attack, in the data's units"))
    norm: Norm = field(default="inf", metadata=one_of(("inf", "2"), "norm in which the size is measured"))
    steps: int | None = field(default=20, metadata=at_least(0, "steps of the attack; None keeps its own number"))
    restarts: int = field(default=1, metadata=at_least(1, "random starts of the attack"))
    most_draws: int = field(default=64, metadata=at_least(4, "draws of a network that answers at random, a step"))
    num_points: int = field(default=200, metadata=at_least(1, "samples, spread evenly over the classes"))

    name: ClassVar[str] = "robust-accuracy"
    better: ClassVar[Mapping[str, str]] = {
        "clean_accuracy": "higher",
        "robust_accuracy": "higher",
        "noise_accuracy": "higher",
    }
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("robust_accuracy", "Right under attack", 20, percent=True),)
    question: ClassVar[str] = "How often is the network still right when the input is attacked?"
    source: ClassVar[str] = "Madry et al. 2018, arXiv 1706.06083; Su, Kempe et al., arXiv 2311.07444 (noise control)"
    attacks: ClassVar[bool] = True
    takes_random: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    formula: ClassVar[str] = r"\frac{1}{n} \sum_i \min_{\|u\| \le r} 1[\hat{y}(x_i + u) = y_i]"
    expense: ClassVar[str] = "steps x restarts forward and backward passes a sample"
    limits: ClassVar[str] = (
        "An upper bound on robust accuracy: a stronger attack may find more. For proof, use `cutaway certify`."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        part = sample.data
        clean = network.outputs(part.inputs, budget=context.budget).argmax(dim=1).cpu().numpy() == sample.labels
        attacked, noised = self._attacked(network, part, context)
        stands, quiet = clean & ~attacked.success.numpy(), ~noised.success.numpy()
        table, dims = context.table({"sample": sample.rows}), ["sample"]
        sweep = self._sweep(network, part, context) if network.draws else None
        if sweep is not None:
            clean, stands = sweep.clean, sweep.attacks[sweep.strongest]
        size = attacked.distance.numpy()
        table.keep("distance", size, dims, unit="data units", long_name="size of the attack")
        table.keep("attacked_label", attacked.predictions.numpy(), dims, long_name="what the attack made of it")
        for (name, (column, kind, each, long_name)), hits in zip(_RATES.items(), (clean, stands, quiet)):
            text = long_name.format(attack=self._attack_name)
            kept = {"dims": dims, "column": column, "each": each, "kind": kind}
            table.rate(name, hits, **kept, alternative="greater", long_name=text)
        gap = quiet.astype(float) - stands
        long_name = "accuracy lost to the search beyond the size of the change"
        table.figure("drop_over_noise", gap.mean(), normal_interval(gap), long_name=long_name)
        if sweep is not None:
            _keep_sweep(table, sweep)
        skipped = told_of_no_range(data)
        return Findings.of(table, status=Status.BOUND, sites=network.sites, skipped=skipped)

    def _sweep(self, network: Network, part: Dataset, context: Context) -> DrawSweep:
        """Of a network that answers at random."""
        attack = make_attack(self.attack, radius=self.radius, norm=self.norm, steps=self.steps, restarts=self.restarts)
        batch = self._batch(network, part, context)
        return sweep_draws(network, part, attack, most=self.most_draws, seed=context.seed, batch_size=batch)

    def _batch(self, network: Network, part: Dataset, context: Context) -> int:
        return max(1, min(256, network.chunk_size(part.inputs, network.sites, context.budget, factor=4)))

    def _attacked(self, network: Network, part: Dataset, context: Context) -> tuple[Adversarial, Adversarial]:
        """Under attack and under noise."""
        batch = self._batch(network, part, context)
        attack = make_attack(self.attack, radius=self.radius, norm=self.norm, steps=self.steps, restarts=self.restarts)
        attacked = attack.attack(network, part, seed=context.seed, batch_size=batch)
        if attack.minimal:  # its radius is only a cap to it, but not to what is counted here
            warn_of_units(f"attack {self.attack!r}", self.radius, self.norm, part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutawayWarning)  # the attack has told of its radius
            noise = Noise(radius=self.radius, norm=self.norm, draws=JUDGED if network.draws else 1)
            return attacked, noise.attack(network, part, seed=seeds.number(context.seed, "noise"), batch_size=batch)

    @property
    def _attack_name(self) -> str:
        named = make_attack(self.attack, radius=self.radius, steps=self.steps)
        steps = getattr(named, "steps", None)
        return self.attack.upper() + ("" if steps is None else f"-{steps}")

    def draw(self, reading):
        from cutaway.pictures.charts import bars_chart

        names = ("clean_accuracy", "noise_accuracy", "robust_accuracy")
        bars = bars_chart(reading, names, title="share of samples right")
        if "stands" not in reading.values:
            return bars
        from cutaway.pictures.audits import draws_chart

        return draws_chart(reading, bars)

    def brief(self, reading):
        robust = reading.figure("robust_accuracy").value
        return f"{said(robust, '.0%')} stay right under an attack of {distance(self.norm)} size {self.radius:.3g}"

    def describe(self, reading):
        value = {f.name: said(f.value, ".0%") for f in reading.figures}
        return (
            f"Within {distance(self.norm)} distance {self.radius:g}, {value['robust_accuracy']} of the samples are "
            f"right under attack ({self.attack.upper()}); {value['clean_accuracy']} are right without it and "
            f"{value['noise_accuracy']} under random noise of the same size."
        ) + _of_draws(reading)


def _keep_sweep(table: Table, sweep: DrawSweep) -> None:
    table.coordinate("against", list(sweep.attacks))
    shares = [hits.mean() for hits in sweep.attacks.values()]
    table.keep("stands", shares, ["against"], long_name="share of rows right under the attack", kind="upper_bound")
    fall, low, high = sweep.last_fall
    words = f"robust accuracy lost from {sweep.draws[-2]} to {sweep.draws[-1]} draws a step"
    table.figure("last_fall", fall, (low, high), alternative="none", long_name=words)


def _of_draws(reading: Reading) -> str:
    """What the sweep over draws found; empty for a network that does not answer at random."""
    if "stands" not in reading.values:
        return ""
    shares = dict(zip(reading.values["against"].values.tolist(), reading.values["stands"].values.tolist(), strict=True))
    told = ", ".join(f"{said(share, '.0%')} {name}" for name, share in shares.items())
    text = f" It answers at random. Right stay, when attacked: {told}."
    fall = reading.figure("last_fall")
    ends = (
        ""
        if fall.low is None or fall.high is None
        else f" ({said(100 * fall.low, '+.0f')} to {said(100 * fall.high, '+.0f')})"
    )
    text += f" The last fourfold of draws cost {said(100 * fall.value, '+.0f')} points{ends}"
    text += ": more draws would break more." if fall.low is not None and fall.low > 0 else "."
    *_, most, frozen, blind = shares.items()
    for name, share in (frozen, blind):
        if share < most[1]:
            text += f" Attacked {name} it stands less often than {most[0]}: its gradients mislead the search."
    return text
