# Written by tools/write_stubs.py from __init__.py.

from cutaway.curvature.norm_margins import margins as margins
from cutaway.curvature.norm_margins import row_margins as row_margins
from cutaway.curvature.probes import Moments as Moments
from cutaway.curvature.probes import moments as moments
from cutaway.curvature.softmax import predicted_excess as predicted_excess
from cutaway.curvature.softmax import softmax_entropy as softmax_entropy
from cutaway.curvature.softmax import softmax_gain as softmax_gain
from cutaway.curvature.spectrum import Density as Density
from cutaway.curvature.spectrum import density as density
from cutaway.curvature.spectrum import extremes as extremes
from cutaway.curvature.subspace import Excess as Excess
from cutaway.curvature.subspace import positive_excess as positive_excess
from cutaway.curvature.subspace import subspace_hessian as subspace_hessian
from cutaway.curvature.surface import LOSSES as LOSSES
from cutaway.curvature.surface import Surface as Surface
from cutaway.curvature.sweep import Scaled as Scaled
from cutaway.curvature.sweep import scale_sweep as scale_sweep

__all__ = [
    "Density",
    "Excess",
    "LOSSES",
    "Moments",
    "Scaled",
    "Surface",
    "density",
    "extremes",
    "margins",
    "moments",
    "positive_excess",
    "predicted_excess",
    "row_margins",
    "scale_sweep",
    "softmax_entropy",
    "softmax_gain",
    "subspace_hessian",
]
