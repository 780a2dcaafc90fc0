"""Attention heads as writers: what each adds to the residual stream, and the network with some of them scaled.

A head h of an attention layer writes z_h W_h^T, z_h (n, T, d) its mixed values and W_h (D, d) its block of columns of
the output projection W_O (the bias is no head's). With grouped queries blocks are still by query head.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, ModelError
from cutaway.network.preserve import preserved

COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "h")
"""Names under which attention modules, or their configuration, keep the number of heads."""
_ATTENTION = re.compile(r"(attention|attn)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayer:
    """One attention layer: path of the attention module, of its output projection and of the block around it ("" for
    none), number of heads, entries a head."""

    path: str
    out: str
    block: str
    heads: int
    width: int

    def columns(self, head: int) -> slice:
        """The head's block of columns of W_O."""
        return slice(head * self.width, (head + 1) * self.width)


Heads = Sequence[tuple[int, int]]
"""(layer, head) pairs."""


def find_heads(model: nn.Module, run: Callable[[], object]) -> tuple[HeadLayer, ...]:
    """The attention layers in the order in which they run. `run` runs the model once on an example.

    An attention layer is a module whose class is named ...Attention or ...Attn; its output projection is the last dense
    module that runs inside it. Exact on what was run. Raises ModelError for a network without such layers ("no heads"),
    for fused attention whose output projection is never called as a module, and for one that is called twice. Cost:
    that run. Source: ours.
    """
    outer = _outermost(model)
    if not outer:
        raise ModelError(
            f"model {type(model).__name__}",
            found="no attention module",
            expected="modules whose class is named ...Attention",
            remedy="ask this of a transformer",
        )
    called: dict[str, list[str]] = {path: [] for path in outer}
    stack: list[str] = []

    def enter(path: str) -> None:
        stack.append(path)

    def note(path: str) -> None:
        if stack:
            called[stack[-1]].append(path)

    handles = []
    for path, module in model.named_modules():
        if path in called:
            handles.append(module.register_forward_pre_hook(lambda *_, p=path: enter(p)))
            handles.append(module.register_forward_hook(lambda *_: stack.pop() and None))
        elif is_dense(module):
            handles.append(module.register_forward_hook(lambda *_, p=path: note(p)))
    try:
        with preserved(model), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    ran = {path: dense for path, dense in called.items() if dense or isinstance(outer[path], nn.MultiheadAttention)}
    return tuple(_layer(model, path, dense) for path, dense in ran.items())


def _outermost(model: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if _ATTENTION.search(type(module).__name__) and not any(path.startswith(f"{p}.") for p in found):
            found[path] = module
    return found


def is_dense(module: nn.Module) -> bool:
    """Whether the module has a weight matrix that is no table of embeddings."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


def _layer(model: nn.Module, path: str, dense: list[str]) -> HeadLayer:
    attention = model.get_submodule(path)
    out = dense[-1] if dense else ""
    if not out or dense.count(out) > 1:
        raise ModelError(
            f"attention {path!r} ({type(attention).__name__})",
            found="an output projection that is never called as a module" if not out else f"{out}, called twice",
            expected="a dense module of its own that maps the heads' values back",
            remedy="fused attention hides it: use a model, or an implementation, with a visible output projection",
        )
    inputs, heads = read_matrix(model, out).shape[1], _count(attention)
    if heads is None or inputs % heads:
        raise ModelError(
            f"attention {path!r} ({type(attention).__name__})",
            found="no number of heads" if heads is None else f"{heads} heads for {inputs} values",
            expected=f"an attribute {', '.join(COUNTS[:3])} that divides the values",
            remedy="set it on the attention module",
        )
    return HeadLayer(path=path, out=out, block=_block(path), heads=heads, width=inputs // heads)


def _count(module: nn.Module) -> int | None:
    for part in module.modules():
        for owner in (part, getattr(part, "config", None)):
            for name in COUNTS:
                value = getattr(owner, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
    return None


def _block(path: str) -> str:
    """The path up to its last number: "model.layers.3" of "model.layers.3.self_attn"."""
    parts = path.split(".")
    numbered = [k for k, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else ""


def read_matrix(model: nn.Module, path: str) -> Tensor:
    """W (D, F) of the dense module at `path`, x -> x W^T + b; transposed where it is kept so (Conv1D). Raises
    ModelError for a weight that is no plain parameter. Exact. Cost: none. Source: definition."""
    module = model.get_submodule(path)
    weight = _parameter(module, path)
    return weight.detach().T if type(module).__name__ == "Conv1D" else weight.detach()


def _parameter(module: nn.Module, path: str) -> nn.Parameter:
    weight = module._parameters.get("weight")
    if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
        raise ModelError(
            f"output projection {path!r}",
            found="a weight that is no floating-point parameter of its own",
            expected="nn.Linear or Conv1D with a plain weight",
            remedy="merge adapters and parametrisations, and load the model without quantisation",
        )
    return weight


@contextlib.contextmanager
def scaled_heads(model: nn.Module, layers: Sequence[HeadLayer], heads: Heads, scale: float) -> Iterator[None]:
    """Inside, what the `heads` (layer, head) write is `scale` times what it was: their blocks of W_O are scaled in
    place, and put back bit for bit, also after an exception. A scale of 1 changes nothing.

    Exact. Cost: a copy of the blocks. Raises InputError for a head that is not there or named twice, and a scale that
    is not finite. Source: definition (ablation).
    """
    _check(layers, heads, scale)
    kept: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        try:
            for layer, head in heads if scale != 1 else ():
                module = model.get_submodule(layers[layer].out)
                weight, columns = _parameter(module, layers[layer].out), layers[layer].columns(head)
                block = weight.data[columns] if type(module).__name__ == "Conv1D" else weight.data[:, columns]
                kept.append((block, block.clone()))
                block.mul_(scale)
            yield
        finally:
            for block, before in kept:
                block.copy_(before)


def _check(layers: Sequence[HeadLayer], heads: Heads, scale: float) -> None:
    there = [(k, h) for k, layer in enumerate(layers) for h in range(layer.heads)]
    if not set(heads) <= set(there) or len(set(heads)) < len(heads):
        raise InputError(
            "heads",
            found=str(list(heads)),
            expected=f"different pairs (layer, head) of {len(layers)} layers",
            remedy="count both from 0",
        )
    if not torch.isfinite(torch.tensor(float(scale))):
        raise InputError("scale of heads", found=str(scale), expected="a finite number", remedy="0 turns a head off")


@contextlib.contextmanager
def watched(model: nn.Module, layers: Sequence[HeadLayer], more: Sequence[str] = ()) -> Iterator[dict[str, Tensor]]:
    """Inside, a dict that holds after each forward pass what went into each output projection, by its path, and, of the
    modules in `more`, "path" what came out and "path<" what went in (the first tensor). Memory: all of them."""
    seen: dict[str, Tensor] = {}

    def first(value: object) -> Tensor:
        return value if isinstance(value, Tensor) else first(value[0])  # pyright: ignore[reportIndexIssue]

    def before(path: str):
        return lambda _module, args: seen.__setitem__(path, args[0].detach())

    def after(path: str):
        return lambda _module, _args, output: seen.__setitem__(path, first(output).detach())

    handles = [model.get_submodule(x.out).register_forward_pre_hook(before(x.out)) for x in layers]
    for path in more:
        handles.append(model.get_submodule(path).register_forward_pre_hook(before(f"{path}<")))
        handles.append(model.get_submodule(path).register_forward_hook(after(path)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
