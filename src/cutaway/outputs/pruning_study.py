"""Whom pruning hurts: trainings on the rows that a pruner keeps, on random rows, and on random rows of the same class
counts, all from the same starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cutaway import seeds as streams
from cutaway.errors import InputError, did_you_mean
from cutaway.network.gradient import trainable
from cutaway.network.outputs import first_tensor
from cutaway.network.preserve import evaluated
from cutaway.outputs.example_scores import COLUMNS, ExampleScores, hardness, mean_scores
from cutaway.outputs.keeping import prune, recall_quotas

if TYPE_CHECKING:
    import pandas

    from cutaway.data import Dataset
    from cutaway.network import Network

Trainer = Callable[["Dataset", int, bool], "tuple[nn.Module, pandas.DataFrame | None]"]
"""(rows, seed, scored) -> a network trained on them from that seed, and where it is `scored` the rows' table."""

QUOTAS, RANDOM, SAME_COUNTS, ALL = "quotas", "random rows", "random, same class counts", "all rows"
BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arm:
    """Trainings of one kind: `pruner`, the share `keep` of the rows, `null` (empty, `RANDOM` or `SAME_COUNTS`);
    `recalls` (seeds, classes) on the test rows, `counts` (seeds, classes) of rows kept."""

    pruner: str
    keep: float
    null: str = ""
    recalls: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def called(self) -> str:
        """In words, for a picture."""
        return f"{self.pruner}: {self.null}" if self.null == SAME_COUNTS else self.null or self.pruner

    @property
    def worst(self) -> NDArray[np.float64]:
        """The least recall of a class, by seed (seeds,)."""
        return self.recalls.min(axis=1)

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean recall over classes, by seed (seeds,)."""
        return self.recalls.mean(axis=1)

    @property
    def spread(self) -> NDArray[np.float64]:
        """The standard deviation of recalls over classes, by seed (seeds,)."""
        return self.recalls.std(axis=1)

    @property
    def follows(self) -> float:
        """Correlation over classes of rows kept with recall, both averaged over seeds; NaN where the counts are
        equal."""
        counts, recalls = self.counts.mean(axis=0), self.recalls.mean(axis=0)
        if np.ptp(counts) < 1e-9 or np.ptp(recalls) < 1e-9:
            return float("nan")
        return float(np.corrcoef(counts, recalls)[0, 1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PruningStudy:
    """Every arm, the first one of all rows; `table`: the scores, averaged over seeds."""

    arms: tuple[Arm, ...]
    table: pandas.DataFrame

    def arm(self, pruner: str, keep: float, null: str = "") -> Arm:
        """The arm of a pruner, or of its null. Random rows have none of a pruner's own. KeyError for another."""
        wanted = ("", keep, RANDOM) if null == RANDOM else (pruner, keep, null)
        return next(a for a in self.arms if (a.pruner, a.keep, a.null) == wanted)


def study_pruning(
    trainer: Trainer,
    pool: Dataset,
    held_out: Dataset,
    test: Dataset,
    *,
    pruners: Sequence[str],
    keep: Sequence[float],
    num_seeds: int,
    seed: int = 0,
    table: pandas.DataFrame | None = None,
) -> PruningStudy:
    """Trainings on what each of `pruners` keeps of `pool` at each share `keep`, judged on `test`.

    A pruner is `quotas` (random rows by DRoP's quotas from recalls on `held_out`), a column of the table (its hardest
    rows) or `COLUMN+quotas`. Recalls, and scores where no `table` of the pool's rows gives them, are means over the
    trainings on all rows, one a seed. Each seed is one start and one draw of everything random, the same for all arms,
    so that differences are paired. Both nulls stand beside: random rows, and random rows of the class counts that the
    pruner kept (its scores permuted within classes), which tells which rows from which classes. Estimates. Cost: a
    training on all rows a seed, one on random rows a seed and share, and two a seed, share and pruner (one for
    `quotas`, which is its own null). Raises `InputError` for a pruner that there is not, and as `prune` and
    `recall_quotas`. Source: ours; quotas and the comparison with random rows as in DRoP (arXiv 2404.05579).
    """
    check_pruners(pruners, table)
    collected, tables, recalls = _Collected(), [], []
    starts = [streams.number(seed, "pruning", number) % 2**31 for number in range(num_seeds)]
    for start in starts:
        model, scored = trainer(pool, start, table is None)
        collected.add("", 1.0, ALL, class_recalls(model, test), pool)
        recalls.append(class_recalls(model, held_out))
        tables += [] if scored is None else [scored]
    scores, recall = table if table is not None else mean_scores(tables), np.mean(recalls, axis=0)
    for start in starts:
        for share in keep:
            kept = pool.subset(prune(pool, None, share, seed=start))
            collected.train("", share, RANDOM, kept, test, trainer, start)
            for pruner in pruners:
                kept = pool.subset(_chosen(pruner, pool, scores, recall, share, start))
                collected.train(pruner, share, "", kept, test, trainer, start)
                if pruner != QUOTAS:
                    same = pool.subset(prune(pool, None, share, _counts(kept), seed=start))
                    collected.train(pruner, share, SAME_COUNTS, same, test, trainer, start)
    return PruningStudy(arms=collected.arms(), table=scores)


def check_pruners(pruners: Sequence[str], table: pandas.DataFrame | None) -> None:
    """Raise `InputError` for a pruner that is neither `quotas` nor a score (of `table`, if there is one), with quotas
    or without."""
    columns = COLUMNS if table is None else table.columns
    known = [QUOTAS, *(c for c in columns if c not in ("label", "visits", "row"))]
    for pruner in pruners:
        column, plus, quotas = pruner.partition("+")
        if column not in known or (plus and (quotas != QUOTAS or column == QUOTAS)):
            raise InputError(
                f"pruner {pruner!r}",
                found="no such score",
                expected=", ".join([*known, f"SCORE+{QUOTAS}"]),
                remedy=did_you_mean(column, known),
            )


@dataclass(slots=True)
class _Collected:
    """Recalls and counts of arms, seed by seed."""

    found: dict[tuple[str, float, str], list[tuple[Any, Any]]] = field(default_factory=dict)

    def train(
        self, pruner: str, keep: float, null: str, kept: Dataset, test: Dataset, trainer: Trainer, seed: int
    ) -> None:
        model, _ = trainer(kept, seed, False)
        self.add(pruner, keep, null, class_recalls(model, test), kept)

    def add(self, pruner: str, keep: float, null: str, recalls: Any, kept: Dataset) -> None:
        self.found.setdefault((pruner, keep, null), []).append((recalls, _counts(kept)))

    def arms(self) -> tuple[Arm, ...]:
        return tuple(
            Arm(
                pruner=pruner,
                keep=keep,
                null=null,
                recalls=np.stack([r for r, _ in pairs]),
                counts=np.stack([c for _, c in pairs]),
            )
            for (pruner, keep, null), pairs in self.found.items()
        )


def _chosen(
    pruner: str, pool: Dataset, scores: pandas.DataFrame, recalls: NDArray[np.float64], keep: float, seed: int
) -> NDArray[np.int64]:
    column, plus, _ = pruner.partition("+")
    values = None if pruner == QUOTAS else hardness(scores, column)
    quotas = recall_quotas(pool.labels, recalls, keep) if plus or pruner == QUOTAS else None
    return prune(pool, values, keep, quotas, seed=seed)


def _counts(data: Dataset) -> NDArray[np.int64]:
    assert data.labels is not None
    return np.bincount(data.labels.cpu().numpy(), minlength=data.num_classes or 0)


@torch.no_grad()
def rows_right(model: nn.Module, data: Dataset) -> torch.Tensor:
    """Which rows of `data` (n,) `model` gets right, in evaluation mode, on the CPU. Exact for these rows. Cost: one
    forward pass a row. Source: definition."""
    assert data.labels is not None
    first = next(iter(model.parameters()))
    with evaluated(model):
        parts = [first_tensor(model(part.to(first))).argmax(1).cpu() for part in data.inputs.split(BATCH)]
    return torch.cat(parts) == data.labels.cpu()


def class_recalls(model: nn.Module, data: Dataset) -> NDArray[np.float64]:
    """Share of each class's rows that `model` gets right (classes,), in evaluation mode. Exact for these rows.

    Cost: one forward pass a row. Raises `InputError` for a class without rows. Source: definition.
    """
    assert data.labels is not None
    right, counts = rows_right(model, data).numpy(), _counts(data)
    if (counts == 0).any():
        raise InputError(
            f"rows of {data.name!r} to judge by",
            found=f"none of class {int((counts == 0).argmax())}",
            expected="rows of every class",
            remedy="give more rows",
        )
    return np.bincount(data.labels.cpu().numpy(), weights=right, minlength=len(counts)) / counts


def plain_trainer(make: Callable[[int], nn.Module], *, steps: int, batch_size: int, learning_rate: float) -> Trainer:
    """Adam on cross-entropy, `steps` steps of `batch_size` rows (each epoch a permutation) from `make(seed)`; EL2N and
    GraNd are scored over the first quarter of the steps. Exact in its seed on one device. Cost: `steps` forward and
    backward passes of a batch. Source: Paul, Ganguli and Dziugaite 2021 for the scores."""

    def trained(data: Dataset, seed: int, scored: bool) -> tuple[nn.Module, pandas.DataFrame | None]:
        assert data.labels is not None
        model = make(seed).train()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        first = next(iter(model.parameters()))
        inputs, labels = data.inputs.to(first), data.labels.to(first.device)
        scores = ExampleScores(labels, early=max(steps // 4, -(-len(data) // batch_size))) if scored else None
        last = next((m for m in reversed(list(model.modules())) if type(m) is nn.Linear), None)
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []

        def saw(_layer: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen.append((given[0], output))

        handle = None if last is None else last.register_forward_hook(saw)
        optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for step, rows in enumerate(_batches(len(data), steps, batch_size), start=1):
                seen.clear()
                outputs = first_tensor(model(inputs[rows]))
                optimiser.zero_grad(set_to_none=True)
                trainable(nn.functional.cross_entropy(outputs, labels[rows])).backward()
                optimiser.step()
                if scores is not None:
                    hidden = seen[-1][0] if seen and seen[-1][1] is outputs else None
                    scores.see(step, rows, outputs, hidden, bias=last is not None and last.bias is not None)
        if handle is not None:
            handle.remove()
        return model.eval(), None if scores is None else scores.table()

    return trained


def counted_trainer(trainer: Trainer, network: Network, *, seen: Callable[[int], int], judged: int) -> Trainer:
    """`trainer`, the rows of whose steps, `seen(rows)` for a data set of that many, count as passes of `network`,
    forward and backward, as do the `judged` rows that each of its networks answers. Exact. Source: definition."""

    def trained(rows: Dataset, seed: int, scored: bool) -> tuple[nn.Module, pandas.DataFrame | None]:
        many = seen(len(rows))
        network.passes.count(many + judged, backward=many)
        return trainer(rows, seed, scored)

    return trained


def _batches(rows: int, steps: int, batch_size: int):
    """Row numbers of each step, from torch's own stream; a last single row of an epoch joins the batch before it."""
    done = 0
    while done < steps:
        parts = list(torch.randperm(rows).split(batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        yield from parts[: steps - done]
        done += len(parts)
