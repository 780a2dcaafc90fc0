"""`PairPredictor`: a classifier trained on two outcomes a row, which can say what it does not know.

    predictor = PairPredictor(seed=0).fit(x, first, second)
    answers = predictor.predict(x)
    answers[~predictor.abstain(x, beta=0.1)]     # where at most one answer in ten is impossible

It needs rows with two outcomes drawn independently: two coders, two clicks, two measurements. See
`cutaway.outputs.pairs` for what V, C and the guarantee are.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.outputs.pairs import PairCheck, PairProbabilities, check_pairs, pair_probabilities
from cutaway.outputs.probability import refuse_copies

FEWEST = 10  # rows to learn from: of fewer none can be held out
PATIENCE = 5  # epochs without a better held-out loss


class PairPredictor(ClassifierMixin, BaseEstimator):
    """p1(y | x) and p2(y' | y, x) by one torch module, trained on rows with two outcomes.

    Parameters
    ----------
    module : called as module(x, told) with told (n, C) the one-hot first outcome, or None where none is told; gives
        logits (n, C). It is copied, not changed. None: a network of two layers with `hidden` units, for tables.
    hidden, epochs, batch_size, rate : units, epochs at most, rows a step, Adam's step.
    validation_fraction : rows held out; training keeps the epoch of least held-out loss, and ends after five without a
        better one. A pair model that is trained past it claims variances that are not there.
    seed, device : of starts, batches and the held-out rows; torch device.

    The loss is that of both orders of the two outcomes, -log p1(a) - log p2(b | a) - log p1(b) - log p2(a | b), halved.
    Attributes after `fit`: `classes_` (C,), `module_`, `held_out_loss_`, `epochs_`. Labels may be any values. Source:
    Johnson et al. 2024 (arXiv 2402.08733).
    """

    def __init__(
        self,
        module: nn.Module | None = None,
        *,
        hidden: int = 64,
        epochs: int = 50,
        batch_size: int = 256,
        rate: float = 3e-3,
        validation_fraction: float = 0.1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.module = module
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.rate = rate
        self.validation_fraction = validation_fraction
        self.seed = seed
        self.device = device

    def fit(self, inputs: Any, first: Any, second: Any) -> Self:
        """Of inputs (n, ...) and two outcomes a row (n,), independent draws. Raises `InputError` for lengths that
        differ, fewer than ten rows, inputs that are not finite, one class, and second outcomes that are copies of the
        first."""
        x = self._tensor(inputs, self.module)
        y1, y2 = np.asarray(first), np.asarray(second)
        if not len(x) == len(y1) == len(y2) >= FEWEST or y1.ndim != 1 or y2.ndim != 1:
            raise InputError(
                "rows with two outcomes",
                found=f"{len(x)} inputs, outcomes of shapes {y1.shape} and {y2.shape}",
                expected=f"two outcomes for every input, at least {FEWEST} rows",
                remedy="give one of each a row, of more rows where there are too few",
            )
        refuse_copies(y1, y2, "second outcomes")
        self.classes_, codes = np.unique(np.concatenate([y1, y2]), return_inverse=True)
        a, b = torch.as_tensor(codes[: len(x)]), torch.as_tensor(codes[len(x) :])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.number(self.seed, "pair module"))
            module = PairLayers(x[0].numel(), len(self.classes_), self.hidden) if self.module is None else self.module
            module = copy.deepcopy(module).to(self.device)
            self._train(module, x, a, b)
        return self

    def _train(self, module: nn.Module, x: Tensor, a: Tensor, b: Tensor) -> None:
        generator = seeds.generator(self.seed, "pair rows")
        order = torch.randperm(len(x), generator=generator)
        held = order[: round(self.validation_fraction * len(x))]
        rows = order[len(held) :]
        optimiser = torch.optim.Adam(module.parameters(), self.rate)
        best, kept, self.epochs_ = float("inf"), None, 0
        for epoch in range(1, self.epochs + 1):
            module.train()
            for part in rows[torch.randperm(len(rows), generator=generator)].split(self.batch_size):
                optimiser.zero_grad()
                self._loss(module, x[part], a[part], b[part]).backward()
                optimiser.step()
            loss = self._held_out(module, x[held], a[held], b[held]) if len(held) else -float(epoch)
            if loss < best:
                best, kept, self.epochs_ = loss, copy.deepcopy(module.state_dict()), epoch
            elif epoch - self.epochs_ >= PATIENCE:
                break
        if kept is None:
            raise InputError(
                "training on pairs",
                found="a held-out loss that is no number",
                expected="a finite loss after an epoch",
                remedy="scale the inputs, or lower rate",
            )
        module.load_state_dict(kept)
        self.module_, self.held_out_loss_ = module.eval(), best if len(held) else float("nan")

    def _held_out(self, module: nn.Module, x: Tensor, a: Tensor, b: Tensor) -> float:
        module.eval()
        with torch.no_grad():
            parts = [slice(i, i + 4096) for i in range(0, len(x), 4096)]
            sums = [float(self._loss(module, x[p], a[p], b[p])) * len(x[p]) for p in parts]
        return sum(sums) / len(x)

    def _loss(self, module: nn.Module, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        x, a, b = (part.to(self.device) for part in (x, a, b))
        told = nn.functional.one_hot(torch.cat([a, b]), len(self.classes_)).to(
            x.dtype if x.is_floating_point() else None
        )
        second = module(torch.cat([x, x]), told)
        first, loss = module(x, None), nn.functional.cross_entropy
        return (loss(first, a) + loss(first, b)) / 2 + loss(second, torch.cat([b, a]))

    def network(self) -> nn.Module:
        """The module as a network of one input, with scores (n, C + C^2) as `pair_probabilities` reads them: what the
        instrument `epistemic` measures, and what can be saved or exported. Cost: 1 + C passes a row."""
        check_is_fitted(self, "module_")
        return PairNetwork(self.module_, len(self.classes_))

    def pairs(self, inputs: Any) -> PairProbabilities:
        """p1 and p2 of inputs (n, ...), columns in the order of `classes_`. Cost: 1 + C forward passes a row."""
        network, x = self.network().eval(), self._tensor(inputs, self.module)
        with torch.no_grad():
            scores = [network(part.to(self.device)).cpu() for part in x.split(self.batch_size)]
        return pair_probabilities(torch.cat(scores), len(self.classes_))

    def predict_proba(self, inputs: Any) -> Floats:
        """p1, (n, C)."""
        return self.pairs(inputs).first

    def predict(self, inputs: Any) -> NDArray:
        """The likeliest first outcome of each row (n,)."""
        return self.classes_[self.predict_proba(inputs).argmax(axis=1)]

    def epistemic_variance(self, inputs: Any) -> Floats:
        """V, (n, C): the variance of the true probabilities that the predictor cannot tell apart. An estimate, right
        where the pair model is calibrated (see `check`). Negative values are left as they are."""
        return self.pairs(inputs).variance

    def confidence(self, inputs: Any) -> Floats:
        """C, (n, C): p1(y) / p2(y | y); answer y is impossible with probability 1 - C(y) at most."""
        return self.pairs(inputs).confidence

    def abstain(self, inputs: Any, beta: float = 0.1, answers: Any = None) -> NDArray[np.bool_]:
        """Rows (n,) on which `answers` (n,), by default the likeliest, should not be given: 1 - C >= `beta`.

        Among the answers given, at most a share `beta` has true probability 0, if the pair model is calibrated: an
        estimate's promise, which `check` can refute. Raises `InputError` for a beta outside (0, 1) or answers that are
        no classes."""
        if not 0 < beta < 1:
            raise InputError(
                "beta",
                found=f"{beta!r}",
                expected="a share between 0 and 1",
                remedy="give the share of impossible answers that may pass",
            )
        pairs = self.pairs(inputs)
        chosen = pairs.first.argmax(axis=1) if answers is None else self._codes(answers)
        return 1 - pairs.confidence[np.arange(len(chosen)), chosen] >= beta

    def check(self, inputs: Any, first: Any, second: Any, **settings: Any) -> PairCheck:
        """`check_pairs` on rows that were not trained on, with their two outcomes."""
        return check_pairs(self.pairs(inputs), self._codes(first), self._codes(second), **settings)

    @staticmethod
    def _tensor(inputs: Any, module: nn.Module | None) -> Tensor:
        """Rows as the module reads them: numbers in its precision, whole numbers as they are for a module given."""
        x = inputs.detach() if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs))
        if x.is_floating_point() or module is None:
            x = x.to(next((p.dtype for p in module.parameters()), torch.float32) if module else torch.float32)
        if x.ndim < 2 or not len(x) or not bool(torch.isfinite(x).all()):
            raise InputError(
                "inputs",
                found=f"shape {tuple(x.shape)}" + ("" if bool(torch.isfinite(x).all()) else " with NaN or infinity"),
                expected="at least one row of finite numbers, (n, ...)",
                remedy="drop or mend these rows",
            )
        return x

    def _codes(self, labels: Any) -> NDArray[np.int64]:
        labels = np.asarray(labels)
        codes = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        if (strange := self.classes_[codes] != labels).any():
            raise InputError(
                "outcomes",
                found=str(labels[strange.argmax()]),
                expected=f"one of the {len(self.classes_)} classes of the training",
                remedy="leave these rows out, or train with them",
            )
        return codes


class PairLayers(nn.Module):
    """Two layers on inputs (n, ...) beside the told outcome, zeros where none is told."""

    def __init__(self, inputs: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(nn.Linear(inputs + classes, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, inputs: Tensor, told: Tensor | None) -> Tensor:
        """Logits (n, C) of inputs (n, ...) and the told outcome (n, C), or None."""
        flat = inputs.flatten(1)
        told = flat.new_zeros(flat.shape[0], self.classes) if told is None else told.to(flat)
        return self.layers(torch.cat([flat, told], dim=1))


class PairNetwork(nn.Module):
    """A pair module as a network of one input: scores (n, C + C^2), see `pair_probabilities`."""

    def __init__(self, module: nn.Module, classes: int) -> None:
        super().__init__()
        self.module, self.classes = module, classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (n, C + C^2) of inputs (n, ...). Cost: 1 + C passes of the module."""
        told = torch.eye(self.classes, device=inputs.device, dtype=inputs.dtype)
        seconds = [self.module(inputs, told[y].expand(inputs.shape[0], -1)) for y in range(self.classes)]
        return torch.cat([self.module(inputs, None), *seconds], dim=1)
