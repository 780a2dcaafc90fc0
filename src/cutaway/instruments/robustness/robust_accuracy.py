"""Instrument `robust-accuracy`: accuracy under attack, beside accuracy under random noise of the same size."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.errors import CutawayWarning
from cutaway.instrument import Findings, Instrument, Tile
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import proportion_interval
from cutaway.robustness.attacks import Noise, make_attack
from cutaway.robustness.attacks.units import warn_of_units
from cutaway.status import Status
from cutaway.wording import distance, said


@dataclass(frozen=True, kw_only=True)
class RobustAccuracy(Instrument):
    """Share of samples that are right and stay right under attack, and under random noise of exactly the same radius
    (see `cutaway.robustness.attacks.Noise`).

    `attack` is one of `cutaway.robustness.attacks.ATTACKS` (pgd, fgsm, apgd, deepfool, square, boundary); `steps`
    and `restarts` count where it has them (None keeps its own). `radius` and `norm` in the data's units. Every
    adversarial is classified again and its distance measured again. The robust accuracy is an upper bound on the
    true one: a stronger attack may find more; the interval is Clopper-Pearson over samples. `drop_over_noise` is
    accuracy under noise minus accuracy under attack: what the search finds beyond size. Cost: `steps` forward and
    backward passes a sample. Source: Madry et al. 2018 (arXiv 1706.06083); the noise control after Su et al. (arXiv
    2311.07444).
    """

    attack: str = "pgd"
    radius: float = 0.1
    norm: str = "inf"
    steps: int | None = 20
    restarts: int = 1
    num_points: int = 200

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
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    expense: ClassVar[str] = "steps x restarts forward and backward passes a sample"
    limits: ClassVar[str] = (
        "An upper bound on robust accuracy: a stronger attack may find more. For proof, use `cutaway certify`."
    )

    def _measure(self, network, data, context):
        rows = spread_rows(len(data.inputs), self.num_points, data.labels)
        part = data.subset(rows)
        labels = part.labels
        clean = network.outputs(part.inputs, budget=context.budget).argmax(dim=1).cpu() == labels.cpu()
        batch = max(1, min(256, network.chunk_size(part.inputs, network.sites, context.budget, factor=4)))
        settings = {"radius": self.radius, "norm": self.norm}
        chosen = make_attack(self.attack, **settings, steps=self.steps, restarts=self.restarts)
        attacked = chosen.attack(network, part, seed=context.seed, batch=batch)
        if chosen.minimal:  # its radius is only a cap to it, but not to what is counted here
            warn_of_units(f"attack {self.attack!r}", self.radius, self.norm, part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutawayWarning)  # the attack has told of its radius
            noised = Noise(**settings).attack(network, part, seed=context.seed + 1, batch=batch)
        stands = (clean & ~attacked.success).numpy()
        quiet = (~noised.success).numpy()
        values = xr.Dataset(
            {
                "clean": variable(clean.numpy(), ["sample"], long_name="right on the input", kind="exact"),
                "robust": variable(
                    stands, ["sample"], long_name="right and not broken by the attack", kind="upper_bound"
                ),
                "noised": variable(quiet, ["sample"], long_name="right under noise of the same radius"),
                "distance": variable(
                    attacked.distance.numpy(), ["sample"], unit="data units", long_name="size of the attack"
                ),
                "attacked_label": variable(
                    attacked.predictions.numpy(), ["sample"], long_name="what the attack made of it"
                ),
            },
            coords={"sample": rows.numpy()},
        )
        n = len(stands)
        table = {"clean_accuracy": clean.numpy(), "robust_accuracy": stands, "noise_accuracy": quiet}
        texts = ("right without attack", f"right under {self._attack_name}", "right under noise of the same size")
        figures = []
        for (name, hits), text in zip(table.items(), texts, strict=True):
            low, high = proportion_interval(int(hits.sum()), n)
            figures.append(
                Figure(
                    name=name,
                    value=float(hits.mean()),
                    low=low,
                    high=high,
                    alternative="greater",
                    long_name=text,
                    status=Status.BOUND if name == "robust_accuracy" else Status.ESTIMATE,
                )
            )
        gap = quiet.astype(float) - stands.astype(float)
        half = 1.96 * float(gap.std(ddof=1)) / np.sqrt(n) if n > 1 else float("nan")
        figures.append(
            Figure(
                name="drop_over_noise",
                value=float(gap.mean()),
                low=float(gap.mean()) - half,
                high=float(gap.mean()) + half,
                long_name="accuracy lost to the search beyond the size of the change",
            )
        )
        return Findings(values=values, figures=tuple(figures), status=Status.BOUND, sites=network.sites)

    @property
    def _attack_name(self) -> str:
        named = make_attack(self.attack, radius=self.radius, steps=self.steps)
        return self.attack.upper() + (f"-{named.steps}" if hasattr(named, "steps") else "")  # type: ignore[attr-defined]

    def draw(self, reading):
        from cutaway.pictures.charts import bars_chart

        names = ("clean_accuracy", "noise_accuracy", "robust_accuracy")
        return bars_chart(reading, names, title="share of samples right")

    def brief(self, reading):
        robust = reading.figure("robust_accuracy").value
        return f"{said(robust, '.0%')} stay right under an attack of {distance(self.norm)} size {self.radius:.3g}"

    def describe(self, reading):
        value = {f.name: said(f.value, ".0%") for f in reading.figures}
        return (
            f"Within {distance(self.norm)} distance {self.radius:g}, {value['robust_accuracy']} of the samples are "
            f"right under attack ({self.attack.upper()}); {value['clean_accuracy']} are right without it and "
            f"{value['noise_accuracy']} under random noise of the same size."
        )
