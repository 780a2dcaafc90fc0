"""Heights and slopes of a ReLU network at a batch, streamed: what margins to boundaries are made of.

In the region of x every pre-activation is h_i(x + v) = h_i(x) + V_i v and every score f_s(x + v) = f_s(x) + v_s v,
exactly. `pieces(model, inputs)` gives an object with

- `heights` `(n, units)`: h of all boundary units (ReLU, LeakyReLU, PReLU, abs), sites one after another;
- `scores` `(n, classes)`: f;
- `unit_norms(q)` `(n, units)`: every |V_i|_q, without gradients;
- `row_norms(units, q)` `(n, k)`: |V_i|_q of chosen units, with gradients to the weights;
- `score_norms(labels, others, q)` `(n, k)`: |v_c - v_s|_q for labels c `(n,)` and classes s `(n, k)`, with gradients;
- `random_slopes(generator)` `(n, units)`: V u for one Gaussian u a sample, without gradients.

All norms are exact. The stack of Jacobians, n x units x D numbers, is never held: `unit_norms` works in pieces of at
most `numbers` numbers, and gradients are kept only for chosen rows, recomputed in the backward pass where they
exceed that too (dense chains). Two ways to the rows:

- `DensePieces`, for `nn.Sequential` of Flatten, Linear, ReLU, LeakyReLU: rows of W_l are pulled back through
  diag(q) W of the layers below by matrix products; for the first layer V is W itself and costs nothing.
- `TracedPieces`, for everything else that has such sites (convolutions, residual branches, own `forward`):
  forward-mode passes, one an input dimension, for all norms at once; batched backward passes for chosen rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from cutaway.errors import InputError
from cutaway.network import Network, Site
from cutaway.network.capture import record
from cutaway.network.gradient import differentiable_forward
from cutaway.training.terms import scores_of

NUMBERS = 1 << 23
_PASSED = (nn.Flatten, nn.Identity, nn.Dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One dense layer: its Linear and the slope below 0 of the activation behind it (1 behind the last)."""

    linear: nn.Linear
    slope: float


def dense_chain(model: nn.Module) -> list[Layer] | None:
    """The layers of a plain dense ReLU network, or None where the model is anything else (or has hooks)."""
    if not isinstance(model, nn.Sequential) or any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()):
        return None
    layers: list[Layer] = []
    waiting: nn.Linear | None = None
    for module in _leaves(model):
        if type(module) is nn.Linear and waiting is None:
            waiting = module
        elif type(module) in (nn.ReLU, nn.LeakyReLU) and waiting is not None:
            layers.append(Layer(linear=waiting, slope=getattr(module, "negative_slope", 0.0)))
            waiting = None
        elif type(module) not in _PASSED or (type(module) is nn.Flatten and (layers or waiting or not _whole(module))):
            return None
    if waiting is None or not layers:
        return None
    return [*layers, Layer(linear=waiting, slope=1.0)]


def _whole(module: nn.Flatten) -> bool:
    return (module.start_dim, module.end_dim) == (1, -1)


def _leaves(model: nn.Sequential):
    for module in model:
        if isinstance(module, nn.Sequential):
            yield from _leaves(module)
        else:
            yield module


def pieces(model: nn.Module, inputs: Tensor, *, numbers: int = NUMBERS) -> DensePieces | TracedPieces:
    """See the module's text. The model must be in evaluation mode and have a ReLU-like site (InputError)."""
    chain = dense_chain(model)
    if chain is not None and chain[0].linear.in_features == inputs[0].numel():
        return DensePieces(chain, inputs, numbers=numbers)
    return TracedPieces(model, inputs, numbers=numbers)


class DensePieces:
    """A chain of Linear layers. Cost: one forward pass; a chosen row of layer l costs l products with one vector."""

    def __init__(self, chain: list[Layer], inputs: Tensor, *, numbers: int = NUMBERS) -> None:
        self.chain, self.numbers = chain, numbers
        self.gates: list[Tensor] = []
        heights: list[Tensor] = []
        value = inputs.flatten(1)
        for layer in chain[:-1]:
            height = layer.linear(value)
            gate = torch.full_like(height, layer.slope).masked_fill_(height.detach() > 0, 1.0).detach()
            heights.append(height)
            self.gates.append(gate)
            value = height * gate
        self.heights = torch.cat(heights, dim=1)
        self.scores = chain[-1].linear(value)
        self.uncounted: tuple[str, ...] = ()

    def unit_norms(self, q: float) -> Tensor:
        found = []
        with torch.no_grad():
            rows = len(self.scores)
            first = _norm(self.chain[0].linear.weight, q)
            found.append(first.expand(rows, -1))
            for depth in range(1, len(self.chain) - 1):
                weight = self.chain[depth].linear.weight
                size = self._rows_at_once() // rows or 1
                samples = torch.arange(rows, device=weight.device)
                for part in weight.split(size):
                    many = part.repeat(rows, 1)
                    found.append(self._pulled_norm(many, samples.repeat_interleave(len(part)), depth, q).view(rows, -1))
        return torch.cat(found, dim=1)

    def row_norms(self, units: Tensor, q: float) -> Tensor:
        result = self.scores.new_zeros(units.shape)
        start = 0
        for depth, layer in enumerate(self.chain[:-1]):
            width = layer.linear.out_features
            mine = (units >= start) & (units < start + width)
            if bool(mine.any()):
                local = units[mine] - start
                if depth == 0:
                    norms = _norm(layer.linear.weight, q)[local]
                else:
                    samples = mine.nonzero()[:, 0]
                    norms = self._streamed(
                        lambda u, s, w=layer.linear.weight, d=depth: self._pulled_norm(w[u], s, d, q), local, samples
                    )
                result = result.masked_scatter(mine, norms)
            start += width
        return result

    def score_norms(self, labels: Tensor, others: Tensor, q: float) -> Tensor:
        weight = self.chain[-1].linear.weight
        count = others.shape[1]
        samples = torch.arange(len(labels), device=labels.device).repeat_interleave(count)

        def norms(own: Tensor, other: Tensor, sample: Tensor) -> Tensor:
            return self._pulled_norm(weight[own] - weight[other], sample, len(self.chain) - 1, q)

        found = self._streamed(norms, labels.repeat_interleave(count), others.flatten(), samples)
        return found.view(-1, count)

    def random_slopes(self, generator: torch.Generator) -> Tensor:
        """V u of every unit for one Gaussian direction u a sample, `(n, units)`; no gradients."""
        found = []
        with torch.no_grad():
            first = self.chain[0].linear.weight
            noise = torch.randn(len(self.scores), first.shape[1], generator=generator, dtype=torch.float64)
            slope = noise.to(first)
            for layer, gate in zip(self.chain[:-1], self.gates, strict=True):
                found.append(slope @ layer.linear.weight.T)
                slope = found[-1] * gate
        return torch.cat(found, dim=1)

    def _rows_at_once(self) -> int:
        return max(1, self.numbers // max(layer.linear.in_features for layer in self.chain))

    def _pulled_norm(self, rows: Tensor, samples: Tensor, depth: int, q: float) -> Tensor:
        """Norms of functionals `rows` (m, width) of what layer `depth` reads, as functions of the input."""
        for layer, gate in zip(reversed(self.chain[:depth]), reversed(self.gates[:depth]), strict=True):
            rows = (rows * gate[samples]) @ layer.linear.weight
        return _norm(rows, q)

    def _streamed(self, function: Callable[..., Tensor], *columns: Tensor) -> Tensor:
        """`function` over pieces of the columns; with gradients, pieces are recomputed instead of kept."""
        size = self._rows_at_once()
        if len(columns[0]) <= size:
            return function(*columns)
        parts = zip(*(column.split(size) for column in columns), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([function(*part) for part in parts])
        return torch.cat([_tensor(checkpoint(function, *part, use_reentrant=False)) for part in parts])


class TracedPieces:
    """Any model with ReLU-like sites, by automatic differentiation. Cost: `unit_norms` D forward-mode passes a row,
    `row_norms` k backward passes a row. `uncounted` names the piecewise-affine sites whose boundaries are not units
    here (max pooling, clamps)."""

    def __init__(self, model: nn.Module, inputs: Tensor, *, numbers: int = NUMBERS) -> None:
        self.model, self.numbers = model, numbers
        self.sites, self.uncounted = boundary_sites_of(model, inputs)
        self.inputs = inputs.detach().clone().requires_grad_(True)
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            self.scores, before, _ = record(lambda x: scores_of(model, x), self.inputs, self.sites, grad=True)
            self.heights = torch.cat([before[site.name].flatten(1) for site in self.sites], dim=1)
        self.keep = keep

    def unit_norms(self, q: float) -> Tensor:
        inputs = self.inputs.detach()
        dims = inputs[0].numel()
        total = torch.zeros_like(self.heights)
        each = max(1, self.numbers // max(1, 2 * len(inputs) * (dims + self.heights.shape[1])))
        for start in range(0, dims, each):
            columns = torch.arange(start, min(start + each, dims), device=inputs.device)
            basis = torch.nn.functional.one_hot(columns, dims).to(inputs).reshape(len(columns), *inputs.shape[1:])
            slopes = self.tangents(
                inputs.repeat(len(columns), *[1] * (inputs.dim() - 1)), basis.repeat_interleave(len(inputs), dim=0)
            ).view(len(columns), len(inputs), -1)
            if q == float("inf"):
                total = torch.maximum(total, slopes.abs().amax(dim=0))
            else:
                total += slopes.abs().pow(q).sum(dim=0)
        return total if q == float("inf") else total.pow(1 / q)

    def random_slopes(self, generator: torch.Generator) -> Tensor:
        """V u of every unit for one Gaussian direction u a sample, `(n, units)`; no gradients."""
        noise = torch.randn(self.inputs.shape, generator=generator, dtype=torch.float64)
        return self.tangents(self.inputs.detach(), noise.to(self.inputs))

    def tangents(self, inputs: Tensor, directions: Tensor) -> Tensor:
        """V u of every unit for one direction a row, `(n, units)`; no gradients."""
        with torch.no_grad(), differentiable_forward(), forward_ad.dual_level():
            dual = forward_ad.make_dual(inputs, directions)
            _, before, _ = record(lambda x: scores_of(self.model, x), dual, self.sites)
            found = []
            for site in self.sites:
                value, slope = forward_ad.unpack_dual(before[site.name])
                found.append((torch.zeros_like(value) if slope is None else slope).flatten(1))
        return torch.cat(found, dim=1)

    def row_norms(self, units: Tensor, q: float) -> Tensor:
        with torch.enable_grad():
            return self._norms(self.heights.gather(1, units), q)

    def score_norms(self, labels: Tensor, others: Tensor, q: float) -> Tensor:
        with torch.enable_grad():
            gaps = self.scores.gather(1, labels[:, None]) - self.scores.gather(1, others)
            return self._norms(gaps, q)

    def _norms(self, values: Tensor, q: float) -> Tensor:
        """|d values[:, j] / d input|_q for every row and column, by backward passes in batches."""
        count, rows = values.shape[1], len(values)
        each = max(1, self.numbers // max(1, rows * (self.inputs[0].numel() + self.heights.shape[1])))
        found = []
        for part in torch.eye(count, dtype=values.dtype, device=values.device).split(each):
            (slopes,) = torch.autograd.grad(
                values,
                self.inputs,
                grad_outputs=part[:, None, :].expand(-1, rows, -1),
                is_grads_batched=True,
                retain_graph=True,
                create_graph=self.keep,
                materialize_grads=True,
            )
            found.append(_norm(slopes.flatten(2), q))
        return torch.cat(found).T


_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, tuple[tuple[Site, ...], tuple[str, ...]]]] = WeakKeyDictionary()


def boundary_sites_of(model: nn.Module, inputs: Tensor) -> tuple[tuple[Site, ...], tuple[str, ...]]:
    """Sites that bend at 0, and names of sites that bend elsewhere; found once for a model and an input shape.

    Raises NotPiecewiseAffine for a network with a smooth site, InputError for one without ReLU-like sites.
    """
    known = _KNOWN.setdefault(model, {})
    key = (tuple(inputs.shape[1:]), inputs.dtype)
    if key not in known:
        network = Network(model, inputs[:2].detach(), probe=False)
        network.require_piecewise_affine()
        sites = tuple(site for site in network.sites if site.bends_at_zero)
        known[key] = sites, tuple(s.name for s in network.sites if s not in sites and s.kind != "avg_pool")
    if not known[key][0]:
        raise InputError(
            "the model",
            found="no ReLU-like site",
            expected="at least one ReLU, LeakyReLU, PReLU or abs",
            remedy="margins to region boundaries need piecewise-affine activations",
        )
    return known[key]


def other_classes(labels: Tensor, num_classes: int) -> Tensor:
    """`(n, classes - 1)`: the classes that are not the label, in order."""
    every = torch.arange(num_classes - 1, device=labels.device).expand(len(labels), -1)
    return every + (every >= labels[:, None])


def _norm(rows: Tensor, q: float) -> Tensor:
    return torch.linalg.vector_norm(rows, ord=q, dim=-1)


def _tensor(value: Any) -> Tensor:
    return value
