"""Which ReLU to split next.

Every undecided neuron is scored by what its relaxation loses (the offset of the upper line times the functional that
reaches it, as in BaBSR, Bunel et al., arXiv 1909.06588). The best few are tried: both children are bounded by one
backward pass with the parent's lines, and the neuron whose children's bounds have the highest mean is taken (filtered
smart branching, De Palma et al., arXiv 2104.06718, takes the highest minimum; the mean leaves smaller trees here). All
of it in the search's float32: a choice cannot make a bound unsound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits, flat_values
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows
from cutaway.robustness.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounding:
    """N subproblems and what bounds them, in the search's float32: `rows` (N, K, *output), `thresholds` (N, K);
    `undecided` (N, n) by node says which neurons may be split."""

    search: BoundNetwork
    region: Region
    limits: Limits
    rows: Tensor
    thresholds: Tensor
    choices: Choices
    undecided: dict[int, Tensor]

    def rows_over(self, limits: Limits) -> Tensor:
        """Lower bounds (N, K) of the rows above their thresholds under some limits; NaN counts as nothing known."""
        found = bound_rows(self.search, limits, self.region, self.rows, SweepSettings(), self.choices)
        return (found - self.thresholds).nan_to_num(-torch.inf)


def choose_splits(bounding: Bounding, readers: dict[int, int], *, tried: int) -> Tensor:
    """Flat positions (N,) over the neurons of the undecided nodes, one node after another; every subproblem must have
    one. `readers` gives each node's ReLU, `tried` the number of neurons whose children are bounded."""
    bounding.choices.record = {}
    with torch.no_grad():
        best = bounding.rows_over(bounding.limits).argmax(1)
        scores = _scores(bounding, readers, bounding.choices.record, best)
        bounding.choices.record = None
        tried = min(tried, int((scores > 0).sum(1).min()))
        if tried < 2:
            return scores.argmax(1)
        candidates = scores.topk(tried, dim=1).indices
        means = [_mean_child(bounding, place) for place in candidates.T]
        chosen = torch.stack(means, 1).argmax(1, keepdim=True)
    return candidates.gather(1, chosen).squeeze(1)


def _scores(bounding: Bounding, readers: dict[int, int], record: dict[int, Tensor], best: Tensor) -> Tensor:
    found = []
    row = torch.arange(len(best))
    for source, candidate in bounding.undecided.items():
        low, high = (flat_values(side[source], 1) for side in (bounding.limits.lower, bounding.limits.upper))
        seen = record[readers[source]]
        reach = seen[row, best if seen.shape[1] > 1 else torch.zeros_like(best)].flatten(1)
        width = (high - low).clamp(min=1e-30)
        above = -reach.clamp(max=0) * (-low * high / width)
        below = reach.clamp(min=0) * torch.minimum(high, -low) * 0.5
        found.append(torch.where(candidate, above + below + 1e-9 * width, -1.0))
    return torch.cat(found, 1)


def _mean_child(bounding: Bounding, place: Tensor) -> Tensor:
    """The mean of both children's bounds when the neuron at `place` (N,) is split, (N,)."""
    values = []
    for side in (1, -1):
        lower, upper, start = dict(bounding.limits.lower), dict(bounding.limits.upper), 0
        for source, candidate in bounding.undecided.items():
            inside = (place >= start) & (place < start + candidate.shape[1])
            index = inside.nonzero().squeeze(1), (place - start)[inside]
            table = lower if side > 0 else upper
            ends = flat_values(table[source], 1).clone()
            ends[index] = 0.0
            table[source] = ends.reshape(table[source].shape)
            start += candidate.shape[1]
        child = Limits(lower=lower, upper=upper, slack=bounding.limits.slack)
        values.append(bounding.rows_over(child).amax(1))
    return (values[0] + values[1]) / 2
