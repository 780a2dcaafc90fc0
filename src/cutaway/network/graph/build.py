"""From an exported program to graph nodes: constant folding and bookkeeping; the renaming is in `normalise`.

The program is run once on the example: what depends on no input is computed on the spot, the rest goes to the handler
of its ATen operator, which emits nodes of the vocabulary. Values at the example give every node its shape.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from cutaway.errors import UnsupportedOperator
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.facts import FACTS
from cutaway.network.graph.normalise import HANDLERS
from cutaway.network.graph.operators import Slot

KEPT_WHOLE = (
    "linear matmul softplus prelu _prelu_kernel hardswish hardsigmoid celu selu relu6 log_sigmoid "
    "glu scaled_dot_product_attention layer_norm group_norm rms_norm softmax log_softmax leaky_relu elu max_pool1d "
    "max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d threshold heaviside split unbind stack upsample_nearest2d roll pixel_shuffle rsub"
)
"""ATen operators (separated by blanks) that export would decompose and that the vocabulary has a better word for,
beside the plain functions of `facts`."""


def decompositions() -> dict:
    """The default table of torch.export without `KEPT_WHOLE`."""
    table = torch.export.default_decompositions()
    kept = {*KEPT_WHOLE.split(), *(word for word, fact in FACTS.items() if fact.plain)}
    for key in list(table.keys()):
        word = str(key).split(".")[1]
        if word in kept:
            table.pop(key)
    return table


def spell_out(program: torch.export.ExportedProgram) -> None:
    """Softshrink as x - clamp(x, -l, l) and hardshrink as x (x > l) + x (x < -l), in place: export decomposes them into
    comparisons (of |x|, which bends at 0 besides) whatever the table says."""
    graph, aten = program.graph, torch.ops.aten
    for place in list(graph.nodes):
        if place.op != "call_function" or place.target not in (aten.softshrink.default, aten.hardshrink.default):
            continue
        x, width = place.args[0], float((*place.args[1:], 0.5)[0])
        soft = place.target is aten.softshrink.default
        if not soft and width <= 0:  # x itself, which export's own spelling says
            continue
        with graph.inserting_before(place):
            if soft:
                made = [graph.call_function(aten.clamp.default, (x, -width, width))]
                made.append(graph.call_function(aten.sub.Tensor, (x, made[0])))
            else:
                made = [
                    graph.call_function(aten.gt.Scalar, (x, width)),
                    graph.call_function(aten.lt.Scalar, (x, -width)),
                ]
                made += [graph.call_function(aten.mul.Tensor, (x, mask)) for mask in made]
                made.append(graph.call_function(aten.add.Tensor, (made[2], made[3])))
        for node in made:
            node.meta = dict(place.meta)
        place.replace_all_uses_with(made[-1])
        graph.erase_node(place)


def _map(item: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(item, list | tuple):
        return type(item)(_map(i, function) for i in item)
    return function(item)


def _depends(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return any(_depends(i) for i in item)
    return isinstance(item, Ref)


def keep_unknown(b: Builder, place: fx.Node, args: Any, kwargs: Any) -> Any:
    """An operator outside the vocabulary, kept so that it can be evaluated and named in an error."""
    refs: list[Ref] = []

    def slot(item: Any) -> Any:
        if not isinstance(item, Ref):
            return item.detach() if isinstance(item, Tensor) else item
        refs.append(item)
        return Slot(len(refs) - 1)

    kept = {
        "target": str(place.target),
        "args": _map(tuple(args), slot),
        "kwargs": {k: _map(v, slot) for k, v in kwargs.items()},
    }
    meta = place.meta.get("val")
    if isinstance(meta, list | tuple):
        return tuple(b.emit(str(place.target), *refs, output=i, **kept) for i, _ in enumerate(meta))
    return b.emit(str(place.target), *refs, **kept)


def build_nodes(program: torch.export.ExportedProgram, samples: tuple[Tensor, ...]):
    """Nodes, input and output indices, and values at the example: those of the outputs, and of other nodes or None."""
    b = Builder()
    env: dict[str, Any] = _placeholders(b, program, samples)
    readers = _Readers(program.graph)
    with torch.no_grad():
        for place in program.graph.nodes:
            if place.op != "call_function":
                continue
            b.at(place)
            args = _map(tuple(place.args), lambda a: env[a.name] if isinstance(a, fx.Node) else a)
            kwargs = {
                k: _map(v, lambda a: env[a.name] if isinstance(a, fx.Node) else a) for k, v in place.kwargs.items()
            }
            before = len(b.nodes)
            env[place.name] = _run(b, place, args, kwargs, HANDLERS)
            readers.forget(b, place, env, before)
    return _finish(b, program, env)


class _Readers:
    """Which values an exported program still reads, so that the others at the example can go."""

    def __init__(self, graph: fx.Graph) -> None:
        self.last: dict[str, str] = {}
        for place in graph.nodes:
            self.last |= {source.name: place.name for source in place.all_input_nodes}
        self.names: collections.Counter[int] = collections.Counter()

    def forget(self, b: Builder, place: fx.Node, env: dict[str, Any], before: int) -> None:
        """After a place: what nothing behind it reads, of the values before and of the nodes it made."""
        self.names.update(_indices(env[place.name]))
        for source in place.all_input_nodes:
            if self.last[source.name] == place.name:
                for index in _indices(env[source.name]):
                    self.names[index] -= 1
                    if self.names[index] <= 0:
                        b.forget(index)
        for index in range(before, len(b.nodes)):
            if self.names[index] <= 0:
                b.forget(index)


def _indices(item: Any) -> list[int]:
    if isinstance(item, list | tuple):
        return [index for entry in item for index in _indices(entry)]
    return [item.index] if isinstance(item, Ref) else []


def _placeholders(b: Builder, program: torch.export.ExportedProgram, samples: tuple[Tensor, ...]) -> dict[str, Any]:
    signature = program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    source: dict[str, Any] = {}
    for table in (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    ):
        source.update(table)
    env: dict[str, Any] = {}
    waiting = list(samples)
    for place in program.graph.nodes:
        if place.op == "placeholder":
            b.at(place)
            env[place.name] = tensors[source[place.name]] if place.name in source else b.input(waiting.pop(0))
    return env


def _run(b: Builder, place: fx.Node, args: tuple, kwargs: dict, handlers: dict) -> Any:
    if place.target is operator.getitem:
        return args[0][args[1]]
    if "_assert" in str(place.target):  # the exporter's own checks, which return nothing
        return None
    if any(isinstance(a, fx.Node) and v is None for a, v in zip(place.args, args)):
        raise UnsupportedOperator(
            f"operator {str(place.target)!r}",
            found="the positions that a maximum or a normalisation gives beside its values",
            expected="operators on values",
            remedy="cut the model before it",
        )
    if not _depends((args, tuple(kwargs.values()))):
        target: Any = place.target
        made = target(*args, **kwargs)
        return made.zero_() if "empty" in str(place.target) else made  # written over later; what lay there is noise
    handler = handlers.get(str(place.target).split(".")[1]) if "." in str(place.target) else None
    if handler is not None:
        result = handler(b, *args, **kwargs)
        if result is not NotImplemented:
            return result
    return keep_unknown(b, place, args, kwargs)


def _finish(b: Builder, program: torch.export.ExportedProgram, env: dict[str, Any]):
    final = next(place for place in program.graph.nodes if place.op == "output")
    outputs: list[int] = []
    for item in final.args[0]:
        value = env[item.name] if isinstance(item, fx.Node) else item
        if isinstance(value, Ref):
            outputs.append(value.index)
        elif isinstance(value, Tensor):
            outputs.append(b.constant(value).index)
    return tidy(b, outputs)


def tidy(b: Builder, outputs: list[int]):
    """Drop reshapes that change nothing or feed reshapes, then nodes that no output needs; number the rest anew."""
    source = list(range(len(b.nodes)))
    for i, node in enumerate(b.nodes):
        node = b.nodes[i] = replace(node, inputs=tuple(source[j] for j in node.inputs))
        if node.op == "reshape":
            before = b.nodes[node.inputs[0]]
            if before.op == "reshape":
                before = b.nodes[before.inputs[0]]
                b.nodes[i] = replace(node, inputs=(before.index,))
            if before.shape == node.shape:
                source[i] = before.index
    outputs = [source[i] for i in outputs]
    needed = {*outputs, *b.inputs}
    for node in reversed(b.nodes):
        if node.index in needed:
            needed.update(node.inputs)
    order = sorted(needed)
    new = {old: position for position, old in enumerate(order)}
    nodes = tuple(replace(b.nodes[i], index=new[i], inputs=tuple(new[j] for j in b.nodes[i].inputs)) for i in order)
    for index in outputs:
        b.value(Ref(index))
    values = [b.values[i] for i in order]
    return nodes, tuple(new[i] for i in b.inputs), tuple(new[i] for i in outputs), values
