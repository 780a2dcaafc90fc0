"""What the networks of `models` are made of beside torch's own modules: activations by name, checks of shapes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from cutaway.errors import InputError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activated(name: str) -> nn.Module:
    """The activation `name` as a module; `InputError` names the ones there are."""
    if name not in ACTIVATIONS:
        raise InputError("activation", found=repr(name), expected=", ".join(ACTIVATIONS), remedy="give one of these")
    return ACTIVATIONS[name]()


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width); `InputError` for another number of dimensions."""
    if len(input_shape) != 3:
        raise InputError(
            "inputs of an image network",
            found=f"shape {tuple(input_shape)}",
            expected="(channels, height, width)",
            remedy="take the mlp for other shapes",
        )
    return input_shape[0], input_shape[1], input_shape[2]
