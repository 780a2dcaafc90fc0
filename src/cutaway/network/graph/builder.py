"""`Builder` collects nodes one by one; a `Ref` points at a value that depends on an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from cutaway.network.graph.node import Node
from cutaway.network.graph.operators import apply_node


class Ref:
    """A value that depends on an input: points at a node."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Builder:
    """Collects nodes; `emit` appends one and returns its reference."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: list[Tensor | None] = []
        self.inputs: list[int] = []
        self.outputs: tuple[int, ...] = ()
        self.compared: dict[int, tuple[str, Ref, Any]] = {}
        self.moved: dict[int, tuple[int | None, Tensor]] = {}
        self._module, self._call, self._name, self._target = "", 0, "", ""
        self._names: dict[str, int] = {}

    def at(self, place: fx.Node) -> None:
        """Nodes emitted from now on belong to this exported operator."""
        stack = list((place.meta.get("nn_module_stack") or {}).items())
        key, (path, _) = stack[-1] if stack else ("", ("", None))
        path = "" if path == key == "_empty_nn_module_stack_from_metadata_hook" else path
        path, _, call = path.partition("@")
        self._call = int(call or (key.rpartition("@")[2] if "@" in key else 0) or 0)
        self._module, self._name = path, place.name
        self._target = str(place.target) if place.op == "call_function" else ""

    def place(self, *, module: str, call: int, name: str, target: str) -> None:
        """Nodes emitted from now on belong here."""
        self._module, self._call, self._name, self._target = module, call, name, target

    @property
    def target(self) -> str:
        """The ATen operator that nodes come from now."""
        return self._target

    def value(self, ref: Ref) -> Tensor:
        """The node's value at the example."""
        return self._value(ref.index)

    def _value(self, index: int) -> Tensor:
        value = self.values[index]
        if value is None:  # forgotten and wanted again: a handler looks back
            node = self.nodes[index]
            value = self.values[index] = apply_node(node, [self._value(i) for i in node.inputs])
        return value

    def forget(self, index: int) -> None:
        """Let a node's value go, which is computed again where it is wanted."""
        if index not in self.inputs:
            self.values[index] = None

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """The node's shape at batch size one."""
        return self.nodes[ref.index].shape

    def input(self, value: Tensor) -> Ref:
        """A graph input."""
        index = len(self.inputs)
        ref = self._append("input", (), {}, {"index": index}, value)
        self.inputs.append(ref.index)
        return ref

    def emit(
        self,
        op: str,
        *inputs: Any,
        constants: dict | None = None,
        shape: Sequence[int] | None = None,
        **attributes: Any,
    ) -> Ref:
        """A node of the vocabulary; inputs that are constants become `constant` nodes."""
        refs = tuple((x if isinstance(x, Ref) else self.constant(x)).index for x in inputs)
        fixed = {k: self._own(v) for k, v in (constants or {}).items() if v is not None}
        return self._append(op, refs, fixed, attributes, None, shape)

    def constant(self, value: Any) -> Ref:
        """A `constant` node."""
        tensor = self._own(value)
        return self._append("constant", (), {"value": tensor}, {}, tensor)

    def _own(self, value: Any) -> Tensor:
        dtype = next((v.dtype for v in map(self._value, self.inputs) if v.is_floating_point()), None)
        if not isinstance(value, Tensor):
            return torch.as_tensor(value, dtype=dtype)
        value = value.detach()
        return value.to(dtype) if dtype is not None and value.is_floating_point() else value

    def _append(
        self,
        op: str,
        refs: tuple[int, ...],
        constants: dict[str, Tensor],
        attributes: dict[str, Any],
        value: Tensor | None,
        shape: Sequence[int] | None = None,
    ) -> Ref:
        count = self._names.get(self._name, 0)
        self._names[self._name] = count + 1
        node = Node(
            index=len(self.nodes),
            op=op,
            inputs=refs,
            constants=constants,
            attributes=attributes,
            module=self._module,
            call=self._call,
            name=self._name if count == 0 else f"{self._name}.{count}",
            target=self._target,
            shape=tuple(shape or ()),
        )
        if value is None:
            value = apply_node(node, [self._value(i) for i in refs])
        self.nodes.append(replace(node, shape=tuple(int(n) for n in value.shape)))
        self.values.append(value)
        return Ref(node.index)
