"""One function for each family of ONNX operators: it adds nodes with random attributes and names the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx_draft import Draft, Unfit

Draw = Callable[[Draft, str], str]


def unary(d: Draft, op: str) -> str:
    x = d.value
    if op in ("Log", "Sqrt", "Reciprocal"):
        x = d.node("Add", d.node("Abs", x), d.constant(0.5))
    if op == "Exp":
        x = d.node("Clip", x, d.constant(-5), d.constant(5)) if d.opset >= 11 else d.node("Clip", x, min=-5.0, max=5.0)
    number = lambda: d.pick(None, float(d.rng.uniform(0.05, 2)))  # noqa: E731
    options: dict[str, Any] = {}
    if op == "Round":  # halves among them
        halves = d.node("Mul", d.node("Floor", d.node("Mul", x, d.constant(4.0))), d.constant(0.5))
        x = d.pick(halves, d.node("Mul", x, d.constant(3.0)))
    if op in ("LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid", "ThresholdedRelu"):
        options["alpha"] = number()
    if op == "Selu":
        options["gamma"] = number()
    if op == "HardSigmoid":
        options["beta"] = number()
    if op == "Gelu":
        options["approximate"] = d.pick(None, "none", "tanh")
    return d.node(op, x, **options)


def softmax(d: Draft, op: str) -> str:
    return d.node(op, d.value, axis=d.pick(None, d.axis()))


def clip(d: Draft, op: str) -> str:
    low, high = d.pick(None, 0.0, -0.5, -1.0), d.pick(None, 0.5, 6.0, -2.0)
    if d.opset < 11:
        return d.node(op, d.value, min=low, max=high)
    ends = ["" if end is None else d.constant(end) for end in (low, high)]
    return d.node(op, d.value, *(ends if d.pick(True, False) else ends[:1]))


def other_operand(d: Draft) -> str:
    """Something that broadcasts with the data: a constant of some of its dimensions, or computed from the data."""
    if d.pick(True, False, False):
        return d.node("Tanh", d.value)
    keep = d.shape[int(d.rng.integers(0, len(d.shape) + 1)) :]
    return d.normal(*(size if d.pick(True, False) else 1 for size in keep))


def binary(d: Draft, op: str) -> str:
    a, b = d.value, other_operand(d)
    if op == "Div":
        b = d.node("Add", d.node("Abs", b), d.constant(0.5))
    if op == "Pow":
        a, b = d.node("Add", d.node("Abs", a), d.constant(0.1)), d.pick(d.constant(2), d.constant(0.5), b)
    if op == "Mod":
        return d.node(op, *d.pick((a, b), (b, a)), fmod=1) if d.pick(True, False, False) else _integer_mod(d, a, b)
    if op in ("Max", "Min", "Sum", "Mean"):
        return d.node(op, *[a, b, other_operand(d)][: d.pick(1, 2, 3)])
    return d.node(op, *((a, b) if op in ("Div", "Pow", "PRelu") or d.pick(True, False) else (b, a)))


def _integer_mod(d: Draft, a: str, b: str) -> str:
    ints = [d.node("Cast", d.node("Mul", v, d.constant(10)), to=TensorProto.INT32) for v in (a, b)]
    nonzero = d.node("Add", d.node("Mul", ints[1], d.constant(2, np.int32)), d.constant(1, np.int32))
    return d.node("Mod", ints[0], nonzero, fmod=d.pick(None, 0, 1))


def prelu(d: Draft, op: str) -> str:
    keep = d.shape[int(d.rng.integers(1, len(d.shape) + 1)) :]
    whole = (d.shape[1], *[1] * (len(d.shape) - 2)) if len(d.shape) > 1 else ()
    return d.node(op, d.value, d.normal(*d.pick(keep, whole, ())))


def comparison(d: Draft, op: str) -> str:
    test = d.node(op, d.value, other_operand(d))
    if d.pick(True, False):
        test = d.node(d.pick("And", "Or"), test, d.node("Less", d.value, d.constant(0.3)))
    if d.pick(True, False):
        test = d.node("Not", test)
    if d.opset < 9 or d.pick(True, False):
        return d.node("Cast", test, to=d.pick(TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE))
    return d.node("Where", test, *d.pick((d.value, other_operand(d)), (other_operand(d), d.value)))


def logical(d: Draft, op: str) -> str:
    return comparison(d, "Greater")


def reshape(d: Draft, op: str) -> str:
    count, sizes = int(np.prod(d.shape)), []
    head = d.pick(0, 1, d.shape[0] if d.shape else 1)
    rest = [int(s) for s in d.rng.permutation(d.shape)]
    sizes = d.pick([head, -1], [*d.shape], [0] * len(d.shape), [-1], [1, *rest], [count, 1], [1, 1, -1])
    return d.node(op, d.value, d.integers(*sizes), allowzero=d.pick(None, 0, 1) if d.opset >= 14 else None)


def flatten(d: Draft, op: str) -> str:
    return d.node(op, d.value, axis=d.pick(None, d.axis(), len(d.shape)))


def transpose(d: Draft, op: str) -> str:
    perm = [0, *(1 + d.rng.permutation(len(d.shape) - 1))] if d.shape else []
    return d.node(op, d.value, perm=d.pick(None, [int(p) for p in perm], [int(p) for p in d.rng.permutation(perm)]))


def squeeze(d: Draft, op: str) -> str:
    rank = len(d.shape) + (op == "Unsqueeze")
    at = [k - d.pick(0, rank) for k in range(1, rank) if op == "Unsqueeze" or d.shape[k] == 1][: d.pick(1, 2)]
    if not at:
        raise Unfit
    if d.opset >= 13:
        return d.node(op, d.value, d.integers(*at))
    return d.node(op, d.value, axes=at)


def concat(d: Draft, op: str) -> str:
    same = d.constant(d.rng.normal(size=d.shape))
    return d.node(op, *d.pick((d.value, d.node("Tanh", d.value)), (same, d.value), (d.value,)), axis=d.axis())


def slicing(d: Draft, op: str) -> str:
    axes = d.axes()
    ends = [sorted(d.rng.integers(-d.shape[a] - 1, d.shape[a] + 2, size=2)) for a in axes]
    starts, stops = [int(e[0]) for e in ends], [int(e[1]) for e in ends]
    stops = [d.pick(s, 2**31 - 1) for s in stops]
    if d.opset < 10:
        return d.node(op, d.value, starts=starts, ends=stops, axes=axes)
    steps = [d.pick(1, 2, 3, -1, -2) for _ in axes]
    for k, step in enumerate(steps):
        if step < 0:
            starts[k], stops[k] = stops[k], d.pick(starts[k], -(2**31))
    return d.node(op, d.value, d.integers(*starts), d.integers(*stops), d.integers(*axes), d.integers(*steps))


def gather(d: Draft, op: str) -> str:
    axis = d.axis()
    size = d.shape[axis]
    low = -size if d.opset >= 11 else 0
    shape = d.pick((), (2,), (1,), (2, 2))
    return d.node(op, d.value, d.constant(d.rng.integers(low, size, size=shape), np.int64), axis=axis)


def pad(d: Draft, op: str) -> str:
    mode = d.pick("constant", "reflect", "edge", None)
    rank = len(d.shape)
    pads = [0 if k % rank == 0 and d.pick(True, True, False) else int(d.rng.integers(0, 3)) for k in range(2 * rank)]
    if mode in ("reflect", "edge"):
        pads = [p if k % rank > max(0, rank - 3) else 0 for k, p in enumerate(pads)]
    if d.opset < 11:
        return d.node(op, d.value, pads=pads, mode=mode, value=d.pick(None, 0.5))
    operands = [d.integers(*pads)]
    if d.opset >= 18 and d.pick(True, False):
        axes = [k - d.pick(0, rank) for k in d.rng.permutation(rank)[: d.pick(1, 2)]]
        operands = [d.integers(*d.rng.integers(0, 3, size=2 * len(axes))), d.constant(0.25), d.integers(*axes)]
    elif d.pick(True, False):
        operands.append(d.constant(-1.5))
    return d.node(op, d.value, *operands, mode=mode)


def expand(d: Draft, op: str) -> str:
    if op == "Tile":
        return d.node(op, d.value, d.integers(*(d.pick(1, 2) if k else 1 for k in range(len(d.shape)))))
    target = [d.pick(s, 1) if s > 1 else d.pick(1, 3) if k else 1 for k, s in enumerate(d.shape)]
    return d.node(op, d.value, d.integers(*d.pick(target, [1, *target], target[-1:])))


def split(d: Draft, op: str) -> str:
    axis = d.axis()
    size, parts = d.shape[axis], d.pick(1, 2, 3)
    if size < parts:
        raise Unfit
    sizes = [size - parts + 1, *[1] * (parts - 1)]
    given = d.pick(True, False)
    if not given and d.opset < 18 and size % parts:
        raise Unfit
    inputs, options = [d.value], {"axis": axis}
    if given and d.opset >= 13:
        inputs.append(d.integers(*sizes))
    elif given:
        options["split"] = sizes
    elif d.opset >= 18:
        options["num_outputs"] = parts
    name = d.node(op, *inputs, outputs=parts, **options)
    return d.node("Sin", d.pick(*(f"{name[:-1]}{k}" for k in range(parts))))


def shape_arithmetic(d: Draft, op: str) -> str:
    """Reshape to sizes computed from the shape, or a filled tensor, a range or a size as data."""
    shape = d.node("Shape", d.value, **({"start": d.pick(0, -1, 1), "end": d.pick(None, -1)} if d.opset >= 15 else {}))
    kind = d.pick("Size", "ConstantOfShape", "Range", "Reshape") if d.opset >= 11 else "Reshape"
    if op in ("Size", "ConstantOfShape", "Range"):
        kind = op
    if kind == "Size":
        return d.node("Mul", d.value, d.node("Cast", d.node("Size", d.value), to=TensorProto.FLOAT))
    if kind == "ConstantOfShape":
        value = d.pick(None, numpy_helper.from_array(np.array([2.5], np.float32)))
        return d.node("Add", d.value, d.node(kind, d.node("Shape", d.value), value=value))
    if kind == "Range":
        last = d.node("Gather", d.node("Shape", d.value), d.constant(len(d.shape) - 1, np.int64))
        steps = d.node("Range", d.constant(0, np.int64), last, d.constant(1, np.int64))
        return d.node("Mul", d.value, d.node("Cast", steps, to=TensorProto.FLOAT))
    if shape and d.pick(True, False):
        return d.node("Add", d.value, d.node("ReduceProd", d.node("Cast", shape, to=TensorProto.FLOAT), keepdims=0))
    head = d.node("Gather", d.node("Shape", d.value), d.constant([0], np.int64))
    return d.node("Reshape", d.value, d.node("Concat", head, d.integers(-1), axis=0))


def constant(d: Draft, op: str) -> str:
    if d.opset >= 12 and d.pick(True, False):
        return d.node("Mul", d.value, d.node(op, value_float=1.7))
    return d.node("Mul", d.value, d.node(op, value=numpy_helper.from_array(np.float32(d.rng.normal(size=(1,))))))


def dequantise(d: Draft, op: str) -> str:
    """Weights of eight bits, with one scale or one for each index of an axis."""
    kind = d.pick(np.int8, np.uint8)
    whole = lambda shape: d.constant(d.rng.integers(0, 100, size=shape), kind)  # noqa: E731
    axis = d.axis() if d.opset >= 13 else None
    sizes = () if axis is None or d.pick(True, False) else (d.shape[axis],)
    scale = d.constant(d.rng.uniform(0.01, 0.1, size=sizes))
    zero = [whole(sizes)] if d.pick(True, False) else []
    weights = d.node(op, whole(d.shape), scale, *zero, axis=axis if sizes else None)
    return d.node(d.pick("Mul", "Add"), d.value, weights)


def cast(d: Draft, op: str) -> str:
    kind = d.pick(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
    return d.node(op, d.node("Mul", d.value, d.constant(3)), to=kind)


def reduce(d: Draft, op: str) -> str:
    axes, keep = d.pick(None, d.axes()), d.pick(None, 0, 1)
    operand = d.opset >= (13 if op == "ReduceSum" else 18)
    if not operand:
        return d.node(op, d.value, axes=axes, keepdims=keep)
    inputs = [] if axes is None else [d.integers(*axes)]
    return d.node(op, d.value, *inputs, keepdims=keep, noop_with_empty_axes=d.pick(None, 0, 1))


def argument(d: Draft, op: str) -> str:
    late = d.pick(None, 0, 1) if d.opset >= 12 else None
    x = d.node("Floor", d.value) if d.pick(True, False) else d.value
    return d.node(op, x, axis=d.pick(None, d.axis()), keepdims=d.pick(None, 0, 1), select_last_index=late)


def matmul(d: Draft, op: str) -> str:
    if not d.shape:
        raise Unfit
    right = d.normal(d.shape[-1], d.pick(1, 3))
    if d.pick(True, False):
        return d.node("Add", d.node(op, d.value, right), d.normal(d.pick(1, d.constants[right].shape[1])))
    left = d.normal(*d.pick((), (2,)), 3, d.shape[-2]) if len(d.shape) > 1 else right
    stacked = d.normal(*d.shape[:-2], d.shape[-1], 2)
    choices = (d.value, right), (left, d.value), (d.value, d.normal(d.shape[-1])), (d.value, stacked)
    return d.node(op, *d.pick(*choices))


def gemm(d: Draft, op: str) -> str:
    x = d.value if len(d.shape) == 2 else d.node("Flatten", d.value)
    rows, width = d.shape if len(d.shape) == 2 else (d.shape[0] if d.shape else 1, int(np.prod(d.shape[1:])))
    flip, other = d.pick(None, 0, 1), d.pick(None, 0, 1)
    inner, outer, out = (rows, width, 3) if flip else (width, rows, 3)
    matrix = d.normal(*((out, inner) if other else (inner, out)))
    offsets = [(out,), (1,), (), (1, out), (outer, out), (outer, 1)]
    extra = [d.normal(*d.pick(*offsets))] if d.opset < 11 or d.pick(True, True, False) else []
    alpha, beta = d.pick(None, 0.3, 2.0), d.pick(None, -1.5)
    return d.node(op, x, matrix, *extra, transA=flip, transB=other, alpha=alpha, beta=beta)


def einsum(d: Draft, op: str) -> str:
    if not 2 <= len(d.shape) <= 4:
        raise Unfit
    letters = "abcd"[: len(d.shape)]
    forms = f"{letters},{letters[-1]}z->{letters[:-1]}z", f"{letters},{letters[-1]}z->{letters[0]}z"
    return d.node(op, d.value, d.normal(d.shape[-1], 2), equation=d.pick(*forms))


def spatial(d: Draft) -> tuple[list[int], list[int]]:
    if not 3 <= len(d.shape) <= 5:
        raise Unfit
    sizes = list(d.shape[2:])
    return sizes, [int(d.rng.integers(1, min(4, s + 1) + 1)) for s in sizes]


def padding(d: Draft, kernel: list[int]) -> dict[str, Any]:
    if d.pick(True, False, False):
        return {"auto_pad": d.pick("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")}
    before = [int(d.rng.integers(0, k + 1)) for k in kernel]
    after = d.pick(before, [int(d.rng.integers(0, k + 1)) for k in kernel])
    return {"pads": [*before, *after]} if d.pick(True, True, False) else {}


def steps(d: Draft, kernel: list[int]) -> list[int] | None:
    return d.pick(None, [1] * len(kernel), [int(d.rng.integers(1, 4)) for _ in kernel])


def convolution(d: Draft, op: str) -> str:
    _, kernel = spatial(d)
    channels = d.shape[1]
    group = d.pick(1, channels)
    out = group * d.pick(1, 2)
    transposed = op == "ConvTranspose"
    weight = d.normal(*((channels, out // group) if transposed else (out, channels // group)), *kernel)
    offset = [d.normal(out)] if d.pick(True, False) else []
    options = padding(d, kernel)
    strides = steps(d, kernel)
    if transposed and d.pick(True, False):
        options["output_padding"] = [int(d.rng.integers(0, s)) for s in strides or [1] * len(kernel)]
    shape = d.pick(None, kernel)
    dilations = steps(d, kernel)
    return d.node(
        op, d.value, weight, *offset, kernel_shape=shape, strides=strides, dilations=dilations, group=group, **options
    )


def pool(d: Draft, op: str) -> str:
    """Half of them dilated, half with a ceil_mode, most padded unevenly or strided: what moves the last window."""
    sizes, _ = spatial(d)
    kernel = [int(d.rng.integers(min(2, s), min(4, s + 1) + 1)) for s in sizes]
    options = {"auto_pad": d.pick("VALID", "VALID", "SAME_UPPER", "SAME_LOWER")}
    if d.pick(True, True, False):
        before, after = ([int(d.rng.integers(0, k)) for k in kernel] for _ in "ab")
        options = {"pads": [*before, *d.pick(before, after, after)]}
    if op == "AveragePool":
        options["count_include_pad"] = d.pick(None, 0, 1)
    if d.opset >= (10 if op == "MaxPool" else 19) and "pads" in options:
        options["dilations"] = d.pick(None, [int(s) for s in d.rng.integers(1, 4, size=len(kernel))])
    if d.opset >= 10:
        options["ceil_mode"] = d.pick(None, 0, 1, 1)
    strides = [int(s) for s in d.rng.integers(1, 4, size=len(kernel))]
    return d.node(op, d.value, kernel_shape=kernel, strides=d.pick(None, strides, strides, strides), **options)


def global_pool(d: Draft, op: str) -> str:
    spatial(d)
    return d.node(op, d.value)


def normalisation(d: Draft, op: str) -> str:
    epsilon = d.pick(None, 0.1)
    if op in ("LayerNormalization", "RMSNormalization"):
        axis = d.axis()
        shape = d.shape[axis:]
        shift = d.pick((), (d.normal(*shape),)) if op == "LayerNormalization" else ()
        given = d.pick(axis, axis, None) if axis in (-1, len(d.shape) - 1) else axis
        return d.node(op, d.value, d.normal(*shape), *shift, axis=given, epsilon=epsilon, stash_type=d.pick(None, 1))
    if len(d.shape) < 2:
        raise Unfit
    width = d.shape[1]
    variance = d.constant(d.rng.uniform(0.2, 2, size=width))
    return d.node(op, d.value, d.normal(width), d.normal(width), d.normal(width), variance, epsilon=epsilon)


def group_normalisation(d: Draft, op: str) -> str:
    """Over groups of channels, or single ones."""
    if len(d.shape) < 3:
        raise Unfit
    width, epsilon = d.shape[1], d.pick(None, 0.1)
    if op == "InstanceNormalization":
        return d.node(op, d.value, d.normal(width), d.normal(width), epsilon=epsilon)
    groups = d.pick(*(n for n in range(1, width + 1) if width % n == 0))
    size = groups if d.opset < 21 else width
    stash = d.pick(None, 1) if d.opset >= 21 else None
    y = d.node(op, d.value, d.normal(size), d.normal(size), num_groups=groups, epsilon=epsilon, stash_type=stash)
    return d.like_data(y)


def local_normalisation(d: Draft, op: str) -> str:
    """onnxruntime knows odd windows over four dimensions."""
    if len(d.shape) != 4:
        raise Unfit
    numbers = {"alpha": d.pick(None, 0.5, 2.0), "beta": d.pick(None, 0.5, 1.0, 1.3), "bias": d.pick(None, 0.4, 2.0)}
    return d.node(op, d.value, size=d.pick(1, 3, 5, 7), **numbers)


def root_mean_square(d: Draft, op: str) -> str:
    """RMSNormalization, or spelled out as exporters do."""
    if op == "RMSNormalization" and d.opset >= 23:
        return normalisation(d, op)
    x = d.value
    square = d.pick(d.node("Mul", x, x), d.node("Pow", x, d.constant(2.0)))
    axes = {"axes": [-1]} if d.opset < 18 else {}
    inputs = [square] if axes else [square, d.integers(-1)]
    root = d.node("Sqrt", d.node("Add", d.node("ReduceMean", *inputs, keepdims=1, **axes), d.constant(1e-3)))
    y = d.node("Div", x, root) if d.pick(True, False) else d.node("Mul", x, d.node("Reciprocal", root))
    return d.node("Mul", y, d.normal(d.shape[-1] if d.shape else 1))
