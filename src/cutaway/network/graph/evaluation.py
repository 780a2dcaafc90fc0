"""Values of a graph's nodes at a batch of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cutaway.errors import ModelError
from cutaway.network.graph.node import Graph, Node
from cutaway.network.graph.operators import apply_node


def evaluate_graph(
    graph: Graph, inputs: Tensor | tuple[Tensor, ...], *, keep: Callable[[Node], bool] | None = None
) -> list[Any]:
    """Every node's value at a batch: a list with one tensor of shape (B, *node.shape) for each node.

    `inputs` has shape (B, *sample shape), the sample shape without its leading 1 when the graph is `batched`. `keep`
    limits what is returned (the others are None). Differentiable. Cost: one forward pass; memory of the kept values and
    of those that a later node still reads.
    Raises `ModelError` for inputs of another shape.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    given = tuple(_as_samples(graph, x, i) for x, i in zip(given, graph.inputs, strict=True))
    kept = [n.index for n in graph.nodes if keep is None or keep(n)]
    needed, last = set(kept), [max(users, default=-1) for users in graph.users]

    def run(*samples: Tensor) -> list[Tensor]:
        values: dict[int, Tensor] = dict(zip(graph.inputs, samples))
        for node in graph.nodes:
            if node.op != "input":
                values[node.index] = apply_node(node, [values[i] for i in node.inputs])
                for i in {i for i in node.inputs if last[i] == node.index} - needed:
                    del values[i]
        return [values[i] for i in kept]

    result: list[Tensor | None] = [None] * len(graph.nodes)
    for index, value in zip(kept, torch.vmap(run)(*given)):
        result[index] = value
    return result


def _as_samples(graph: Graph, x: Tensor, index: int) -> Tensor:
    node = graph.nodes[index]
    shape = node.shape[1:] if graph.batched else node.shape
    if tuple(x.shape[1:]) != tuple(shape):
        raise ModelError(
            f"input {node.name!r} has the wrong shape",
            found=str(tuple(x.shape)),
            expected=f"(batch, *{tuple(shape)})",
            remedy="give a batch of this shape",
        )
    x = x.to(graph.dtype) if x.is_floating_point() else x
    return x.reshape(x.shape[0], *node.shape)


def output_of(graph: Graph, inputs: Tensor) -> Tensor:
    """Only the output, shape (B, *output shape) without the leading 1 when the graph is `batched`; differentiable."""
    node = graph.output
    value = evaluate_graph(graph, inputs, keep=lambda n: n.index == node.index)[node.index]
    return value.squeeze(1) if graph.batched and node.shape[:1] == (1,) else value
