"""Curvature: the Hessian of a loss by the parameters, its spectrum, and what an initialisation's scale does to it.

A `Surface` is the loss around some parameters; everything else reads one.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "norm_margins": "margins row_margins",
        "probes": "Moments moments",
        "softmax": "predicted_excess softmax_entropy softmax_gain",
        "spectrum": "Density density extremes",
        "subspace": "Excess positive_excess subspace_hessian",
        "surface": "LOSSES Surface",
        "sweep": "Scaled scale_sweep",
    },
)
