"""Exact slices through samples of three classes: what an instrument reads of each, and which could not be cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch

from cutaway.arrays import Floats
from cutaway.data.pairs import distinct_rows
from cutaway.errors import BudgetError, InputError, ModelError
from cutaway.geometry.plane import plane_through
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.slice import Slice, SliceSettings, slice_network
from cutaway.network.graph import Graph
from cutaway.records import Skipped

T = TypeVar("T")


def read_class_slices(
    program: StagedProgram | Graph,
    inputs: torch.Tensor,
    classes: torch.Tensor,
    streams: Iterable[torch.Generator],
    read: Callable[[Slice, Floats, float], T],
    *,
    seed: int,
    settings: SliceSettings,
) -> tuple[list[T], tuple[Skipped, ...]]:
    """What `read` gives for the slice (exact) through three inputs of different classes, one slice a stream.

    inputs (n, ...), classes (n,). `read` gets the slice, its corners (3, 2) in the plane and the mean length of the
    triangle's sides in input units. Cost: a slice a stream. What a slice or `read` refuses (BudgetError, InputError,
    ModelError) is among the skipped, with its reason; so are fewer than three classes or two dimensions. Source:
    definition.
    """
    if len(classes.unique()) < 3 or inputs[0].numel() < 2:
        return [], (Skipped(what="slices", reason="need samples of three classes and two dimensions"),)
    found: list[T] = []
    skipped: list[Skipped] = []
    for k, stream in enumerate(streams):
        chosen = inputs[distinct_rows(classes, len(inputs), 3, stream)]
        try:
            plane = plane_through(chosen.numpy(), seed=seed)
            corners = plane.anchors
            turned = np.linalg.det(corners[1:] - corners[0]) < 0
            result = slice_network(program, plane, corners[::-1] if turned else corners, settings)
            side = float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).mean())
            found.append(read(result, corners, side))
        except (BudgetError, InputError, ModelError) as error:
            skipped.append(Skipped(what=f"slice {k}", reason=str(error).split("\n")[0]))
    return found, tuple(skipped)
