"""What a search knows about the part of a box that still matters, as half-spaces of the input.

Inside a subproblem only points with s z_j >= 0 for every decided neuron j and with g(x) <= level for the row g in
question are of interest. Both are turned into half-spaces a . x + c <= 0: where a backward pass gives z >= a . x + c
(or g - level >= a . x + c) on the box, a point with z <= 0 lies in it. Limits of all neurons over the box cut by these
half-spaces are tighter than over the box. (Cuts by the output: Kotha et al., arXiv 2302.01404; by linear constraints on
inputs: Zhou et al., arXiv 2512.11087.) For one hidden layer the decisions' half-spaces are exact.

The minimum of f . x over the cut box is bounded by weak duality: for any lambda >= 0 it is at least the minimum over
the box of (f + sum_m lambda_m a_m) . x + sum_m lambda_m c_m. Multipliers are searched in float32; one pass in the
region's dtype with its rounding subtracted gives the value, so that a poor search costs tightness only. An empty set is
seen as a lower limit above an upper one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.robustness.bounds.backward import Choices, OneHot, lower_bound
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork, gamma
from cutaway.robustness.regions import Box

STEPS, HALVINGS = 20, 10
"""Steps of the search for multipliers: of several, and of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutBox:
    """Points x of `box` (B, n) with `normals` (B, M, n) . x + `offsets` (B, M) <= 0. Minima are lower bounds, never
    below those of the box."""

    box: Box
    normals: Tensor
    offsets: Tensor

    @property
    def lower(self) -> Tensor:
        return self.box.low

    @property
    def upper(self) -> Tensor:
        return self.box.high

    @property
    def magnitude(self) -> Tensor:
        return self.box.magnitude

    @property
    def is_box(self) -> bool:
        return False

    def minimum(self, functionals: Tensor) -> Tensor:
        plain = self.box.minimum(functionals)
        with torch.no_grad():
            weights = self._multipliers(functionals.detach())
        shifted = functionals + weights @ self.normals
        cut = self.box.minimum(shifted) + (weights @ self.offsets.unsqueeze(-1)).squeeze(-1)
        cut = cut - self._rounding(functionals, weights)
        return torch.where(cut > plain, cut, plain)  # a NaN never replaces a number

    def _rounding(self, functionals: Tensor, weights: Tensor) -> Tensor:
        """Four gammas of everything that is added up."""
        size = functionals.abs() + weights @ self.normals.abs()
        total = (size @ self.magnitude.unsqueeze(-1) + weights @ self.offsets.abs().unsqueeze(-1)).squeeze(-1)
        count = functionals.shape[-1] + self.normals.shape[1] + 8
        return 4 * gamma(count, functionals.dtype) * total

    def _multipliers(self, functionals: Tensor) -> Tensor:
        """(B, S, M), searched with each half-space scaled to its reach over the box."""
        center, radius = ((self.box.high + s * self.box.low).float() / 2 for s in (1, -1))
        reach = self.normals.float().abs() @ radius.unsqueeze(-1)
        reach = torch.where(reach > 1e-20, reach, 1.0)
        normals, offsets = self.normals.float() / reach, self.offsets.float() / reach.squeeze(-1)
        start = functionals.float()
        size = (start.abs() @ radius.unsqueeze(-1)).clamp(min=1e-30)
        at_center = (normals @ center.unsqueeze(-1)).squeeze(-1) + offsets
        search = _bisected if normals.shape[1] == 1 else _climbed
        found = search(start, size, normals, at_center, radius)
        return (found / reach.squeeze(-1).unsqueeze(1)).to(functionals.dtype)

    def minimiser(self, functionals: Tensor) -> Tensor:
        """The box's minimiser of the functional with the multipliers found (a starting point, not exact)."""
        return self.box.minimiser(functionals + self._multipliers(functionals) @ self.normals)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of the box (B, count, n), each moved onto the half-spaces that it misses where that is possible inside
        the box (alternating projections); those that still miss one give way to one that does not."""
        points = self.box.sample(count, generator)
        low, high = self.box.low.unsqueeze(1), self.box.high.unsqueeze(1)
        square = (self.normals**2).sum(-1).clamp(min=1e-300)
        for _ in range(100):
            for m in range(self.normals.shape[1]):
                normal = self.normals[:, m].unsqueeze(1)
                excess = ((points * normal).sum(-1) + self.offsets[:, m, None]).clamp(min=0) / square[:, m, None]
                points = torch.minimum(torch.maximum(points - 1.001 * excess.unsqueeze(-1) * normal, low), high)
        inside = (points @ self.normals.mT + self.offsets.unsqueeze(1) <= 0).all(-1)
        some = inside.to(torch.uint8).argmax(1)
        return torch.where(inside.unsqueeze(-1), points, points[torch.arange(len(points)), some].unsqueeze(1))

    def select(self, index: Tensor) -> CutBox:
        return CutBox(box=self.box.select(index), normals=self.normals[index], offsets=self.offsets[index])

    def to(self, dtype: torch.dtype) -> CutBox:
        return CutBox(box=self.box.to(dtype), normals=self.normals.to(dtype), offsets=self.offsets.to(dtype))


def _bisected(start: Tensor, size: Tensor, normals: Tensor, at_center: Tensor, radius: Tensor) -> Tensor:
    """One half-space: the root of the dual's slope at_center - sum_i r_i |f_i + l a_i|' between 0 and twice `size`."""
    reach = (normals * radius.unsqueeze(1)).mT
    low, high = torch.zeros_like(size), 2 * size
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rises = at_center.unsqueeze(1) > torch.addcmul(start, middle, normals).sign_() @ reach
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    return (low + high) / 2


def _climbed(start: Tensor, size: Tensor, normals: Tensor, at_center: Tensor, radius: Tensor) -> Tensor:
    """Several half-spaces: Adam-like steps up the concave dual; the best weights are kept."""
    weights = torch.zeros(*start.shape[:2], normals.shape[1])
    first, second, kept = torch.zeros_like(weights), torch.zeros_like(weights), weights
    best = torch.full(start.shape[:2], -torch.inf)
    reach = (normals * radius.unsqueeze(1)).mT
    for step in range(STEPS):
        shifted = start + weights @ normals
        value = (weights @ at_center.unsqueeze(-1) - shifted.abs() @ radius.unsqueeze(-1)).squeeze(-1)
        better = value > best
        best, kept = torch.where(better, value, best), torch.where(better.unsqueeze(-1), weights, kept)
        slope = at_center.unsqueeze(1) - shifted.sign() @ reach
        first, second = 0.8 * first + 0.2 * slope, 0.9 * second + 0.1 * slope**2
        move = first / (1 - 0.8 ** (step + 1)) / ((second / (1 - 0.9 ** (step + 1))).sqrt() + 1e-9)
        weights = (weights + 0.15 * 0.93**step * size * move).clamp(min=0)
    return kept


def plane_below(
    bounded: BoundNetwork, limits: Limits, box: Box, start: int, functionals: Tensor | OneHot, choices: Choices
) -> tuple[Tensor, Tensor]:
    """Normals (B, S, n) and offsets (B, S) with functional(x) >= normals . x + offsets for all x of the box that follow
    the decisions in `choices.betas` and obey the limits; rounded down. Cost: one backward pass."""
    choices = Choices(alphas=choices.alphas, betas=choices.betas, record={})
    value = lower_bound(bounded, limits, box, start, functionals, choices)
    assert choices.record is not None
    seen = choices.record.get(bounded.graph.inputs[0])
    if seen is None:  # nothing of the input reaches it
        return torch.zeros(*value.shape, box.low.shape[1], dtype=value.dtype), value
    normals = seen.flatten(2)
    least = box.minimum(normals)
    size = (normals.abs() @ box.magnitude.unsqueeze(-1)).squeeze(-1)
    slack = 8 * gamma(normals.shape[-1] + 8, value.dtype) * (size + value.abs() + least.abs())
    return normals, value - least - slack


def decision_planes(bounded: BoundNetwork, limits: Limits, box: Box, node: int, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Half-spaces (B, M, n), (B, M) of the decisions `signs` (B, *shape) at a node: -s z <= 0 and -s z >= a . x + c
    give a . x + c <= 0. M is the largest number of decisions of a sample; the others are padded with 0 . x - 1 <= 0."""
    flat = signs.flatten(1)
    count = int((flat != 0).sum(1).max())
    index = flat.abs().to(torch.uint8).topk(count, dim=1).indices
    side = flat.gather(1, index)
    planes = [
        plane_below(bounded, limits, box, node, OneHot(index=index, sign=sign), Choices()) for sign in (-1.0, 1.0)
    ]
    normals = torch.where((side > 0).unsqueeze(-1), planes[0][0], planes[1][0])
    offsets = torch.where(side > 0, planes[0][1], planes[1][1])
    decided = side != 0
    return torch.where(decided.unsqueeze(-1), normals, 0.0), torch.where(decided, offsets, -1.0)
