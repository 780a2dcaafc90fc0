"""`Node` and `Graph`: a network as a list of operators, each with its inputs, constants, attributes and shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from cutaway.errors import ModelError, UnsupportedOperator


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator: `shape` is at batch size one, `module` the dotted path of the module that called it, `call` the how
    many-eth call of that module (0 first), `name` unique in the graph, `target` the ATen operator it came from."""

    index: int
    op: str
    inputs: tuple[int, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    module: str = ""
    call: int = 0
    name: str = ""
    target: str = ""

    @property
    def numel(self) -> int:
        """Number of values of one sample."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def place(self) -> str:
        """Where it stands, for messages: operator, module path."""
        return f"operator {self.target or self.op!r} at module {self.module or '(top)'!r} (node {self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Operators of one sample in execution order; `inputs` and `outputs` are node indices."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtype: torch.dtype
    batched: bool = True

    @property
    def input(self) -> Node:
        """The only input; a graph with several raises ModelError."""
        if len(self.inputs) != 1:
            names = ", ".join(self.nodes[i].name for i in self.inputs)
            raise ModelError(
                "the network has several inputs",
                found=f"{len(self.inputs)} ({names})",
                expected="one input",
                remedy="wrap the model in a module that takes one tensor and fixes the others",
            )
        return self.nodes[self.inputs[0]]

    @property
    def output(self) -> Node:
        """The only output; a graph with several raises ModelError."""
        if len(self.outputs) != 1:
            raise ModelError(
                "the network has several outputs",
                found=str(len(self.outputs)),
                expected="one output",
                remedy="wrap the model in a module that returns the tensor the question is about",
            )
        return self.nodes[self.outputs[0]]

    @property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For every node the nodes that read it."""
        lists: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for source in node.inputs:
                lists[source].append(node.index)
        return tuple(tuple(users) for users in lists)

    def unsupported(self, node: Node, consumer: str, remedy: str = "") -> NoReturn:
        """Raise UnsupportedOperator: which operator, where, and what to do."""
        raise UnsupportedOperator(
            node.place,
            found=f"{node.op!r} with output shape {node.shape}",
            expected=f"an operator that {consumer} knows",
            remedy=remedy or "replace it by operators listed in cutaway.network.graph, or cut the model before it",
        )

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Graph:
        """The same graph with its floating-point constants in another dtype or on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            if isinstance(value, dict):
                return {k: move(v) for k, v in value.items()}
            if isinstance(value, list | tuple):
                return type(value)(move(v) for v in value)
            return dtype if dtype and isinstance(value, torch.dtype) and value.is_floating_point else value

        nodes = tuple(replace(n, constants=move(n.constants), attributes=move(n.attributes)) for n in self.nodes)
        return replace(self, nodes=nodes, dtype=dtype or self.dtype)
