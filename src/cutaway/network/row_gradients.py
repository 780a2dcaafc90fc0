"""Lengths of per-row gradients |d loss_i / d theta|, without the gradients of all rows standing at once.

Where every parameter belongs to an affine layer, a convolution or a batch norm that is called once, a row's gradient by
that layer's weight is a product of what goes in and the slope that comes back (Goodfellow 2015, arXiv 1510.01799,
for layers that are applied once; Rochette et al. 2019, arXiv 1912.06015, for convolutions), so one backward pass of the
whole batch is enough. Other networks go through `calculus.sample_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cutaway.network.calculus import Loss, Parameters, cross_entropy, sample_gradients
from cutaway.network.gradient import derivatives
from cutaway.network.network import Network
from cutaway.network.outputs import first_tensor

Norms = (nn.BatchNorm1d, nn.BatchNorm2d)
Seen = dict[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]


@derivatives()
def row_gradient_norms(
    network: Network,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    loss: Loss = cross_entropy,
    budget: int | None = None,
) -> torch.Tensor:
    """|d loss_i / d theta|_2 row by row, (n,), over all parameters: the GraNd score where the loss is cross-entropy.

    `inputs` (n, ...), `labels` (n,). Exact up to rounding, in evaluation mode. Cost: one forward and one backward pass
    a row and a product a layer; networks with other parameters, or a layer called twice, take one gradient a row (two
    to fifty times as long). Raises `InputError` for outputs that are no (n, classes), `BudgetError`. Source: Paul,
    Ganguli and Dziugaite 2021 (arXiv 2107.07075), definition 2.1, at one network instead of in expectation over
    initialisations.
    """
    parameters = Parameters(network)
    layers = _layers(network.model)
    widest = max((_numbers(layer) for layer in layers or []), default=len(parameters))
    found = []
    for rows, part in parameters.rows(inputs, budget, numbers=2 * widest, passes=3, forward=0):
        some = labels[rows].to(part.device)
        squares = _by_layers(network, layers, part, some, loss) if layers else None
        if squares is None:
            layers = None
            found.append(sample_gradients(parameters, part, some, loss=loss, budget=budget).norm(dim=1))
            continue
        network.passes.count(len(part), backward=len(part))
        found.append(squares.sqrt())
    return torch.cat(found)


def _layers(model: nn.Module) -> list[nn.Module] | None:
    """The modules that hold the parameters, if each is of a known kind and no parameter is in two of them."""
    own = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    held = [id(p) for m in own for p in m.parameters(recurse=False)]
    plain = all(_known(m) for m in own) and len(set(held)) == len(held)
    return own if plain else None


def _known(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) is nn.Linear or (type(module) in Norms and module.running_mean is not None)


def _numbers(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters(recurse=False))


def _by_layers(
    network: Network, layers: list[nn.Module], inputs: torch.Tensor, labels: torch.Tensor, loss: Loss
) -> torch.Tensor | None:
    """Squared lengths (n,), or None where a layer is called twice, or not on one row of numbers for each row."""
    seen: Seen = {}
    with _watched(layers, seen):
        outputs = first_tensor(network.model(inputs))
    calls = [seen.get(layer, []) for layer in layers]
    if any(len(c) != 1 or len(c[0][0]) != len(inputs) for c in calls):
        return None
    used = [(layer, *c[0]) for layer, c in zip(layers, calls, strict=True)]
    slopes = torch.autograd.grad(loss(outputs, labels).sum(), [probe for _, _, probe in used], allow_unused=True)
    total = torch.zeros(len(inputs), dtype=outputs.dtype, device=outputs.device)
    for (layer, given, _), slope in zip(used, slopes, strict=True):
        if slope is not None:
            total += _square(layer, given, slope)
    return total


@contextmanager
def _watched(layers: list[nn.Module], seen: Seen) -> Iterator[None]:
    """What goes into each layer, and a zero added to what comes out, whose derivative is that of the output."""

    def watch(layer: nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        probe = torch.zeros_like(output, requires_grad=True)
        seen.setdefault(layer, []).append((given[0].detach().clone(), probe))
        return output + probe

    handles = [layer.register_forward_hook(watch) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _square(layer: nn.Module, given: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """|d loss_i / d (the layer's parameters)|^2 (n,) from its inputs and the slopes at its outputs."""
    weight, bias = _SHAPES[type(layer)](layer, given, slope)
    total = torch.zeros(len(given), dtype=slope.dtype, device=slope.device)
    if layer.weight is not None:
        total = total + weight()
    return total if layer.bias is None else total + bias().square().flatten(1).sum(dim=1)


def _linear(layer: Any, given: torch.Tensor, slope: torch.Tensor):
    if slope.dim() == 2:
        return lambda: slope.square().sum(1) * given.square().sum(1), lambda: slope
    given, slope = given.flatten(1, -2), slope.flatten(1, -2)
    return lambda: torch.bmm(slope.mT, given).square().flatten(1).sum(1), lambda: slope.sum(1)


def _convolution(layer: Any, given: torch.Tensor, slope: torch.Tensor):
    flat = slope.flatten(2)

    def weight() -> torch.Tensor:
        patches = functional.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        shape = (len(given) * layer.groups, -1, flat.shape[2])  # each group of channels by itself
        product = torch.bmm(flat.reshape(shape), patches.reshape(shape).mT)
        return product.square().reshape(len(given), -1).sum(1)

    return weight, lambda: flat.sum(2)


def _normalisation(layer: Any, given: torch.Tensor, slope: torch.Tensor):
    shape = (1, -1, *[1] * (given.dim() - 2))
    level = (given - layer.running_mean.view(shape)) * (layer.running_var.view(shape) + layer.eps).rsqrt()
    rest = tuple(range(2, given.dim()))
    over = lambda t: t.sum(rest) if rest else t  # noqa: E731
    return lambda: over(slope * level).square().sum(1), lambda: over(slope)


_SHAPES: dict[type, Callable[..., Any]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _normalisation,
    nn.BatchNorm2d: _normalisation,
}
