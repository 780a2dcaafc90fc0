"""`cutaway theory goldilocks`: what theory asks of a network's start, computed on the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import budget_bytes, check_picture, open_subject
from cutaway.cli.theory._series import PICTURES, save
from cutaway.errors import InputError

app = new_app("theory goldilocks")


@app.default
def goldilocks(
    model: str | None = None,
    *,
    data: str | None = None,
    weights: str | None = None,
    num: int = 300,
    split: str = "train",
    scales: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    dimension: int = 50,
    seed: int = 0,
    device: str = "cpu",
    budget: str | None = None,
    out: Path | None = None,
    trust_pickle: bool = False,
    trust_code: bool = False,
) -> Outcome:
    """Sweep the scale of an initialisation: excess of positive curvature, softmax gain, entropy, loss.

    Parameters
    ----------
    model
        As in `cutaway scan`, taken as it is (untrained, say); without it, a fully connected network 64-64-64-10
        without biases on digits.
    data
        A named set or a path.
    weights
        Checkpoint to load into the model.
    num
        Rows of the data.
    split
        train or test.
    scales
        Factors of all parameters; 0.05 0.1 0.3 0.6 1 2 4 10 100 when not given.
    dimension
        Random directions in which the Hessian is taken.
    seed
        Seed of the directions, and of the network made when none is given.
    device
        `cpu`, `cuda`, ...
    budget
        Memory budget, such as 8GB.
    out
        File (.png, .pdf, .svg) for the picture.
    trust_pickle
        Allow pickled modules, which can run any code.
    trust_code
        Build the network of a run by the factory that the run names, which runs its code.
    """
    from cutaway.curvature import Surface, scale_sweep
    from cutaway.reproductions.goldilocks import SCALES

    check_picture("--out", out, PICTURES)
    factors = tuple(scales or SCALES)
    if min(factors) <= 0 or dimension < 1:
        found = f"--scales {min(factors):g}, --dimension {dimension}"
        raise InputError(
            "command theory goldilocks",
            found=found,
            expected="scales above 0, a dimension of at least 1",
            remedy="give such numbers",
        )
    if model is None:
        network, dataset = _usual(data, num, seed)
    else:
        network, dataset = open_subject(
            model,
            data,
            weights=weights,
            num=num,
            seed=seed,
            split=split,
            device=device,
            dtype=None,
            trust_pickle=trust_pickle,
            trust_code=trust_code,
            budget=budget,
        )
    if dataset.labels is None:
        raise InputError(
            f"data {dataset.name!r}", found="no labels", expected="labelled data", remedy="name another set"
        )
    surface = Surface.of(network, dataset.inputs, dataset.labels, budget=budget_bytes(budget))
    points = scale_sweep(surface, factors, dimension=dimension, seed=seed)
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


def _usual(data: str | None, num: int, seed: int) -> tuple[Any, Any]:
    from cutaway.data import load_data
    from cutaway.network import Network
    from cutaway.reproductions._bias_free import fully_connected

    if data not in (None, "digits"):
        raise InputError(
            "command theory goldilocks",
            found=f"--data {data} without a model",
            expected="a model for it",
            remedy="name the model, or leave --data out",
        )
    dataset = load_data("digits", split="train", num=num, seed=seed)
    return Network(fully_connected((64, 64, 64, 10), seed), dataset.inputs[:2], name="64-64-64-10"), dataset


def _degree(surface: Any) -> int | None:
    from cutaway.network.calculus import homogeneity

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
