"""What an instrument may need of its network and its data, and how it is told where that is not there."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING

from cutaway.errors import InputError
from cutaway.reading import Skipped

if TYPE_CHECKING:
    from torch import nn

    from cutaway.network import Network

NEEDS = frozenset({"labels", "labels2", "groups", "inputs", "tokens", "classifier", "generator"})
"""What an instrument may need of its network and data."""

COLUMNS_NEEDED = {
    "labels": ("labels", "labelled data", "name a labelled set, or leave this instrument out"),
    "labels2": (
        "second labels",
        "a second label for every row",
        "name the array or column with --labels2 (in Python: Dataset(labels2=...))",
    ),
    "groups": (
        "groups",
        "a group for every row",
        "name the array or column with --groups (in Python: Dataset(groups=...))",
    ),
}
"""What may be needed of the data: in words, what is expected, and the next step."""


def unmet(needs: Set[str], network: Network) -> str:
    """Which of `needs` this network does not meet, in words; empty where it meets all."""
    if "classifier" in needs and len(network.output_shape) != 1:
        found = ", ".join(["n", *map(str, network.output_shape)]) + ("" if network.output_shape else ",")
        return f"needs a classifier with outputs (n, classes); found ({found})"
    if "inputs" in needs and network.example is not None and not network.example.is_floating_point():
        return "needs floating-point inputs; this network reads token ids"
    if "generator" in needs and (reason := _no_generator(network)):
        return reason
    if "tokens" in needs:
        example = network.example
        if example is None or example.is_floating_point() or example.ndim != 2:
            return "needs a language model that reads token ids (n, length); this network reads numbers"
    return ""


def without_column(instrument: str, data: str, kind: str) -> InputError:
    """The error of an instrument whose data lack `kind`, a key of `COLUMNS_NEEDED`."""
    words, expected, remedy = COLUMNS_NEEDED[kind]
    return InputError(
        f"instrument {instrument!r}", found=f"data {data!r} without {words}", expected=expected, remedy=remedy
    )


def held_statistics(model: nn.Module) -> tuple[Skipped, ...]:
    """What derivatives row by row leave out of a network with batch normalisation; empty without one."""
    from torch.nn.modules.batchnorm import _BatchNorm

    held = [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if not held:
        return ()
    others = f" and {len(held) - 1} more" if len(held) > 1 else ""
    reason = "its statistics are held as they are stored; in training they make each row's output depend on the others"
    return (Skipped(what=f"how rows move each other through batch normalisation {held[0]!r}{others}", reason=reason),)


def _no_generator(network: Network) -> str:
    """Why this is no generator, or an empty string."""
    example, output = network.example, network.output_shape
    if example is None or not example.is_floating_point() or example.ndim != 2:
        found = "no example" if example is None else f"{str(example.dtype)[6:]} inputs {tuple(example.shape[1:])}"
        return f"needs a generator that reads latents (n, d) of real numbers; found {found}"
    if len(output) < 2 and math.prod(output) <= example.shape[1]:
        return (
            "needs a generator, whose samples have more dimensions than one or more numbers than its latents; found "
            f"outputs {tuple(output)} of latents of {example.shape[1]} numbers"
        )
    return ""
