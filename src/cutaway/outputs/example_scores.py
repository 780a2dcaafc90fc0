"""How a training treats each of its rows: errors, gradients, forgetting, margins, one table with one row an example.

`ExampleScores` is told the network's outputs on each batch as the training goes (`training.row_watch` does it) and
keeps running sums; nothing of the training is changed and no pass is added.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrays import Floats
from cutaway.data.frames import read_frame
from cutaway.errors import InputError

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from cutaway.data import Dataset


COLUMNS = {
    "el2n": "length of softmax minus one-hot, mean over visits",
    "grand_last": "length of the loss's gradient by the last layer, mean over visits",
    "forgetting": "times it went from right to wrong; infinite where it was never right",
    "margin_area": "output of its label minus the largest other, mean over visits",
    "loss_variance": "variance of its loss over visits",
}
"""The scores of a table, in words. A small margin area is a hard row; of all others the large ones are."""

WAITING = 2048  # rows that are worked on at once, so that small batches cost little


class ExampleScores:
    """Scores of `labels` (n,) as a training visits them.

    `early`: EL2N and GraNd are means over the visits of steps up to this one (None: all), as they are scores of early
    training. Source: EL2N and GraNd of Paul, Ganguli and Dziugaite 2021 (arXiv 2107.07075), who average over trainings
    (`mean_scores` does); forgetting of Toneva et al. 2019 (arXiv 1812.05159); margin area (AUM) of Pleiss et al. 2020
    (arXiv 2001.10528); the variance of the loss after Chang, Learned-Miller and McCallum 2017 (arXiv 1704.07433), who
    take that of the probability. The network is the one that was trained at that visit, in training mode, so scores of
    one visit carry its dropout and batch statistics. Memory: 11 numbers a row. Raises `InputError` for labels that are
    no class numbers.
    """

    def __init__(self, labels: Any, *, early: int | None = None) -> None:
        labels = torch.as_tensor(labels).detach().cpu()
        if labels.dim() != 1 or not len(labels) or labels.is_floating_point() or int(labels.min()) < 0:
            raise InputError(
                "labels of the example scores",
                found=f"{str(labels.dtype)[6:]} of shape {tuple(labels.shape)}",
                expected="a class number from 0 for each row",
                remedy="give the labels of the training rows, (n,)",
            )
        self.labels, self.early, rows = labels.long(), early, len(labels)
        self._sums = {name: np.zeros(rows) for name in ("el2n", "grand_last", "margin", "loss", "loss_squares")}
        self._visits, self._first = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        self._forgotten, self._right = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=bool)
        self._learned, self._hidden = np.zeros(rows, dtype=bool), True
        self._batches: list[tuple[int, Tensor, Tensor, Tensor | None]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return len(self.labels)

    def see(self, step: int, rows: Any, outputs: Tensor, hidden: Tensor | None = None, *, bias: bool = True) -> None:
        """The outputs (k, classes) on the training rows `rows` (k,) at `step`, and what went into the last affine
        layer, `hidden` (k, width), which may have a `bias`. Without `hidden` there is no `grand_last`.

        Raises `InputError` where rows and outputs do not belong together or to the labels.
        """
        rows = torch.as_tensor(rows).detach().cpu().long().reshape(-1)
        if outputs.dim() != 2 or len(outputs) != len(rows):
            raise InputError(
                f"outputs at step {step}",
                found=f"shape {tuple(outputs.shape)} for {len(rows)} rows",
                expected=f"({len(rows)}, classes)",
                remedy="give the outputs on exactly the rows that are named",
            )
        if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < len(self)):
            raise InputError(
                f"row numbers at step {step}",
                found=f"{int(rows.min())} to {int(rows.max())}",
                expected=f"0 to {len(self) - 1}, the rows of the labels",
                remedy="number the rows of the training set from 0",
            )
        length = None if hidden is None else (hidden.detach().flatten(1).square().sum(1) + bias).sqrt().cpu()
        self._batches.append((step, rows, outputs.detach().float().cpu().clone(), length))
        self._waiting += len(rows)
        if self._waiting >= WAITING:
            self._work()

    def table(self) -> pandas.DataFrame:
        """One row an example: `label`, `visits` and the scores of `COLUMNS`; NaN where it was not visited, and where
        there is no last layer."""
        import pandas

        self._work()
        seen, first = self._visits, self._first
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sums["loss"] / seen
            columns = {
                "el2n": self._sums["el2n"] / first,
                "grand_last": self._sums["grand_last"] / first if self._hidden else np.full(len(self), np.nan),
                "forgetting": np.where(seen == 0, np.nan, np.where(self._learned, self._forgotten, np.inf)),
                "margin_area": self._sums["margin"] / seen,
                "loss_variance": np.maximum(self._sums["loss_squares"] / seen - mean**2, 0.0),
            }
        frame = pandas.DataFrame({"label": self.labels.numpy(), "visits": seen, **columns})
        frame.index.name = "row"
        return frame

    def _work(self) -> None:
        if not self._batches:
            return
        batches, self._batches, self._waiting = self._batches, [], 0
        rows = torch.cat([b[1] for b in batches])
        outputs = torch.cat([b[2] for b in batches])
        labels = self.labels[rows]
        if len(rows) and int(labels.max()) >= outputs.shape[1]:
            raise InputError(
                "outputs of the training",
                found=f"{outputs.shape[1]} classes",
                expected=f"more than {int(labels.max())}, the largest label",
                remedy="give the labels that the network is trained on",
            )
        found = _row_scores(outputs, labels)
        lengths = [b[3] for b in batches if b[3] is not None]
        self._hidden = self._hidden and len(lengths) == len(batches)
        if self._hidden:
            found["grand_last"] = found["el2n"] * torch.cat(lengths).double().numpy()
        early = np.concatenate([np.full(len(b[1]), self.early is None or b[0] <= self.early) for b in batches])
        for turn in _turns(rows.numpy()):
            self._add(rows.numpy()[turn], {name: values[turn] for name, values in found.items()}, early[turn])

    def _add(self, rows: NDArray[np.int64], found: dict[str, Floats], early: NDArray[np.bool_]) -> None:
        """Scores of rows that are all different."""
        self._visits[rows] += 1
        for name in ("margin", "loss", "loss_squares"):
            self._sums[name][rows] += found[name]
        self._first[rows[early]] += 1
        for name in ("el2n", "grand_last"):
            if name in found:
                self._sums[name][rows[early]] += found[name][early]
        right = found["margin"] > 0
        self._forgotten[rows] += self._right[rows] & ~right
        self._right[rows] = right
        self._learned[rows] |= right


def _row_scores(outputs: Tensor, labels: Tensor) -> dict[str, Floats]:
    logs = torch.log_softmax(outputs, dim=1)
    own = labels[:, None]
    loss = -logs.gather(1, own).squeeze(1).double()
    error = logs.exp().scatter_add(1, own, torch.full((len(own), 1), -1.0))
    rest = outputs.scatter(1, own, -torch.inf).amax(1)
    margin = outputs.gather(1, own).squeeze(1) - rest
    parts = {"el2n": error.norm(dim=1), "margin": margin, "loss": loss, "loss_squares": loss.square()}
    return {name: value.double().numpy() for name, value in parts.items()}


def _turns(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places (into `rows`) in groups within which no row comes twice, in order of visit."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    return [order[rank == r] for r in range(int(rank.max()) + 1)] if len(rows) else []


def mean_scores(tables: list[pandas.DataFrame]) -> pandas.DataFrame:
    """The mean of tables of several trainings on the same rows, `visits` summed; a row that one of them never learned
    has an infinite `forgetting`. Raises `InputError` for tables of other rows."""
    first = tables[0]
    for table in tables[1:]:
        if len(table) != len(first) or (table["label"].to_numpy() != first["label"].to_numpy()).any():
            raise InputError(
                "tables of example scores",
                found=f"{len(first)} and {len(table)} rows, or other labels",
                expected="the same rows with the same labels in every table",
                remedy="join tables of trainings on one set",
            )
    mean = first.copy()
    for name in mean.columns.drop(["label", "visits"], errors="ignore"):
        mean[name] = np.mean([table[name].to_numpy() for table in tables], axis=0)
    if "visits" in mean:
        mean["visits"] = np.sum([table["visits"].to_numpy() for table in tables], axis=0)
    return mean


def hardness(table: pandas.DataFrame, score: str) -> Floats:
    """The score as "harder is larger" (n,): the margin area turned round, the others as they are.

    Raises `InputError` for a column that there is not, and for rows that were never visited.
    """
    known = [c for c in table.columns if c not in ("label", "visits", "row")]
    if score not in known:
        raise InputError(
            f"score {score!r}", found="no such column", expected=", ".join(known), remedy="name one of these"
        )
    values = table[score].to_numpy(dtype=float)
    if np.isnan(values).any():
        raise InputError(
            f"score {score!r}",
            found=f"none for {int(np.isnan(values).sum())} of {len(values)} rows",
            expected="a number for every row",
            remedy="train until every row was visited"
            if score != "grand_last"
            else "train until every row was visited; without a last affine layer take el2n",
        )
    return -values if score == "margin_area" else values


def read_scores(path: str | Path, data: Dataset) -> pandas.DataFrame:
    """A table of scores of the rows of `data` from FILE or FILE:COLUMN, .csv or .parquet: a row for each, in order.

    Numeric columns are kept; `table` is COLUMN, or the only score where none is named. Raises `FileError` for a file
    that is not there or no such table, `InputError` for one of other rows (another number of them, other labels where
    it has a column `label`) and for a column that there is not. Exact. Cost: one pass over the file. Source:
    definition.
    """
    name, column = (str(path), "") if Path(path).exists() else str(path).rpartition(":")[::2]
    path = Path(name or column)
    column = column if name else ""
    table = read_frame(path, "table of scores", "give example_scores.csv of a run, or a table of your own")
    table = table.select_dtypes("number").drop(columns="row", errors="ignore")
    if data.labels is not None:
        own = data.labels.cpu().numpy()
        if len(table) == len(own) and "label" in table and (table["label"].to_numpy() != own).any():
            raise _other_rows(
                path, f"other labels from row {int((table['label'].to_numpy() != own).argmax())} on", data
            )
    if len(table) != len(data):
        raise _other_rows(path, f"{len(table)} rows", data)
    scores = [str(c) for c in table.columns if c not in ("label", "visits")]
    if (column and column not in scores) or not scores:
        raise InputError(
            f"table of scores {path}",
            found=f"no numeric column {column!r}" if column else "no numeric column",
            expected=", ".join(scores) or "one score at least",
            remedy="name one of these" if scores else "add a score",
        )
    column = column or (scores[0] if len(scores) == 1 else "")
    return table.assign(table=table[column]) if column else table


def _other_rows(path: Path, found: str, data: Dataset) -> InputError:
    return InputError(
        f"table of scores {path}",
        found=found,
        expected=f"{len(data)} rows with the labels of data {data.name!r}",
        remedy="give the scores of these rows, all of them, in their order",
    )
