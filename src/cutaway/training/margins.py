"""MMR: push region boundaries and decision boundaries away from the data (Croce, Andriushchenko, Hein, AISTATS 2019).

arXiv 1810.07481. With V, v the slopes in the region of x (see `slopes`), c the label and 1/p + 1/q = 1:

    d_B(x; i) = |h_i(x)| / |V_i|_q        distance to the hyperplane of unit i, all layers
    d_D(x; s) = (f_c - f_s) / |v_c - v_s|_q   signed distance to where the map of this region gives class s
    MMR(x) = 1/k_B sum_{k_B nearest} max(0, 1 - d_B / gamma_B) + 1/k_D sum_s max(0, 1 - d_D / gamma_D)

min(min_i d_B, min_s d_D) is a certificate: inside the region f is affine, so nothing within that l_p distance has
another class. Unit of d and gamma: the inputs'.

Differences from the source: k_D is C - 1, the number of other classes (the source divides by C), or fewer on
request; norms below `floor` count as `floor` (the source pads entries); Jacobians are streamed; on networks of more
than one hidden layer the k_B nearest may be picked by sketched norms (`selection`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, NotPiecewiseAffine
from cutaway.network.preserve import evaluated
from cutaway.training.slopes import NUMBERS, DensePieces, TracedPieces, dense_chain, other_classes, pieces
from cutaway.training.terms import check_inputs, check_labels, dual_order, positive

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximumMargin:
    """MMR averaged over the batch, a scalar >= 0; 0 where all counted distances exceed the gammas.

    `norm` of the inputs; `gamma_boundary`, `gamma_decision` in the inputs' units (None leaves that half out);
    `boundary_share`: k_B as a share of all units, at least 1 unit. `rivals`: how many of the other classes are counted
    in d_D, the highest-scoring ones; None counts all, as the source does. `selection`: "exact" ranks all units by exact
    distances, "sketched" ranks by l2 norms estimated from `probes` random directions (fixed by `seed`) and computes
    twice k_B exactly. `numbers`: most numbers in one working tensor.

    Call: (model, inputs, labels) -> scalar with gradients to the weights. Distances are exact; with "sketched" the
    units counted may not be the very nearest. Cost beyond one forward pass, a sample: one hidden layer C - 1 products
    with W; deeper dense chains every unit's row once (exact) or `probes` forward-mode passes and 4 k_B rows
    (sketched), rows costing about a backward pass each. Raises InputError for unknown norms, bad labels, NaN, models
    without ReLU-like sites; NotPiecewiseAffine for smooth activations.

    `torch.compile` hardly pays (38 -> 35 ms a step on one hidden layer of 1024): the matrix products dominate.
    """

    norm: str
    gamma_boundary: float | None
    gamma_decision: float | None
    boundary_share: float = 0.1
    rivals: int | None = None
    selection: str = "exact"
    probes: int = 8
    seed: int = 0
    floor: float = 1e-5
    numbers: int = NUMBERS

    def __post_init__(self) -> None:
        dual_order(self.norm)
        for name in ("gamma_boundary", "gamma_decision"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.gamma_boundary is None and self.gamma_decision is None:
            raise InputError(
                "MaximumMargin",
                found="both gammas None",
                expected="at least one of them",
                remedy="give gamma_boundary or gamma_decision",
            )
        if not 0 < self.boundary_share <= 1:
            raise InputError(
                "boundary_share",
                found=str(self.boundary_share),
                expected="a share in (0, 1]",
                remedy="give a share such as 1.0",
            )
        if self.rivals is not None and self.rivals < 1:
            raise InputError(
                "rivals",
                found=str(self.rivals),
                expected="at least 1, or None for all",
                remedy="give a number of at least 1, or None",
            )
        if self.selection not in ("exact", "sketched"):
            raise InputError(
                "selection", found=repr(self.selection), expected="'exact' or 'sketched'", remedy="give one of the two"
            )
        if self.probes < 1:
            raise InputError(
                "probes", found=str(self.probes), expected="at least 1", remedy="give a whole number of at least 1"
            )

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        check_inputs(inputs)
        with evaluated(model):
            part = pieces(model, inputs, numbers=self.numbers)
            labels = check_labels(labels, len(inputs), part.scores.shape[1])
            total = part.scores.new_zeros(())
            if self.gamma_boundary is not None:
                near = self.boundary_distances(part)
                total = total + (1 - near / self.gamma_boundary).clamp_min(0).mean()
            if self.gamma_decision is not None:
                gap = decision_distances(part, labels, norm=self.norm, rivals=self.rivals, floor=self.floor)
                total = total + (1 - gap / self.gamma_decision).clamp_min(0).mean()
        return total

    def boundary_distances(self, part: DensePieces | TracedPieces) -> Tensor:
        """d_B of the k_B nearest units, ascending up to ties, `(n, k_B)`, with gradients."""
        q = dual_order(self.norm)
        height = part.heights.detach().abs()
        count = max(1, round(self.boundary_share * height.shape[1]))
        with torch.no_grad():
            if self.selection == "exact" or (isinstance(part, DensePieces) and len(part.chain) == 2):
                units = _nearest(height / part.unit_norms(q).clamp_min(self.floor), count)
            else:
                units = self._sketched(part, height, count, q)
        return part.heights.gather(1, units).abs() / part.row_norms(units, q).clamp_min(self.floor)

    def _sketched(self, part: DensePieces | TracedPieces, height: Tensor, count: int, q: float) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        square = torch.zeros_like(height)
        for _ in range(self.probes):
            square += part.random_slopes(generator).square()
        guess = height / (square / self.probes).sqrt().clamp_min(self.floor)
        candidates = _nearest(guess, min(2 * count, height.shape[1]))
        exact = height.gather(1, candidates) / part.row_norms(candidates, q).detach().clamp_min(self.floor)
        return candidates.gather(1, _nearest(exact, count))


def decision_distances(
    part: DensePieces | TracedPieces, labels: Tensor, *, norm: str, rivals: int | None = None, floor: float = 1e-5
) -> Tensor:
    """d_D to the other classes, `(n, C - 1)`, negative where the other class scores higher; with gradients.

    In the order of the classes; with `rivals`, `(n, rivals)`, the highest-scoring of them.
    """
    others = other_classes(labels, part.scores.shape[1])
    if rivals is not None and rivals < others.shape[1]:
        near = part.scores.detach().gather(1, others).topk(rivals, dim=1).indices
        others = others.gather(1, near)
    gaps = part.scores.gather(1, labels[:, None]) - part.scores.gather(1, others)
    return gaps / part.score_norms(labels, others, dual_order(norm)).clamp_min(floor)


def certified_radius(
    model: nn.Module, inputs: Tensor, labels: Tensor | None = None, *, norm: str, numbers: int = NUMBERS
) -> Tensor:
    """min(min_i d_B, min_s d_D) of every row, `(n,)` float64: a ball in which the class cannot change.

    Lower bound on the distance to the nearest differently classified point in the l_p `norm`, in the inputs' units;
    computed in float64 on a copy and lowered by 1e-9 relative for rounding. With `labels`, 0 where the prediction is
    wrong. Weaker than `cutaway.robustness` bounds, which cross regions, and much cheaper. Raises NotPiecewiseAffine
    for a network with boundaries that are not zeros of a pre-activation (max pooling, clamps, smooth activations).
    """
    q = dual_order(norm)
    check_inputs(inputs)
    twin = copy.deepcopy(model).double().eval()
    found = []
    # rows of the batch at once: a dense network of one hidden layer needs nothing per unit and sample
    with torch.no_grad():
        for rows in torch.arange(len(inputs)).split(256 if dense_chain(twin) else 32):
            part = pieces(twin, inputs[rows].double(), numbers=numbers)
            if part.uncounted:
                raise NotPiecewiseAffine(
                    f"site {part.uncounted[0]!r}",
                    found="region boundaries that are not zeros of a pre-activation",
                    expected="ReLU, LeakyReLU, PReLU or abs only",
                    remedy="use cutaway certify",
                )
            top = part.scores.argmax(dim=1)
            nearest = _ratio(part.heights.abs(), part.unit_norms(q)).amin(dim=1)
            others = other_classes(top, part.scores.shape[1])
            gaps = part.scores.gather(1, top[:, None]) - part.scores.gather(1, others)
            radius = torch.minimum(nearest, _ratio(gaps, part.score_norms(top, others, q)).amin(dim=1))
            radius = radius * (1 - _ROUNDING)
            if labels is not None:
                own = check_labels(labels[rows], len(rows), part.scores.shape[1])
                radius = torch.where(top == own, radius, 0.0)
            found.append(radius.detach())
    return torch.cat(found)


def boundary_share_at(elapsed: float, *, first: float = 0.1, last: float = 0.02) -> float:
    """The source's schedule of k_B: linear from 10 % to 2 % of the units over training, its share `elapsed` in [0,
    1]."""
    return first + (last - first) * min(max(elapsed, 0.0), 1.0)


def ramp(weight: float, steps: int) -> Callable[[int], float]:
    """Step -> weight, rising linearly from 0 over `steps` (the source: the first 10 epochs)."""
    return lambda step: weight * min(1.0, step / max(steps, 1))


def over_training(term: MaximumMargin, steps: int) -> Callable[..., Tensor]:
    """`term` with the source's schedule of k_B over `steps`: a term that also takes the keyword `step` (from 0)."""

    def scheduled(model: nn.Module, inputs: Tensor, labels: Tensor, *, step: int) -> Tensor:
        return replace(term, boundary_share=boundary_share_at(step / max(steps, 1)))(model, inputs, labels)

    return scheduled


def _nearest(distances: Tensor, count: int) -> Tensor:
    return distances.topk(count, dim=1, largest=False).indices


def _ratio(height: Tensor, norm: Tensor) -> Tensor:
    return torch.where(norm > 0, height / norm, torch.where(height > 0, torch.inf, 0.0))
