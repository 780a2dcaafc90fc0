"""Collapse in every layer: how far classes have fallen together at each activation, and where attacked samples land.

With class means mu_c of the features of one site (flattened), M = [mu_c - mu_G], Sigma_W and Sigma_B as in
`class_means`, the numbers of one layer are NC1/C = tr(Sigma_W pinv(Sigma_B)) / C, the deviation of the means' angles
from a simplex, and the share of samples whose nearest *clean* mean is that of a given label (Su, Kempe et al., arXiv
2311.07444). Two passes over the samples, one for the means and one for what depends on them, so that features need
not be held: memory is C numbers a unit and a view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.network import Network, Site

FLOOR = 1e-6
"""Below this NC1 is rounding, and a ratio to it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Means:
    """Class means of one site: `classes` (k,) those that occur, ascending; `means` (k, d) float64."""

    classes: Tensor
    means: Tensor

    @property
    def centred(self) -> Tensor:
        """M (k, d), the class means minus their mean."""
        return self.means - self.means.mean(dim=0)

    def positions(self, labels: Tensor) -> Tensor:
        """Which row of `means` each of `labels` has; all of them must occur.

        `labels` (n,), result (n,) int64; exact. Source: definition.
        """
        return torch.searchsorted(self.classes, labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """By layer: `scatter` (n, S), each sample's |pinv(M)^T (h - mu)|^2, whose mean is NC1/C; `angle` (S,), mean over
    c != c' of |cos(M_c, M_c') + 1/(C-1)|; `nearest` (n, S), the class whose clean mean is nearest."""

    scatter: NDArray[np.float64]
    angle: NDArray[np.float64]
    nearest: NDArray[np.int64]

    @property
    def nc1(self) -> NDArray[np.float64]:
        """(S,) NC1/C; NaN with fewer than two classes."""
        return self.scatter.mean(axis=0)


def layer_means(
    network: Network, inputs: Tensor, labels: Tensor, sites: Sequence[Site], budget: int | None = None
) -> dict[str, Means]:
    """Class means of the activations at every site, by the site's name; `inputs` (n, ...), `labels` (n,). Exact for the
    samples. One forward pass a sample. Source: definition."""
    classes = labels.unique().cpu()
    sums: dict[str, Tensor] = {}
    for rows, name, features in _features(network, inputs, sites, budget):
        member = (labels[rows, None].cpu() == classes).to(features).T
        part = member @ features
        sums[name] = part if name not in sums else sums[name] + part
    counts = (labels[:, None].cpu() == classes).sum(dim=0)
    return {name: Means(classes=classes, means=total / counts.to(total)[:, None]) for name, total in sums.items()}


def layer_collapse(
    network: Network,
    inputs: Tensor,
    labels: Tensor,
    clean: Mapping[str, Means],
    sites: Sequence[Site],
    budget: int | None = None,
    means: Mapping[str, Means] | None = None,
) -> Layers:
    """Collapse of `inputs` (n, ...) grouped by `labels` (n,), layer by layer; `clean`: means of the clean samples;
    `means`: those of these inputs under these labels, where known already. Exact for the samples. One or two forward
    passes a sample. Source: Su, Kempe et al. (arXiv 2311.07444), layer by layer."""
    means = layer_means(network, inputs, labels, sites, budget) if means is None else means
    scatter = np.full((len(inputs), len(sites)), np.nan)
    nearest = np.zeros((len(inputs), len(sites)), dtype=np.int64)
    order = {site.name: k for k, site in enumerate(sites)}
    inverse = {name: _inverse_gram(found.centred) for name, found in means.items()}
    for rows, name, features in _features(network, inputs, sites, budget):
        found, centres, column = means[name], clean[name], order[name]
        inner = features - found.means[found.positions(labels[rows].cpu()).to(features.device)]
        if len(found.classes) > 1:
            projected = (inner @ found.centred.T) @ inverse[name]
            scatter[rows, column] = projected.square().sum(dim=1).cpu().numpy()
        places = (centres.means.square().sum(dim=1) - 2 * features @ centres.means.T).argmin(dim=1)
        nearest[rows, column] = centres.classes[places.cpu()].numpy()
    angle = np.array([_angle(means[site.name].centred) for site in sites])
    return Layers(scatter=scatter, angle=angle, nearest=nearest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplexAlignment:
    """Of the clean and another view's class means: `cosine`, mean over classes of cos(mu_c - mu_G, mu'_c - mu'_G);
    `raw_cosine`, of cos(mu_c, mu'_c); `shift`, of |mu_c - mu'_c| / |mu_c - mu_G|. Over classes that both have; NaN
    with fewer than two."""

    cosine: float
    raw_cosine: float
    shift: float


def simplex_alignment(clean: Means, other: Means) -> SimplexAlignment:
    """How the simplex of class means lies to another view's."""
    both = [c for c in clean.classes.tolist() if c in set(other.classes.tolist())]
    if len(both) < 2:
        return SimplexAlignment(cosine=float("nan"), raw_cosine=float("nan"), shift=float("nan"))
    wanted = torch.tensor(both)
    a, b = (view.means[view.positions(wanted)] for view in (clean, other))
    centred, moved = a - a.mean(dim=0), b - b.mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity
    return SimplexAlignment(
        cosine=float(cosine(centred, moved, dim=1).mean()),
        raw_cosine=float(cosine(a, b, dim=1).mean()),
        shift=float(((a - b).norm(dim=1) / centred.norm(dim=1).clamp(min=1e-300)).mean()),
    )


def means_fit(sites: Sequence[Site], classes: int, views: int, budget: int) -> tuple[list[Site], list[Site]]:
    """The sites whose class means fit a quarter of `budget` bytes together, in order, and the others: a site too wide
    for what is left takes nothing of it.

    `views` means of `classes` classes are held a site, in float64. Exact. Source: ours.
    """
    fits, left, room = [], [], budget / 4
    for site in sites:
        need = 8 * site.width * classes * views
        (fits if need <= room else left).append(site)
        room -= need if need <= room else 0
    return fits, left


def _features(
    network: Network, inputs: Tensor, sites: Sequence[Site], budget: int | None
) -> Iterator[tuple[slice, str, Tensor]]:
    """(rows, site's name, features (rows, d) float64), chunk by chunk."""
    half = None if budget is None else budget // 2
    for chunk in network.stream(inputs, sites, pre=False, post=True, budget=half):
        for site in sites:
            yield chunk.rows, site.name, chunk.post[site.name].detach().flatten(1).double()


def _inverse_gram(centred: Tensor) -> Tensor:
    """(M M^T)^+ by eigenvalues, so that pinv(M) = M^T (M M^T)^+ needs nothing d x d."""
    return torch.linalg.pinv(centred @ centred.T, rtol=1e-12, hermitian=True)


def _angle(centred: Tensor) -> float:
    count = len(centred)
    if count < 2:
        return float("nan")
    unit = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-300)
    off = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool, device=centred.device)]
    return float((off + 1 / (count - 1)).abs().mean())
