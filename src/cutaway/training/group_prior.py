"""Training for the group that is worst off: a group-aware prior as a loss term, and the last layer trained anew on
batches that hold all groups equally.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cutaway import seeds
from cutaway.errors import CutawayWarning, InputError
from cutaway.features.class_means import last_linear
from cutaway.network import Network
from cutaway.network.outputs import first_tensor
from cutaway.network.preserve import evaluated
from cutaway.training import told

if TYPE_CHECKING:
    from cutaway.data import Dataset

FEW = 20
"""Rows of a cell of class and group below which it is warned of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPrior:
    """The cost CE(batch; theta + radius g / |g|) of a batch in which every cell of class and group of `data` is as
    likely, g its own gradient at theta; as a term `weight` times it, the logarithm of a prior that favours parameters
    which do well on all groups.

    data: rows with labels and groups; batches of `batch_size` are drawn from them. radius: of the step to worse
    weights, 0 for none. Parameters without gradient stay: freeze all but the last layer for a prior on that. Called as
    `term(model, inputs, labels, generator=...)`, in evaluation mode; the training's own batch is not used. Cost: a
    pass of `batch_size` rows, two with a radius. Raises `InputError` for data without groups or with one cell only;
    warns of cells of fewer than 20 rows. Source: after Rudner et al. 2024 (arXiv 2403.09869), from its construction:
    the form of the perturbation is not that of the published tables.
    """

    data: Dataset
    radius: float = 0.0
    batch_size: int = 64
    _cells: list[Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (0 <= self.radius < float("inf")) or self.batch_size < 1:
            raise InputError(
                "the group prior",
                found=f"radius {self.radius}, batch_size {self.batch_size}",
                expected="a finite radius of at least 0, at least one row",
                remedy="give a finite radius, 0 for none, and a batch_size of 1 or more",
            )
        object.__setattr__(self, "_cells", group_cells(self.data))

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        del labels
        assert self.data.labels is not None
        rows = balanced_rows(self._cells, self.batch_size, generator)
        some = self.data.inputs[rows].to(inputs)
        wanted = self.data.labels[rows].to(inputs.device)
        moved: dict[str, Tensor] = dict(model.named_parameters())

        # not by `calculus.Parameters`, which holds the parameters fast: here the training's own get the gradient
        def cost(parameters: dict[str, Tensor]) -> Tensor:
            return functional.cross_entropy(first_tensor(functional_call(model, parameters, (some,))), wanted)

        with evaluated(model):
            if self.radius > 0:
                names = [name for name, p in moved.items() if p.requires_grad]
                slopes = torch.autograd.grad(cost(moved), [moved[name] for name in names], allow_unused=True)
                known = {n: s.detach() for n, s in zip(names, slopes, strict=True) if s is not None}
                length = torch.stack([s.square().sum() for s in known.values()]).sum().sqrt().clamp_min(1e-12)
                moved |= {n: moved[n] + self.radius / length * s for n, s in known.items()}
            return cost(moved)


def retrained_last_layer(
    model: nn.Module,
    data: Dataset,
    *,
    steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """A copy of `model` whose last affine layer is trained anew, from where it stands, on batches in which every cell
    of class and group of `data` is as likely; all before it stays.

    Adam on cross-entropy with a decay of the weights. Deterministic in `seed`. Cost: one forward pass of each row, then
    steps of one layer. Raises `InputError` as `GroupPrior`. Source: deep feature reweighting, Kirichenko, Izmailov and
    Wilson 2023 (arXiv 2204.02937), who draw ten balanced subsets and average logistic regressions with an l1 penalty.
    """
    cells, copied = group_cells(data), copy.deepcopy(model)
    layer = last_layer(copied, data.inputs[:2])
    assert data.labels is not None
    inputs, labels = _given(copied, layer, data), data.labels.to(layer.weight.device)
    head = copy.deepcopy(layer)
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    generator = seeds.generator(seed, "last layer")
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    with torch.enable_grad():
        for _ in range(steps):
            rows = balanced_rows(cells, batch_size, generator).to(labels.device)
            optimiser.zero_grad(set_to_none=True)
            functional.cross_entropy(head(inputs[rows]), labels[rows]).backward()
            optimiser.step()
    layer.load_state_dict(head.state_dict())
    return copied


def group_cells(data: Dataset) -> list[Tensor]:
    """Row numbers of every cell of class and group that has rows. Raises `InputError` for data without labels or
    groups, or with one cell; warns of cells of fewer than 20 rows. Each of shape (k,)."""
    if data.labels is None or data.groups is None:
        raise InputError(
            f"data set {data.name!r}",
            found="no groups" if data.labels is not None else "no labels",
            expected="a label and a group for every row",
            remedy="name the array or column: groups= of load_data, groups in a recipe, Dataset(groups=...)",
        )
    pairs = np.stack([data.labels.cpu().numpy(), data.groups.cpu().numpy()], axis=1)
    _, where = np.unique(pairs, axis=0, return_inverse=True)
    where = torch.as_tensor(where.reshape(-1))
    cells = [(where == cell).nonzero().squeeze(1) for cell in range(int(where.max()) + 1)]
    if len(cells) < 2:
        raise InputError(
            f"data set {data.name!r}",
            found="one cell of class and group",
            expected="two at least",
            remedy="give rows of more than one group or class",
        )
    few = [len(cell) for cell in cells if len(cell) < FEW]
    if few:
        told.warn(
            CutawayWarning(
                f"groups of data set {data.name!r}",
                found=f"{len(few)} of {len(cells)} cells of class and group with fewer than {FEW} rows, one {min(few)}",
                remedy="these rows come again and again in balanced batches; label more of them",
            )
        )
    return cells


def balanced_rows(cells: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """`count` row numbers: each of a cell drawn uniformly, then of a row of it, both with replacement."""
    chosen = torch.randint(len(cells), (count,), generator=generator)
    places = torch.rand(count, generator=generator, dtype=torch.float32)
    sizes = torch.tensor([len(cell) for cell in cells])[chosen]
    starts = torch.tensor([0, *[len(cell) for cell in cells]]).cumsum(0)[chosen]
    return torch.cat(cells)[starts + (places * sizes).long().clamp_max(sizes - 1)]


def last_layer(model: nn.Module, example: Tensor) -> nn.Linear:
    """The affine layer whose output on `example` (n, ...) is the model's. Raises `InputError` for a model without."""
    with evaluated(model):
        layer = last_linear(Network(model, example))
    if layer is None:
        raise InputError(
            f"model {type(model).__name__}",
            found="no affine layer (nn.Linear) that gives its outputs",
            expected="a model that ends with one",
            remedy="let the model return the outputs of an nn.Linear",
        )
    return layer


@torch.no_grad()
def _given(model: nn.Module, layer: nn.Linear, data: Dataset) -> Tensor:
    """What goes into the layer, row by row."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    try:
        with evaluated(model):
            for part in data.inputs.split(500):
                model(part.to(layer.weight))
    finally:
        handle.remove()
    return torch.cat(seen)
