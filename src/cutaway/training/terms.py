"""What every loss term needs: the model as one function of its input, and arguments that were looked at.

Terms are called as `term(model, inputs, labels)` with inputs `(n, ...)` floating point and labels `(n,)` int64. They
see the model in evaluation mode (running statistics of batch norm, no dropout), because a margin or a Jacobian
belongs to one function of one input; flags are put back afterwards and no buffer, gradient or random state is touched.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.network.outputs import first_tensor

DUAL_NORM = {"inf": 1.0, "2": 2.0, "1": float("inf")}
"""Norm of the inputs -> order of the dual norm, which measures gradients: 1/p + 1/q = 1."""


def dual_order(norm: str) -> float:
    """q with 1/p + 1/q = 1 for the norm named "inf", "2" or "1"; InputError for another name."""
    if norm not in DUAL_NORM:
        raise InputError("norm", found=repr(norm), expected="'inf', '2' or '1'", remedy="give one of these")
    return DUAL_NORM[norm]


def positive(name: str, value: float) -> None:
    """Raise InputError unless `value` is a finite number above 0."""
    if not (0 < value < float("inf")):
        raise InputError(name, found=str(value), expected="a finite number above 0", remedy="give such a number")


def scores_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's output tensor, `(n, classes)`; InputError for another shape."""
    scores = first_tensor(model(inputs))
    if scores.dim() != 2:
        raise InputError(
            "the model's output",
            found=f"shape {tuple(scores.shape)}",
            expected="(n, classes), one score a class",
            remedy="give a model with one output a class",
        )
    return scores


def check_inputs(inputs: Tensor) -> None:
    """InputError unless inputs are finite floating-point numbers with at least one row."""
    if not inputs.is_floating_point():
        raise InputError(
            "inputs",
            found=f"dtype {str(inputs.dtype)[6:]}",
            expected="floating point",
            remedy="convert them with inputs.float()",
        )
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise InputError(
            "inputs",
            found=f"shape {tuple(inputs.shape)}",
            expected="(n, ...) with at least one row",
            remedy="give a batch of rows",
        )
    finite = torch.isfinite(inputs.detach())
    if not bool(finite.all()):
        row = int((~finite.flatten(1).all(1)).nonzero()[0])
        raise InputError(
            f"inputs, row {row}",
            found="NaN or infinite values",
            expected="finite numbers",
            remedy="remove or mend these rows",
        )


def check_labels(labels: Tensor | None, rows: int, num_classes: int) -> Tensor:
    """The labels, if they are class numbers of `rows` rows; InputError otherwise."""
    if labels is None:
        raise InputError("labels", found="none", expected=f"({rows},) class numbers", remedy="this term needs labels")
    if labels.is_floating_point() or labels.dtype == torch.bool or tuple(labels.shape) != (rows,):
        raise InputError(
            "labels",
            found=f"{str(labels.dtype)[6:]} {tuple(labels.shape)}",
            expected=f"int64 ({rows},), a class a row",
            remedy="give class numbers, one a row",
        )
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise InputError(
            "labels",
            found=f"{int(labels.min())} to {int(labels.max())}",
            expected=f"0 to {num_classes - 1}",
            remedy="number the classes from 0, or give the model more outputs",
        )
    return labels
