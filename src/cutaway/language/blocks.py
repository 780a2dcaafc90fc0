"""Finds the MLP blocks of a language model by what its linear maps do, not by what they are called.

One forward pass on an example is watched: every module that maps (n, T, D) to (n, T, F) by its own weight matrix, every
elementwise nonlinearity, every softmax. An MLP block is a linear map whose output goes into an elementwise
nonlinearity (the gate) and whose F features (F/2 where gate and up projection are one matrix) go into the next
linear map back to width D, with no attention in between. That finds gate_proj (Llama, Qwen, Mistral, Gemma), fused
gate_up_proj (Phi-3), c_fc (GPT-2), fc1 (Phi), intermediate.dense (BERT) and `nn.Sequential(Linear, ReLU, Linear)`,
and leaves out attention projections, poolers and heads.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.errors import ModelError
from cutaway.network.graph import facts
from cutaway.network.preserve import preserved
from cutaway.network.sites import candidate_kind, function_name

_VIEWS = frozenset({"mul", "__mul__", "__rmul__", "__imul__", "to", "type", "float", "contiguous", "clone"})
_ATTENTION = frozenset({"softmax", "attention"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpBlock:
    """One MLP block: `path` of the module whose output holds the gate's pre-activations, `hidden` D, `width` F gates.

    `fused`: the module's output is 2F wide and the gate is its first half. `transposed`: the weight is stored (D, F)
    (Hugging Face's Conv1D) instead of (F, D). `down` is the path of the map back to width D. `call`: which of the
    module's calls in one pass this is, counted from 0; above 0 only where blocks share weights (ALBERT).
    """

    path: str
    down: str
    hidden: int
    width: int
    fused: bool = False
    transposed: bool = False
    call: int = 0

    @property
    def name(self) -> str:
        """The path, and which call where it is not the first: "layer.ffn", "layer.ffn, call 2"."""
        return self.path if self.call == 0 else f"{self.path}, call {self.call + 1}"

    def rows(self, model: nn.Module) -> Tensor:
        """The gate's weight vectors w_j, shape (F, D)."""
        weight = model.get_submodule(self.path).weight
        assert isinstance(weight, Tensor)
        return (weight.T if self.transposed else weight)[: self.width]


@dataclass(slots=True)
class _Call:
    path: str
    source: int
    inputs: int
    outputs: int
    transposed: bool
    clock: int
    call: int
    activated: bool = False
    fused: bool = False


class _Watch(TorchFunctionMode):
    """Marks which linear outputs (by storage, kept alive) enter an elementwise nonlinearity, and when attention ran."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.owner: dict[int, int] = {}
        self.alive: list[Tensor] = []
        self.attention: list[int] = []
        self.clock = 0

    def keep(self, tensor: Tensor, index: int) -> None:
        self.owner[tensor.untyped_storage().data_ptr()] = index
        self.alive.append(tensor)

    def of(self, value: Any) -> int | None:
        return self.owner.get(value.untyped_storage().data_ptr()) if isinstance(value, Tensor) else None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function_name(func)
        if name.startswith("__get__"):
            return func(*args, **kwargs)
        self.clock += 1
        kind = candidate_kind(func, name)
        index = self.of(args[0]) if args else None
        result = func(*args, **kwargs)
        if kind in _ATTENTION:
            self.attention.append(self.clock)
        elif index is not None and _is_activation(kind, args):
            call = self.calls[index]
            call.activated = True
            call.fused = args[0].shape[-1] * 2 == call.outputs
        elif index is not None and name in _VIEWS and isinstance(result, Tensor):
            others = [a for a in args[1:] if isinstance(a, Tensor) and a.ndim > 0]
            if not others and self.of(result) is None and result.shape == args[0].shape:
                self.keep(result, index)
        return result


def _is_activation(kind: str | None, args: tuple) -> bool:
    if kind == "pow":  # the cube of the tanh form of GELU; squares belong to normalisations
        return len(args) > 1 and args[1] == 3.0
    return kind is not None and facts.of(kind).family == "activation"


def find_mlp_blocks(model: nn.Module, tokens: Tensor) -> tuple[MlpBlock, ...]:
    """The MLP blocks in the order in which they run, from one forward pass on `tokens` (1, T), T >= 2.

    Exact on what was run; a block that this example does not reach is not found. Leaves the model as it was. Raises
    ModelError when there is none, saying how many linear maps were seen.
    """
    watch = _Watch()
    handles = []

    def enter(path: str, module: nn.Module):
        number = itertools.count()

        def hook(_module, args, kwargs, output):
            call = next(number)
            source = args[0] if args else next(iter(kwargs.values()), None)
            if not (isinstance(source, Tensor) and isinstance(output, Tensor) and source.is_floating_point()):
                return
            if source.ndim != 3 or output.ndim != 3:
                return
            transposed = _orientation(module, source, output)
            if transposed is None:
                return
            pointer = source.untyped_storage().data_ptr() + source.storage_offset() * source.element_size()
            sizes = int(source.shape[-1]), int(output.shape[-1])
            watch.alive.append(source)
            watch.calls.append(_Call(path, pointer, *sizes, transposed, watch.clock, call))  # pyright: ignore[reportArgumentType]
            watch.keep(output, len(watch.calls) - 1)

        return hook

    with preserved(model), torch.no_grad():
        for path, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding):
                handles.append(module.register_forward_hook(enter(path, module), with_kwargs=True))
        try:
            with watch:
                run_model(model, tokens, None)
        finally:
            for handle in handles:
                handle.remove()
    blocks = tuple(_pair(watch))
    if not blocks:
        raise ModelError(
            f"model {type(model).__name__}",
            found=f"no MLP block among {len(watch.calls)} linear maps on (batch, tokens, features)",
            expected="a language model with blocks: linear, elementwise nonlinearity, linear back to the same width",
            remedy="check that the model reads token ids and keeps its tokens apart",
        )
    return blocks


def _orientation(module: nn.Module, source: Tensor, output: Tensor) -> bool | None:
    """Whether the weight is stored (inputs, outputs); None where the module is no linear map by its weight."""
    weight, bias = module.weight, getattr(module, "bias", None)
    shape, sizes = tuple(weight.shape), (int(source.shape[-1]), int(output.shape[-1]))  # pyright: ignore[reportArgumentType]
    if shape not in (sizes, sizes[::-1]):
        return None
    if sizes[0] != sizes[1]:
        return shape == sizes
    row = source[:1, 0].to(weight.dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
    shift = bias if isinstance(bias, Tensor) else 0
    straight = (row @ weight.T + shift - output[:1, 0]).abs().max()
    turned = (row @ weight + shift - output[:1, 0]).abs().max()
    return bool(turned < straight)


def _pair(watch: _Watch):
    calls = watch.calls
    for index, gate in enumerate(calls):
        if not gate.activated:
            continue
        later = next((c for c in calls[index + 1 :] if c.source != gate.source), None)
        width = gate.outputs // 2 if gate.fused else gate.outputs
        if later is None or later.inputs != width or later.outputs != gate.inputs:
            continue
        if any(gate.clock <= t <= later.clock for t in watch.attention):
            continue
        yield MlpBlock(
            path=gate.path, down=later.path, hidden=gate.inputs, width=width, fused=gate.fused,
            transposed=gate.transposed, call=gate.call,
        )  # fmt: skip


def accepts(model: nn.Module, name: str) -> bool:
    """Whether the model's forward takes an argument of this name."""
    parameters = inspect.signature(model.forward).parameters
    return name in parameters


def run_model(model: nn.Module, tokens: Tensor, mask: Tensor | None) -> Any:
    """One forward pass; the mask (n, T) of ones and zeros goes in where the model takes one, caches stay off.

    Rows must be padded on the right, so that positions count from the first token. Raises ModelError for a mask with
    zeros and a model without `attention_mask`.
    """
    kwargs: dict[str, Any] = {}
    if accepts(model, "attention_mask"):
        kwargs["attention_mask"] = torch.ones_like(tokens) if mask is None else mask
    elif mask is not None and not bool(mask.all()):
        raise ModelError(
            f"model {type(model).__name__}", found="no argument attention_mask", expected="rows without padding",
            remedy="batch rows of equal length only",
        )  # fmt: skip
    if accepts(model, "use_cache"):
        kwargs["use_cache"] = False
    return model(tokens, **kwargs)


def headless(model: nn.Module) -> nn.Module:
    """The model without its head where it says which part that is (Hugging Face's `base_model`), else itself."""
    inner = getattr(model, "base_model", None)
    return inner if isinstance(inner, nn.Module) else model
