"""Pre- and post-activations of chosen sites, streamed in chunks that fit a memory budget.

Sites are recognised by their order in the pass, which the network's probe has checked to be the same for every
input; the kind of each is compared again on every pass, so a model whose path depends on its data is refused rather
than misread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cutaway.network.sites import Site, SiteVisitor, first_result, other_path

DEFAULT_BUDGET = 2 * 1024**3
WORKING_SET = 4.0  # buffers that live while a chunk is processed, in multiples of what the chunk captures and passes on


@dataclass(slots=True, kw_only=True)
class Chunk:
    """What one chunk of inputs gave: `rows` of the data, the network's output, and per site name the values before
    and after.

    `pre[name]` has shape `(rows, *site.input_shape)`, `post[name]` `(rows, *site.output_shape)`.
    """

    rows: slice
    inputs: torch.Tensor
    output: torch.Tensor
    pre: dict[str, torch.Tensor] = field(default_factory=dict)
    post: dict[str, torch.Tensor] = field(default_factory=dict)


class _Recorder(SiteVisitor):
    """Stores the values of the wanted sites."""

    def __init__(self, sites: Sequence[Site], *, pre: bool, post: bool) -> None:
        super().__init__(sites)
        self.want_pre, self.want_post = pre, post
        self.pre: dict[str, torch.Tensor] = {}
        self.post: dict[str, torch.Tensor] = {}

    def before(self, k: int, site: Site, operand: Any) -> None:
        if self.want_pre:
            value = site.before.by_rows(operand, site.name)
            self.pre[site.name] = value.clone() if site.in_place or site.overwritten else value

    def after(self, k: int, site: Site, post: Any, operands: Sequence[Any]) -> None:
        if self.want_post:
            result = site.after.by_rows(first_result(post, operands, site.argument), site.name)
            self.post[site.name] = result.clone() if site.overwritten else result


def record(
    forward: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    sites: Sequence[Site],
    *,
    pre: bool = True,
    post: bool = False,
    grad: bool = False,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """One pass: output, pre-activations and post-activations by site name; with `grad`, attached to the autograd
    graph.
    """
    if not sites:  # a mode that sees every operator costs a fifth of a small network's pass
        with torch.set_grad_enabled(grad):
            return forward(inputs), {}, {}
    recorder = _Recorder(sites, pre=pre, post=post)
    with torch.set_grad_enabled(grad), recorder:
        output = forward(inputs)
    missing = [site.name for site in sites if site.name not in (recorder.pre if pre else recorder.post)]
    if missing and (pre or post):
        raise other_path(f"no call of {missing[0]}", "one")
    return output, recorder.pre, recorder.post


def bytes_per_sample(
    inputs: torch.Tensor, sites: Sequence[Site], element: int, *, pre: bool, post: bool, peak: int
) -> int:
    """Bytes that one sample needs while it is captured: its input, the kept values, and the widest layer's buffers."""
    kept = sum(_size(s.input_shape) * pre + _size(s.output_shape) * post for s in sites) * element
    own = inputs[0].numel() * inputs.element_size() if len(inputs) else 0
    return max(1, int(kept + own + WORKING_SET * peak * element))


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `range(total)`."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def in_one(parts: Sequence[Chunk]) -> Chunk:
    """Chunks of rows that follow one another, from row 0 on, as one; a single one as it is."""
    if len(parts) == 1:
        return parts[0]

    def join(pick: Callable[[Chunk], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: torch.cat([pick(p)[name] for p in parts]) for name in pick(parts[0])}

    return Chunk(
        rows=slice(0, sum(len(p.inputs) for p in parts)),
        inputs=torch.cat([p.inputs for p in parts]),
        output=torch.cat([p.output for p in parts]),
        pre=join(lambda p: p.pre),
        post=join(lambda p: p.post),
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
