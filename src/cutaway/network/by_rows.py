"""Rows through a network, a part at a time, on the engine in force (`cutaway.engines.working_on`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cutaway.engines.parts import in_parts
from cutaway.engines.threads import threads_for
from cutaway.network.capture import chunks
from cutaway.network.network import Network


def over_rows(
    network: Network, function: Callable[..., Any], size: int, columns: Sequence[Tensor], *settings: Any
) -> list[Any]:
    """[function(network, *part, *settings)] for parts of `size` rows of the `columns`, each (n, ...), in order.

    The parts are the same on every engine, and so are the results. Passes that a worker makes count here.
    """
    parts = [tuple(column[rows] for column in columns) for rows in chunks(len(columns[0]), size)]
    before = network.forward_passes
    found = in_parts(_part, parts, network, function, settings)
    elsewhere = sum(passes for _, passes in found) - (network.forward_passes - before)
    network.passes.count(elsewhere)
    return [result for result, _ in found]


def _part(network: Network, function: Callable[..., Any], settings: tuple, *part: Tensor) -> tuple[Any, int]:
    before = network.forward_passes
    with threads_for(network.flops):
        result = function(network, *part, *settings)
    return result, network.forward_passes - before
