"""`cutaway audit groups`: who is worst off, by class and group, and whether that is more than chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.audit._run import UNKNOWN, audit_network
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, Subject
from cutaway.errors import InputError

app = new_app("audit groups")


@app.default
def groups(
    subject: Subject = Subject(),
    *more: str,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    nulls: int = 39,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Accuracy in every cell of class and group, the worst with an interval that holds for all, equalised odds.

    The verdict is worse-off where the worst cell is worse than that of random groups (5 %), not-told-apart where not,
    unknown with fewer than 19 nulls.

    Parameters
    ----------
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    set
        Settings of the instrument as `key=value`; may be given several times.
    nulls
        How many null networks, at most; 0 for none.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.cli.measure import told_settings
    from cutaway.instruments.outputs.group_accuracy import GroupAccuracy

    if subject.groups is None:
        raise InputError(
            "command audit groups",
            found="no groups",
            expected="a group for every row",
            remedy="name the array (.npz) or column (.csv, .parquet) of the data with --groups",
        )
    subject, settings = told_settings(GroupAccuracy, subject, set, more)
    network, data = subject.open()
    instrument = GroupAccuracy(**settings)
    instrument.check(network, data)
    return audit_network(instrument, network, data, subject, engine, out=out, nulls=nulls, verdict=_verdict)


TOLD_APART = 0.05
"""Largest p at which the worst group is called worse off than chance makes one."""


def _verdict(reading) -> str:
    """With so few nulls that no rank among them reaches the level, nothing is told."""
    worst = reading.figure("worst_group_accuracy")
    if worst.p_value is None or TOLD_APART * (worst.null_count + 1) < 1:
        return UNKNOWN
    return "worse-off" if worst.p_value <= TOLD_APART else "not-told-apart"
