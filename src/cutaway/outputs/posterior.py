"""Predictors that answer by several networks: an ensemble, draws of a random network, Laplace's approximation.

A posterior predictive is the mean of *probabilities* p(x) = mean_k softmax z_k(x); a mean of logits is another
predictor. `Ensemble` makes one module of many, whose scores are log p, so that everything that reads a classifier
reads it too. `members_of` takes a network apart again: the networks it consists of, or itself with its dropout
switched on, to be asked many times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.outputs import first_tensor

LARGEST = 4096
"""Last layers of more weights than this have no full Laplace posterior here (its matrix is that wide)."""


class Ensemble(nn.Module):
    """Networks `members` that answer together: scores log mean_k softmax z_k, (n, classes).

    A list of trained networks, checkpoints of a chain (SGLD), or draws of weights. Raises `InputError` for fewer than
    two members. Cost: a forward pass of every member.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(members) < 2:
            raise InputError(
                "an ensemble",
                found=f"{len(members)} member" + "s" * (len(members) != 1),
                expected="at least two, since one cannot disagree with itself",
                remedy="give more networks, or ask a network with dropout many times",
            )
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """log mean_k softmax z_k, (n, classes), of inputs (n, ...). Exact up to rounding. Source: definition."""
        answers = [first_tensor(m(inputs)) for m in self.members]
        if len(shapes := {tuple(a.shape[1:]) for a in answers}) > 1:
            raise InputError(
                "the members of an ensemble",
                found=f"outputs of shapes {', '.join(map(str, sorted(shapes)))}",
                expected="networks with the same classes",
                remedy="put networks of one task together",
            )
        scores = torch.stack([torch.log_softmax(a, dim=-1) for a in answers])
        return torch.logsumexp(scores, dim=0) - math.log(len(self.members))


def members_of(network: Network) -> list[Network]:
    """The networks of an `Ensemble`, which count their passes with it; of any other network itself alone.

    Exact. Source: definition.
    """
    if not isinstance(network.model, Ensemble):
        return [network]
    parts = [Network(member, network.example, probe=False) for member in network.model.members]
    for part in parts:
        part.passes = network.passes
    return parts


def dropouts(model: nn.Module) -> list[nn.Module]:
    """The dropout modules that drop anything."""
    return [m for m in model.modules() if isinstance(m, _DropoutNd) and m.p > 0]


@contextmanager
def dropping(model: nn.Module) -> Iterator[None]:
    """Dropout switched on, and nothing else: two answers to one question then differ (Gal and Ghahramani 2016)."""
    modules = dropouts(model)
    before = [m.training for m in modules]
    try:
        for module in modules:
            module.train()
        yield
    finally:
        for module, was in zip(modules, before):
            module.training = was


class _WithWeights(nn.Module):
    """`model` with some parameters replaced; the others are shared.

    A module and no `calculus.Parameters`, since members of an ensemble are saved, moved and exported.
    """

    def __init__(self, model: nn.Module, drawn: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(drawn)
        self.drawn = nn.ParameterList([nn.Parameter(v, requires_grad=False) for v in drawn.values()])

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.func.functional_call(self.model, dict(zip(self.names, self.drawn)), (inputs,))


def laplace_ensemble(
    model: nn.Module,
    inputs: Tensor,
    *,
    prior_precision: float = 1.0,
    members: int = 20,
    seed: int = 0,
    batch_size: int = 512,
) -> Ensemble:
    """`members` draws of the last linear layer from Laplace's approximation of its posterior, given training `inputs`
    (n, ...).

    With features h_i (and a 1 for the bias) and probabilities p_i of the trained network, the precision is the
    generalised Gauss-Newton matrix sum_i (diag p_i - p_i p_i^T) x h_i h_i^T + `prior_precision` I, of which labels
    are no part. Draws W = W_trained + L^-T e, L its Cholesky factor; computed in float64. Exact for a softmax on fixed
    features up to the quadratic approximation. Raises `InputError` for a model without a last `nn.Linear` whose output
    is the model's, or one of more than 4,096 weights, or fewer than two members. Cost: a forward pass of the inputs,
    and a Cholesky factor of (classes (features + 1)) cubed. Source: Daxberger et al. 2021 (arXiv 2106.14806).
    """
    name, layer = _last_linear(model)
    size = layer.out_features * (layer.in_features + (layer.bias is not None))
    if size > LARGEST:
        raise InputError(
            f"last layer {name!r}",
            found=f"{size} weights",
            expected=f"at most {LARGEST}, since their whole covariance is kept",
            remedy="use an ensemble or dropout for this network",
        )
    if not prior_precision > 0:
        raise InputError(
            "prior_precision", found=f"{prior_precision:g}", expected="above 0", remedy="give a number such as 1"
        )
    precision = prior_precision * torch.eye(size, dtype=torch.float64)
    seen: list[Tensor] = []

    def keep(_module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.extend([given[0], answer])

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            for part in inputs.split(batch_size):
                seen.clear()
                answer = first_tensor(model(part))
                features, scores = (v.double().cpu() for v in seen[-2:])
                if answer.shape != seen[-1].shape or not torch.equal(answer, seen[-1]):
                    raise _no_last_layer(f"{name!r}, of which the model makes something else")
                if layer.bias is not None:
                    features = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
                p = scores.softmax(dim=1)
                curved = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
                precision += torch.einsum("nab,ni,nj->aibj", curved, features, features).reshape(size, size)
    finally:
        handle.remove()
    factor = torch.linalg.cholesky(precision)
    noise = torch.randn(size, members, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    steps = torch.linalg.solve_triangular(factor.T, noise, upper=True).T.reshape(members, layer.out_features, -1)
    drawn = []
    for step in steps.to(layer.weight):
        values = {f"{name}.weight" if name else "weight": layer.weight.detach() + step[:, : layer.in_features]}
        if layer.bias is not None:
            values[f"{name}.bias" if name else "bias"] = layer.bias.detach() + step[:, -1]
        drawn.append(_WithWeights(model, values))
    return Ensemble(drawn).eval()


def _last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        raise _no_last_layer("no linear layer")
    return found[-1]


def _no_last_layer(found: str) -> InputError:
    return InputError(
        "Laplace's approximation of a last layer",
        found=found,
        expected="a model whose answer is its last nn.Linear's",
        remedy="give the part of the model that ends in its logits",
    )
