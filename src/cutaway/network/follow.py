"""Which values depend on a network's input, and what on the way is not affine in it.

`Follower` watches ATen's operators at torch's dispatcher, below every Python function, C++ kernel, view, in-place write
and `out=`, while the model runs once. A value is *whole* (varies with the input) or *stepwise* (piecewise constant in
it: integers, comparisons, signs, and whatever is computed from these alone). What `graph.facts` does not call affine in
its dependent operands becomes a `Bend`; so does what nothing is known of, and a value that leaves torch. Token ids are
followed from the embedding on.

A stepwise value that multiplies, fills or chooses whole ones is a *mask*: piecewise affine, and continuous where the
mask is the sign of the very value that it cuts (`z * (z > 0)`, `where(z > 0, z, 0)`, `z[z < 0] = 0`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cutaway._compat import NotCompiled
from cutaway.network.graph import facts
from cutaway.network.graph.fact import Fact, Form
from cutaway.network.graph.node import Node
from cutaway.network.storages import Identity, Storages

READERS = {"_local_scalar_dense", "equal", "is_nonzero", "item"}  # they give no tensor, so they have no form
# how a ReLU by hand applies its mask, as far as it is known here; of no other word is that claimed
MASKING = {"mul", "where", "masked_fill", "index_put"}


@dataclass(slots=True, kw_only=True)
class Step:
    """Where a stepwise value is made of a whole one: `operand` against `kinks` (empty: not known). `used`: it reached
    a whole value, or the output, other than as the mask of its own operand."""

    word: str
    operand: Identity | None
    kinks: tuple[float, ...]
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a storage depends on the input: wholly, or stepwise through `steps` (indices)."""

    whole: bool
    steps: frozenset[int] = frozenset()

    def join(self, other: Mark | None) -> Mark:
        if other is None:
            return self
        return Mark(whole=self.whole or other.whole, steps=self.steps | other.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """An operation that is not affine in what depends on the input."""

    word: str
    piecewise: bool
    continuous: bool
    known: bool = True
    operand: Identity | None = None
    kinks: tuple[float, ...] = ()


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an argument, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


@dataclass(slots=True)
class OperatorCall:
    """One operator with its arguments by name and the marks of those that depend on the input."""

    word: str
    fact: Fact
    arguments: dict[str, Any]
    marks: dict[str, Mark]
    identities: dict[str, list[Identity]] = field(default_factory=dict)

    def named(self, names: tuple[str, ...]) -> list[str]:
        """Those of `names` that depend on the input; all that do, where the operator has other names for them."""
        there = [n for n in names if n in self.arguments] or (list(self.arguments) if names else [])
        return [n for n in there if n in self.marks]

    @property
    def whole(self) -> list[str]:
        return [name for name, mark in self.marks.items() if mark.whole]

    @property
    def steps(self) -> frozenset[int]:
        return frozenset().union(*(m.steps for m in self.marks.values()))


class Follower(NotCompiled, TorchDispatchMode):
    """Marks storages, collects `bends` and `steps` in order, and counts the writes into what it has met."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.storages = Storages()
        self.marks: dict[int, Mark] = {}
        self.tokens: set[int] = set()
        self.writes: dict[int, int] = {}
        self.zeros: dict[Identity, Identity] = {}
        self.bends: list[Bend] = []
        self.steps: list[Step] = []
        self.widest = 0  # numbers of the largest result that depends on the input
        if inputs.is_floating_point():
            self._keep(inputs, Mark(whole=True))
        else:
            self._keep_tokens(inputs)

    def mark(self, tensor: Tensor) -> Mark | None:
        """How a tensor depends on the input; None where it does not."""
        number = self.storages.seen(tensor)
        return None if number is None else self.marks.get(number)

    def written(self, tensor: Tensor) -> tuple[int, int]:
        """The number of a tensor's storage, and how often it has been written into since it was first met."""
        number = self.storages.number(tensor)
        return number, self.writes.get(number, 0)

    def leaves(self, value: Any, word: str) -> None:
        """A value is read by something that is not torch (NumPy, a Python number): it cannot be followed there."""
        for mark in filter(None, map(self.mark, tensors(value))):
            self._use(mark.steps)
            self.bends.append(Bend(word=word, piecewise=not mark.whole, continuous=False, known=not mark.whole))

    def end(self, output: Any) -> None:
        """Steps that the output is made of are used."""
        for mark in filter(None, map(self.mark, tensors(output))):
            self._use(mark.steps)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        kwargs = kwargs or {}
        call = self._call(func, args, kwargs)
        result = func(*args, **kwargs)
        written = [t for a, v in self._bound(func, args, kwargs) if _is_written(a) for t in tensors(v)]
        for number in map(self.storages.seen, written):
            if number is not None:
                self.writes[number] = self.writes.get(number, 0) + 1
        results = [*tensors(result), *written]
        if call.marks:
            self.widest = max(self.widest, *(t.numel() for t in results), 0)
            self._judge(call, results, result)
        elif any(self.storages.seen(t) in self.tokens for v in call.arguments.values() for t in tensors(v)):
            self._follow_tokens(call, results)
        return result

    def _bound(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        for position, argument in enumerate(func._schema.arguments):
            if position < len(args):
                yield argument, args[position]
            elif argument.name in kwargs or argument.has_default_value():
                yield argument, kwargs.get(argument.name, argument.default_value)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OperatorCall:
        space, _, word = func._schema.name.partition("::")
        word = word[:-1] if word.endswith("_") and not word.endswith("__") else word
        word = word if space == "aten" else f"{space}::{word}"
        arguments = {a.name: v for a, v in self._bound(func, args, kwargs) if not a.is_out}
        call = OperatorCall(word, facts.of(word), arguments, {})
        for name, value in arguments.items():
            found = [(self.mark(t), t) for t in tensors(value)]
            joined = None
            for mark, _ in found:
                joined = mark if joined is None else joined.join(mark)
            if joined is not None:
                call.marks[name] = joined
                call.identities[name] = [
                    self.storages.identity(t) for mark, t in found if mark is not None and mark.whole
                ]
        return call

    def _follow_tokens(self, call: OperatorCall, results: list[Tensor]) -> None:
        for tensor in results:
            if call.fact.word == "embedding" and tensor.is_floating_point():
                self._keep(tensor, Mark(whole=True))
            else:
                self._keep_tokens(tensor)

    def _keep_tokens(self, tensor: Tensor) -> None:
        self.tokens.add(self.storages.number(tensor))

    def _keep(self, tensor: Tensor, mark: Mark) -> None:
        number = self.storages.number(tensor)
        self.marks[number] = mark.join(self.marks.get(number))

    def _use(self, steps: frozenset[int]) -> None:
        for index in steps:
            self.steps[index].used = True

    def _judge(self, call: OperatorCall, results: list[Tensor], result: Any) -> None:
        """Marks the results, and notes how the call bends, if it does."""
        form = call.fact.form_of(call.arguments)
        if call.word in READERS or (not results and form in (Form.UNKNOWN, Form.CURVED)):
            self.leaves(list(call.arguments.values()), call.word)
        if form is Form.CONSTANT:
            return
        if not call.whole:
            for tensor in results:
                self._keep(tensor, Mark(whole=False, steps=call.steps))
            return
        zero = self._zero(call)
        floats = [t for t in results if t.is_floating_point() or t.is_complex()]
        if floats and form is not Form.STEP:
            self._note(call, form)
        step: Mark | None = None
        for tensor in results:
            if form is not Form.STEP and (tensor.is_floating_point() or tensor.is_complex()):
                self._keep(tensor, Mark(whole=True))
                if zero is not None and tuple(tensor.shape) == zero[1]:
                    self.zeros[self.storages.identity(tensor)] = zero
            else:
                step = step or self._new_step(call)
                self._keep(tensor, step)

    def _new_step(self, call: OperatorCall) -> Mark:
        whole = [i for ids in call.identities.values() for i in ids]
        kinks = _kinks(call)
        known = len(whole) == 1 and len(kinks) == 1
        self.steps.append(Step(word=call.fact.word, operand=whole[0] if known else None, kinks=kinks if known else ()))
        return Mark(whole=False, steps=frozenset({len(self.steps) - 1}) | call.steps)

    def _zero(self, call: OperatorCall) -> Identity | None:
        """The value at whose zeros the result is zero."""
        whole = [i for ids in call.identities.values() for i in ids]
        if not call.fact.keeps_zeros or len(whole) != 1:
            return None
        return self.zeros.get(whole[0], whole[0])

    def _note(self, call: OperatorCall, form: Form) -> None:
        fact, whole = call.fact, [i for ids in call.identities.values() for i in ids]
        factors, controls = call.named(fact.factors), call.named(fact.controls)
        complex_ = any(t.is_complex() for v in call.arguments.values() for t in tensors(v))
        product = sum(len(call.identities[n]) for n in factors) > 1
        curved = product or any(call.marks[n].whole for n in controls) or form in (Form.CURVED, Form.UNKNOWN)
        if curved or (form is Form.PIECEWISE and complex_):
            self._use(call.steps)
            self.bends.append(
                Bend(
                    word=call.word if form is Form.UNKNOWN else fact.word,
                    piecewise=False,
                    continuous=True,
                    known=form is not Form.UNKNOWN,
                    operand=whole[0],
                )
            )
        elif any(not call.marks[n].whole for n in [*factors, *controls]):
            self._note_mask(call, whole)
        else:
            self._use(call.steps)
            if form is Form.PIECEWISE:
                self.bends.append(
                    Bend(
                        word=fact.word, piecewise=True, continuous=fact.continuous, operand=whole[0], kinks=_kinks(call)
                    )
                )

    def _note_mask(self, call: OperatorCall, whole: list[Identity]) -> None:
        steps = [self.steps[i] for i in call.steps]
        own = (
            call.fact.word in MASKING
            and len(steps) == 1
            and steps[0].operand is not None
            and all(self._bound_to(steps[0], i) for i in whole)
        )
        if not own:
            self._use(call.steps)
            self.bends.append(Bend(word="selection", piecewise=True, continuous=False, operand=whole[0]))
            return
        kink, exact = steps[0].kinks[0], all(i == steps[0].operand for i in whole)
        fill = _fill(call)
        smooth = fill is not None and fill == kink and (kink == 0 or exact)
        self.bends.append(Bend(word="mask", piecewise=True, continuous=smooth, operand=steps[0].operand, kinks=(kink,)))

    def _bound_to(self, step: Step, value: Identity) -> bool:
        return value == step.operand or self.zeros.get(value) == step.operand


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _kinks(call: OperatorCall) -> tuple[float, ...]:
    """Where the operand bends or jumps: of the record, or the number that it is compared with."""
    if call.fact.word == "step":
        others = [v for n, v in call.arguments.items() if n not in call.marks]
        return tuple(n for n in map(_number, others) if n is not None)
    curve = call.fact.curve
    if curve is None or curve.kinks is None:
        return ()
    return curve.kinks(Node(index=0, op=call.fact.word, attributes=call.arguments))


def _number(value: Any) -> float | None:
    """A constant that is one number everywhere."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, Tensor) and value.numel() and bool((value == value.flatten()[0]).all()):
        return float(value.flatten()[0])
    return None


def _fill(call: OperatorCall) -> float | None:
    """What stands where a mask cuts: one number, 0 for a product; None where it is several."""
    if call.fact.word == "mul":
        return 0.0
    if call.arguments.get("accumulate"):
        return None
    numbers = [
        _number(v) for n, v in call.arguments.items() if n not in call.marks and n not in ("accumulate", "unsafe")
    ]
    whole = sum(len(ids) for ids in call.identities.values())
    if not numbers and whole > 1:  # where(z > 0, a z, b z)
        return 0.0
    return numbers[0] if len(numbers) == 1 else None
