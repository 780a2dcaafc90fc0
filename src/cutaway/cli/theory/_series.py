"""What the commands of `cutaway theory` share: series, the exponents of a target, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURES = (".png", ".pdf", ".svg")


def exponents(target: Any, seed: int) -> dict[str, Any]:
    """Of the target, where it has one or two directions (seconds beyond that: `cutaway theory exponent` takes them)."""
    if target.num_directions > 2:
        return {}
    from cutaway.dynamics.certain import Certain
    from cutaway.dynamics.exponents import generative_exponent, information_exponent
    from cutaway.dynamics.staircase import leap

    if target.tree is not None and Certain(target, 0).finite_variance() is None:
        return {}  # a simulation tells more of it than theory does
    found, steps = information_exponent(target), leap(target)
    generative = generative_exponent(target, num_samples=200_000, seed=seed)
    return told_exponents(found, steps, generative)


def told_exponents(information: Any, steps: Any, generative: Any) -> dict[str, Any]:
    """The three exponents and, for each, the least that it can be: the same number where it is exact."""
    return {
        "exponent": information.value,
        "leap": steps.value,
        "generative_exponent": generative.value,
        "at_least": {
            "exponent": information.at_least,
            "leap": steps.at_least,
            "generative_exponent": generative.at_least,
        },
    }


def theory_payload(series: dict[str, Any], **found: Any) -> dict[str, Any]:
    """What every form prints; null what is not `found`."""
    return {"series": series, "exponent": None, "leap": None, "generative_exponent": None} | found


def series_of(x: Any, y: Any) -> list[list[float]]:
    """Pairs [x, y], as `--json` prints them."""
    return [[float(a), float(b)] for a, b in zip(x, y)]


def axes_of(pairs: list[list[float]]) -> tuple[Any, Any]:
    """The x and the y of such pairs."""
    import numpy as np

    table = np.array(pairs)
    return table[:, 0], table[:, 1]


def save(figure: Any, path: Path) -> None:
    """Write under a temporary name, then rename: nothing half-written."""
    from cutaway.files import atomic

    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")
