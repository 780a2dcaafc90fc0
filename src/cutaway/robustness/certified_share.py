"""Certified accuracy: the share of samples whose class is proved constant over a ball, between clean accuracy
and accuracy under attack.

For every sample: the clean class, a PGD attack on the ball (an upper bound on robust accuracy, re-checked), CROWN
intersected with IBP (maxima over windows in one step), slopes optimised for what is still open, and on request branch
and bound. A sample is certified only if clean right, every margin's lower bound (float64, rounding subtracted) is
positive, and no attack succeeded; a certified sample with a successful attack would be a contradiction and raises
ClaimError.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutaway._compat import own_device
from cutaway.data import Dataset
from cutaway.errors import ClaimError, InputError
from cutaway.network import Network
from cutaway.reading.intervals import proportion_interval
from cutaway.robustness.attacks import PGD
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised_rows
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.bounds.sweep import sweep
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.regions import Intersection, Region, ball, box
from cutaway.robustness.verify.import_check import POINTS, check_module
from cutaway.robustness.verify.replay import module_replay
from cutaway.robustness.verify.verdict import VerifySettings, verify
from cutaway.status import Status

BATCH = 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertifiedAccuracy:
    """Per sample, all (n,): `labels`, `right` (clean), `robust` (right, and neither PGD nor a search found a witness),
    `certified`, and `margin`, the proved lower bound on the smallest margin (NaN where nothing is known). `radius` in
    the data's units."""

    labels: np.ndarray
    right: np.ndarray
    robust: np.ndarray
    certified: np.ndarray
    margin: np.ndarray
    radius: float
    norm: str
    seconds: float
    units: str
    class_names: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The command's JSON: fractions, Clopper-Pearson intervals (95 %), and the same by class."""
        names = ("clean", "attacked", "certified")
        flags = dict(zip(names, (self.right, self.robust, self.certified)))
        by_class = {}
        for label in np.unique(self.labels):
            rows = self.labels == label
            by_class[self.class_names[label]] = {"num": int(rows.sum())} | {
                k: {
                    "value": float(v[rows].mean()),
                    "interval": proportion_interval(int(v[rows].sum()), int(rows.sum())),
                }
                for k, v in flags.items()
            }
        total = len(self.labels)
        return {
            **{k: float(v.mean()) for k, v in flags.items()},
            "intervals": {k: proportion_interval(int(v.sum()), total) for k, v in flags.items()},
            "unknown": float((self.robust & ~self.certified).mean()),
            "by_class": by_class,
            "num": total,
            "radius": self.radius,
            "norm": self.norm,
            "units": self.units,
            "seconds": self.seconds,
        }

    def words(self) -> str:
        """A table for people."""
        told = self.summary()
        lines = [f"l{self.norm} radius {self.radius:g} ({self.units}), {told['num']} samples, {self.seconds:.1f} s"]
        for name in ("clean", "attacked", "certified"):
            low, high = told["intervals"][name]
            lines.append(f"  {_CALLED[name]:<18} {told[name]:7.1%}   [{low:.1%}, {high:.1%}]")
        lines.append(f"  {'unknown':<18} {told['unknown']:7.1%}   neither broken by an attack nor certified")
        for name, row in told["by_class"].items():
            low, high = row["certified"]["interval"]
            lines.append(
                f"  {name:<14} right {row['clean']['value']:6.1%}  under attack {row['attacked']['value']:6.1%}"
                f"  certified {row['certified']['value']:6.1%} [{low:.1%}, {high:.1%}]"
            )
        return "\n".join(lines)


_CALLED = {"clean": "right", "attacked": "right under attack", "certified": "certified"}


@own_device()
def certified_accuracy(
    model: nn.Module,
    data: Dataset,
    *,
    radius: float,
    norm: str = "inf",
    settings: VerifySettings = VerifySettings(complete=False),  # noqa: B008 (frozen)
    progress=lambda text: None,
    bounded: BoundNetwork | None = None,
) -> CertifiedAccuracy:
    """See the module's text. `settings.complete` adds branch and bound (l-infinity), `settings.timeout` seconds a
    sample.

    Cost: 20 forward and backward passes a sample for the attack, one CROWN sweep, and slope optimisation for open
    samples. Raises InputError for data without labels or with more classes than outputs, an unknown norm or a
    radius below 0. Source: ours, from an attack, CROWN (arXiv 1811.00866) and branch and bound.
    """
    begin = time.monotonic()
    if data.labels is None:
        raise InputError(
            f"data {data.name!r}",
            found="no labels",
            expected="labels, to say what is right",
            remedy="give labelled data",
        )
    if norm not in ("inf", "2", "1"):
        raise InputError("norm", found=repr(norm), expected="'inf', '2' or '1'", remedy="give one of these")
    if not radius >= 0 or not np.isfinite(radius):
        raise InputError(
            "radius", found=str(radius), expected="a finite number, 0 or larger", remedy="give a number in this range"
        )
    bounded = bounded or bound_network(model, data.inputs[:1])
    network = Network(model, data.inputs[:2])
    labels = data.labels.cpu()
    if bounded.graph.output.numel <= int(labels.max()):
        raise InputError(
            f"labels of {data.name!r}",
            found=f"class {int(labels.max())}",
            expected=f"classes 0 to {bounded.graph.output.numel - 1}, as many as the network's outputs",
            remedy="take the data that the network was trained for",
        )
    first = data.subset(list(range(min(POINTS, len(labels)))))
    check_module(bounded, model, data.input_shape, data_region(first, radius, "inf"), settings.seed)
    margin_rows(labels[:1], bounded.graph.output.numel, bounded.graph.output.shape)  # raises for one output
    right = network.outputs(data.inputs).argmax(1).cpu() == labels
    robust = right.clone()
    if norm in PGD.norms and radius > 0:
        robust &= ~PGD(radius=radius, norm=norm, steps=20).attack(network, data, seed=settings.seed).success
    quick = bounded.coarse or bounded
    margin = torch.full((len(labels),), torch.nan, dtype=torch.float64)
    wanted = robust.nonzero().squeeze(1)
    for start in range(0, len(wanted), BATCH):
        rows = wanted[start : start + BATCH]
        margin[rows] = _margins(quick, data.subset(rows), radius, norm, settings)
        progress(f"radius {radius:g}: {min(start + BATCH, len(wanted))} of {len(wanted)} samples bounded")
    certified = margin > 0
    if settings.complete and norm == "inf":
        proved, refuted = _complete(bounded, model, data, radius, robust & ~certified, settings, progress)
        certified, robust = certified | proved, robust & ~refuted
    _no_contradiction(certified, robust)
    names = data.class_names or tuple(str(i) for i in range(int(labels.max()) + 1))
    return CertifiedAccuracy(
        labels=labels.numpy(),
        right=right.numpy(),
        robust=robust.numpy(),
        certified=certified.numpy(),
        margin=margin.numpy(),
        radius=radius,
        norm=norm,
        seconds=time.monotonic() - begin,
        units=data.units,
        class_names=names,
    )


def _no_contradiction(certified: Tensor, robust: Tensor) -> None:
    wrong = (certified & ~robust).nonzero().squeeze(1).tolist()
    if wrong:
        raise ClaimError(
            f"samples {wrong[:5]}",
            found="certified and broken at once",
            expected="at most one of them",
            remedy="report this with the model and these samples: one of the two answers is wrong",
        )


def data_region(data: Dataset, radius: float, norm: str) -> Region:
    """The ball of every row in the data's units, cut to its value range, in the units of the inputs."""
    inputs = data.inputs.double()
    reach = data.radius_in_inputs(radius).double().expand_as(inputs)
    limits = data.bounds()
    low, high = (None, None) if limits is None else (v.double().expand_as(inputs) for v in limits)
    if norm == "inf":
        lower, upper = inputs - reach, inputs + reach
        if low is not None and high is not None:
            lower, upper = (
                torch.maximum(lower, torch.minimum(low, inputs)),
                torch.minimum(upper, torch.maximum(high, inputs)),
            )
        return box(lower, upper)
    if float(reach.max() - reach.min()) > 1e-9 * float(reach.max()):
        raise InputError(
            f"norm {norm!r} on {data.name!r}",
            found="channels scaled differently",
            expected="one scale for all channels",
            remedy="give raw inputs and put the normalisation into the model",
        )
    whole = ball(inputs, float(reach.max()), float(norm))
    if low is None or high is None:
        return whole

    cut = box(
        torch.maximum(inputs - reach, torch.minimum(low, inputs)),
        torch.minimum(inputs + reach, torch.maximum(high, inputs)),
    )
    return Intersection(members=(whole, cut))


def margin_rows(labels: Tensor, num_classes: int, shape: tuple[int, ...]) -> Tensor:
    """Functionals y_label - y_k for every other class k, (B, num_classes - 1, *output shape). Raises InputError for a
    network with one output.

    Exact. Source: definition.
    """
    if num_classes < 2:
        raise InputError(
            "network",
            found="one output",
            expected="an output for each class, two at least, whose margins can be bounded",
            remedy="for one score, ask about its bounds with a VNN-LIB property (cutaway certify)",
        )
    eye = torch.eye(num_classes, dtype=torch.float64)
    others = torch.stack([torch.tensor([k for k in range(num_classes) if k != y]) for y in labels.tolist()])
    return (eye[labels].unsqueeze(1) - eye[others]).reshape(len(labels), num_classes - 1, *shape)


def _margins(bounded: BoundNetwork, data: Dataset, radius: float, norm: str, settings: VerifySettings) -> Tensor:
    assert data.labels is not None
    output = bounded.graph.output
    rows = margin_rows(data.labels.cpu(), output.numel, output.shape)
    region = data_region(data, radius, norm)
    limits = sweep(bounded, region)
    found = optimised_rows(bounded, region, rows, limits, AlphaSettings(depth="all", steps=8))
    if settings.deployment is not None:
        error = deployment_radius(bounded, limits, settings.deployment)
        found = found - 2 * (rows.abs() * error.unsqueeze(1)).flatten(2).sum(-1)
    worst = found.amin(1)
    return torch.where(torch.isnan(found).any(1), torch.nan, worst)


def _complete(
    bounded, model, data: Dataset, radius: float, open_: Tensor, settings: VerifySettings, progress
) -> tuple[Tensor, Tensor]:
    """Which of the open samples branch and bound proves, and for which it finds a witness that PGD did not."""
    certified, refuted = torch.zeros_like(open_), torch.zeros_like(open_)
    replay = module_replay(model, data.input_shape)
    for i in open_.nonzero().squeeze(1).tolist():
        part = data.subset([i])
        assert part.labels is not None
        region = data_region(part, radius, "inf")
        query = _margin_query(region, int(part.labels[0]), bounded.graph.output.numel)
        verdict = verify(bounded, query, replay, replace(settings, complete=True))
        certified[i] = verdict.status is Status.CERTIFIED
        refuted[i] = verdict.status is Status.FALSIFIED
        progress(f"sample {i}: {verdict.status.value} in {verdict.seconds:.1f} s")
    return certified, refuted


def _margin_query(region: Region, label: int, num_classes: int) -> Query:
    rows = -margin_rows(torch.tensor([label]), num_classes, (num_classes,))[0]
    zero = torch.zeros(1, dtype=torch.float64)
    clauses = tuple(
        Clause(lower=region.lower[0], upper=region.upper[0], matrix=-row.unsqueeze(0), limits=zero) for row in rows
    )
    return Query(clauses=clauses, num_inputs=region.lower.shape[1], num_outputs=num_classes, source="robustness")


@own_device()
def radius_curve(
    model: nn.Module, data: Dataset, *, radius: float, norm: str, settings: VerifySettings, progress=lambda text: None
) -> list[dict[str, float]]:
    """Clean, attacked, certified and unknown fractions at 0, 1/4, 1/2, 3/4, 1 and 3/2 of the radius; `_low` and `_high`
    are the Clopper-Pearson limits (95 %) of the first three.

    Cost: an attack and a verdict for every sample at every one of the six radii. Source: ours; intervals by Clopper and
    Pearson 1934.
    """
    bounded = bound_network(model, data.inputs[:1])
    points = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5):
        found = certified_accuracy(
            model, data, radius=share * radius, norm=norm, settings=settings, progress=progress, bounded=bounded
        ).summary()
        point = {k: found[k] for k in ("radius", "clean", "attacked", "certified", "unknown")}
        for name, (low, high) in found["intervals"].items():
            point |= {f"{name}_low": low, f"{name}_high": high}
        points.append(point)
    return points
