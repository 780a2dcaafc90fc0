"""`cutaway theory goldilocks`: what theory asks of a network's start, computed on the network itself."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several, check_picture
from cutaway.cli.subject import Subject
from cutaway.cli.theory._options import at_most, usual_number
from cutaway.cli.theory._series import PICTURES, save
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.network import Network

app = new_app("theory goldilocks")
USUAL = 300  # rows


@dataclass(frozen=True)
class Start(Subject):
    """A network as it starts, on rows that it would be trained on."""

    _: KW_ONLY
    num: int | None = None
    split: str = "train"


@app.default
def goldilocks(
    subject: Start = Start(),
    *,
    scales: Annotated[list[float] | None, Several] = None,
    dimension: int = 50,
    out: Path | None = None,
) -> Outcome:
    """Sweep the scale of an initialisation: excess of positive curvature, softmax gain, entropy, loss.

    MODEL is taken as it is (untrained, say); without it, a fully connected network 64-64-64-10 without
    biases on digits. Without --num, on 300 rows, or all where there are fewer.

    Parameters
    ----------
    scales
        Factors of all parameters; 0.05 0.1 0.3 0.6 1 2 4 10 100 when not given.
    dimension
        Random directions in which the Hessian is taken.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    from cutaway.curvature import Surface, scale_sweep
    from cutaway.reproductions.goldilocks import SCALES

    check_picture("--out", out, PICTURES)
    factors = tuple(scales or SCALES)
    if not all(math.isfinite(f) and f > 0 for f in factors) or dimension < 1:
        raise InputError(
            "command theory goldilocks",
            found=f"--scales {' '.join(f'{f:g}' for f in factors)}, --dimension {dimension}",
            expected="scales above 0, a dimension of at least 1",
            remedy="give such numbers",
        )
    told = subject.num
    if told is None:
        subject = replace(subject, num=usual_number(subject.data or "digits", subject.split, USUAL))
    network, dataset = _usual(subject) if subject.model is None else subject.open()
    dataset = at_most(dataset, USUAL, subject.seed) if told is None else dataset
    if dataset.labels is None:
        raise InputError(
            f"data {dataset.name!r}", found="no labels", expected="labelled data", remedy="name another set"
        )
    surface = Surface.of(network, dataset.inputs, dataset.labels, budget=subject.room)
    points = scale_sweep(surface, factors, dimension=dimension, seed=subject.seed)
    series = {
        "excess": [[p.scale, p.excess.excess] for p in points],
        "positive_share": [[p.scale, p.excess.positive] for p in points],
        "gain": [[p.scale, p.gain] for p in points],
        "entropy": [[p.scale, p.entropy] for p in points],
        "loss": [[p.scale, p.loss] for p in points],
        "gradient_norm": [[p.scale, p.gradient_norm] for p in points],
    }
    if out is not None:
        from cutaway.curvature.pictures import sweep_figure

        save(sweep_figure(points), out)
    degree = _degree(surface)
    payload = {"series": series, "exponent": None, "leap": None, "generative_exponent": None}
    payload |= {"dimension": points[0].excess.dimension, "homogeneous_degree": degree}
    return Outcome(payload=payload, words=_words(points, degree))


def _usual(subject: Start) -> tuple[Network, Dataset]:
    from cutaway.reproductions._bias_free import fully_connected

    if subject.data not in (None, "digits"):
        raise InputError(
            "command theory goldilocks",
            found=f"--data {subject.data} without a model",
            expected="a model for it",
            remedy="name the model, or leave --data out",
        )
    subject.check()
    dataset = replace(subject, data="digits").rows()
    return subject.network(fully_connected((64, 64, 64, 10), subject.seed), dataset, "64-64-64-10"), dataset


def _degree(surface: Any) -> int | None:
    from cutaway.network.scaling import homogeneity

    return homogeneity(surface.parameters, surface.inputs[:16]).degree


def _words(points: Any, degree: int | None) -> str:
    lines = [f"   scale  excess (of {points[0].excess.dimension})  positive    gain  entropy      loss"]
    lines += [
        f"{p.scale:8g}  {p.excess.excess:14.3f}  {p.excess.positive:8.2f}  {p.gain:6.3f}  {p.entropy:7.3f}"
        f"  {p.loss:8.3g}"
        for p in points
    ]
    told = "not homogeneous in its parameters (biases, normalisation): logits do not simply scale"
    lines.append(told if degree is None else f"homogeneous of degree {degree}: logits grow as scale^{degree}")
    return "\n".join(lines)
