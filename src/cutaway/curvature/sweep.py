"""How the curvature at the start depends on the scale of an initialisation: theta becomes alpha theta.

For a network that is homogeneous of degree k in its parameters the logits become alpha^k times as large: small scales
starve the Gauss-Newton part (the logits' gradients vanish), large ones saturate the softmax. In between curvature is
in excess positive, the Goldilocks zone (Fort and Scherlis 2019). Whether that zone is where networks train is another
question (Vysogorets, Dawid and Kempe 2024, arXiv 2402.03579).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cutaway.curvature.softmax import softmax_entropy, softmax_gain
from cutaway.curvature.subspace import Excess, positive_excess, subspace_hessian
from cutaway.curvature.surface import Surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """At one `scale`: the `excess` in the subspace, the softmax's `gain` and `entropy` (nats), the `loss`, and the
    length of its gradient."""

    scale: float
    excess: Excess
    gain: float
    entropy: float
    loss: float
    gradient_norm: float


def scale_sweep(surface: Surface, scales: Sequence[float], *, dimension: int = 50, seed: int = 0) -> list[Scaled]:
    """The surface at `scale` times its parameters, for each of `scales`, in the same random subspace of `dimension`
    directions. Exact in that subspace. Cost: `dimension` products with H a scale."""
    found = []
    for scale in scales:
        here = surface.at(scale * surface.parameters.theta)
        outputs = here.outputs()
        found.append(
            Scaled(
                scale=float(scale),
                excess=positive_excess(subspace_hessian(here, dimension, seed=seed)),
                gain=softmax_gain(outputs),
                entropy=softmax_entropy(outputs),
                loss=float(here.loss(outputs, here.labels).mean()),
                gradient_norm=float(here.gradient().norm()),
            )
        )
    return found
