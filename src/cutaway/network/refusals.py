"""Modules that are no function of one input, each refused by name before anything is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from cutaway.errors import ModelError, NotPiecewiseAffine

if TYPE_CHECKING:
    from cutaway.network.follow import Bend
    from cutaway.network.sites import Site


def refuse_unreadable(model: nn.Module) -> None:
    """Raises ModelError for a scripted module, a lazy layer without weights, parameters made under inference mode, and
    batch normalisation without running statistics."""
    for path, module in model.named_modules():
        place = _place(path, module)
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                place,
                found="TorchScript",
                expected="a Python module, whose calls can be seen",
                remedy="build the module in Python and load the script's state_dict(), or give an .onnx or .pt2 file",
            )
        if any(is_lazy(p) for p in module.parameters(recurse=False)):
            raise ModelError(
                place,
                found="a lazy layer without weights",
                expected="weights",
                remedy="call the model once on an input, and train it or load its weights",
            )
        made = [name for name, p in module.named_parameters(recurse=False) if p.is_inference()]
        if made:
            raise ModelError(
                place,
                found=f"parameter {made[0]!r} made under torch.inference_mode, which can have no derivative",
                expected="ordinary parameters",
                remedy="build or load the model outside torch.inference_mode",
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ModelError(
                place,
                found="batch normalisation without running statistics, which mixes the rows of a batch",
                expected="a function of one input",
                remedy="train it with track_running_stats=True, or take InstanceNorm or GroupNorm",
            )


def refuse_training_mode(model: nn.Module) -> None:
    """Raises ModelError for normalisation by batch statistics and for dropout in training mode."""
    for path, module in model.named_modules():
        if module.training and isinstance(module, _BatchNorm | _DropoutNd) and getattr(module, "p", None) != 0.0:
            raise ModelError(
                _place(path, module),
                found="training mode",
                expected="evaluation mode, where a network is one function",
                remedy="call model.eval() first",
            )


def refuse_curved(name: str, sites: Iterable[Site], hidden: Iterable[Bend]) -> None:
    """Raises NotPiecewiseAffine for the first site, then the first operation outside the sites, that is not piecewise
    affine or of which nothing is known; `name` is the network's."""
    for site in sites:
        if not site.piecewise_affine:
            raise _not_piecewise(f"site {site.name!r}", site.kind + (" as a gate" if site.gate else ""), site.known)
    for bend in hidden:
        if not bend.piecewise:
            raise _not_piecewise(f"network {name!r}", f"operator {bend.word}", bend.known)


def _not_piecewise(where: str, what: str, known: bool) -> NotPiecewiseAffine:
    """The error for an operation that is not piecewise affine, or (`known` False) of which nothing is known."""
    return NotPiecewiseAffine(
        where,
        found=what if known else f"{what}, which is not known to be affine",
        expected="a network of piecewise-affine operations only",
        remedy="ask for the sign partition of its gates instead",
    )


def _place(path: str, module: nn.Module) -> str:
    return f"module {path!r} ({type(module).__name__})" if path else f"network {type(module).__name__}"
