"""A module's operators as they run once on an example, for modules that are known to run straight through: no import of
`torch.export`, whose machinery takes longer to load than a small network to verify.

Operators are taken below autograd, at torch's dispatcher, and a few that it would split (`WHOLE`) above it. Each goes
to the handler of its ATen name, as an exported program's does. What has none, writes in place or reads a number that
depends on the input raises `NotRecorded`; the caller then exports.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cutaway._compat import NotCompiled
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.normalise import HANDLERS

WHOLE = {"linear": "linear", "matmul": "matmul", "__matmul__": "matmul", "group_norm": "group_norm"}
WHOLE |= {word: word for word in ("layer_norm", "rms_norm", *(f"adaptive_avg_pool{n}d" for n in (1, 2, 3)))}
"""Functions of torch, by their own name, that stay one operator; their arguments are those of ATen's."""
READS = ("tolist", "numpy", "item", "__array__", "__bool__", "__float__", "__int__", "__index__", "__contains__")
"""Methods by which a number leaves torch."""


class NotRecorded(Exception):
    """The module does something that only an export can follow."""


class Recorder:
    """Which tensors depend on the input, each with the node that stands for it. Tensors are kept alive, so that their
    identities stay theirs."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._nodes: dict[int, Ref | None] = {}
        self._kept: list[Tensor] = []
        self._modules = [""]
        self._calls: collections.Counter[str] = collections.Counter()
        self._names: collections.Counter[str] = collections.Counter()
        self.paused = False

    def input(self, sample: Tensor) -> None:
        self.builder.place(module="", call=0, name=f"input_{len(self.builder.inputs)}", target="")
        self._bind(sample, self.builder.input(sample))

    def entered(self, module: str) -> None:
        self._modules.append(module)
        self._calls[module] += 1

    def left(self) -> None:
        self._modules.pop()

    def node_of(self, value: Any) -> Any:
        """The value's node where it depends on the input, else the value; lists and tuples entry by entry."""
        if isinstance(value, list | tuple):
            return type(value)(self.node_of(entry) for entry in value)
        if not isinstance(value, Tensor) or id(value) not in self._nodes:
            return value
        node = self._nodes[id(value)]
        if node is None:
            raise NotRecorded("a value without a node")
        return node

    def depends(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(self.depends(entry) for entry in value)
        return isinstance(value, Tensor) and id(value) in self._nodes

    def add(self, word: str, target: str, args: tuple, kwargs: dict, result: Any) -> Any:
        """The operator's nodes, by its handler; gives what stands for its result."""
        handler = HANDLERS.get(word)
        if handler is None:
            raise NotRecorded(target)
        name = f"{word}_{self._names[word]}" if self._names[word] else word
        self._names[word] += 1
        module = self._modules[-1]
        self.builder.place(module=module, call=max(self._calls[module] - 1, 0), name=name, target=target)
        given = {k: self.node_of(v) for k, v in kwargs.items()}
        try:
            made = handler(self.builder, *self.node_of(tuple(args)), **given)
        except TypeError as error:  # an argument that exported programs do not give it
            raise NotRecorded(target) from error
        if made is NotImplemented:
            raise NotRecorded(target)
        return self._bind(result, made)

    def _bind(self, result: Any, made: Any) -> Any:
        if isinstance(result, list | tuple):
            made = made if isinstance(made, list | tuple) else (made,)
            rest = (None,) * (len(result) - len(made))
            return type(result)(self._bind(one, node) for one, node in zip(result, (*made, *rest), strict=True))
        if isinstance(made, Tensor) and made.shape == result.shape:  # the handler knows that it depends on no input
            return made.to(result.dtype)
        if not isinstance(made, Ref | None) or (made and self.builder.shape(made) != tuple(result.shape)):
            raise NotRecorded("a node of another shape")
        self._nodes[id(result)] = made  # None: positions beside a maximum, which nothing may read
        self._kept.append(result)
        return result


class _Functions(TorchFunctionMode):
    """Functions that stay whole, and numbers that leave torch."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, recorder = kwargs or {}, self.recorder
        name = getattr(func, "__name__", "")
        if name in READS and recorder.depends(args):
            raise NotRecorded(name)
        if name not in WHOLE or not recorder.depends((*args, *kwargs.values())):
            return func(*args, **kwargs)
        recorder.paused = True
        try:
            result = func(*args, **kwargs)
            return recorder.add(WHOLE[name], f"aten.{WHOLE[name]}.default", args, kwargs, result)
        finally:
            recorder.paused = False


class _Operators(NotCompiled, TorchDispatchMode):
    """All other operators."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, recorder = kwargs or {}, self.recorder
        if recorder.paused or not recorder.depends((*args, *kwargs.values())):
            return func(*args, **kwargs)
        target = str(func)
        if func._schema.is_mutable or not target.startswith("aten."):
            raise NotRecorded(target)
        return recorder.add(target.split(".")[1], target, args, kwargs, func(*args, **kwargs))


def record_graph(model: nn.Module, samples: tuple[Tensor, ...]) -> tuple[Builder, list[int]]:
    """The builder with the model's nodes, and the indices of its outputs. Raises NotRecorded, and what the model
    raises. Cost: one forward pass, whose values are all kept."""
    recorder = Recorder()
    hooks = []
    for path, part in model.named_modules():
        if path:
            hooks.append(part.register_forward_pre_hook(lambda _module, _args, path=path: recorder.entered(path)))
            hooks.append(part.register_forward_hook(lambda _module, _args, _result: recorder.left()))
    try:
        for sample in samples:
            recorder.input(sample)
        with torch.inference_mode(False), torch.no_grad(), _Operators(recorder), _Functions(recorder):
            result = model(*samples)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(result, Tensor) or not recorder.depends(result):
        raise NotRecorded("an output without a node")
    return recorder.builder, [recorder.node_of(result).index]
