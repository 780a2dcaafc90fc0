"""What one forward pass costs, as torch counts it."""

from __future__ import annotations

import torch
from torch import nn

from cutaway.network.preserve import preserved


def forward_flops(model: nn.Module, example: torch.Tensor) -> float:
    """Floating-point operations of one row's forward pass: products and sums of matrices and convolutions.

    `example` (n, ...). Infinite where they cannot be counted. The model is left as it was. Cost: one forward pass.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with preserved(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(example)
    except Exception:  # a model that refuses the example, or an operator that the counter does not know
        return float("inf")
    return counter.get_total_flops() / max(len(example), 1)
