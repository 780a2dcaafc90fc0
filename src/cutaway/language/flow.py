"""Follows what linear maps give through one forward pass: which nonlinearity it enters, and where it goes from there.

Every tensor that is made token by token from the outputs of linear maps carries a `Flow`. A flow ends at the next
linear map, at attention, and wherever tokens or features are rearranged; each end is noted with the map it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.network.graph import facts
from cutaway.network.sites import candidate_kind, flatten_operands, function_name

_MIXING = frozenset(
    {"linear", "matmul", "__matmul__", "addmm", "mm", "bmm", "baddbmm", "einsum", "grouped_mm", "_grouped_mm"}
)
_REORDER = frozenset({"transpose", "permute", "movedim", "swapaxes", "flip", "roll", "cumsum", "t", "sort"})
_ATTENTION = frozenset({"softmax", "attention"})
_SCALE = frozenset({"mul", "__mul__", "__rmul__", "__imul__", "multiply", "div", "__truediv__"})
_VIEW = frozenset(
    {"view", "reshape", "chunk", "split", "__getitem__", "narrow", "unbind", "squeeze", "unsqueeze", "flatten"}
)
_PRODUCT = frozenset({"mul", "__mul__", "__rmul__", "__imul__", "multiply", "square", "pow", "__pow__"})
_SAME = frozenset({"to", "type", "float", "half", "bfloat16", "contiguous", "clone", "dropout", "type_as", "detach"})


@dataclass(slots=True)
class LinearCall:
    """One call of a module that maps (..., D) to (..., F): what goes in and out, and what became of its output.

    `first`, `step`: the columns that enter the nonlinearity. `moved`: something was added to them before. `down`: the
    linear module that maps them back; `ends`: widths of all maps they reach; `gates`: multiplies what is not made from
    the same input. `index` counts the module's calls. `inner`: the call inside this one that gave the same output.
    """

    path: str
    index: int
    source: tuple[int, int]
    inputs: int
    outputs: int
    shape: tuple[int, ...]
    sample: tuple[Tensor, Tensor] | None = None
    active: bool = False
    first: int = 0
    step: int = 1
    width: int = 0
    moved: bool = False
    gates: bool = False
    down: str | None = None
    inner: int | None = None
    ends: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a tensor comes from: calls, those of them past a nonlinearity, and the columns while it is a bare view."""

    calls: frozenset[int]
    active: frozenset[int] = frozenset()
    columns: tuple[int, int] | None = None
    curved: bool = False
    moved: bool = False
    foreign: bool = False


class FlowWatch(TorchFunctionMode):
    """Keeps calls and flows of one pass; every tensor seen is kept alive, so that its identity means something."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[LinearCall] = []
        self.flows: dict[int, Flow] = {}
        self.alive: list[Any] = []
        self.stack: list[str] = []
        self.bends = 0
        self.paused = 0

    def of(self, value: Any) -> Flow | None:
        return self.flows.get(id(value)) if isinstance(value, Tensor) else None

    def put(self, value: Tensor, flow: Flow | None) -> None:
        self.alive.append(value)
        if flow is None:
            self.flows.pop(id(value), None)
        else:
            self.flows[id(value)] = flow

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function_name(func)
        if name.startswith("__get__") or self.paused:
            return func(*args, **kwargs)
        kind = candidate_kind(func, name)
        operands = [a for a in flatten_operands([*args, *kwargs.values()]) if isinstance(a, Tensor)]
        before = [(a, self.of(a)) for a in operands]
        result = func(*args, **kwargs)
        self.bends += kind in _ATTENTION or _is_activation(kind, args)
        made = [r for r in flatten_operands([result]) if isinstance(r, Tensor) and r.is_floating_point()]
        flow = None
        if kind in _ATTENTION or name == "scaled_dot_product_attention":
            pass
        elif name in _MIXING:
            self._ended(before, made)
        elif _is_activation(kind, args):
            flow = self._activated(args[0], self.of(args[0]) if args else None)
        elif name not in _REORDER:
            flow = self._merged(name, before, args)
        for tensor in made:
            self.put(tensor, self._seen_through(name, flow, before, tensor))
        return result

    def _ended(self, before: list, made: list[Tensor]) -> None:
        for _, flow in before:
            if flow is None or not made:
                continue
            for index in flow.active:
                self.calls[index].gates |= flow.foreign
                self.calls[index].ends.add(int(made[0].shape[-1]))

    def _activated(self, source: Tensor, flow: Flow | None) -> Flow | None:
        """A nonlinearity over a call's output; over what comes from none, a call of the running module is made up."""
        if source.ndim < 2:
            return None
        if flow is None:
            where = self.stack[-1] if self.stack else ""
            self.calls.append(LinearCall(where, -1, (id(source), 0), 0, int(source.shape[-1]), tuple(source.shape)))
            flow = Flow(frozenset({len(self.calls) - 1}))
        for index in flow.calls - flow.active:
            call = self.calls[index]
            call.moved |= flow.moved or flow.foreign
            if not call.active and flow.columns is not None:
                call.first, call.step = flow.columns
            call.moved |= not call.active and flow.columns is None and source.shape[-1] != call.outputs
            call.active, call.width = True, int(source.shape[-1])
        return replace(flow, active=flow.calls, columns=None, curved=True)

    def _merged(self, name: str, before: list, args: tuple) -> Flow | None:
        flows = [f for _, f in before if f is not None]
        if not flows:
            return None
        others = [a for a, f in before if f is None and not isinstance(a, nn.Parameter)]
        others = [a for a in others if a.ndim > 0 and a.is_floating_point() and a.numel() > a.shape[-1]]
        calls = frozenset().union(*(f.calls for f in flows))
        sources = {self.calls[c].source for c in calls}
        curved = any(f.curved for f in flows) or (name in _PRODUCT and not others and _nonlinear(name, flows))
        plain = len(before) == 1 and name in _SAME | _SCALE | _VIEW
        flow = Flow(
            calls,
            frozenset().union(*(f.active for f in flows)),
            None,
            curved,
            any(f.moved for f in flows) or not (plain or curved),
            any(f.foreign for f in flows) or len(sources) > 1 or bool(others),
        )
        if plain:
            flow = replace(flow, columns=flows[0].columns)
        if flow.foreign:
            for index in flow.active:
                self.calls[index].gates = True
        return flow

    def _seen_through(self, name: str, flow: Flow | None, before: list, made: Tensor) -> Flow | None:
        """The flow in this result: none where tokens are rearranged, other columns where it is a slice."""
        origin = next((a for a, f in before if f is not None), None)
        if flow is None or origin is None or made.ndim < 2 or origin.ndim < 2:
            return flow if origin is None else None
        if made.numel() // made.shape[-1] != origin.numel() // origin.shape[-1]:
            return None
        if made.shape[-1] == origin.shape[-1] or made.shape[-1] == 1:
            return flow
        sliced = made.untyped_storage().data_ptr() == origin.untyped_storage().data_ptr() and origin.stride(-1) > 0
        if flow.columns is None or not sliced or made.shape[-1] > origin.shape[-1]:
            return replace(flow, columns=None) if made.shape[-1] < origin.shape[-1] and sliced else None
        first, step = flow.columns
        offset = (made.storage_offset() - origin.storage_offset()) // origin.stride(-1)
        return replace(flow, columns=(first + offset * step, step * made.stride(-1) // origin.stride(-1)))


def _nonlinear(name: str, flows: list[Flow]) -> bool:
    return name in ("square", "pow", "__pow__") or len(flows) > 1


def _is_activation(kind: str | None, args: tuple) -> bool:
    if kind == "pow":  # the cube of the tanh form of GELU; squares belong to normalisations
        return len(args) > 1 and isinstance(args[1], int | float) and args[1] == 3
    return kind is not None and facts.of(kind).family == "activation"
