"""ATen operators renamed into the graph vocabulary: one handler for each, keyed by the ATen name without its overload.

A handler is called as `handler(builder, *args, **kwargs)` with the operator's own arguments, where values that depend
on the input are `Ref`s and all else is concrete. It returns a `Ref` (or a tuple of them), or NotImplemented to keep the
operator as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cutaway.network.graph import choices, norms
from cutaway.network.graph.arithmetic import add, exact, maximum, minimum, rsub, scale_shift, sub
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.facts import FACTS
from cutaway.network.graph.rearrange import REARRANGE, wrap_dim
from cutaway.network.graph.scatter import SCATTER

Handler = Callable[..., Any]


def _mul(b: Builder, x: Any, y: Any) -> Ref:
    chosen = choices.mask_product(b, x, y)
    if chosen is not None:
        return chosen
    if isinstance(x, Ref) and isinstance(y, Ref):
        return b.emit("square", x) if x.index == y.index else b.emit("mul", x, y)
    return scale_shift(b, x, scale=y) if isinstance(x, Ref) else scale_shift(b, y, scale=x)


def _div(b: Builder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        return NotImplemented
    if not isinstance(y, Ref):
        return scale_shift(b, x, scale=1.0 / y)
    if isinstance(x, Ref) and _is_one_plus_abs(b, y, x):
        return b.emit("softsign", x)
    known = norms.local_response_norm(b, x, y) if isinstance(x, Ref) else None
    return known or _mul(b, x, b.emit("reciprocal", y))


def _is_one_plus_abs(b: Builder, y: Ref, x: Ref) -> bool:
    """Whether y = 1 + |x|: torch spells its softsign out."""
    node = b.nodes[y.index]
    if node.op != "scale_shift" or "scale" in node.constants or not bool((node.constants["shift"] == 1).all()):
        return False
    inner = b.nodes[node.inputs[0]]
    return inner.op == "abs" and inner.inputs == (x.index,)


def _linear(b: Builder, x: Any, weight: Any, bias: Any = None) -> Any:
    if isinstance(weight, Ref) or isinstance(bias, Ref) or not isinstance(x, Ref):
        return NotImplemented
    return b.emit("linear", x, constants={"weight": weight, "bias": bias})


def _matmul(b: Builder, x: Any, y: Any) -> Any:
    if isinstance(x, Ref) and isinstance(y, Ref):
        return b.emit("matmul", x, y)
    if isinstance(x, Ref):
        common = _shared_matrix(y)
        if common is not None:
            return b.emit("linear", x, constants={"weight": common.mT.contiguous()})
        return b.emit("constant_matmul", x, constants={"matrix": y}, left=False)
    return b.emit("constant_matmul", y, constants={"matrix": x}, left=True)


def _shared_matrix(matrix: Tensor) -> Tensor | None:
    """The one matrix that a stack of equal matrices repeats, or None."""
    if matrix.ndim == 2:
        return matrix
    flat = matrix.reshape(-1, *matrix.shape[-2:]) if matrix.ndim > 2 else None
    return flat[0] if flat is not None and bool((flat == flat[:1]).all()) and len(flat) == 1 else None


def _addmm(b: Builder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    if isinstance(x, Ref) and not isinstance(y, Ref) and not isinstance(bias, Ref) and bias.ndim == 1:
        return b.emit("linear", x, constants={"weight": (alpha * y).mT.contiguous(), "bias": beta * bias})
    return add(b, bias if beta == 1 else _mul(b, bias, beta), _matmul(b, x, y), alpha=alpha)


def _convolution(
    b: Builder,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    if isinstance(weight, Ref) or isinstance(bias, Ref):
        return NotImplemented
    return b.emit(
        "convolution",
        x,
        constants={"weight": weight, "bias": bias},
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        transposed=bool(transposed),
        output_padding=tuple(output_padding),
        groups=int(groups),
    )


def _batch_norm(
    b: Builder, x: Ref, weight: Any, bias: Any, mean: Tensor, variance: Tensor, momentum: float, eps: float
) -> tuple:
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    tail = (-1, *(1,) * (len(b.shape(x)) - 2))
    parts = (mean * scale).abs() if bias is None else (mean * scale).abs() + bias.abs()
    constants = {"scale": scale.reshape(tail), "shift": shift.reshape(tail), "reach": parts.reshape(tail)}
    return b.emit("scale_shift", x, constants=constants), None, None


def _batch_norm_in_evaluation(b: Builder, x: Ref, *rest: Any) -> Any:
    training = rest[4]
    return NotImplemented if training else _batch_norm(b, x, *rest[:4], *rest[5:])


def _reduce(op: str) -> Handler:
    def handler(
        b: Builder, x: Ref, dims: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> Ref:
        rank = len(b.shape(x))
        dims = list(range(rank)) if not dims and dims != 0 else ([dims] if isinstance(dims, int) else dims)
        return b.emit(op, x, dims=tuple(wrap_dim(d, rank) for d in dims), keepdim=bool(keepdim))

    return handler


def _max(b: Builder, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is None:
        return _reduce("max_reduce")(b, x)
    if isinstance(dim, Ref | Tensor):
        return maximum(b, x, dim)
    return _reduce("max_reduce")(b, x, [dim], keepdim), None


def _negated(handler: Handler) -> Handler:
    def negated(b: Builder, x: Ref, *args: Any, **kwargs: Any) -> Any:
        result = handler(b, scale_shift(b, x, scale=-1.0), *args, **kwargs)
        if isinstance(result, tuple):
            return scale_shift(b, result[0], scale=-1.0), *result[1:]
        return scale_shift(b, result, scale=-1.0)

    return negated


def _clamp(b: Builder, x: Ref, low: Any = None, high: Any = None) -> Any:
    if any(isinstance(v, Tensor | Ref) and (isinstance(v, Ref) or v.numel() != 1) for v in (low, high)):
        x = x if low is None else maximum(b, x, low)
        return x if high is None else minimum(b, x, high)
    low, high = (None if v is None else float(v) for v in (low, high))
    return b.emit("relu", x) if low == 0.0 and high is None else b.emit("clamp", x, min=low, max=high)


def _leaky_relu(b: Builder, x: Ref, slope: Any = 0.01) -> Any:
    if isinstance(slope, Ref):
        return NotImplemented
    slope = exact(slope)
    if slope.ndim == 1 and slope.numel() > 1:  # prelu: one slope a channel
        slope = slope.reshape(-1, *(1,) * (len(b.shape(x)) - 2))
    return b.emit("leaky_relu", x, constants={"slope": slope.reshape(()) if slope.numel() == 1 else slope})


def _power(b: Builder, x: Any, exponent: Any) -> Any:
    if isinstance(exponent, Ref) or not isinstance(x, Ref):
        return NotImplemented
    exponent = float(exponent)
    names = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    return x if exponent == 1.0 else _named(b, names.get(exponent), x, exponent)


def _named(b: Builder, op: str | None, x: Ref, exponent: float) -> Ref:
    return b.emit(op, x) if op else b.emit("power", x, exponent=exponent)


def _elu(b: Builder, x: Ref, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Ref:
    return b.emit("elu", x, alpha=float(alpha), scale=float(scale), input_scale=float(input_scale))


def _softplus(b: Builder, x: Ref, beta: float = 1.0, threshold: float = 20.0) -> Any:
    if threshold < 20:  # a jump by more than 2e-9 / beta: another function
        return NotImplemented
    return b.emit("softplus", x, beta=float(beta))


def _log_sigmoid(b: Builder, x: Ref) -> Ref:
    return scale_shift(b, b.emit("softplus", scale_shift(b, x, scale=-1.0), beta=1.0), scale=-1.0)


def _hardsigmoid(b: Builder, x: Ref) -> Ref:
    return b.emit("clamp", scale_shift(b, x, scale=1 / 6, shift=0.5), min=0.0, max=1.0)


def _threshold(b: Builder, x: Ref, at: float, value: float) -> Ref:
    """Spelled out where it does not jump."""
    bent = choices.CHOICES["threshold"](b, x, at, value)
    return b.emit("threshold", x, threshold=float(at), value=float(value)) if bent is NotImplemented else bent


def _round(b: Builder, x: Ref, *, decimals: int = 0) -> Any:
    return b.emit("round", x) if decimals == 0 else NotImplemented


def _trunc(b: Builder, x: Ref) -> Ref:
    """floor(max(x, 0)) + ceil(min(x, 0))."""
    return add(b, b.emit("floor", b.emit("relu", x)), b.emit("ceil", b.emit("clamp", x, min=None, max=0.0)))


def _rrelu(
    b: Builder, x: Ref, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: Any
) -> Any:
    return NotImplemented if training else (_leaky_relu(b, x, (lower + upper) / 2), None)


def _glu(b: Builder, x: Ref, dim: int = -1) -> Ref:
    rank = len(b.shape(x))
    dim, half = wrap_dim(dim, rank), b.shape(x)[wrap_dim(dim, rank)] // 2
    parts = [b.emit("slice", x, dim=dim, start=i * half, end=(i + 1) * half, step=1) for i in range(2)]
    return _mul(b, parts[0], b.emit("sigmoid", parts[1]))


def _softmax(op: str) -> Handler:
    def handler(b: Builder, x: Ref, dim: int, *_: Any, **__: Any) -> Ref:
        return b.emit(op, x, dim=wrap_dim(dim, len(b.shape(x))))

    return handler


def _attention(
    b: Builder,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if enable_gqa or isinstance(mask, Ref):
        return NotImplemented
    width = (b.shape(q) if isinstance(q, Ref) else q.shape)[-1]
    transpose = REARRANGE["transpose"]
    kt = transpose(b, k, -2, -1) if isinstance(k, Ref) else k.mT
    scores = scale_shift(b, _matmul(b, q, kt), scale=1 / math.sqrt(width) if scale is None else float(scale))
    if is_causal:
        rows, columns = b.shape(scores)[-2:]
        mask = torch.ones(rows, columns, dtype=torch.bool).tril()
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=b.value(scores).dtype).masked_fill(~mask, -math.inf)
        scores = scale_shift(b, scores, shift=mask)
    return _matmul(b, b.emit("softmax", scores, dim=len(b.shape(scores)) - 1), v)


def _embedding(b: Builder, weight: Any, indices: Any, *_: Any, **__: Any) -> Any:
    return NotImplemented if isinstance(weight, Ref) else b.emit("embedding", indices, constants={"weight": weight})


def _elementwise(op: str, **attributes: Any) -> Handler:
    return lambda b, x: b.emit(op, x, **attributes)


HANDLERS: dict[str, Handler] = {
    **{word: _elementwise(word) for word, fact in FACTS.items() if fact.plain},
    **REARRANGE,
    **choices.CHOICES,
    **SCATTER,
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "mul": _mul,
    "div": _div,
    "linear": _linear,
    "mm": _matmul,
    "bmm": _matmul,
    "neg": lambda b, x: scale_shift(b, x, scale=-1.0),
    "matmul": _matmul,
    "addmm": _addmm,
    "mv": _matmul,
    "baddbmm": _addmm,
    "convolution": _convolution,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_batch_norm": _batch_norm_in_evaluation,
    "_native_batch_norm_legit": norms.instance_norm,
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "amax": _reduce("max_reduce"),
    "amin": _negated(_reduce("max_reduce")),
    "max": _max,
    "min": _negated(_max),
    "clamp": _clamp,
    "hardtanh": lambda b, x, low=-1, high=1: _clamp(b, x, low, high),
    "clamp_min": lambda b, x, low: _clamp(b, x, low),
    "clamp_max": lambda b, x, high: _clamp(b, x, None, high),
    "relu6": lambda b, x: _clamp(b, x, 0.0, 6.0),
    "maximum": maximum,
    "minimum": minimum,
    "fmax": maximum,
    "fmin": minimum,
    "leaky_relu": _leaky_relu,
    "prelu": _leaky_relu,
    "_prelu_kernel": _leaky_relu,
    "pow": _power,
    "elu": _elu,
    "softplus": _softplus,
    "selu": lambda b, x: _elu(b, x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946),
    "celu": lambda b, x, alpha=1.0: _elu(b, x, alpha, 1.0, 1.0 / alpha),
    "log_sigmoid": _log_sigmoid,
    "hardsigmoid": _hardsigmoid,
    "threshold": _threshold,
    "round": _round,
    "trunc": _trunc,
    "sgn": _elementwise("sign"),
    "rrelu_with_noise_functional": _rrelu,
    "glu": _glu,
    "gelu": lambda b, x, approximate="none": b.emit("gelu", x, approximate=approximate),
    "layer_norm": norms.layer_norm,
    "expm1": lambda b, x: scale_shift(b, b.emit("exp", x), shift=-1.0),
    "log1p": lambda b, x: b.emit("log", scale_shift(b, x, shift=1.0)),
    "native_layer_norm": lambda b, *a: (norms.layer_norm(b, *a), None, None),
    "group_norm": norms.group_norm,
    "rms_norm": norms.rms_norm,
    "softmax": _softmax("softmax"),
    "_softmax": _softmax("softmax"),
    "_safe_softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"),
    "_log_softmax": _softmax("log_softmax"),
    "embedding": _embedding,
    "scaled_dot_product_attention": _attention,
}
"""ATen name -> handler."""
