"""`cutaway audit variation`: does accuracy survive the way the task is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.audit._run import UNKNOWN, audit_network
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, Subject

app = new_app("audit variation")

MOVED = 3.0
"""How many times the spread over versions is that over resamples where the version is said to matter."""


@app.default
def variation(
    subject: Subject = Subject(),
    *more: str,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Accuracy over versions of the images (turned, moved, of other contrast), beside that over resamples of the rows.

    The verdict is moved where the standard deviation over versions is, with its interval, above three times that over
    resamples, steady where it is below, unknown between.

    Parameters
    ----------
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    set
        Settings of the instrument as `key=value`; may be given several times.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.cli.measure import told_settings
    from cutaway.instruments.robustness.variation import Variation

    subject, settings = told_settings(Variation, subject, set, more)
    network, data = subject.open()
    instrument = Variation(**settings)
    instrument.check(network, data)
    return audit_network(instrument, network, data, subject, engine, out=out, nulls=0, verdict=_verdict)


def _verdict(reading) -> str:
    spread, line = reading.figure("sd_over_versions"), MOVED * reading.figure("sd_over_resamples").value
    if reading.figure("accuracy").value == 0:
        return UNKNOWN  # nothing was right, so that no version could cost anything
    if spread.low is not None and spread.low > line:
        return "moved"
    return "steady" if spread.high is not None and spread.high <= line else UNKNOWN
