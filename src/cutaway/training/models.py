"""Networks by name, each built from a seed: what `cutaway fit` and the reproductions train.

    build("resnet18", (3, 32, 32), 10, seed=0, width=16, batch_norm=False)

mlp, cnn, resnet18, resnet20, vit-tiny take inputs of `input_shape` (images (channels, height, width), mlp anything)
to `(n, outputs)`; char-gpt takes tokens (n, length) to logits (n, length, outputs). Weights are torch's own
initialisation drawn under the seed; global random streams stay where they are.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, did_you_mean
from cutaway.training.parts import ACTIVATIONS, activated, image_shape
from cutaway.training.residual import resnet18, resnet20
from cutaway.training.transformers import char_gpt, vit_tiny


class Normalise(nn.Module):
    """(x - mean) / std per channel, with numbers fixed beforehand: networks then take data in their own units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], dims: int) -> None:
        super().__init__()
        shape = (1, -1, *[1] * (dims - 1))
        self.register_buffer("mean", torch.tensor(mean).reshape(shape))
        self.register_buffer("std", torch.tensor(std).reshape(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std


def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 200,
    depth: int = 4,
    batch_norm: bool = False,
    bias: bool = True,
    activation: str = "relu",
) -> nn.Module:
    """`depth` affine layers (the last one to the outputs among them) of `width` neurons, an activation between."""
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in itertools.pairwise([math.prod(input_shape), *[width] * (depth - 1)]):
        layers += [nn.Linear(a, b, bias=bias), *([nn.BatchNorm1d(b)] if batch_norm else []), activated(activation)]
    last = width if depth > 1 else math.prod(input_shape)
    return nn.Sequential(*layers, nn.Linear(last, outputs, bias=bias))


def cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 16,
    depth: int = 2,
    batch_norm: bool = False,
    bias: bool = True,
    activation: str = "relu",
) -> nn.Module:
    """`depth` blocks of two 3x3 convolutions and 2x2 max pooling, width doubled from block to block (first: `width`),
    then a dense layer of 8 width neurons and the outputs."""
    channels, height, across = image_shape(input_shape)
    if min(height, across) < 2**depth:
        raise InputError(
            "depth of the cnn",
            found=str(depth),
            expected=f"fewer halvings of {height}x{across}",
            remedy="give a smaller depth, or larger images",
        )
    layers: list[nn.Module] = []
    for block in range(depth):
        size = width * 2**block
        for _ in range(2):
            layers += [nn.Conv2d(channels, size, 3, padding=1, bias=bias)]
            layers += [*([nn.BatchNorm2d(size)] if batch_norm else []), activated(activation)]
            channels = size
        layers.append(nn.MaxPool2d(2))
    flat = channels * (height // 2**depth) * (across // 2**depth)
    hidden = 8 * width
    layers += [nn.Flatten(), nn.Linear(flat, hidden, bias=bias)]
    layers += [*([nn.BatchNorm1d(hidden)] if batch_norm else []), activated(activation)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs, bias=bias))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "vit-tiny": vit_tiny,
    "char-gpt": char_gpt,
}


def build_model(
    name: str,
    input_shape: Sequence[int],
    outputs: int,
    *,
    seed: int = 0,
    normalise: tuple[Sequence[float], Sequence[float]] | None = None,
    **options: Any,
) -> nn.Module:
    """The network `name` with `options` (see its function), its weights drawn under `seed`.

    normalise: (mean, std) per channel of a fixed first step. Raises `InputError` for an unknown name, option,
    activation, or a size that is not positive.
    """
    check_options(name, options)
    make = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = make(tuple(int(n) for n in input_shape), outputs, **options)
    if normalise is None:
        return model
    first = Normalise(*normalise, dims=len(input_shape))
    return nn.Sequential(first, *model) if isinstance(model, nn.Sequential) else nn.Sequential(first, model)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise `InputError` for a name or option that is not there, or a value that an option cannot take."""
    if name not in MODELS:
        raise InputError(
            f"model {name!r}",
            found="no such model",
            expected=", ".join(MODELS),
            remedy=did_you_mean(name, MODELS, "or give a factory, pkg.module:factory"),
        )
    known = [p.name for p in inspect.signature(MODELS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key, value in options.items():
        if key not in known:
            raise InputError(
                f"option {key!r} of model {name!r}",
                found="no such option",
                expected=", ".join(known),
                remedy=did_you_mean(key, known),
            )
        if key == "activation":
            if value not in ACTIVATIONS:
                raise InputError(
                    f"activation of model {name!r}",
                    found=repr(value),
                    expected=", ".join(ACTIVATIONS),
                    remedy="give one of these",
                )
        elif key in ("batch_norm", "bias"):
            if not isinstance(value, bool):
                raise InputError(
                    f"option {key!r} of model {name!r}",
                    found=repr(value),
                    expected="true or false",
                    remedy="give one of the two",
                )
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"option {key!r} of model {name!r}",
                found=repr(value),
                expected="a whole number above 0",
                remedy="give a whole number above 0",
            )
