"""Whether a network is positively homogeneous in its parameters: what scaling all of them does to its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cutaway.network.calculus import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Homogeneity:
    """Whether f(x; 2 theta) = 2^k f(x; theta): `degree` k, or None where no whole k fits; `deviation` the largest
    |f(x; 2 theta) - 2^k f(x; theta)| / max |f(x; 2 theta)| over the rows, for the nearest k."""

    degree: int | None
    deviation: float


def homogeneity(parameters: Parameters, inputs: torch.Tensor, *, tolerance: float = 1e-4) -> Homogeneity:
    """Tests positive homogeneity in theta on the rows, at factors 2 and 1/2. An estimate that can refute (a bias, a
    normalisation, a curve do) and, on rows that move every unit, hardly errs. Cost: three forward passes a row."""
    part = parameters.network.place(inputs)
    with torch.no_grad():
        here, twice, half = (parameters.outputs(scale * parameters.theta, part) for scale in (1.0, 2.0, 0.5))
    parameters.network.passes.count(3 * len(part))
    size = float(here.abs().max())
    if not size > 0 or not float(twice.abs().max()) > 0:
        return Homogeneity(degree=None, deviation=float("nan"))
    degree = round(torch.log2(twice.abs().max() / here.abs().max()).item())
    deviation = max(
        float((twice - 2.0**degree * here).abs().max() / twice.abs().max()),
        float((half - 0.5**degree * here).abs().max() / (0.5**degree * size)),
    )
    return Homogeneity(degree=degree if deviation <= tolerance else None, deviation=deviation)
