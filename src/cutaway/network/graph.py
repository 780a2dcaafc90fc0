"""A model as operators: the one place that turns a `torch.nn.Module` into a plain list of what it computes.

`trace(model, example_inputs)` exports the model for one sample (`torch.export`, decomposed towards core ATen), folds
everything that does not depend on the input, and renames the rest into the small vocabulary below. Exact slices and
verified bounds both read this `Graph`, so an operator learned once serves both.

One sample. The graph is that of f(x[None]): every node's `shape` is its shape at batch size one, whatever the model
does with its batch dimension inside. A batch is an extra leading dimension that operators know nothing of: `evaluate`
gives node values of shape (B, *node.shape), computed with `torch.vmap`. With `batched=True` (the default) the first
dimension of the inputs is that batch, and the sample shape is (1, *inputs.shape[1:]); with `batched=False` the whole
example is
one sample (ONNX files without a batch dimension).

Vocabulary. `inputs` are indices of earlier nodes; tensors that do not depend on the input are `constants`, with the
broadcasting of torch; numbers are `attributes`.

| op | value | constants | attributes |
|---|---|---|---|
| `input` | what the user gives | | `index` |
| `constant` | a fixed tensor, where an operator needs one as an input | `value` | |
| `linear` | x Wᵀ + b on the last dimension | `weight` (out, in), `bias`? | |
| `convolution` | 1 to 3 dimensional | `weight`, `bias`? | `stride padding dilation transposed output_padding groups` |
| `constant_matmul` | x C, or C x with `left` | `matrix` (batched) | `left` |
| `scale_shift` | x * scale + shift, elementwise (const add, sub, mul, div, neg, batch norm) | `scale`? `shift`? | |
| `add` | sum of c_i x_i (add, sub) | | `coefficients` |
| `sum`, `mean` | over `dims` | | `dims keepdim` |
| `avg_pool` | average pooling of 1 to 3 dimensions | | `kernel stride padding ceil_mode count_include_pad divisor` |
| `adaptive_avg_pool` | | | `size` |
| `reshape`, `expand` | to `node.shape` | | |
| `permute` | | | `dims` |
| `slice` | | | `dim start end step` |
| `cat` | | | `dim` |
| `pad` | constant padding | | `pad value` |
| `take` | x.flatten()[index] in `node.shape`: other moves (index, flip, roll, upsampling, repeat) | `index` | |
| `relu`, `abs` | | | |
| `leaky_relu` | max(x,0) + slope * min(x,0) (LeakyReLU, PReLU, RReLU in evaluation) | `slope` | |
| `clamp` | Hardtanh, ReLU6, clamp | | `min max` (None: open) |
| `maximum`, `minimum` | of two nodes | | |
| `max_reduce` | maximum over `dims` (amax, maxout; amin through sign changes) | | `dims keepdim` |
| `max_pool` | | | `kernel stride padding dilation ceil_mode` |
| `sigmoid tanh silu erf exp log sqrt rsqrt reciprocal square sin cos mish` | elementwise | | |
| `gelu` | | | `approximate` |
| `elu` | scale * (x if x>0 else alpha (exp(input_scale x) - 1)) (ELU, SELU, CELU) | | `alpha scale input_scale` |
| `softplus` | log(1 + exp(beta x)) / beta | | `beta` |
| `power` | x ** exponent | | `exponent` |
| `mul`, `matmul` | products of two nodes | | |
| `softmax`, `log_softmax` | | | `dim` |
| `layer_norm` | over the last `num_dims` dimensions | `weight`? `bias`? | `num_dims eps` |
| `embedding` | rows of a table, integer input | `weight` | |
| `aten.NAME...` | an operator outside the vocabulary, kept as it is | | `target args kwargs` |

Hardswish, Hardsigmoid, Softsign, RMSNorm, GroupNorm, attention, LogSigmoid, Tanhshrink and division are
spelled out in these words. Tracing keeps what it does not know; the consumer that cannot go on calls
`graph.unsupported(node, consumer)`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError, UnsupportedOperator


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator: `shape` is at batch size one, `module` the dotted path of the module that called it, `call` the how
    many-eth call of that module (0 first), `name` unique in the graph, `target` the ATen operator it came from."""

    index: int
    op: str
    inputs: tuple[int, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    module: str = ""
    call: int = 0
    name: str = ""
    target: str = ""

    @property
    def numel(self) -> int:
        """Number of values of one sample."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def place(self) -> str:
        """Where it stands, for messages: operator, module path."""
        return f"operator {self.target or self.op!r} at module {self.module or '(top)'!r} (node {self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Operators of one sample in execution order; `inputs` and `outputs` are node indices."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtype: torch.dtype
    batched: bool = True

    @property
    def input(self) -> Node:
        """The only input; a graph with several raises ModelError."""
        if len(self.inputs) != 1:
            names = ", ".join(self.nodes[i].name for i in self.inputs)
            raise ModelError(
                "the network has several inputs",
                found=f"{len(self.inputs)} ({names})",
                expected="one input",
                remedy="wrap the model in a module that takes one tensor and fixes the others",
            )
        return self.nodes[self.inputs[0]]

    @property
    def output(self) -> Node:
        """The only output; a graph with several raises ModelError."""
        if len(self.outputs) != 1:
            raise ModelError(
                "the network has several outputs",
                found=str(len(self.outputs)),
                expected="one output",
                remedy="wrap the model in a module that returns the tensor the question is about",
            )
        return self.nodes[self.outputs[0]]

    @property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For every node the nodes that read it."""
        lists: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for source in node.inputs:
                lists[source].append(node.index)
        return tuple(tuple(users) for users in lists)

    def unsupported(self, node: Node, consumer: str, remedy: str = "") -> NoReturn:
        """Raise UnsupportedOperator: which operator, where, and what to do."""
        raise UnsupportedOperator(
            node.place,
            found=f"{node.op!r} with output shape {node.shape}",
            expected=f"an operator that {consumer} knows",
            remedy=remedy or "replace it by operators listed in cutaway.network.graph, or cut the model before it",
        )

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Graph:
        """The same graph with its floating-point constants in another dtype or on another device."""

        def move(value: Tensor) -> Tensor:
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        nodes = tuple(replace(n, constants={k: move(v) for k, v in n.constants.items()}) for n in self.nodes)
        return replace(self, nodes=nodes, dtype=dtype or self.dtype)


def trace(
    model: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    *,
    dtype: torch.dtype | None = torch.float64,
    batched: bool = True,
    check: bool = True,
) -> Graph:
    """The operators of `model` in evaluation mode, for one sample.

    A copy of the model is traced, in `dtype` (None: as it is); the model itself is not touched. Casts between floating
    dtypes inside the model are dropped: the graph means real arithmetic in one dtype. With
    `check`, the graph is evaluated at the first example and must give the model's own output to 1e-9 relative (1e-4
    below float64), else ModelError.
    Cost: one export and two forward passes of one sample. Raises ModelError when the model cannot be exported.
    """
    from cutaway.network.graph_build import build

    examples = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    samples = tuple(_first_sample(x, dtype, batched) for x in examples)
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    if dtype is not None:
        twin = twin.to(dtype)
    program = _export(twin, samples)
    nodes, inputs, outputs, values = build(program, samples)
    graph = Graph(nodes=nodes, inputs=inputs, outputs=outputs, dtype=dtype or _floating(samples), batched=batched)
    if check:
        _check_outputs(twin, samples, [values[i] for i in outputs])
    return graph


def _first_sample(x: Tensor, dtype: torch.dtype | None, batched: bool) -> Tensor:
    if batched and (x.ndim == 0 or x.shape[0] == 0):
        raise ModelError("example inputs hold no sample", found=f"shape {tuple(x.shape)}", expected="(batch, ...)")
    sample = (x[:1] if batched else x).detach().clone()
    return sample.to(dtype) if dtype is not None and sample.is_floating_point() else sample


def _floating(samples: tuple[Tensor, ...]) -> torch.dtype:
    return next((x.dtype for x in samples if x.is_floating_point()), torch.get_default_dtype())


def _export(model: nn.Module, samples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    from cutaway.network.graph_build import decompositions

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.export warns about its own copyreg and pytree internals
            return torch.export.export(model, samples, strict=False).run_decompositions(decompositions())
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {type(model).__name__} cannot be exported",
            found=f"{type(error).__name__}: {reason[:300]}",
            expected="a forward without data-dependent control flow, called with shapes "
            + ", ".join(str(tuple(x.shape)) for x in samples),
            remedy="check the input shape, or wrap the part of the model that the question is about",
        ) from error


def _check_outputs(model: nn.Module, samples: tuple[Tensor, ...], ours: list[Tensor]) -> None:
    with torch.no_grad():
        theirs = _tensors(model(*samples))
    for mine, want in zip(ours, theirs, strict=True):
        rtol = 1e-9 if want.dtype == torch.float64 else 1e-4
        want = want.to(mine.dtype)
        scale = float(want.double().nan_to_num(0.0, 0.0, 0.0).abs().max()) if want.numel() else 0.0
        if not torch.allclose(mine, want, rtol=rtol, atol=rtol * scale, equal_nan=True):
            raise ModelError(
                f"graph of {type(model).__name__} differs from the model",
                found=f"largest difference {float((mine - want).abs().max()):.3g}",
                expected="the same output",
                remedy="look for randomness or state inside forward, which a graph cannot hold",
            )


def _tensors(result: Any) -> list[Tensor]:
    """The tensors of a model's result in order (tuples, lists and mappings opened)."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Mapping):
        result = tuple(result.values())
    return [t for item in result for t in _tensors(item)] if isinstance(result, tuple | list) else []


def evaluate(
    graph: Graph, inputs: Tensor | tuple[Tensor, ...], *, keep: Callable[[Node], bool] | None = None
) -> list[Any]:
    """Every node's value at a batch: a list with one tensor of shape (B, *node.shape) for each node.

    `inputs` has shape (B, *sample shape), the sample shape without its leading 1 when the graph is `batched`. `keep`
    limits what is returned (the others are None). Differentiable. Cost: one forward pass, memory of all kept values.
    """
    from cutaway.network.graph_operators import apply_node

    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    given = tuple(_as_samples(graph, x, i) for x, i in zip(given, graph.inputs, strict=True))
    kept = [n.index for n in graph.nodes if keep is None or keep(n)]

    def run(*samples: Tensor) -> list[Tensor]:
        values: dict[int, Tensor] = dict(zip(graph.inputs, samples))
        for node in graph.nodes:
            if node.op != "input":
                values[node.index] = apply_node(node, [values[i] for i in node.inputs])
        return [values[i] for i in kept]

    result: list[Tensor | None] = [None] * len(graph.nodes)
    for index, value in zip(kept, torch.vmap(run)(*given)):
        result[index] = value
    return result


def _as_samples(graph: Graph, x: Tensor, index: int) -> Tensor:
    node = graph.nodes[index]
    shape = node.shape[1:] if graph.batched else node.shape
    if tuple(x.shape[1:]) != tuple(shape):
        raise ModelError(
            f"input {node.name!r} has the wrong shape", found=str(tuple(x.shape)), expected=f"(batch, *{tuple(shape)})"
        )
    x = x.to(graph.dtype) if x.is_floating_point() else x
    return x.reshape(x.shape[0], *node.shape)


def output_of(graph: Graph, inputs: Tensor) -> Tensor:
    """Only the output, shape (B, *output shape) without the leading 1 when the graph is `batched`; differentiable."""
    node = graph.output
    value = evaluate(graph, inputs, keep=lambda n: n.index == node.index)[node.index]
    return value.squeeze(1) if graph.batched and node.shape[:1] == (1,) else value
