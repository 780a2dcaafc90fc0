"""Finds the MLP blocks of a language model by what its linear maps do, not by what they are called.

One forward pass on an example is watched (`flow`). An MLP block is a module that is affine on every token (a linear
map, or one with its adapters), whose output enters an elementwise nonlinearity (the gate) and, multiplied by nothing
but other maps of the same input, goes into a linear map back to width D. That finds gate_proj (Llama, Qwen, Mistral,
Gemma), fused gate_up_proj (Phi-3), c_fc (GPT-2), fc1 (Phi, OPT), intermediate.dense (BERT), `nn.Sequential(Linear,
ReLU, Linear)` and routed experts (`experts`), and leaves out attention, poolers, heads, and gates on something else
(RWKV's receptance, Mamba's and Gemma 3n's per-layer gates). What looks like a block and cannot be read is refused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.language.experts import ExpertLayout, holds_experts, layout_of, takes_choices
from cutaway.language.flow import Flow, FlowWatch, LinearCall
from cutaway.language.forward import check_tokens, run_model
from cutaway.network.preserve import preserved


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpBlock:
    """One MLP block: `path` of the module whose output holds the gate's pre-activations, `hidden` D, `width` F gates.

    `first`, `step`: the gate's columns in that output (fused gate and up projection). `down`: the map back to width D.
    `call`: which of the module's calls in one pass this is, from 0; above 0 only where blocks share weights (ALBERT).
    `time_first`: tokens come as (T, n) and not (n, T). `flat`: as one list (n T).
    `experts`: the layout of routed experts, None for a dense block.
    """

    path: str
    down: str
    hidden: int
    width: int
    first: int = 0
    step: int = 1
    call: int = 0
    time_first: bool = False
    flat: bool = False
    experts: ExpertLayout | None = None

    @property
    def name(self) -> str:
        """The path, and which call where it is not the first: "layer.ffn", "layer.ffn, call 2"."""
        return self.path if self.call == 0 else f"{self.path}, call {self.call + 1}"

    def gates(self, output: Tensor, shape: tuple[int, int]) -> Tensor:
        """The gate's pre-activations (n, T, F) in the module's output, for tokens of this shape (n, T). Exact.

        Source: definition.
        """
        picked = output[..., self.first :: self.step][..., : self.width]
        return self.by_row(picked, shape)

    def by_row(self, states: Tensor, shape: tuple[int, int]) -> Tensor:
        """States of this block's module as (n, T, ...). Exact: a view of the same numbers. Source: definition."""
        if self.time_first:
            return states.transpose(0, 1)
        return states.reshape(*shape, states.shape[-1])

    def rows(self, model: nn.Module) -> Tensor:
        """The gate's weight vectors w_j, shape (F, D), of the map that the module really applies, adapters and
        all: found by giving it the D unit vectors and 0 where it is more than one matrix. Not for experts.

        Exact up to rounding. Cost: one pass of D vectors where it is more than one matrix, none otherwise. Source:
        definition.
        """
        weight, _ = effective(model.get_submodule(self.path), self.hidden)
        return weight[self.first :: self.step][: self.width]


@torch.no_grad()
def effective(module: nn.Module, inputs: int) -> tuple[Tensor, Tensor]:
    """(W, b) of x -> W x + b that an affine module applies: (F, D) and (F,). Exact up to rounding of one product."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    touched = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    if type(module) is nn.Linear and type(weight) is nn.Parameter and not touched:
        return weight.detach(), torch.zeros_like(weight[:, 0]) if bias is None else bias.detach()
    like = next(p for p in itertools.chain(module.parameters(), module.buffers()) if p.is_floating_point())
    device = "cpu" if like.is_meta else like.device  # kept elsewhere until it runs
    unit = torch.eye(inputs + 1, inputs, dtype=like.dtype, device=device)
    out = module(unit[None])[0]
    return (out[:-1] - out[-1:]).T.contiguous(), out[-1]


def find_mlp_blocks(model: nn.Module, tokens: Tensor) -> tuple[MlpBlock, ...]:
    """The MLP blocks in the order in which they run, from one forward pass on `tokens` (1, T) and a row beside it.

    Exact on what was run; a block that this example does not reach is not found. Leaves the model as it was. Raises
    ModelError when there is none, saying how many linear maps were seen, and for one that cannot be read: a gate that
    is not affine or moved by another value, parts of the tokens only, experts of an unknown kind. Source: ours.
    """
    check_tokens(tokens)
    rows = example_rows(tokens)
    watch, found = FlowWatch(), _Finder(model, rows)
    with preserved(model), torch.no_grad():
        handles = [h for path, module in model.named_modules() for h in found.hooks(watch, path, module)]
        try:
            with watch:
                run_model(model, rows, None)
        finally:
            for handle in handles:
                handle.remove()
    blocks = tuple(found.blocks(watch))
    if not blocks:
        linear = sum(c.index >= 0 for c in watch.calls)
        raise ModelError(
            f"model {type(model).__name__}",
            found=f"no MLP block among {linear} linear maps on (batch, tokens, features)",
            expected="a language model with blocks: linear, elementwise nonlinearity, linear back to the same width",
            remedy="check that the model reads token ids and keeps its tokens apart",
        )
    with preserved(model):
        return tuple(b if b.experts is not None else _affine(model, b, watch) for b in blocks)


def example_rows(tokens: Tensor) -> Tensor:
    """The example (1, T) and other rows beside it, so many that their number is not T and tells the axes apart."""
    other = tokens[:1].roll(1, 1).flip(1)
    return torch.cat([tokens[:1], other, tokens[:1]])[: 3 if tokens.shape[1] == 2 else 2]


class _Finder:
    def __init__(self, model: nn.Module, rows: Tensor) -> None:
        self.model, self.rows = model, rows
        self.experts: dict[int, MlpBlock] = {}

    def hooks(self, watch: FlowWatch, path: str, module: nn.Module) -> list[Any]:
        counter, entered, stacked = itertools.count(), [], holds_experts(module)

        def enter(_module, args, kwargs) -> None:
            routed = stacked and takes_choices(args, kwargs)
            entered.append((watch.bends, len(watch.calls), routed))
            watch.stack.append(path)
            watch.paused += routed

        def leave(_module, args, kwargs, output) -> None:
            watch.stack.pop()
            bends, before, routed = entered.pop()
            number = next(counter)
            if routed:
                self._routed(watch, path, module, number, args, kwargs, output)
                watch.paused -= 1
            elif watch.bends == bends and not watch.paused:
                self._linear(
                    watch, path, module, number, args[0] if args else next(iter(kwargs.values()), None), output, before
                )

        return [
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave, with_kwargs=True),
        ]

    def _routed(self, watch: FlowWatch, path: str, module: nn.Module, number: int, args, kwargs, output) -> None:
        layout = layout_of(module, path, args, kwargs, output)
        hidden, width = layout.hidden, layout.width
        watch.calls.append(
            LinearCall(path, number, (0, 0), hidden, width, tuple(self.rows.shape), down=path, active=True)
        )
        self.experts[len(watch.calls) - 1] = MlpBlock(
            path=path, down=path, hidden=hidden, width=width, call=number, flat=True, experts=layout
        )

    def _linear(self, watch: FlowWatch, path: str, module: nn.Module, number: int, source, output, before: int) -> None:
        """A call of a module that holds a weight matrix, or that put the outputs of such modules together."""
        if not (isinstance(source, Tensor) and isinstance(output, Tensor) and source.is_floating_point()):
            return
        rows = source.numel() // max(source.shape[-1], 1)
        if source.ndim < 2 or output.ndim != source.ndim or output.numel() // output.shape[-1] != rows:
            return
        weight = getattr(module, "weight", None)
        shape = (int(source.shape[-1]), int(output.shape[-1]))
        own = isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)
        own = own and isinstance(weight, Tensor) and tuple(weight.shape) in (shape, shape[::-1])
        flow = watch.of(output)
        pointer = source.untyped_storage().data_ptr(), int(source.storage_offset())
        inner = None
        if not own:
            if not watch.calls[before:] or flow is None or flow.active:
                return
            inner = next(iter(flow.calls)) if flow.columns is not None else None
            if inner is not None and watch.calls[inner].source == pointer:
                return
        self._arrived(watch, watch.of(source), shape, path)
        watch.calls.append(
            LinearCall(path, number, pointer, *shape, tuple(source.shape), (source, output), inner=inner)
        )
        watch.alive.append(source)
        watch.put(output, Flow(frozenset({len(watch.calls) - 1}), columns=(0, 1)))

    def _arrived(self, watch: FlowWatch, flow: Flow | None, shape: tuple[int, int], path: str) -> None:
        if flow is None:
            return
        for index in flow.active:
            call = watch.calls[index]
            if not flow.foreign and call.width == shape[0] and (call.inputs == shape[1] or call.index < 0):
                call.down = path
                call.ends.add(shape[1])

    def blocks(self, watch: FlowWatch):
        hidden = {c.inputs for i, c in enumerate(watch.calls) if c.active and c.down and c.index >= 0}
        for index, call in enumerate(watch.calls):
            if index in self.experts:
                yield self.experts[index]
            elif call.active and self._is_block(call, hidden):
                n, length = self.rows.shape
                yield MlpBlock(
                    path=call.path,
                    down=str(call.down),
                    hidden=call.inputs,
                    width=call.width,
                    first=call.first,
                    step=call.step,
                    call=call.index,
                    time_first=call.shape[:2] == (length, n),
                    flat=len(call.shape) == 2,
                )

    def _is_block(self, call: LinearCall, hidden: set[int]) -> bool:
        tokens = call.shape[:-1]
        if call.gates or torch.Size(tokens).numel() == len(self.rows):  # a gate on something else; one row a prompt
            return False
        back = call.down is not None or (call.ends & ({call.inputs} | hidden)) != set()
        if call.index < 0:
            reason = f"a nonlinearity in {call.path!r} over what no linear module gave, mapped back to the hidden width"
            return back and bool(call.ends & hidden) and self._refuse(reason)
        if not call.ends and call.outputs >= call.inputs:
            return self._refuse(f"{call.path} with a nonlinearity whose way back to {call.inputs} features is not seen")
        if not back or call.inputs not in call.ends:
            return False
        if call.down is None:
            return self._refuse(f"{call.path}, whose map back to {call.inputs} features is no module")
        if call.moved:
            return self._refuse(f"{call.path}, whose output is changed by another value before its nonlinearity")
        n, length = self.rows.shape
        if tokens not in ((n, length), (length, n), (n * length,)):
            return self._refuse(
                f"{call.path} on {torch.Size(tokens).numel()} of {n * length} tokens (routed or chunked)"
            )
        return True

    def _refuse(self, found: str) -> bool:
        raise ModelError(
            f"model {type(self.model).__name__}",
            found=f"an MLP block that cannot be read: {found}",
            expected="gates that are affine maps of every token, with their nonlinearity at zero",
            remedy="the other blocks alone would be a part of the model; merge adapters, or use another model",
        )


def _affine(model: nn.Module, block: MlpBlock, watch: FlowWatch) -> MlpBlock:
    """The block, at the outermost module that gives its gate and is affine. Raises ModelError where none is."""
    call = next(c for c in watch.calls if c.path == block.path and c.index == block.call)
    error = _departure(model, call)
    if error is None:
        return block
    if call.inner is not None:
        inner = watch.calls[call.inner]
        return _affine(model, replace(block, path=inner.path, call=inner.index, hidden=inner.inputs), watch)
    raise ModelError(
        f"module {block.path}",
        found=f"an output that differs from every W x + b (by {error:.2g})",
        expected="a gate that is an affine map of each token",
        remedy="adapters that depend on the input, or activations quantised on the way, cannot be read: merge them",
    )


def _departure(model: nn.Module, call: LinearCall) -> float | None:
    """How far the call's output is from W x + b, None where only rounding lies between them."""
    assert call.sample is not None
    source, output = (x.detach().flatten(0, -2) for x in call.sample)
    weight, bias = effective(model.get_submodule(call.path), call.inputs)
    wide = torch.float64 if source.dtype == torch.float64 else torch.float32
    want = source.to(wide) @ weight.to(wide).T + bias.to(wide)
    error, scale = float((want - output.to(wide)).abs().max()), float(output.to(wide).abs().max())
    return None if error <= max(2e-3, 16 * torch.finfo(output.dtype).eps) * scale + 1e-6 else error
