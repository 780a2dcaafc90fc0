"""Sites: every *call* of every nonlinearity and pooling in one forward pass.

A site is found by intercepting torch's public functions while the model runs on an example (modules, functional
calls, tensor methods, in-place variants and the operators of exported programs all pass there), so a module called
twice gives two sites and `F.relu` in a `forward` gives one. What cannot be read is returned beside the sites, with
the reason.

Conventions at the kink: a ReLU is active where its pre-activation is > 0; at exactly 0 it counts as inactive with
slope 0, which is what torch's own derivative says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cutaway.reading.provenance import Skipped

# kind -> (family, piecewise affine?).  Families: activation, pooling, attention, normalisation, product, other.
KINDS: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(
        ("relu", "leaky_relu", "prelu", "abs", "hardtanh", "clamp", "threshold", "maxout"), ("activation", True)
    ),
    **dict.fromkeys(("hardshrink", "softshrink", "max", "min"), ("activation", True)),
    **dict.fromkeys(
        ("gelu", "silu", "elu", "selu", "celu", "mish", "softplus", "sigmoid", "tanh"), ("activation", False)
    ),
    **dict.fromkeys(
        ("hardswish", "logsigmoid", "softsign", "tanhshrink", "rrelu", "glu", "erf"), ("activation", False)
    ),
    **dict.fromkeys(("hardsigmoid",), ("activation", True)),
    **dict.fromkeys(("exp", "log", "sin", "cos", "pow", "square", "sqrt", "rsqrt", "reciprocal"), ("other", False)),
    **dict.fromkeys(("max_pool", "avg_pool"), ("pooling", True)),
    **dict.fromkeys(("lp_pool", "fractional_max_pool"), ("pooling", False)),
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "attention"), ("attention", False)),
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm", "normalize"), ("normalisation", False)),
    **dict.fromkeys(("product", "matmul", "quotient"), ("product", False)),
    **dict.fromkeys(("sort", "topk", "sign", "round", "prod"), ("other", False)),
}

_ALIASES = {
    **dict.fromkeys(("absolute", "__abs__"), "abs"),
    **dict.fromkeys(("clamp_min", "clamp_max", "clip"), "clamp"),
    **dict.fromkeys(("maximum", "minimum"), "maxout"),
    **dict.fromkeys(("exp2", "expm1"), "exp"),
    **dict.fromkeys(("log1p", "log2", "log10"), "log"),
    **dict.fromkeys(("floor", "ceil", "trunc"), "round"),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), "attention"),
    "relu6": "hardtanh",
    "amax": "max",
    "amin": "min",
    "__pow__": "pow",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "argsort": "sort",
    "_prelu_kernel": "prelu",
    "special_erf": "erf",
    "log_sigmoid": "logsigmoid",
    "special_expit": "sigmoid",
}
_PRODUCTS = {"mul", "__mul__", "__rmul__", "multiply", "__imul__"}
_MATMULS = {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "baddbmm", "einsum", "dot", "mv", "linear", "conv2d"}
_QUOTIENTS = {"div", "divide", "true_divide", "__truediv__", "__rtruediv__", "__itruediv__"}
_EMBEDDINGS = {"embedding"}


def _table() -> dict[Any, str]:
    """Functions that carry no usable name of their own (torch's boolean-dispatch pooling functions)."""
    table: dict[Any, str] = {}
    for dims in (1, 2, 3):
        for prefix, kind in (("max_pool", "max_pool"), ("avg_pool", "avg_pool"), ("adaptive_max_pool", "max_pool")):
            table[getattr(functional, f"{prefix}{dims}d")] = kind
        table[getattr(functional, f"adaptive_avg_pool{dims}d")] = "avg_pool"
        table[getattr(functional, f"lp_pool{dims}d")] = "lp_pool"
    table[functional.fractional_max_pool2d] = "fractional_max_pool"
    return table


_BY_FUNCTION = _table()


def function_name(func: Any) -> str:
    """Plain name of an intercepted function: `relu` for F.relu, Tensor.relu_, aten::relu."""
    if isinstance(func, torch._ops.OpOverload):
        name = func._schema.name.split("::")[-1]
    else:
        name = getattr(func, "__name__", "")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def candidate_kind(func: Any, name: str) -> str | None:
    """The kind of site that a call of this function may be, or None where it never is one."""
    if func in _BY_FUNCTION:
        return _BY_FUNCTION[func]
    if name in _PRODUCTS:
        return "product"
    if name in _MATMULS:
        return "matmul"
    if name in _QUOTIENTS:
        return "quotient"
    name = _ALIASES.get(name, name)
    for stem in ("max_pool", "avg_pool"):
        if stem in name:
            return stem
    return name if name in KINDS else None


def depends_nonlinearly(kind: str, name: str, operands: list[Any]) -> bool:
    """Whether the call is not affine in what depends on the input (marked by `requires_grad` in the discovery pass)."""
    marked = [isinstance(a, torch.Tensor) and a.requires_grad for a in operands]
    if kind == "quotient":
        return bool(marked and marked[0]) if name == "__rtruediv__" else len(marked) > 1 and marked[1]
    if kind in ("product", "matmul"):
        return sum(marked) > 1
    return any(marked)


def flatten_operands(args: Any) -> list[Any]:
    out: list[Any] = []
    for a in args:
        out.extend(flatten_operands(a) if isinstance(a, list | tuple) else [a])
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One call of one nonlinearity or pooling.

    `index` counts all sites of a pass in order; `path` is the dotted path of the innermost module that ran (empty
    for the model itself); `call` counts the sites of that path. Shapes are without the batch dimension. `gate` marks
    an activation whose output multiplies another value that depends on the input (SwiGLU and its relatives); there
    the network is not piecewise affine even if the activation is. `overwritten` says that the model changes the
    value in place afterwards: captures copy it in time. `ordinal` (count among all calls that may be sites) and
    `argument` (which operand is the pre-activation) let a capture find the call again.
    """

    index: int
    path: str
    call: int
    kind: str
    function: str
    module: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    in_place: bool = False
    overwritten: bool = False
    gate: bool = False
    ordinal: int
    argument: int

    @property
    def name(self) -> str:
        """`path:kind#call`, unique in a network; the path is `.` for calls of the model's own forward."""
        return f"{self.path or '.'}:{self.kind}#{self.call}"

    @property
    def family(self) -> str:
        return KINDS[self.kind][0]

    @property
    def piecewise_affine(self) -> bool:
        """Whether the network is continuous piecewise affine at this site."""
        return KINDS[self.kind][1] and not self.gate

    @property
    def width(self) -> int:
        """Number of scalar units (every spatial position counts)."""
        width = 1
        for size in self.input_shape:
            width *= size
        return width


class Interceptor(TorchFunctionMode):
    """Counts the calls that may be sites and hands each to `candidate`; the count is the same on every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.ordinal = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = function_name(func)
        kind = candidate_kind(func, name)
        if kind is None:
            result = func(*args, **(kwargs or {}))
            return self.embedded(result) if name in _EMBEDDINGS else result
        ordinal = self.ordinal
        self.ordinal += 1
        return self.candidate(ordinal, kind, name, func, args, kwargs or {})

    def candidate(self, ordinal: int, kind: str, name: str, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    def embedded(self, result: torch.Tensor) -> torch.Tensor:
        return result


def first_result(post: Any) -> torch.Tensor:
    """The tensor of a call that may return several (max with indices, attention with weights)."""
    return post[0] if isinstance(post, list | tuple) else post


def is_in_place(func: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("inplace")) or _true_in_place(func, name, args)


def _true_in_place(func: Any, name: str, args: tuple) -> bool:
    raw = getattr(func, "__name__", "")
    if isinstance(func, torch._ops.OpOverload):
        raw = func._schema.name
    if raw.endswith("_") and not raw.endswith("__"):
        return True
    return name in {"relu", "elu", "selu", "celu", "silu", "mish", "hardtanh", "leaky_relu", "hardswish"} and any(
        a is True for a in args[1:]
    )


class _Discovery(Interceptor):
    """Keeps the sites with their module paths and watches their values for later in-place changes."""

    def __init__(self, stack: list[tuple[str, str]]) -> None:
        super().__init__()
        self.stack = stack
        self.found: list[dict[str, Any]] = []
        self.watched: list[tuple[int, torch.Tensor, int]] = []
        self.producers: dict[int, int] = {}
        self.alive: list[torch.Tensor] = []  # keeps ids in `producers` unique

    def embedded(self, result: torch.Tensor) -> torch.Tensor:
        """Token ids carry no gradient: dependence on the input is followed from the embedding on."""
        return result.detach().requires_grad_(True) if result.is_floating_point() else result

    def candidate(self, ordinal, kind, name, func, args, kwargs):
        operands = flatten_operands((*args, *kwargs.values()))
        if not depends_nonlinearly(kind, name, operands):
            return func(*args, **kwargs)
        argument, pre = next((i, a) for i, a in enumerate(operands) if isinstance(a, torch.Tensor) and a.requires_grad)
        in_place = is_in_place(func, name, args, kwargs)
        shape = tuple(pre.shape[1:])
        post = func(*args, **kwargs)
        result = first_result(post)
        index = len(self.found)
        path, module = self.stack[-1]
        if kind == "product":
            self._mark_gates(operands)
        self.found.append(
            {
                "index": index, "path": path, "module": module, "kind": kind, "function": name, "in_place": in_place,
                "input_shape": shape, "output_shape": tuple(result.shape[1:]), "gate": False,
                "ordinal": ordinal, "argument": argument,
            }
        )  # fmt: skip
        self.producers[id(result)] = index
        self.alive.append(result)
        self.watched.append((index, result, result._version))
        if not in_place:
            self.watched.append((index, pre, pre._version))
        return post

    def _mark_gates(self, operands: list[Any]) -> None:
        for operand in operands:
            maker = self.producers.get(id(operand))
            if maker is not None and KINDS[self.found[maker]["kind"]][0] == "activation":
                self.found[maker]["gate"] = True


def discover(model: nn.Module, run: Callable[[], Any]) -> tuple[tuple[Site, ...], tuple[Skipped, ...], Any]:
    """Run the model once and list its sites, what was not read, and the output.

    `run` calls the model on the example (with gradients to the input where it is floating point, so that dependence
    on the input can be followed). Parameters must not require gradients while it runs: the caller sees to that.
    """
    stack: list[tuple[str, str]] = [("", type(model).__name__)]
    called: set[int] = set()
    handles = []
    first_path: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        first_path.setdefault(id(module), path)

    def enter(module, _args):
        stack.append((first_path.get(id(module), "?"), type(module).__name__))
        called.add(id(module))

    def leave(_module, _args, _output):
        stack.pop()

    for module in model.modules():
        if module is not model:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
    mode = _Discovery(stack)
    try:
        with torch.enable_grad(), mode:
            output = run()
    finally:
        for handle in handles:
            handle.remove()
    overwritten = {index for index, tensor, version in mode.watched if tensor._version != version}
    counts: dict[str, int] = {}
    sites = []
    for record in mode.found:
        call = counts.get(record["path"], 0)
        counts[record["path"]] = call + 1
        sites.append(Site(call=call, overwritten=record["index"] in overwritten, **record))
    return tuple(sites), tuple(_unread(model, first_path, called)), output


_NONLINEAR_NAMES = [
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "RReLU",
    "ELU",
    "SELU",
    "CELU",
    "GELU",
    "SiLU",
    "Mish",
    "Softplus",
    "Sigmoid",
    "Tanh",
    "Hardtanh",
    "Hardswish",
    "Hardsigmoid",
    "Softmax",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "MultiheadAttention",
    "Threshold",
    "GLU",
    "LogSigmoid",
    "Softsign",
    "Hardshrink",
    "Softshrink",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
]
_NONLINEAR_MODULES = tuple(getattr(nn, name) for name in _NONLINEAR_NAMES)


def _unread(model: nn.Module, paths: dict[int, str], called: set[int]):
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield Skipped(
                what=paths[id(module)] or ".", reason="a TorchScript module: its inside cannot be intercepted"
            )
        elif isinstance(module, _NONLINEAR_MODULES) and id(module) not in called and module is not model:
            reason = f"{type(module).__name__} is never called on the example input"
            yield Skipped(what=paths[id(module)] or ".", reason=reason)
