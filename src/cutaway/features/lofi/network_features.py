"""Which label-relevant directions a network holds at every layer, and which of them it uses.

At a site with activations z (channels; positions and tokens are samples that inherit their input's label) the
label-weighted operators C_k = E[(y_k - mean y_k)(z - mean z)(z - mean z)^T] are formed for every class, and the
directions are the leading eigenvectors of sum_k C_k^2 (Neural LoFi's operator, arXiv 2605.13612, with all label
directions). Permuted labels give the noise edge. The network's own directions are the leading eigenvectors of E[g g^T],
g the gradient of the log-probability of the label (next token, for a language model) at the site, in the whitened
coordinates: how much the output moves when the activations move as they do. Principal angles between the two subspaces
are compared with those of the permuted-label directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cutaway import seeds
from cutaway.arrays import Array
from cutaway.data import Dataset
from cutaway.network import Network, Site
from cutaway.network.gradient import no_gradient
from cutaway.network.sites import Interceptor, first_result


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDirections:
    """At one site: `strengths` (k,) of the label-relevant directions and `edge` the 95 % quantile of the permuted
    maximum; `p_values` (k,); `num_relevant` of them below 0.05; `alignment` mean squared cosine of the principal
    angles with the network's own directions, `alignment_null` its mean for permuted labels, `alignment_p`; `use` (k,)
    share of the gradient's energy along each direction over that of a mean direction; `unused` how many relevant ones
    get less than the 5 % quantile of what permuted-label directions get."""

    strengths: Array
    edge: float
    p_values: Array
    num_relevant: int
    alignment: float
    alignment_null: float
    alignment_p: float
    use: Array
    unused: int


def network_directions(
    network: Network,
    data: Dataset,
    sites: tuple[Site, ...],
    *,
    count: int,
    permutations: int,
    positions: int,
    seed: int,
    budget: int,
) -> dict[str, SiteDirections]:
    """`site_directions` of every site, by name, from labelled `data` and `positions` random positions a sample.

    Estimates. One forward and one backward pass a sample. Raises `NoGradient` where the output has none.
    """
    assert data.labels is not None
    codes = data.labels.cpu().numpy()
    generator = np.random.default_rng(seeds.stream(seed, "lofi", "positions"))
    chosen = {s.name: draw_positions(s, positions, generator) for s in sites}
    values: dict[str, list[Array]] = {s.name: [] for s in sites}
    outer = {s.name: np.zeros((channels(s), channels(s))) for s in sites}
    for captured, gradients in passes(network, data, sites, budget):
        for site in sites:
            values[site.name].append(rows_at(captured[site.name], site, chosen[site.name]))
            slope = rows_at(gradients[site.name], site, None)
            flat = slope.reshape(-1, slope.shape[-1])
            outer[site.name] += flat.T @ flat / len(codes)
    return {
        s.name: site_directions(
            np.concatenate(values[s.name]),
            codes,
            outer[s.name],
            count=count,
            permutations=permutations,
            generator=np.random.default_rng(seeds.stream(seed, "lofi", "permutations")),
        )
        for s in sites
    }


def site_directions(
    values: Array, codes: Array, gradient_outer: Array, *, count: int, permutations: int, generator: np.random.Generator
) -> SiteDirections:
    """`values` (n, S, C): S positions a sample; `codes` (n,) class numbers; `gradient_outer` (C, C).

    Estimate with an exact permutation null (labels of whole inputs are exchanged). Cost: (1 + permutations) n S C^2.
    """
    centred = values - values.mean(axis=(0, 1))
    width = values.shape[2]
    root, inverse = _roots(centred)
    centred, gradient_outer = centred @ inverse, root @ gradient_outer @ root
    keep = min(count, width)
    strengths, vectors = _bank(centred, codes, keep)
    peaks, angles, uses = [], [], []
    energy, axes = np.linalg.eigh(gradient_outer)
    rank = max(1, min(keep, int(np.sum(energy > 0.01 * energy[-1]))))  # directions without gradient are arbitrary
    own = axes[:, ::-1][:, :rank]
    level = max(float(np.trace(gradient_outer)) / width, 1e-300)
    for _ in range(permutations):
        size, shuffled = _bank(centred, generator.permutation(codes), keep)
        peaks.append(size[0])
        angles.append(float(np.sum((own.T @ shuffled) ** 2)) / rank)
        uses.append(np.einsum("ck,cd,dk->k", shuffled, gradient_outer, shuffled) / level)
    null = np.array(peaks)
    p_values = (1.0 + (null[None] >= strengths[:, None]).sum(axis=1)) / (1.0 + permutations)
    relevant = np.logical_and.accumulate(p_values <= max(0.05, 1.0 / (1.0 + permutations)))
    alignment = float(np.sum((own.T @ vectors) ** 2)) / rank
    use = np.einsum("ck,cd,dk->k", vectors, gradient_outer, vectors) / level
    return SiteDirections(
        strengths=strengths,
        edge=float(np.quantile(null, 0.95)),
        p_values=p_values,
        num_relevant=int(relevant.sum()),
        alignment=alignment,
        alignment_null=float(np.mean(angles)),
        alignment_p=(1.0 + sum(a >= alignment for a in angles)) / (1.0 + permutations),
        use=use,
        unused=int(np.sum(relevant & (use < np.quantile(np.concatenate(uses), 0.05)))),
    )


def _roots(centred: Array) -> tuple[Array, Array]:
    """Sigma^(1/2) and its inverse; variances below a hundredth of the mean one are lifted to it."""
    flat = centred.reshape(-1, centred.shape[2])
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    lifted = np.sqrt(np.maximum(values, max(0.01 * float(values.mean()), 1e-300)))
    return (vectors * lifted) @ vectors.T, (vectors / lifted) @ vectors.T


def _bank(centred: Array, codes: Array, count: int) -> tuple[Array, Array]:
    """Strengths and directions of |Sigma| sum_k u_k u_k^T + sum_k C_k^2 over centred one-hot labels, by class sums."""
    classes, index = np.unique(codes, return_inverse=True)
    total = centred.shape[0] * centred.shape[1]
    flat = centred.reshape(total, -1)
    rows = np.repeat(index, centred.shape[1])
    sums = [flat[rows == k].T @ flat[rows == k] / total for k in range(classes.size)]
    whole = np.sum(sums, axis=0)
    firsts = np.stack([flat[rows == k].sum(axis=0) / total for k in range(classes.size)], axis=1)
    share = np.bincount(index) / index.size
    squares = float(np.linalg.eigvalsh(whole)[-1]) * (firsts @ firsts.T)
    for portion, part in zip(share, sums):
        operator = part - portion * whole
        squares += operator @ operator
    values, vectors = np.linalg.eigh(squares)
    order = np.argsort(-values)[:count]
    return np.sqrt(np.maximum(values[order], 0.0)), vectors[:, order]


class _Offsets(Interceptor):
    """Keeps the value after each wanted site and adds a zero there whose gradient is the site's."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        super().__init__()
        self.wanted = {site.ordinal: site.name for site in sites}
        self.values: dict[str, torch.Tensor] = {}
        self.offsets: dict[str, torch.Tensor] = {}

    def candidate(self, ordinal: int, kind: str, name: str, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        post = func(*args, **kwargs)
        label = self.wanted.get(ordinal)
        if label is None or not isinstance(post, torch.Tensor):
            return post
        result = first_result(post)
        self.values[label] = result.detach().clone()
        self.offsets[label] = torch.zeros_like(result).requires_grad_(True)
        return result + self.offsets[label]


def passes(
    network: Network, data: Any, sites: tuple[Site, ...], budget: int
) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    """Per chunk: values after each site, and gradients of the summed log-probability there."""
    size = max(1, min(256, network.chunk_size(data.inputs, sites, budget, factor=6)))
    for start in range(0, len(data.inputs), size):
        block = network.place(data.inputs[start : start + size])
        labels = data.labels[start : start + size].to(block.device)
        with torch.enable_grad(), _Offsets(sites) as kept:
            score = _score(network.forward(block), block, labels)
            if not score.requires_grad:
                raise no_gradient()
            names = [s.name for s in sites if s.name in kept.offsets]
            gradients = torch.autograd.grad(score, [kept.offsets[n] for n in names], allow_unused=True)
        network.passes.count(backward=len(block))
        slopes = {n: torch.zeros_like(kept.values[n]) if g is None else g for n, g in zip(names, gradients)}
        yield kept.values, slopes


def _score(output: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed log-probability of the labels, of the next tokens, or, for other outputs, half the squared output."""
    if output.dim() == 2 and output.shape[1] > int(labels.max()):
        return torch.log_softmax(output, dim=-1).gather(1, labels[:, None]).sum()
    if output.dim() == 3 and not inputs.is_floating_point() and inputs.dim() == 2:
        following = torch.log_softmax(output[:, :-1], dim=-1).gather(2, inputs[:, 1:, None])
        return following.sum()
    return 0.5 * (output**2).sum()


def _channel_axis(site: Site) -> int:
    """Axis of the channels without the batch: first of maps (C, H, W), last of vectors and token rows."""
    return 0 if len(site.output_shape) >= 3 else len(site.output_shape) - 1


def channels(site: Site) -> int:
    return int(site.output_shape[_channel_axis(site)]) if site.output_shape else 1


def draw_positions(site: Site, count: int, generator: np.random.Generator) -> Array:
    total = int(np.prod(site.output_shape)) // max(channels(site), 1)
    return np.sort(generator.permutation(total)[:count])


def rows_at(value: torch.Tensor, site: Site, positions: Array | None) -> Array:
    """(n, S, C) in float64 from a captured tensor, at the chosen positions."""
    moved = value.movedim(1 + _channel_axis(site), -1).flatten(1, -2) if value.dim() > 2 else value[:, None]
    if positions is not None:
        moved = moved[:, torch.from_numpy(positions[positions < moved.shape[1]]).to(moved.device)]
    return moved.double().cpu().numpy()
