"""`cutaway audit pruning`: which rows matter, and whom does pruning hurt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cutaway.cli.audit._run import UNKNOWN, audit_network
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several
from cutaway.cli.subject import Engine, Subject
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.instruments.outputs.pruning import Pruning
    from cutaway.network import Network

app = new_app("audit pruning")


@app.default
def pruning(
    subject: Subject = Subject(),
    *more: str,
    pruner: str | None = None,
    others: Annotated[list[str] | None, Several] = None,
    keep: Annotated[list[float] | None, Several] = None,
    scores: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Train anew on the rows that pruners keep, on random rows, and on random rows of the same class counts.

    MODEL may be a recipe (.toml) of cutaway fit, whose data, network and training are then used. The verdict is helps
    where the worst class is better off than with random rows beyond the interval over seeds, hurts where it is worse
    off, not-told-apart between.

    Parameters
    ----------
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    pruner
        Which is judged: quotas, el2n, grand_last, forgetting, margin_area, loss_variance, table (a column of --scores),
        or a score with +quotas.
    others
        Pruners to show beside it.
    keep
        Shares of the rows to keep, above 0, below 1; the smallest is judged.
    scores
        A table of scores, FILE or FILE:COLUMN (.csv, .parquet), a row for each row of the data, as a run of cutaway fit
        keeps it.
    set
        Settings of the instrument as `key=value`; may be given several times.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.cli.measure import told_settings
    from cutaway.instruments.outputs.pruning import Pruning

    subject, settings = told_settings(Pruning, subject, set, more)
    if subject.model is not None and subject.model.endswith(".toml"):
        instrument, network, data = _of_recipe(subject)
    else:
        network, data = subject.open()
        instrument = Pruning()
    options = {"pruner": pruner, "others": others, "keep": keep, "scores": scores}
    settings |= {k: v for k, v in options.items() if v is not None}
    instrument = dataclasses.replace(instrument, **settings)
    instrument.check(network, data)
    return audit_network(instrument, network, data, subject, engine, out=out, nulls=0, verdict=_verdict)


def _of_recipe(subject: Subject) -> tuple[Pruning, Network, Dataset]:
    """The instrument that trains as the recipe says, its network, and its training rows."""
    from cutaway.instruments.outputs.pruning import Pruning
    from cutaway.network import Network
    from cutaway.training import by_name
    from cutaway.training.fit import check_source
    from cutaway.training.loop import train
    from cutaway.training.prepare import prepare_training
    from cutaway.training.recipe import read_recipe
    from cutaway.training.row_watch import RowWatch

    path = Path(subject.model or "")
    if subject.data is not None or subject.weights is not None:
        raise InputError(
            f"recipe {path}",
            found="--data or --weights beside it",
            expected="the recipe alone: it names its data, and networks are trained anew",
            remedy="leave the option out",
        )
    plan = read_recipe(path)
    if not subject.trust_code:
        check_source(plan, path)
    ready = prepare_training(plan, subject.device)
    data, own = ready.sets["train"], ready.settings
    if data.labels is None or own.loss == "next-token":
        raise InputError(
            f"recipe {path}", found="a language model", expected="a classifier", remedy="give a recipe with labels"
        )

    def trained(rows: Dataset, seed: int, scored: bool):
        model = dataclasses.replace(ready.blueprint, seed=seed).build()
        watch = RowWatch(rows, early=max(own.steps // 4, -(-len(rows) // own.batch_size))) if scored else None
        terms = [by_name.term(part, steps=own.steps, data=rows) for part in plan.regularisers]
        adversary = None if plan.adversary is None else by_name.adversary(plan.adversary, data=rows)
        settings = dataclasses.replace(own, seed=seed)
        train(model, rows, settings, terms=terms, adversary=adversary, tracker=watch)
        if watch is None:
            return model, None
        watch.close()
        return model, watch.table()

    kind = type("OfRecipe", (Pruning,), {"trainer": staticmethod(trained)})
    instrument = kind(steps=own.steps, batch_size=own.batch_size, learning_rate=float(own.learning_rate))
    name = f"networks of recipe {plan.name}"
    return instrument, Network(ready.model.eval(), data.inputs[:2], name=name), data


def _verdict(reading) -> str:
    gain = reading.figure("worst_class_gain")
    if gain.low is None:
        return UNKNOWN
    return "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not-told-apart"
