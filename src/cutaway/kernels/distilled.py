"""A few rows that stand for many: those from which a kernel predictor learns best (kernel-inducing points, Nguyen et
al., arXiv 2011.00050), and those from which it learns to resist an attack (Tsilivis, Su and Kempe, arXiv 2207.11727).

With K the tangent kernel of an infinitely wide network, rows S with one-hot labels Y_S and their mean m,

    f_S(x) = K(x, S) (K(S, S) + r tr K(S, S) / |S|)^-1 (Y_S - m) + m

is the predictor that `KernelPredictor.fit` makes of S, and S descends the mean of |f_S(x) - y|^2 over rows x of the
data. With a radius, x is first moved within it by projected gradient descent against f_S, anew at every step. The
labels of S are not learned, so that S is a data set like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.kernels.infinite import InfiniteNetwork
from cutaway.kernels.predictor import KernelPredictor
from cutaway.network import Network
from cutaway.robustness.attacks.pgd import PGD


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distilled:
    """`data` the rows and their labels, `start` the real rows that they began as, `losses` (steps,) the mean squared
    error over each step's batch."""

    data: Dataset
    start: Dataset
    losses: tuple[float, ...]


def distil(
    infinite: InfiniteNetwork,
    learn: Dataset,
    *,
    per_class: int = 1,
    steps: int = 100,
    rate: float = 0.04,
    ridge: float = 1e-4,
    batch_size: int = 500,
    radius: float = 0.0,
    attack_steps: int = 5,
    seed: int = 0,
) -> Distilled:
    """`per_class` rows for each class of `learn`, from random real rows by `steps` steps of Adam.

    rate : of Adam, in units of the inputs' standard deviation.
    ridge : of the predictor, as a share of the kernel's mean diagonal.
    batch_size : rows of `learn` a step.
    radius, attack_steps : linf radius, in the data's units, within which a batch is attacked first; 0 for no attack.

    An estimate (in float64): a descent from one start, another seed ends elsewhere, and nothing says that the rows are
    the best. Rows stay in the data's range. Cost: a kernel of `batch_size` rows with the distilled ones and its
    gradient a step, and as many more as the attack has steps. Raises `InputError` for data without labels, a class with
    too few rows, numbers out of range. Source: Nguyen et al., arXiv 2011.00050; with a radius Tsilivis, Su and Kempe,
    arXiv 2207.11727.
    """
    _check(per_class, steps, rate, ridge, batch_size)
    generator = seeds.generator(seed, "distil")
    start = real_rows(learn, per_class, generator)
    point = start.inputs.double().clone().requires_grad_()
    optimiser = torch.optim.Adam([point], lr=rate * float(learn.inputs.double().std()))
    losses = []
    for step in range(steps):
        rows = torch.randint(len(learn), (min(batch_size, len(learn)),), generator=generator)
        batch = learn.subset(rows.tolist())
        here = replace(start, inputs=point.detach().to(start.inputs))
        drawn = seeds.number(seed, "distil", "attack", step)
        inputs = _attacked(infinite, here, batch, ridge, radius, attack_steps, drawn) if radius else batch.inputs
        loss = _loss(infinite, point, start, inputs, batch, ridge)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        into_range(point, learn)
    return Distilled(data=moved_to(start, point), start=start, losses=tuple(losses))


def real_rows(learn: Dataset, per_class: int, generator: torch.Generator) -> Dataset:
    """`per_class` rows of every class of `learn`, drawn without replacement, class by class.

    Exact in the generator. Cost: one permutation of the rows. Raises `InputError` for data without labels and a class
    with fewer rows. Source: definition.
    """
    if learn.labels is None:
        raise InputError(
            f"data {learn.name!r}", found="no labels", expected="labels to stand for", remedy="give labelled data"
        )
    few = [f"class {c} has {int(n)}" for c, n in enumerate(learn.labels.bincount()) if 0 < n < per_class]
    if few:
        raise InputError(
            f"data {learn.name!r}",
            found=few[0],
            expected=f"{per_class} rows or more of every class",
            remedy="ask for fewer rows a class",
        )
    order = torch.randperm(len(learn), generator=generator)
    labels = learn.labels[order]
    return learn.subset(torch.cat([order[labels == label][:per_class] for label in labels.unique()]).tolist())


@torch.no_grad()
def into_range(point: torch.Tensor, data: Dataset) -> None:
    """Move `point` (rows, ...) in place to the nearest inputs in the range of `data`, where it has one."""
    bounds = data.bounds()
    if bounds is not None:
        point.copy_(torch.maximum(torch.minimum(point, bounds[1].to(point)), bounds[0].to(point)))


def moved_to(start: Dataset, point: torch.Tensor) -> Dataset:
    """The rows of `start` with the inputs `point`, in its dtype."""
    return replace(start, name=f"{start.name}, distilled", inputs=point.detach().to(start.inputs))


def _loss(
    infinite: InfiniteNetwork,
    point: torch.Tensor,
    own: Dataset,
    inputs: torch.Tensor,
    batch: Dataset,
    ridge: float,
) -> torch.Tensor:
    assert own.labels is not None and batch.labels is not None
    classes = own.num_classes or int(own.labels.max()) + 1
    targets = torch.nn.functional.one_hot(own.labels, classes).to(point)
    mean, wanted = targets.mean(dim=0), torch.nn.functional.one_hot(batch.labels, classes).to(point)
    inner = infinite.kernels(point)[1]
    inner = inner + ridge * inner.diagonal().mean() * torch.eye(len(point)).to(inner)
    found = infinite.kernels(inputs.to(point), point)[1] @ torch.linalg.solve(inner, targets - mean) + mean
    return (found - wanted).square().sum(dim=1).mean()


def _attacked(
    infinite: InfiniteNetwork, own: Dataset, batch: Dataset, ridge: float, radius: float, steps: int, seed: int
) -> torch.Tensor:
    model = KernelPredictor.fit(infinite, own, ridge=ridge).eval()
    network = Network(model, batch.inputs[:2], name="kernel predictor", probe=False)
    return PGD(radius=radius, steps=steps).attack(network, batch, seed=seed).inputs


def _check(per_class: int, steps: int, rate: float, ridge: float, batch_size: int) -> None:
    if per_class < 1 or steps < 0 or batch_size < 1 or not rate > 0 or not ridge > 0:
        raise InputError(
            "distillation",
            found=f"per_class {per_class}, steps {steps}, batch_size {batch_size}, rate {rate:g}, ridge {ridge:g}",
            expected="a row or more a class and a batch, steps of at least 0, a rate and a ridge above 0",
            remedy="give such numbers",
        )
