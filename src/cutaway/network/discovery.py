"""Finding the sites of a model: one run on the example, intercepted as functions and followed as operators.

The functions give each site its module, its name and its place in the pass; `follow` says which of them bend. What
bends outside every function that can be intercepted (TorchScript, custom kernels) is `hidden`: it cannot be captured,
but it counts for what may be said of the network. What cannot be read is listed with the reason.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cutaway.network.follow import READERS, Bend, Follower
from cutaway.network.graph import facts
from cutaway.network.graph.fact import Fact, Form
from cutaway.network.sites import Interceptor, Site, fact_of, first_result, flatten_operands, function_name, is_in_place
from cutaway.network.storages import Identity
from cutaway.records import Skipped

_PRINTING = {"__repr__", "__format__", "__str__"}
_LEAVING = {"numpy", "__array__", "tolist", "__dlpack__"}
_SHAPED = (Form.PIECEWISE, Form.STEP, Form.CURVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The sites of a model, what bends where no site can be, what was not read, and the output; `widest`: the most
    numbers a row that one operation makes on the way."""

    sites: tuple[Site, ...]
    hidden: tuple[Bend, ...]
    skipped: tuple[Skipped, ...]
    output: Any
    widest: int = 0

    @property
    def piecewise_affine(self) -> bool:
        return all(s.piecewise_affine for s in self.sites) and all(b.piecewise for b in self.hidden)

    @property
    def continuous(self) -> bool:
        return all(s.continuous for s in self.sites) and all(b.continuous for b in self.hidden)


class _Discovery(Interceptor):
    """Keeps the sites with their module paths and watches their values for later in-place changes."""

    def __init__(self, stack: list[tuple[str, str]], follower: Follower) -> None:
        super().__init__()
        self.stack, self.follower = stack, follower
        self.read = 0  # bends of the follower that are dealt with
        self.hidden: list[tuple[str, Bend]] = []
        self.found: list[tuple[Site, range, bool]] = []
        self.watched: list[tuple[int, int, int]] = []
        self.producers: dict[int, tuple[int, Any]] = {}
        self.gates: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        if function_name(func) in _PRINTING:
            kept = len(self.follower.bends)
            text = func(*args, **(kwargs or {}))
            del self.follower.bends[kept:]
            return text
        return super().__torch_function__(func, types, args, kwargs)

    def take_hidden(self) -> None:
        """Bends that no intercepted call has claimed."""
        path = self.stack[-1][0]
        self.hidden += [(path, bend) for bend in self.follower.bends[self.read :]]
        self.read = len(self.follower.bends)

    def candidate(
        self,
        ordinal: int,
        kind: str,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ):
        self.take_hidden()
        operands = flatten_operands((*args, *kwargs.values()))
        before = {i: self.follower.storages.identity(a) for i, a in enumerate(operands) if self._marked(a)}
        writes = {i: self.follower.written(a) for i, a in enumerate(operands) if self._marked(a)}
        shapes = [tuple(a.shape[1:]) if isinstance(a, torch.Tensor) else () for a in operands]
        first_step = len(self.follower.steps)
        post = func(*args, **kwargs)
        if name in _LEAVING:
            self.follower.leaves(operands, name)
        bends = self.follower.bends[self.read :]
        self.read = len(self.follower.bends)
        steps = range(first_step, len(self.follower.steps))
        fact = fact_of(func, name)
        tame = fact.form in (Form.PIECEWISE, Form.CURVED) or fact.family == "pooling"
        certain = bool(bends) or (tame and bool(before) and fact.family != "other")
        in_place = is_in_place(func, name, args, kwargs)
        if not before or not (certain or steps) or not (_has_value(post) or in_place):
            self.hidden += [(self.stack[-1][0], bend) for bend in bends]
            return post
        argument = self._argument(before, bends, steps)
        result = first_result(post, operands, argument)
        index = len(self.found)
        if fact.site == "product":
            self.gates |= {made for o in operands if (made := self._made_by(o)) is not None and _multiplies(bends)}
        path, module = self.stack[-1]
        site = Site(
            index=index,
            path=path,
            call=0,
            kind=_kind(fact, name, bends, [self.follower.steps[i].word for i in steps]),
            function=name,
            module=module,
            in_place=in_place,
            input_shape=shapes[argument],
            output_shape=tuple(result.shape[1:]),
            piecewise=all(b.piecewise for b in bends),
            continuous=all(b.continuous for b in bends),
            known=all(b.known for b in bends),
            kinks=self._kinks(bends, steps),
            ordinal=ordinal,
            argument=argument,
        )
        self.found.append((site, steps, certain))
        self._watch(site, result, writes[argument])
        return post

    def _marked(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and self.follower.mark(value) is not None

    def _argument(self, before: dict[int, Identity], bends: list[Bend], steps: range) -> int:
        """Which operand is the pre-activation: the one that bends, else the first that depends on the input."""
        wanted = [b.operand for b in bends] + [self.follower.steps[i].operand for i in steps]
        return next((i for w in wanted for i, own in before.items() if own == w), next(iter(before)))

    def _kinks(self, bends: list[Bend], steps: range) -> tuple[float, ...]:
        if len(bends) == 1:
            return bends[0].kinks
        return self.follower.steps[steps[0]].kinks if not bends and len(steps) == 1 else ()

    def _made_by(self, value: Any) -> int | None:
        """The site whose result this very tensor is."""
        index, made = self.producers.get(id(value), (None, None))
        return index if made is not None and made() is value else None

    def _watch(self, site: Site, result: torch.Tensor, before: tuple[int, int]) -> None:
        self.producers[id(result)] = site.index, weakref.ref(result)
        self.watched.append((site.index, *self.follower.written(result)))
        if not site.in_place:
            self.watched.append((site.index, *before))

    def sites(self) -> Iterator[Site]:
        """The sites in order: comparisons only where what they decide reaches a value other than their own mask."""
        overwritten = {index for index, number, writes in self.watched if self.follower.writes.get(number, 0) != writes}
        counts: dict[str, int] = {}
        for site, steps, certain in self.found:
            used = any(self.follower.steps[i].used for i in steps)
            if certain or used:
                call = counts[site.path] = counts.get(site.path, -1) + 1
                gate = site.index in self.gates and site.family == "activation"
                yield dataclasses.replace(
                    site,
                    index=sum(counts.values()) + len(counts) - 1,
                    call=call,
                    gate=gate,
                    overwritten=site.index in overwritten,
                    continuous=site.continuous and not used,
                )


def _has_value(post: Any) -> bool:
    first = post[0] if isinstance(post, list | tuple) and post else post
    return isinstance(first, torch.Tensor)


def _multiplies(bends: list[Bend]) -> bool:
    return any(not bend.piecewise for bend in bends)


def _kind(fact: Fact, name: str, bends: list[Bend], steps: list[str]) -> str:
    """What the call does: by its own name where that is known to bend, else by the operators seen in it."""
    words = {bend.word for bend in bends} or set(steps[:1])
    if fact.form in _SHAPED or (fact.form is Form.AFFINE and not (words and words <= {"mask", "selection"})):
        return fact.kind
    return facts.of(words.pop()).kind if len(words) == 1 else name


def discover(model: nn.Module, run: Callable[[], Any], inputs: torch.Tensor) -> Found:
    """Run the model once on `inputs` (`run` calls it) and list its sites. Cost: one forward pass without gradients."""
    stack: list[tuple[str, str]] = [("", type(model).__name__)]
    called: set[int] = set()
    handles = []
    first_path: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        first_path.setdefault(id(module), path)

    def enter(module: nn.Module, _args: Any):
        stack.append((first_path.get(id(module), "?"), type(module).__name__))
        called.add(id(module))

    def leave(_module: nn.Module, _args: Any, _output: Any):
        stack.pop()

    for module in model.modules():
        if module is not model:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
    follower = Follower(inputs)
    mode = _Discovery(stack, follower)
    try:
        with torch.no_grad(), follower, mode:
            output = run()
    finally:
        for handle in handles:
            handle.remove()
    mode.take_hidden()
    follower.end(output)
    sites = tuple(mode.sites())
    hidden = tuple(bend for _, bend in mode.hidden)
    skipped = (*_unknown(sites, mode.hidden), *_unread(model, first_path, called))
    widest = -(-follower.widest // max(1, len(inputs)))
    return Found(sites=sites, hidden=hidden, skipped=skipped, output=output, widest=widest)


def _unknown(sites: tuple[Site, ...], hidden: list[tuple[str, Bend]]) -> Iterator[Skipped]:
    for site in sites:
        if not site.known:
            yield Skipped(what=site.name, reason=f"{site.function} is not known to be affine: nothing is claimed of it")
    for path, word in sorted({(path, bend.word) for path, bend in hidden}):
        leaves = word in READERS or word in _LEAVING
        lost = "a value leaves torch, where it cannot be followed" if leaves else "no call of it can be intercepted"
        yield Skipped(what=path or ".", reason=f"operator {word}: {lost}")


def _nonlinear_modules() -> tuple[type[nn.Module], ...]:
    """Modules of torch that a record of `facts` names."""
    families = ("activation", "pooling", "attention", "normalisation")
    names = {n.replace("_", "") for f in facts.FACTS.values() if f.family in families for n in (f.word, *f.names)}
    return tuple(module for name, module in vars(nn).items() if name.lower() in names and isinstance(module, type))


_NONLINEAR_MODULES = _nonlinear_modules()


def _unread(model: nn.Module, paths: dict[int, str], called: set[int]):
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield Skipped(
                what=paths[id(module)] or ".", reason="a TorchScript module: its inside cannot be intercepted"
            )
        elif isinstance(module, _NONLINEAR_MODULES) and id(module) not in called and module is not model:
            reason = f"{type(module).__name__} is never called on the example input"
            yield Skipped(what=paths[id(module)] or ".", reason=reason)
