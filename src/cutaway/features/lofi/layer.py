"""What every LoFi layer reports, whichever way it was computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """One reduction: `eigenvalues` (k,) of C = (1/n) sum y z z^T (for several label columns the root of those of
    sum_k C_k^2), `linear` first-moment columns kept before them, `scale` = c, `second_moment` = E|z|^2,
    `converged` whether the eigensolver met its tolerance."""

    eigenvalues: Array
    linear: int
    scale: float
    second_moment: float
    converged: bool


def input_scale(inputs: Array) -> float:
    """c with c^2 = mean_i |h_i|^2; 1 for inputs that are all zero."""
    scale = float(np.sqrt(np.mean(np.einsum("nq,nq->n", inputs, inputs))))
    return scale if scale > 0 else 1.0
