"""`cutaway audit distil`: which few rows stand for the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.audit._run import audit_network
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, Subject

app = new_app("audit distil")


@app.default
def distil(
    subject: Subject = Subject(),
    *more: str,
    method: str | None = None,
    per_class: int | None = None,
    radius: float | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Distil a few rows of each class, train this architecture anew on them, on real rows, on class means, on all rows.

    The verdict is beats-class-means where networks learn more from the distilled rows than from class means, beyond the
    interval; beats-real-rows where only more than from random real rows; no-better else. The rows are written beside
    the page as distilled.npz, which --data opens.

    Parameters
    ----------
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    method
        kip (a kernel's best rows), rat (through trainings of this architecture) or tm (along experts' trajectories).
        kip takes a --radius, of an attack that its rows teach to resist.
    per_class
        Rows a class.
    radius
        Radius of the ball round an input, in the data's units.
    set
        Settings of the instrument as `key=value`; may be given several times.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.cli.measure import told_settings
    from cutaway.instruments.outputs.distillation import Distillation

    subject, settings = told_settings(Distillation, subject, set, more)
    network, data = subject.open()
    options = {"method": method, "per_class": per_class, "radius": radius}
    settings |= {k: v for k, v in options.items() if v is not None}
    instrument = dataclasses.replace(Distillation(), **settings)
    instrument.check(network, data)
    return audit_network(instrument, network, data, subject, engine, out=out, nulls=0, verdict=_verdict, keep=_keep)


def _keep(reading, folder: Path) -> dict[str, str]:
    """Write the distilled rows as a data file."""
    import numpy as np

    from cutaway.files import atomic

    target = folder / "distilled.npz"
    values = reading.values
    with atomic(target) as part, part.open("wb") as file:
        np.savez(file, inputs=values["distilled"].values, labels=values["row_label"].values)
    return {"distilled": str(target)}


def _verdict(reading) -> str:
    over_means, over_real = reading.figure("gain_over_means"), reading.figure("gain_over_real")
    if over_means.low is not None and over_means.low > 0:
        return "beats-class-means"
    return "beats-real-rows" if over_real.low is not None and over_real.low > 0 else "no-better"
