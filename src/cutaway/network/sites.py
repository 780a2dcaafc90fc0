"""Sites: every *call* of every nonlinearity and pooling in one forward pass.

A site is a call of one of torch's public functions (modules, functional calls, tensor methods, in-place variants and
the operators of exported programs all pass there), so a module called twice gives two sites and `F.relu` in a `forward`
gives one. `discovery` finds them, an `Interceptor` meets them again on every later pass.

Conventions at the kink: a ReLU is active where its pre-activation is > 0; at exactly 0 it counts as inactive with
slope 0, which is what torch's own derivative says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cutaway.errors import ModelError
from cutaway.network.graph import facts
from cutaway.network.graph.fact import Fact, Form


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


_WRITERS = {"__setitem__", "__imul__", "__itruediv__", "__imod__", "__ipow__"}
_SILENT = {"__get__", "__set__", "__repr__", "__format__", "__str__"}  # attributes and printing


def function_name(func: Any) -> str:
    """Plain name of an intercepted function: `relu` for F.relu, Tensor.relu_, aten::relu."""
    if isinstance(func, torch._ops.OpOverload):
        name = func._schema.name.split("::")[-1]
    else:
        name = getattr(func, "__name__", "")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def fact_of(func: Any, name: str) -> Fact:
    """What is known of an intercepted function."""
    return facts.of(_BY_FUNCTION.get(func, name))


def candidate_kind(func: Any, name: str) -> str | None:
    """The kind of site that a call of this function may be, or None where it never is one."""
    if name in _SILENT:
        return None
    fact = fact_of(func, name)
    bare = fact.form is Form.CONSTANT or (fact.form is Form.AFFINE and not fact.factors and not fact.controls)
    return None if bare and fact.family == "other" else fact.kind


def flatten_operands(args: Any) -> list[Any]:
    out: list[Any] = []
    for a in args:
        out.extend(flatten_operands(a) if isinstance(a, list | tuple) else [a])
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """Where the rows of the batch are: along `axis`, `per` entries a row (row by row); -1 where that is not known."""

    axis: int = 0
    per: int = 1

    def by_rows(self, value: torch.Tensor, name: str) -> torch.Tensor:
        """The values with one row for each input first. Raises ModelError naming the site where that is not known."""
        if self.axis < 0:
            raise ModelError(
                f"site {name!r}",
                found=f"values of shape {tuple(value.shape)} in which the rows of the batch cannot be told",
                expected="one axis with one row for each input",
                remedy="leave the batch first in this layer (batch_first=True), or choose other sites",
            )
        value = value.movedim(self.axis, 0) if self.axis else value
        return value if self.per == 1 else value.unflatten(0, (-1, self.per))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One call of one nonlinearity or pooling.

    `index` counts all sites of a pass in order; `path` is the dotted path of the innermost module that ran (empty
    for the model itself); `call` counts the sites of that path. Shapes are without the batch dimension. `kind` is what
    the call does, also where it is written by hand: `mask` cuts a value by its own sign (`z * (z > 0)`), `selection`
    by something else's, `step` is a comparison. `piecewise`: affine on pieces; `continuous`: without jumps between
    them; `known`: False where nothing is known of an operator in it. `kinks`: where the pre-activation bends, if that
    is at fixed numbers. `gate` marks an activation whose output multiplies another value that depends on the input
    (SwiGLU and its relatives); there the network is not piecewise affine even if the activation is. `overwritten` says
    that the model changes the value in place afterwards: captures copy it in time. `ordinal` (count among all calls
    that may be sites) and `argument` (which operand is the pre-activation) let a capture find the call again; `before`
    and `after` say where the rows of the batch are in its operand and its result.
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
    piecewise: bool = True
    continuous: bool = True
    known: bool = True
    kinks: tuple[float, ...] = ()
    ordinal: int
    argument: int
    before: RowLayout = RowLayout()
    after: RowLayout = RowLayout()

    @property
    def name(self) -> str:
        """`path:kind#call`, unique in a network; the path is `.` for calls of the model's own forward."""
        return f"{self.path or '.'}:{self.kind}#{self.call}"

    @property
    def family(self) -> str:
        return facts.of(self.kind).family

    @property
    def piecewise_affine(self) -> bool:
        """Whether the network is piecewise affine at this site (`continuous` says whether it may jump)."""
        return self.piecewise and not self.gate

    @property
    def bends_at_zero(self) -> bool:
        """Whether the only place where it bends is where its pre-activation is 0."""
        return self.kinks == (0.0,)

    @property
    def width(self) -> int:
        """Number of scalar units (every spatial position counts)."""
        width = 1
        for size in self.input_shape:
            width *= size
        return width


def no_activation(sites: Sequence[Site]) -> str:
    """What to say of a network none of whose sites is an activation function."""
    kinds = ", ".join(dict.fromkeys(s.kind for s in sites))
    told = f"none of the nonlinear calls is an activation function whose neurons can be seen ({kinds})"
    return told if sites else "the network has no activation functions"


class Interceptor(TorchFunctionMode):
    """Counts the calls that may be sites and hands each to `candidate`; the count is the same on every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.ordinal = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        name = function_name(func)
        kind = candidate_kind(func, name)
        if kind is None:
            return func(*args, **(kwargs or {}))
        ordinal = self.ordinal
        self.ordinal += 1
        return self.candidate(ordinal, kind, name, func, args, kwargs or {})

    def candidate(self, ordinal: int, kind: str, name: str, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class SiteVisitor(Interceptor):
    """Shows what chosen sites read (`before`) and give (`after`) as the pass goes; `k` is the place of `site` in
    `sites`. Raises `ModelError` where another function is called in a site's turn, unless `lenient`: then it is passed
    over."""

    lenient: ClassVar[bool] = False

    def __init__(self, sites: Sequence[Site]) -> None:
        super().__init__()
        self.wanted = {site.ordinal: (k, site) for k, site in enumerate(sites)}

    def before(self, k: int, site: Site, operand: Any) -> None:
        """Takes the operand that the site bends, before the call."""

    def after(self, k: int, site: Site, post: Any, operands: Sequence[Any]) -> None:
        """Takes what the call returned (see `first_result`)."""

    def candidate(self, ordinal: int, kind: str, name: str, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        k, site = self.wanted.get(ordinal, (0, None))
        if site is None or (self.lenient and site.function != name):
            return func(*args, **kwargs)
        if site.function != name:
            raise other_path(f"{name!r} as candidate {ordinal}", repr(site.function))
        operands = flatten_operands((*args, *kwargs.values()))
        self.before(k, site, operands[site.argument])
        post = func(*args, **kwargs)
        self.after(k, site, post, operands)
        return post


def other_path(found: str, expected: str) -> ModelError:
    """The error for a pass that does not call what the pass on the example called."""
    return ModelError(
        "the order of the network's operations",
        found=found,
        expected=f"{expected}, as on the example input",
        remedy="the path through this model depends on its data; it cannot be captured",
    )


def first_result(post: Any, operands: Sequence[Any] = (), argument: int = 0) -> torch.Tensor:
    """The tensor of a call that may return several (max with indices, attention with weights) or none, having written
    into its operand (`z[z < 0] = 0`); a comparison's as numbers."""
    result = post[0] if isinstance(post, list | tuple) else operands[argument] if post is None else post
    return result.to(torch.get_default_dtype()) if result.dtype == torch.bool else result


def is_in_place(func: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("inplace")) or _true_in_place(func, name, args)


def _true_in_place(func: Any, name: str, args: tuple) -> bool:
    raw = getattr(func, "__name__", "")
    if isinstance(func, torch._ops.OpOverload):
        raw = func._schema.name
    return (raw.endswith("_") and not raw.endswith("__")) or name in _WRITERS
