"""A model's graph at the shape of a plane's inputs, with what a user can do where there is none."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.geometry.plane import Plane
from cutaway.network.graph import Graph, trace
from cutaway.network.refusals import refuse_training_mode, refuse_unreadable
from cutaway.network.weights import check_finite


def trace_for(model: nn.Module, plane: Plane) -> Graph:
    """The model's graph at the plane's input shape; an InputError where a plain pass refuses such inputs, a ModelError
    for weights that are not finite, training mode, or a forward that cannot be exported."""
    refuse_unreadable(model)
    refuse_training_mode(model)
    check_finite(model, type(model).__name__)
    example = torch.zeros(1, *plane.input_shape)
    first = next((p for p in model.parameters() if p.is_floating_point()), example)
    try:
        with torch.no_grad():
            model(example.to(first))
    except Exception as error:  # whatever the user's forward raises
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            "the plane of the slice",
            found=f"inputs of shape {tuple(plane.input_shape)}, which the network refuses: {words}",
            expected="the shape of the network's input",
            remedy="make the plane from inputs of the network, as --through does (--domain alone is for networks of "
            "two inputs)",
        ) from error
    with _torch_quiet():
        return trace(model, example)


@contextmanager
def _torch_quiet() -> Iterator[None]:
    """Keep a failed export from printing its graph: the error says what is the matter. What else is printed stays."""
    told, logger = io.StringIO(), logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stderr(told):
            yield
        sys.stderr.write(told.getvalue())
    finally:
        logger.disabled = before
