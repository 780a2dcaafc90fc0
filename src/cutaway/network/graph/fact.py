"""What is known of one operator: `Fact`, and `Curve` for a function of one number. The table is in `facts`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from cutaway.network.graph.node import Node


class Form(Enum):
    """How a value depends on the operands; the order is from the tamest to the wildest."""

    CONSTANT = "does not depend on the operands' values"
    AFFINE = "affine in the operands, apart from `factors` and `controls`"
    STEP = "piecewise constant, with jumps"
    PIECEWISE = "piecewise affine"
    CURVED = "not piecewise affine"
    UNKNOWN = "not known, so nothing is claimed"


@dataclass(frozen=True, slots=True)
class Rounding:
    """How far a float32 computation of f may be from f: relative |f(x)| + fixed + by_argument |x|, in units u = 2^-24.

    within: `within` |x| comes up on the way; nothing is claimed where it passes the largest number.
    never_negative: the computed value is not below 0 either.
    """

    relative: float
    fixed: float = 0.0
    by_argument: float = 0.0
    within: float = 0.0
    never_negative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A function f of one number.

    kind: how lines are put around it, or a function of the node where its parameters decide: `piecewise` (affine
    between `kinks`), `convex`, `concave`, `signed` (convex for x > 0, concave for x < 0), `steps` (of width and height
    one), `smooth` (|f''| <= `curvature` on [-core, core] and <= `tail` outside), or `` where bounds do not know it yet.
    derivative: f', where tangents are used.
    kinks: where f is not differentiable, in ascending order.
    domain: f is defined for x > domain.
    defined: whether f is defined on all of [lower, upper], where that is no matter of `domain`.
    bend: a limit of |f''| where |x| <= size, where that is more than `curvature` and `tail` can say.
    at_slope: the x >= 0 with f'(x) = f'(-x) = slope, where they are known in closed form.
    turning: where f turns from falling to rising or back.
    peak: a place where f of period 2 pi is largest.
    limits: f lies between these.
    slopes: f' lies between these, wherever it is defined.
    step_end: for `steps`, how far above its value each step ends.
    jumps: (place, value that f has or tends to there), of piecewise affine functions that jump.
    cancels: for |x| <= size, how far a computed f(x) may be off beyond a few units of its own size, in units of the
    type's epsilon: terms that nearly cancel.
    shortcut: how far the function that runs is from the formula.
    float32: what computing it in float32 adds to the error of its argument; None where that is not known, which
    `certify --deployment` takes for infinite. `benchmarks/float32_functions.py` measures every one.
    """

    kind: str | Callable[[Node], str]
    derivative: Callable[[Node, Tensor], Tensor] | None = None
    kinks: Callable[[Node], tuple[float, ...]] | None = None
    domain: float = -math.inf
    defined: Callable[[Node, Tensor, Tensor], Tensor] | None = None
    curvature: float = 0.0
    tail: float = 0.0
    core: float = 12.0
    bend: Callable[[Node, Tensor], Tensor | float] | None = None
    at_slope: Callable[[Node, Tensor], Tensor] | None = None
    turning: Callable[[Node], tuple[float, ...]] | None = None
    peak: float | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)
    slopes: tuple[float, float] | Callable[[Node], tuple[float, float]] = (-math.inf, math.inf)
    step_end: float = 1.0
    jumps: Callable[[Node], tuple[tuple[float, float], ...]] | None = None
    cancels: Callable[[Node, Tensor], Tensor | float] | None = None
    shortcut: Callable[[Node], float] | None = None
    float32: Rounding | Callable[[Node], Rounding] | None = None

    def kind_of(self, node: Node) -> str:
        """`kind` of a node with its own parameters."""
        return self.kind(node) if callable(self.kind) else self.kind

    def rounding(self, node: Node) -> Rounding:
        """`float32` of a node with its own parameters; infinite where it is not known."""
        known = self.float32(node) if callable(self.float32) else self.float32
        return known or Rounding(math.inf)

    def slope_range(self, node: Node) -> tuple[float, float]:
        """`slopes` of a node with its own parameters."""
        return self.slopes(node) if callable(self.slopes) else self.slopes

    def increasing(self, node: Node) -> bool:
        """Whether f never falls."""
        return self.slope_range(node)[0] >= 0


Arguments = Mapping[str, Any]
"""An operator's arguments by the names of ATen's schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What is known of the operator `word`.

    names: what else torch, ATen or the graph call it.
    family: of its site: activation, pooling, attention, normalisation, product, other.
    site: the kind of its site, where that is not the word.
    factors: operands of which at most one may depend on the input, else the operator is curved (a product).
    controls: operands that steer which value is taken (masks, indices, divisors): where one depends on the input, a
    piecewise constant one gives a piecewise affine value with jumps, any other a curved one.
    where: the form for given arguments, where it varies (a power of 1, batch statistics).
    continuous: for piecewise affine ones, whether there are no jumps.
    gate: where it bends: `zero` (at the zero of its operand), `thresholds`, `pair` (where two operands are equal),
    `window` (where the largest changes).
    function: f(node, x), for functions of one number; `curve` says the rest of them.
    plain: the function has no parameters, so that its ATen operator becomes a graph node as it is.
    keeps_zeros: where its one operand that depends on the input is 0, so is its value.
    """

    word: str
    form: Form
    names: tuple[str, ...] = ()
    family: str = "other"
    site: str = ""
    factors: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    where: Callable[[Arguments], Form] | None = None
    continuous: bool = True
    gate: str = ""
    function: Callable[[Node, Tensor], Tensor] | None = None
    curve: Curve | None = None
    plain: bool = False
    keeps_zeros: bool = False

    @property
    def kind(self) -> str:
        """The kind of site that it makes."""
        return self.site or self.word

    @property
    def piecewise_affine(self) -> bool:
        """Whether it is piecewise affine (affine and piecewise constant ones are), jumps or not."""
        return self.form not in (Form.CURVED, Form.UNKNOWN)

    def form_of(self, arguments: Arguments) -> Form:
        """The form for given arguments."""
        return self.form if self.where is None else self.where(arguments)
