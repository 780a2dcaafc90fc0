"""Bounds of every layer in one call: what `Network.bounds` gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway._compat import own_device
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep
from cutaway.robustness.regions import Region, ball, box


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBounds(Mapping[str, tuple[Tensor, Tensor]]):
    """Layer name -> (lower, upper), float64 tensors (n, *shape) in the order of the network; `output` is the last.

    Sound: for every x of region i and every layer, lower[i] <= value(x) <= upper[i], rounding of the bounds themselves
    accounted for (the network is taken in exact arithmetic, see `cutaway certify --deployment` for float32).
    """

    layers: dict[str, tuple[Tensor, Tensor]]
    method: str

    def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def output(self) -> tuple[Tensor, Tensor]:
        """Of the network's output. Lower and upper bounds, (n, *output shape) each."""
        return next(reversed(self.layers.values()))

    def _rows(self) -> list[tuple[str, str, float, float, float]]:
        table = []
        for name, (low, high) in self.layers.items():
            shape = " x ".join(map(str, low.shape[1:])) or "1"
            table.append((name, shape, float(low.min()), float(high.max()), float((high - low).mean())))
        return table

    def __repr__(self) -> str:
        lines = [f"LayerBounds of {len(self.output[0])} regions by {self.method}: lowest, highest, mean width"]
        lines += [f"  {name:<28} {shape:>14} {a:>11.4g} {b:>11.4g} {w:>11.4g}" for name, shape, a, b, w in self._rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "<tr><th>layer</th><th>shape</th><th>lowest</th><th>highest</th><th>mean width</th></tr>"
        rows = "".join(
            f"<tr><td>{name}</td><td>{shape}</td><td>{a:.4g}</td><td>{b:.4g}</td><td>{w:.4g}</td></tr>"
            for name, shape, a, b, w in self._rows()
        )
        return f"<table>{head}{rows}</table>"


@own_device()
def layer_bounds(
    network: Network,
    inputs: Tensor | Region | tuple[Tensor, Tensor],
    radius: float | Tensor | None = None,
    *,
    norm: float = float("inf"),
    method: str = "crown",
) -> LayerBounds:
    """Lower and upper bounds of every layer over balls of `radius` around `inputs` (n, *input shape), over boxes
    `(lower, upper)` of that shape, or over a `Region`.

    A bound, float64. `method`: "ibp" (one interval pass), "crown-ibp", or "crown" (a backward pass for every value that
    a nonlinearity reads; tightest). Cost of "crown": a few backward passes a layer and unstable neuron. Raises
    `InputError` for inputs of another shape or a missing radius, `UnsupportedOperator` naming the operator. Source:
    Gowal et al. 2018 (IBP), Zhang et al. (arXiv 1811.00866; CROWN).
    """
    region = _region(network, inputs, radius, norm)
    example = network.double().example
    assert example is not None
    bounded = bound_network(network.double().model, example[:1])
    settings = SweepSettings(method=method)
    with torch.no_grad():
        limits = sweep(bounded, region, settings)
        found = {
            node.name or f"{node.op} {node.index}": (limits.lower[place], limits.upper[place])
            for node in bounded.source.nodes
            if node.op != "constant" and (place := bounded.places.get(node.index)) in limits.lower
        }
        name = bounded.source.output.name or "output"
        found.pop(name, None)
        found[name] = _output(bounded, limits, region, settings)
    return LayerBounds(layers={n: (_rows(low), _rows(high)) for n, (low, high) in found.items()}, method=method)


def _rows(values: Tensor) -> Tensor:
    """(n, *shape): without the batch of one that the traced graph carries."""
    return values.squeeze(1) if values.dim() > 2 else values


def _output(bounded: BoundNetwork, limits, region: Region, settings: SweepSettings) -> tuple[Tensor, Tensor]:
    """The output's limits and what a backward pass from it gives, whichever is tighter."""
    output = bounded.graph.output
    rows = torch.eye(output.numel, dtype=bounded.dtype).reshape(output.numel, *output.shape)
    shape = limits.lower[output.index].shape
    low = bound_rows(bounded, limits, region, rows, settings).reshape(shape)
    high = -bound_rows(bounded, limits, region, -rows, settings).reshape(shape)
    return torch.maximum(low, limits.lower[output.index]), torch.minimum(high, limits.upper[output.index])


def _region(network: Network, inputs, radius, norm: float) -> Region:
    if isinstance(inputs, Region):
        return inputs.to(torch.float64)
    parts = tuple(torch.as_tensor(part).detach().double().cpu() for part in _parts(inputs))
    shape = None if network.example is None else tuple(network.example.shape[1:])
    for part in parts:
        if shape is not None and tuple(part.shape[1:]) != shape:
            raise InputError(
                "inputs to bound",
                found=f"shape {tuple(part.shape)}",
                expected=f"(n, {', '.join(map(str, shape))})",
                remedy="add a batch dimension: x[None]" if tuple(part.shape) == shape else "check the shape",
            )
    if len(parts) == 2:
        return box(*parts)
    if radius is None:
        raise InputError(
            "radius", found="none", expected="a number", remedy="give bounds(x, radius), or a box: bounds((low, high))"
        )
    return ball(parts[0], radius, norm)


def _parts(inputs) -> tuple[Tensor, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)
