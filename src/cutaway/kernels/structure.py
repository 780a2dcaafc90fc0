"""The tangent kernel from a network's layers: no gradient by the weights is ever formed for a linear layer.

For z = W a + b the gradient of output c by W is delta_c a^T, so the layer adds <a, a'> (and 1 for a bias) times
<delta_c, delta_c'> to the kernel of output c. A convolution adds the same summed over pairs of positions, or, where
that is cheaper, the inner product of its weight gradients. Which calls use which parameters is recorded while the
network runs; a parameter used in any other way, or twice, rules the form out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cutaway.network import Network
from cutaway.network.gradient import derivatives

_LINEAR = torch.nn.functional.linear
_LOOKS = ("__get__", "size", "dim", "numel", "is_floating_point", "is_complex")  # these read no value
_CONVOLUTIONS = (torch.conv2d, torch.nn.functional.conv2d)


@dataclass(slots=True)
class Call:
    """One use of a weight: its `inputs` (n, d) or (n, c, h, w), the value `made` of it, and how it was called."""

    weight: torch.Tensor
    biased: bool
    inputs: torch.Tensor
    made: torch.Tensor
    arguments: dict[str, Any] = field(default_factory=dict)


class _Recorder(TorchFunctionMode):
    """Keeps linear layers and convolutions of known weights, and gives later functions a copy of what they made (so
    that an in-place activation leaves it)."""

    def __init__(self, known: dict[int, str]) -> None:
        super().__init__()
        self.known, self.calls, self.other = known, [], set()
        self.uses: dict[str, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names = [self.known[id(a)] for a in (*args, *kwargs.values()) if id(a) in self.known]
        if not names or getattr(func, "__name__", "") in _LOOKS:
            return func(*args, **kwargs)
        for name in names:
            self.uses[name] = self.uses.get(name, 0) + 1
        given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args)) | kwargs
        weight, bias = given.get("weight"), given.get("bias")
        linear = func is _LINEAR and given["input"].dim() == 2
        plain = func in _CONVOLUTIONS and given.get("groups", 1) == 1 and not isinstance(given.get("padding", 0), str)
        clean = id(weight) in self.known and (bias is None or id(bias) in self.known)
        if not ((linear or plain) and clean and id(given["input"]) not in self.known):
            self.other.update(names)
            return func(*args, **kwargs)
        made = func(*args, **kwargs)
        if not made.requires_grad:
            made.requires_grad_()
        settings = {k: given[k] for k in ("stride", "padding", "dilation") if k in given} if plain else {}
        self.calls.append(
            Call(weight=weight, biased=bias is not None, inputs=given["input"], made=made, arguments=settings)
        )
        return made + 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What one block of rows gives to a layer's part of the kernel: `inputs` and `slopes`, see `Layer`."""

    inputs: torch.Tensor
    slopes: torch.Tensor
    biased: bool
    positions: int


def layer_factors(network: Network, inputs: torch.Tensor) -> list[Factors] | None:
    """The factors of every layer for a block of rows; None where some parameter is used in another way than once, by a
    linear layer on (n, d) or an ungrouped 2-d convolution.

    A linear layer: `inputs` (n, 1, d), `slopes` (n, 1, c, o). A convolution with p positions: (n, p, k) and
    (n, p, c, o).
    Cost: one forward and c backward passes a row.
    """
    known = {id(p): name for name, p in network.model.named_parameters()}
    recorder = _Recorder(known)
    placed = network.place(inputs)
    with derivatives():
        with recorder:
            outputs = network.forward(placed)
        used = {n for n, count in recorder.uses.items() if count == 1}
        covered = set(known.values()) == used and not recorder.other
        if not covered or outputs.dim() != 2 or not outputs.requires_grad:
            return None
        made = [call.made for call in recorder.calls]
        slopes: list[list[torch.Tensor]] = [[] for _ in made]
        for column in range(outputs.shape[1]):
            found = torch.autograd.grad(outputs[:, column].sum(), made, retain_graph=True, allow_unused=True)
            network.passes.count(backward=len(inputs))
            for place, value in enumerate(found):
                slopes[place].append(torch.zeros_like(made[place]) if value is None else value)
    return [_factors(call, torch.stack(found, dim=1)) for call, found in zip(recorder.calls, slopes)]


def _factors(call: Call, slopes: torch.Tensor) -> Factors:
    """`slopes` (n, c, o) or (n, c, o, h, w)."""
    if slopes.dim() == 3:
        return Factors(call.inputs.detach()[:, None], slopes.detach()[:, None], call.biased, 1)
    size = call.weight.shape[-2:]
    patches = torch.nn.functional.unfold(call.inputs.detach(), size, **call.arguments).transpose(1, 2)
    moved = slopes.detach().flatten(3).permute(0, 3, 1, 2)
    return Factors(patches, moved, call.biased, patches.shape[1])


def joined(left: list[Factors], right: list[Factors]) -> torch.Tensor:
    """Sum over layers and outputs of the inner products of gradients, (n, m), from the factors of two blocks."""
    total = None
    for a, b in zip(left, right):
        part = _join(a, b)
        total = part if total is None else total + part
    assert total is not None
    return total


def _join(a: Factors, b: Factors) -> torch.Tensor:
    rows, columns, places = len(a.inputs), len(b.inputs), a.positions
    width, (outputs, made) = a.inputs.shape[2], a.slopes.shape[2:]
    by_pairs = rows * columns * places**2 * (width + outputs * made)
    by_gradients = outputs * made * width * ((rows + columns) * places + rows * columns)
    return by_positions(a, b) if places == 1 or by_pairs <= by_gradients else by_weights(a, b)


def by_positions(a: Factors, b: Factors) -> torch.Tensor:
    """A layer's part from all pairs of positions."""
    rows, columns, places = len(a.inputs), len(b.inputs), a.positions
    flat = [t.reshape(t.shape[0] * places, -1) for t in (a.inputs, b.inputs, a.slopes, b.slopes)]
    found = (flat[0] @ flat[1].T + float(a.biased)) * (flat[2] @ flat[3].T)
    return found.view(rows, places, columns, places).sum(dim=(1, 3)) if places > 1 else found


def by_weights(a: Factors, b: Factors) -> torch.Tensor:
    """A layer's part from the weights' gradients, one output after another."""
    found = a.slopes.new_zeros(len(a.inputs), len(b.inputs))
    outputs = a.slopes.shape[2]
    for output in range(outputs):
        one = torch.bmm(a.slopes[:, :, output].transpose(1, 2), a.inputs).flatten(1)
        other = one if a is b else torch.bmm(b.slopes[:, :, output].transpose(1, 2), b.inputs).flatten(1)
        found += one @ other.T
        if a.biased:
            found += a.slopes[:, :, output].sum(dim=1) @ b.slopes[:, :, output].sum(dim=1).T
    return found


def working_bytes(factors: list[Factors], rows: int) -> int:
    """Bytes that `rows` rows of these factors, and a pair of such blocks, take at most."""
    size = factors[0].inputs.element_size()
    kept = sum(f.inputs[0].nbytes + f.slopes[0].nbytes for f in factors)
    kept += max(size * f.slopes.shape[3] * f.inputs.shape[2] * (f.positions > 1) for f in factors)  # see `by_weights`
    pairs = max(2 * size * f.positions**2 for f in factors)
    return 4 * kept * rows + pairs * rows**2
