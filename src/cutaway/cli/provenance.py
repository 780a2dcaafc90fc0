"""`cutaway provenance RUN SUSPECT`: whether a network came out of a tracked training, from the order of its rows."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from cutaway.arrays import Floats
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, Subject

if TYPE_CHECKING:
    from cutaway.data import Dataset

app = new_app("provenance")


@dataclass(frozen=True)
class Rows(Subject):
    """All rows of a training, in the numbering of its order log; the networks are named beside.

    Parameters
    ----------
    data
        The training's rows, in its order: a named set, arrays (.npz, of tokens too), or texts (.parquet), of which the
        first 64 tokens are read; not for a run of cutaway fit, whose recipe names them.
    """

    model: Annotated[str | None, Parameter(parse=False)] = None
    _: KW_ONLY
    num: Annotated[int | None, Parameter(parse=False)] = None
    tokens: Annotated[int, Parameter(parse=False)] = 64
    split: str = "train"


@app.default
def provenance(
    run: Path,
    suspect: str,
    *,
    subject: Rows = Rows(),
    reference: str | None = None,
    reference_weights: str | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Tell whether a network came out of a tracked training, from the order of its rows.

    Parameters
    ----------
    run
        Folder of the tracked training, whose tracker kept the order of the rows.
    suspect
        The network in question: `file.py:factory` (with --weights), a file, a run's checkpoint, or a Hugging Face
        folder or id; or, for a model behind an API, a .csv or .parquet table with its `loss` (or `log_probability`)
        for each training row (`row`, its number; without that column in their order), which needs no --data.
    reference
        A network that is not in question, or its table: best the same training in another order (`cutaway fit
        --reorder`), else a public base model.
    reference_weights
        Checkpoint to load into the reference.
    """
    from cutaway.text.provenance import check_random_order, last_positions, provenance_test, told_losses
    from cutaway.training.store import open_training

    rows, positions = last_positions(open_training(run).order())
    check_random_order(rows, positions)
    losses = []
    with engine.at_work():
        for model, file in ((suspect, subject.weights), (reference, reference_weights)):
            if model is not None:
                table = Path(model).suffix.lower() in (".csv", ".parquet")
                own = replace(subject, model=model, weights=file)
                losses.append(told_losses(model, rows) if table else _losses(own, rows, run))
        known = ~np.isnan(np.stack(losses)).any(axis=0)  # a table may hold some of the rows, a text may be too short
        found = provenance_test(positions[known], *(part[known] for part in losses), seed=subject.seed)
    payload = {
        "statistic": found.statistic,
        "p_value": found.p_value,
        "p_approximate": found.p_approximate,
        "rows": found.rows,
        "reference": reference,
        "status": "estimate",
    }
    return Outcome(payload=payload, words=_words(found, reference))


def _losses(subject: Rows, rows: NDArray[np.int64], run: Path) -> Floats:
    """The loss of each of the training's `rows` (n,) under the subject's network."""
    from cutaway.data import Dataset, load_texts
    from cutaway.text.provenance import row_losses, text_losses

    data = _rows_of(subject, run)
    if data is None:
        loaded = subject.loaded(device=subject.device)
        if loaded.tokenizer is not None and loaded.example is not None and _holds_texts(subject.data):
            texts = load_texts(str(subject.data))
            _check_rows(texts.name, len(texts), rows, run)
            network = subject.network(loaded.model, Dataset(name=texts.name, inputs=loaded.example), loaded.name)
            return text_losses(
                network,
                [texts.texts[row] for row in rows],
                loaded.tokenizer,
                length=subject.tokens,
                budget=subject.room,
            )
        network, data = subject.open()
    else:
        loaded = subject.loaded(device=subject.device)
        network = subject.network(loaded.model, data, loaded.name)
    _check_rows(data.name, len(data), rows, run)
    return row_losses(network, data.subset(rows), budget=subject.room)


def _holds_texts(data: str | None) -> bool:
    return data is not None and not data.endswith((".npz", ".npy"))


def _rows_of(subject: Rows, run: Path) -> Dataset | None:
    """The rows that the recipe of the run names, None for a run without one (or one whose rows have moved, where --data
    says where to); they must be those that --data names."""
    import torch

    from cutaway.errors import FileError, InputError
    from cutaway.training.fit import rows_of_run

    try:
        own = rows_of_run(run)
    except FileError:
        if subject.data is None:
            raise
        own = None
    if own is None and subject.data is None:
        raise InputError(
            "cutaway provenance", found="no --data", expected="the training rows", remedy="name them with --data"
        )
    if own is not None and subject.data is not None:
        told = subject.rows()
        if not torch.equal(told.inputs.double(), own.inputs.double()):
            raise InputError(
                f"data {told.name!r}",
                found=f"{len(told)} rows that are not the {len(own)} of the run in their order",
                expected="the rows that its recipe trains on, in the numbering of the order log",
                remedy="leave --data out: the recipe in the run's folder names them",
            )
    return own


def _check_rows(name: str, count: int, rows: NDArray[np.int64], run: Path) -> None:
    from cutaway.errors import InputError

    if rows[-1] >= count:
        raise InputError(
            f"data {name!r}",
            found=f"{count} rows",
            expected=f"at least {rows[-1] + 1}, as the order log of {run} numbers them",
            remedy="give the rows that the training had, in the same order",
        )


def _words(found, reference: str | None) -> str:
    text = f"Rows seen later have a {'lower' if found.statistic < 0 else 'higher'} loss: correlation "
    text += f"{found.statistic:.3f} over {found.rows} rows, p = {found.p_value:.2g} by permutation"
    text += f" ({found.p_approximate:.1e} by Student's t)." if found.p_value < 0.001 else "."
    if found.p_value <= 0.01:
        return text + " The network knows the order of this training: it, or what it was made from, came out of it."
    weak = "" if reference else " Without --reference the test is weak; the same training in another order serves best."
    return text + " Nothing shows that it came out of this training; that does not show that it did not." + weak
