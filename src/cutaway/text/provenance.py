"""Did this network come from my training? The order in which a training saw its rows, held against a network's losses.

A network remembers what it saw last a little better. If the order was drawn at random, it is independent of every
network that did not come out of that training, so the rank correlation of position and loss has an exact null whatever
the networks are. A reference (the same data in another order, or a public model) takes away how hard a row is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional as F

from cutaway.arrays import Floats
from cutaway.data import Dataset
from cutaway.engines.parts import in_draws
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.text.scoring import score_tokens

FEWEST = 50  # rows
LENGTH = 64  # tokens of a text that are read
IMPROBABLE = 1e-4  # below this p-value an order counts as not drawn at random


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTest:
    """`statistic`: Spearman correlation of position and loss in excess of the reference, negative for the training's
    own network. `p_value`: one-sided, by permutation, exact, at least 1 / (draws + 1). `p_approximate`: the same by
    Student's t, for values beyond that. `rows`: how many rows were compared."""

    statistic: float
    p_value: float
    p_approximate: float
    rows: int


def last_positions(order: Iterable[tuple[int, NDArray[np.int64]]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers (n,) ascending, and where each was visited last in an order log of (step, rows): the position of its
    last visit in the whole log. Of several epochs the last one counts.

    Exact. Raises `InputError` for a log without rows. Source: definition."""
    parts = [np.asarray(rows).reshape(-1) for _, rows in order]
    visits = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    if not len(visits):
        raise InputError(
            "order log",
            found="no rows",
            expected="the rows of every step",
            remedy="tell them to the tracker: tracker.step(model, step, examples=rows)",
        )
    rows, from_end = np.unique(visits[::-1], return_index=True)
    return rows, len(visits) - 1 - from_end


def check_random_order(rows: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
    """Raise `InputError` where the order was not drawn at random: row numbers that rise or fall with the position, or
    that follow one another (a sequential or sharded sampler). False alarms: below 2 in 10,000. Order of shape (n,)."""
    trail = rows[np.argsort(positions)].astype(float)
    trends = {
        "row numbers go with the position": stats.spearmanr(np.arange(len(trail)), trail),
        "each row number goes with the one before": stats.spearmanr(trail[:-1], trail[1:]),
    }
    for what, found in trends.items():
        rho, p = float(np.asarray(found)[0]), float(np.asarray(found)[1])
        if p < IMPROBABLE:
            raise InputError(
                "order log",
                found=f"an order that was not drawn at random: {what} (correlation {rho:.2f}, p = {p:.1e})",
                expected="rows in random order",
                remedy="nothing can be told of such a training; shuffle the next one",
            )


def provenance_test(
    positions: NDArray, suspect: NDArray, reference: NDArray | None = None, *, draws: int = 10_000, seed: int = 0
) -> OrderTest:
    """Whether `suspect` (n,) losses fall with `positions` (n,), in excess of `reference` (n,) losses where given.

    p is exact for any network and any data, if the order was drawn at random (`check_random_order`): it is the rank of
    the correlation among those of permuted positions. Cost: `draws` products of n numbers. Raises `InputError` for
    fewer than 50 rows, lengths that differ or losses that are not finite. Source: Kuditipudi et al. 2025 (arXiv
    2510.19796), query setting; the permutation p is exact where theirs is Student's.

    >>> import numpy as np
    >>> round(provenance_test(np.arange(60), -np.arange(60.0)).statistic, 12)
    -1.0
    """
    excess = np.asarray(suspect, dtype=np.float64) - (0.0 if reference is None else np.asarray(reference, dtype=float))
    if len(excess) < FEWEST or excess.shape != np.shape(positions) or not np.isfinite(excess).all():
        bad = int((~np.isfinite(excess)).sum())
        raise InputError(
            "losses for provenance",
            found=f"{excess.shape} losses, {bad} not finite, for {np.shape(positions)} positions",
            expected=f"a finite loss for each of at least {FEWEST} rows of the order log",
            remedy="give more rows, and a network that reads them",
        )
    x, y = (_standard(stats.rankdata(v)) for v in (positions, excess))
    statistic = float(x @ y)
    drawn = in_draws(_in_random_order, draws, x, y, seed=seed, path=("provenance",))
    as_low = int((drawn <= statistic + 1e-12).sum())
    freedom = len(x) - 2
    t = statistic * np.sqrt(freedom / max(1e-300, 1 - min(1.0, statistic**2)))
    return OrderTest(
        statistic=statistic,
        p_value=(1 + as_low) / (draws + 1),
        p_approximate=float(stats.t.cdf(t, freedom)),
        rows=len(x),
    )


def _in_random_order(rng: np.random.Generator, count: int, x: Floats, y: Floats) -> Floats:
    return np.array([(rng.permutation(x) * y).sum() for _ in range(count)])  # @ depends on the threads of BLAS


def row_losses(network: Network, data: Dataset, *, budget: int | None = None) -> Floats:
    """The log loss (n,) of every row in nats: mean over its tokens for a language model, else that of its label. Exact
    up to the network's rounding; one forward pass a row. Raises `InputError` for a classifier's rows without labels.
    Source: definition."""
    if not data.inputs.is_floating_point():
        return -score_tokens(network, data.inputs, budget=budget).log_probability.mean(axis=1)
    if data.labels is None:
        raise InputError(
            f"data {data.name!r}",
            found="no labels",
            expected="the rows that the network was trained on, with their labels",
            remedy="give labelled data, or token rows of a language model",
        )
    scores = network.outputs(data.inputs, budget=budget).double().cpu()
    return F.cross_entropy(scores, torch.as_tensor(data.labels).cpu(), reduction="none").numpy()


def text_losses(
    network: Network, texts: Sequence[str], tokenizer: Any, *, length: int = LENGTH, budget: int | None = None
) -> Floats:
    """The log loss (n,) of every text in nats: mean over its first `length` tokens, behind the begin-of-text token
    where the tokenizer has one; NaN for a text of fewer than two tokens with it.

    Texts of as many tokens go together, so that no row is padded or left out. Exact up to the network's own rounding;
    one forward pass a text. Source: definition.
    """
    begin = getattr(tokenizer, "bos_token_id", None)
    front = [begin] if isinstance(begin, int) else []
    rows = [[*front, *tokenizer(text, add_special_tokens=False)["input_ids"]][: len(front) + length] for text in texts]
    sizes = np.array([len(row) for row in rows])
    found = np.full(len(rows), np.nan)
    for size in np.unique(sizes[sizes > 1]).tolist():
        own = np.flatnonzero(sizes == size)
        tokens = torch.tensor([rows[row] for row in own])
        found[own] = -score_tokens(network, tokens, budget=budget).log_probability.mean(axis=1)
    return found


def told_losses(path: str | Path, rows: NDArray[np.int64]) -> Floats:
    """The loss (n,) of training rows `rows` (n,) from a table with a column `loss`, or `log_probability`, whose sign is
    turned; NaN for a row that the table does not have.

    A column `row` tells the numbers of the training's rows; without it the table has all of them, in their order.
    Raises `FileError` for what is no table, `InputError` for numbers that are not finite, rows told twice, or a table
    without numbers of rows that is too short.
    """
    from cutaway.data.frames import column_of, finite_numbers, read_frame

    frame = read_frame(path, "table of losses")
    name = column_of(frame, path, None, ("loss", "log_probability"), "loss")
    values = finite_numbers(frame[name], f"column {name!r} of {path}") * (1.0 if name.lower() == "loss" else -1.0)
    numbers = np.arange(len(values))
    if "row" in frame.columns:
        numbers = finite_numbers(frame["row"], f"column 'row' of {path}")
    wrong = ""
    if (odd := (numbers < 0) | (numbers != np.floor(numbers)) | (numbers > 2**53)).any():
        wrong = f"row {numbers[odd.argmax()]:g}"
    elif len(np.unique(numbers)) < len(numbers):
        wrong = "a row that is told twice"
    elif "row" not in frame.columns and rows[-1] >= len(values):
        wrong = f"{len(values)} rows"
    if wrong:
        raise InputError(
            f"table of losses {path}",
            found=wrong,
            expected=f"a loss for each training row, 0 to {rows[-1]}, or a column `row` that numbers them",
            remedy="write the numbers of the training's rows beside the losses",
        )
    known = dict(zip(numbers.astype(np.int64).tolist(), values.tolist(), strict=True))
    return np.array([known.get(row, np.nan) for row in rows.tolist()])


def _standard(values: Floats) -> Floats:
    centred = values - values.mean()
    return centred / max(float(np.sqrt(centred @ centred)), 1e-300)
